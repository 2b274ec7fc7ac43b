"""Advice for errors with one usual cause in a trial."""

import os
import traceback
from pathlib import Path


def advise(error: BaseException) -> str:
    """Return advice for a file that was not found by a relative path; empty for other errors."""
    name = getattr(error, "filename", None)
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return ""
    if not isinstance(name, (str, bytes, os.PathLike)) or "://" in os.fsdecode(name):
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    is_program = bool(frames) and Path(frames[-1].filename).name == "subprocess.py"
    if is_program or Path(os.fsdecode(name)).is_absolute():
        return ""
    return "; trials run in a folder of their own; use Path(__file__).parent"
