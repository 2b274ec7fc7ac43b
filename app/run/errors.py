"""Errors of journals that a user sees."""

from pathlib import Path


class JournalError(Exception):
    """A journal cannot be written or read, in one sentence."""


class DamagedError(JournalError):
    """A line of a journal cannot be read or applied, in one sentence."""


class RefusedError(JournalError):
    """A refusal of what trials save, as by a full disk, in one sentence with what helps."""


class MovedError(JournalError):
    """The folder of a run was moved or removed while the run went on."""

    def __init__(self, folder: Path, now: Path | None) -> None:
        what = "removed" if now is None else f"moved to {now}"
        super().__init__(f"{folder} was {what} while its run went on")
        self.folder = folder
        """The folder as it was."""
        self.now = now
        """The folder as it is; None where that cannot be found."""
