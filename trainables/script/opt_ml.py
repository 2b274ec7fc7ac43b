"""Run a program with its folders at `/opt/ml`, where SageMaker's containers have them.

`python -I opt_ml.py BASE PROGRAM [ARGUMENT …]` mounts BASE at `/opt/ml` for the program and its
children alone. This needs a mount namespace, which Linux may refuse. The program is run all the
same, after a sentence in its log: it may name the folder and never use it.
"""

import ctypes
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

OPT_ML = Path("/opt/ml")
NAMED = re.compile(re.escape(os.fsencode(OPT_ML)) + rb"(?![\w.-])")
SUFFIXES = {".cfg", ".ini", ".json", ".py", ".sh", ".toml", ".yaml", ".yml"}
"""Suffixes of files in which a program may name the folder."""
LONGEST = 2**20
"""Bytes from which a file is taken for data and not searched."""
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000


def is_named(code: Path, words: Iterable[str]) -> bool:
    """Whether a program's files, or one of these words, name `/opt/ml`."""
    named = any(NAMED.search(os.fsencode(word)) for word in words)
    return named or any(map(_has_name, code.rglob("*")))


def _has_name(file: Path) -> bool:
    if file.suffix not in SUFFIXES or not file.is_file() or file.stat().st_size > LONGEST:
        return False
    return NAMED.search(file.read_bytes()) is not None


def main(arguments: Sequence[str]) -> None:
    """Mount BASE and become the program."""
    base, *command = arguments
    refused = _refusal(base)
    if refused is None:
        _show(base)
    else:
        _say(
            f"{OPT_ML} is not this trial's own, for {refused}: name the folders by SM_MODEL_DIR and"
            f" the other SM_ variables, or start at SAGEMAKER_BASE_DIR"
        )
    for signum in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(signum, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        _say(f"{command[0]}: {error.strerror}")
        os._exit(127)


def _refusal(base: str) -> str | None:
    """Return why BASE cannot be mounted; a child tries it, since a mount may fail half-way."""
    needed = [base, sys.executable, *map(os.path.realpath, _data(Path(base, "input/data")))]
    for path in needed:
        if Path(path).is_relative_to(OPT_ML):
            return f"{path} lies there"
    reading, writing = os.pipe()
    if not os.fork():
        try:
            _show(base)
        except OSError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        refused = answer.read()
    os.wait()
    return refused or None


def _data(channels: Path) -> Iterator[Path]:
    """Yield the links to the channels' data: a channel is a link, or a folder of links to files."""
    for channel in channels.glob("*"):
        yield from (channel,) if channel.is_symlink() else channel.iterdir()


def _show(base: str) -> None:
    """Mount BASE at `/opt/ml`, for this process and its children."""
    uid, gid = os.getuid(), os.getgid()
    if _libc().unshare(CLONE_NEWNS):  # only root may do it without a user namespace
        _check(_libc().unshare(CLONE_NEWNS | CLONE_NEWUSER), "unshare")
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            Path("/proc/self", name).write_text(text)
    _mount(None, "/", MS_REC | MS_PRIVATE)
    if not OPT_ML.is_dir():
        _make_room(OPT_ML.parent)
    _mount(base, OPT_ML, MS_BIND | MS_REC)


def _make_room(parent: Path) -> None:
    """Mount a writable folder with the same content over `/opt`, and make `/opt/ml` in it."""
    opened = os.open(parent, os.O_PATH | os.O_DIRECTORY)
    below = Path(f"/proc/self/fd/{opened}")
    found = list(below.iterdir())
    _mount("tmpfs", parent, 0, kind="tmpfs", options="mode=755")
    for old in found:
        new = parent / old.name
        if old.is_symlink():
            new.symlink_to(old.readlink())
            continue
        if old.is_dir():
            new.mkdir()
        else:
            new.touch()
        _mount(old, new, MS_BIND | MS_REC)
    OPT_ML.mkdir()
    os.close(opened)


def _mount(
    source: str | Path | None,
    target: str | Path,
    flags: int,
    *,
    kind: str | None = None,
    options: str | None = None,
) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    _check(_libc().mount(*words, ctypes.c_ulong(flags), options and options.encode()), "mount")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(failed: int, call: str) -> None:
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _say(sentence: str) -> None:
    os.write(2, f"{sentence}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1:])
