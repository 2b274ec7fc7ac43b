"""A home directory for processes without one, as in a container with `--user`.

Ray and other packages look for it while they are imported. A home that cannot be written stays: it
may have files to be read.
"""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from trainables.contract import TrainableError
from trainables.script.channels import temporary_folder

TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
"""Variable with the file of the token that this machine's Ray asks for."""
ELSEWHERE = (TOKEN_PATH, "RAY_AUTH_TOKEN")
TOKEN = ".ray/auth_token"


def ensure_home() -> None:
    """Set HOME, for this process and its children, if there is no home."""
    try:
        has_home = Path.home().is_dir()
    except RuntimeError:  # no HOME, and a user that the system does not know
        has_home = False
    if not has_home:
        os.environ["HOME"] = str(_private("home"))


def ensure_token() -> None:
    """Write the token that Ray asks for so that only this user can read it, at home if possible.

    Ray itself can write one at home alone, and lets everybody read it.
    """
    if any(os.environ.get(name) for name in ELSEWHERE):
        return
    try:
        _write_token(Path.home() / TOKEN)
    except OSError:
        path = _private("token") / "auth_token"
        _write_token(path)
        os.environ[TOKEN_PATH] = str(path)


def restrict_token() -> None:
    """Let only this user read the token at home, which Ray's own commands write for everybody."""
    with suppress(OSError, RuntimeError):
        (Path.home() / TOKEN).chmod(0o600)


def _write_token(path: Path) -> None:
    """Write a token if there is none; raise OSError if it cannot be written or read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        path.read_bytes()
        restrict_token()


def _private(name: str) -> Path:
    """Return a folder that only this user can enter, for this run and later ones."""
    try:
        folder = temporary_folder() / name
    except TrainableError:  # another user has one of that name
        folder = Path(tempfile.mkdtemp(prefix="tuneport-")) / name
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
