"""Bytes to arrays."""

from serve.handlers.payloads import decode

__all__ = ["decode"]
