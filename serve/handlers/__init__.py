"""The program that runs a script's handlers, by the rules of SageMaker's inference toolkit.

It runs in a process of its own, which `serve.runtime.handler_process` starts, and imports nothing
of `serve` but formats, messages and errors. A model is loaded and asked by::

    handlers = Handlers("inference.py", "my-model", "/path/to/model")
    reply = handlers.answer(b"[[1, 2]]", "application/json", "*/*", headers={})
"""
