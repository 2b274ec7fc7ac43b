"""The content types by their names."""

from serve.handlers.payloads import ANY, CSV, JSON, NPY, NPZ, OCTET_STREAM, UTF8_TYPES

__all__ = ["ANY", "CSV", "JSON", "NPY", "NPZ", "OCTET_STREAM", "UTF8_TYPES"]
