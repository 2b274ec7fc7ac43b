"""Remarks on a training script before it runs: what it lacks, found by reading it.

What is found: modules beside the script that do not go with it, hosts that would train alone, and
requirements that nobody installs. The script is not run.
"""

import ast
import re
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from pathlib import Path

from app.experiment.script_source import ScriptSource
from trainables.script.arguments import TORCHRUN

REQUIREMENTS = "requirements.txt"
LONGEST = 2**20
"""Bytes of a file beyond which it is no program."""
PROCESS_GROUP = re.compile(
    r"init_process_group|MASTER_ADDR|torchrun|torch\.distributed|lightning|accelerate|deepspeed"
    r"|horovod"
)
"""Words without which no program lets several hosts train together."""
BACKEND = re.compile(r"""["']--backend["']([^)]*)""")
WITH_DEFAULT = re.compile(r"""default\s*=\s*["']""")


def remarks(source: ScriptSource, parameters: Collection[str], workers: int) -> Iterator[str]:
    """Yield sentences for whoever starts a run.

    Args:
        source: The script.
        parameters: Names of the arguments that it gets.
        workers: Number of hosts that train each trial.
    """
    if missing := modules_left_beside(source):
        yield (
            f"{source.name} imports {', '.join(missing)}, which is beside it and does not go"
            f" with it: add --source-dir {source.folder}"
        )
    if workers > 1 and TORCHRUN not in parameters:
        yield from _hosts_alone(source, parameters, workers)
    if Path(REQUIREMENTS) in source.files:
        yield (
            f"{source.folder / REQUIREMENTS} is not installed by this: the script runs with what"
            " is installed here"
        )


def modules_left_beside(source: ScriptSource) -> list[str]:
    """Return the modules that the script imports, and that are beside it and nowhere else."""
    imported = _imports(source.entry_point)
    beside = [name for name in imported if {name, f"{name}.py"} & source.left_beside]
    return [name for name in beside if not _is_elsewhere(name, source.entry_point.parent)]


def _hosts_alone(source: ScriptSource, parameters: Collection[str], workers: int) -> Iterator[str]:
    """Say what would let a trial's hosts find each other, where nothing in the script does."""
    alone = f"each of its {workers} hosts trains by itself"
    code = [_text(source.folder / name) for name in source.files]
    if not any(map(PROCESS_GROUP.search, code)):
        yield f"{source.name} begins no process group, so {alone}; {TORCHRUN} = true starts it so"
    backend = BACKEND.search(_text(source.entry_point))
    if backend is None or WITH_DEFAULT.search(backend[1]) or "backend" in parameters:
        return
    yield f"{source.name} takes a --backend and is given none: without it {alone}"


def _imports(file: Path) -> list[str]:
    """Return the top-level modules that a program imports by name, as far as it can be read."""
    try:
        tree = ast.parse(_text(file))
    except (SyntaxError, ValueError):
        return []
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def _is_elsewhere(module: str, folder: Path) -> bool:
    """Tell whether Python finds a module outside a folder, which may be on its path."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return False
    places = () if spec is None else (spec.origin, *(spec.submodule_search_locations or ()))
    here = (folder / f"{module}.py", folder / module, folder / module / "__init__.py")
    return any(place is not None and Path(place).resolve() not in here for place in places)


def _text(file: Path) -> str:
    """Return a program's text; an empty one where the file is no program or cannot be read."""
    try:
        if file.suffix not in (".py", ".sh") or file.stat().st_size > LONGEST:
            return ""
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
