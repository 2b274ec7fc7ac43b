"""Stub of `sagemaker_inference.content_types`: media types by name."""

JSON = "application/json"
CSV = "text/csv"
OCTET_STREAM = "application/octet-stream"
ANY = "*/*"
NPY = "application/x-npy"
NPZ = "application/x-npz"
UTF8_TYPES = (JSON, CSV)
"""Types that handlers get as `str`; they get all others as `bytes`."""
