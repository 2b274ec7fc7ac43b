"""What scripts import of the inference toolkit; nothing here unpickles what a client sent."""
