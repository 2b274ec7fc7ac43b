"""A home for processes that have none, as in a container that runs as a user of its own.

Ray and others look for one while they are imported. Where there is one that cannot be written, it
may still have what is to be read, so it stays.
"""

import os
import secrets
import tempfile
from pathlib import Path

from trainables.contract import TrainableError
from trainables.script.channels import temporary

TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
"""Where the environment says where the token is that this machine's Ray asks for."""
ELSEWHERE = (TOKEN_PATH, "RAY_AUTH_TOKEN")
TOKEN = ".ray/auth_token"


def ensure() -> None:
    """Give this process, and those that it starts, a home where they have none."""
    try:
        there = Path.home().is_dir()
    except RuntimeError:  # no HOME, and a user of whom the system knows nothing
        there = False
    if not there:
        os.environ["HOME"] = str(_private("home"))


def ensure_token() -> None:
    """Write the token that Ray asks for where only this user can read it, at home if possible.

    Ray itself makes one at home alone, and lets all read it.
    """
    if any(os.environ.get(name) for name in ELSEWHERE):
        return
    try:
        _write_token(Path.home() / TOKEN)
    except OSError:
        path = _private("token") / "auth_token"
        _write_token(path)
        os.environ[TOKEN_PATH] = str(path)


def _write_token(path: Path) -> None:
    """Write a token where there is none; raises OSError where it cannot be written or read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        path.read_bytes()


def _private(name: str) -> Path:
    """A folder that this user alone can enter, for this run and later ones."""
    try:
        folder = temporary() / name
    except TrainableError:  # somebody has made one of that name
        folder = Path(tempfile.mkdtemp(prefix="tuneport-")) / name
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
