"""Bytes to arrays."""

from serve.payloads import decode

__all__ = ["decode"]
