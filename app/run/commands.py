"""Commands that act on a run, as messages print them: quoted to be pasted into a shell."""

import shlex
from pathlib import Path

from app.storage.working_copy import location


def run_arguments(folder: Path) -> str:
    """Return the arguments that name the run in a folder: its name and where runs are kept."""
    runs = folder.parent
    place = () if runs == Path("runs").resolve() else ("--runs", location(runs))
    return shlex.join((folder.name, *place))


def resume_command(folder: Path, address: str | None = None) -> str:
    """Return the command that goes on with the run in a folder, on the cluster at an address."""
    cluster = "" if address is None else f" --address {shlex.quote(address)}"
    return f"python -m app.tune --resume {run_arguments(folder)}{cluster}"


def show_command(folder: Path) -> str:
    """Return the command that shows the run in a folder."""
    return f"python -m app.runs show {run_arguments(folder)}"
