"""A damaged journal made whole again by the lines of it that can be read."""

import itertools
import os
import shutil
from pathlib import Path

from app.experiment.run_folder import JOURNAL
from app.run import run_sync, store
from app.run.events import event_of
from app.run.journal import Journal, JournalError, gone, lines, lock
from app.run.record import Record
from app.storage.files import replace_file

DAMAGED = ".damaged"
"""How the name of the journal ends that is kept as it was."""


def repair(folder: Path) -> tuple[list[str], Path | None]:
    """Drop the lines of a run's journal that are no events, or do not fit those before them.

    Gives a sentence for each, and where the journal is kept as it was; None where none is dropped.
    Raises JournalError where a process has the run in hand, or the files cannot be written, and
    StoreError where nothing says what the run was for.
    """
    with run_sync.hold(folder, download=True) as sync:
        dropped, kept = _mended(folder, store.empty_record(folder))
        journal = Journal(folder, store.empty_record(folder), must_exist=True)
        try:
            sync.follow(journal)
            journal.rewrite_result()
        finally:
            journal.close()
    return dropped, kept


def _mended(folder: Path, record: Record) -> tuple[list[str], Path | None]:
    path = folder / JOURNAL
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise gone(folder) from error
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror}") from error
    try:
        lock(file, folder)
        sound, dropped = _parted(path.read_bytes(), record)
        if not dropped:
            return [], None
        names = (f"{JOURNAL}{DAMAGED}{number or ''}" for number in itertools.count())
        kept = next(folder / name for name in names if not (folder / name).exists())
        shutil.copy2(path, kept)
        replace_file(path, sound.decode(), durable=True)
    except OSError as error:
        raise JournalError(f"cannot repair {path}: {error.strerror}") from error
    finally:
        os.close(file)
    return dropped, kept


def _parted(content: bytes, record: Record) -> tuple[bytes, list[str]]:
    """The lines that add up, and what is wrong with each of the others."""
    sound, dropped = [], []
    for number, line in lines(content):
        try:
            record.apply_known(event_of(line))
        except ValueError as error:
            dropped.append(f"line {number} {error}")
        else:
            sound.append(line + b"\n")
    return b"".join(sound), dropped
