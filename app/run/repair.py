"""Repair of a damaged journal: it keeps the lines that can be read and applied."""

import itertools
import os
import shutil
from pathlib import Path

from app.experiment.run_folder import JOURNAL
from app.run import run_sync, store
from app.run.errors import JournalError
from app.run.events import parse_event
from app.run.journal import Journal, gone, lock
from app.run.journal_reader import lines
from app.run.record import Record
from app.storage.files import replace_file

DAMAGED = ".damaged"
"""Ends the name of the copy of the damaged journal."""


def repair(folder: Path) -> tuple[list[str], Path | None]:
    """Drop the lines of a run's journal that are no events, or do not fit those before them.

    Returns:
        A sentence for each line that is dropped, and the path of a copy of the journal as it was;
        no sentence and None where the journal is sound.

    Raises:
        JournalError: A process has the run in hand, or the files cannot be written.
        StoreError: The run's experiment cannot be read.
    """
    with run_sync.hold(folder, download=True) as sync:
        dropped, copy = _repair_file(folder, store.empty_record(folder))
        journal = Journal(folder, store.empty_record(folder), must_exist=True)
        try:
            sync.follow(journal)
            journal.rewrite_result()
        finally:
            journal.close()
    return dropped, copy


def _repair_file(folder: Path, record: Record) -> tuple[list[str], Path | None]:
    path = folder / JOURNAL
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise gone(folder) from error
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror}") from error
    try:
        lock(file, folder)
        sound, dropped = _split(path.read_bytes(), record)
        if not dropped:
            return [], None
        names = (f"{JOURNAL}{DAMAGED}{number or ''}" for number in itertools.count())
        copy = next(folder / name for name in names if not (folder / name).exists())
        shutil.copy2(path, copy)
        replace_file(path, sound.decode(), durable=True)
    except OSError as error:
        raise JournalError(f"cannot repair {path}: {error.strerror}") from error
    finally:
        os.close(file)
    return dropped, copy


def _split(content: bytes, record: Record) -> tuple[bytes, list[str]]:
    """The lines that can be applied, and what is wrong with each of the others."""
    sound, dropped = [], []
    for number, line in lines(content):
        try:
            record.apply_known(parse_event(line))
        except ValueError as error:
            dropped.append(f"line {number} {error}")
        else:
            sound.append(line + b"\n")
    return b"".join(sound), dropped
