"""Arrays to bytes."""

from serve.handlers.payloads import ENCODED_TYPES, encode

__all__ = ["SUPPORTED_CONTENT_TYPES", "encode"]

SUPPORTED_CONTENT_TYPES = set(ENCODED_TYPES)
