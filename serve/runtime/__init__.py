"""Backends that run a loaded model: ONNX Runtime in this process, a script's handlers in theirs.

The folders that they load are read by `serve.models`; which model answers is up to
`serve.rollout`. An ONNX model is loaded and run by::

    backend = OnnxBackend(load(folder))
    outputs = await backend.infer(inputs, wait_s=60)
"""
