"""Failures in words: why a trial, or its program, failed, and the log that says so.

A sentence names the exception and the user's own line that it came from. Exceptions that a user can
cause are in `trainables.contract`; failures of Ray are described in `app.engine`. For example:

    from trainables.errors import reason

    reason.describe(error)  # "ValueError: no such data (mine.py, line 12, in step)"
"""
