"""Export of a trial as a model folder that `python -m serve` loads.

A trial's network becomes an ONNX model that is compared with the recorded loss; a script's saved
files become a model served by the script's handlers. Searching, Ray and serving are elsewhere.
`ModelExporter(journal, experiment, trainable, shared).export(trial, Path("model"))` writes one.
"""
