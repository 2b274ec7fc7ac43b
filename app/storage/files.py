"""Files and folders on this machine, written whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial"
"""How the name of a file or folder ends while it is being written."""


def replace_file(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file beside `path` and rename it, so that a reader sees the old or the new one.

    Args:
        path: The file; its folder exists.
        content: Text is written as UTF-8.
        durable: Put the content on the disk before the rename.

    Raises:
        OSError: It cannot be written; nothing has changed then.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder` to fill; it takes that name once the block succeeds.

    Raises OSError where it cannot be made, or where there is a folder of that name with something
    in it at the end.
    """
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
