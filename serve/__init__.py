"""What is served: model folders over HTTP, without torch and without Ray."""
