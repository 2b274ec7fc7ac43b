"""What may import what, what importing must not cost, and what no file may be called."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGES = ("app", "serve", "trainables")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAY_IMPORT = {
    "app": {"app", "trainables", "serve"},
    "serve": {"serve"},
    "trainables": {"trainables"},
}
COMMANDS = {
    "app.tune",
    "app.runs",
    "serve.__main__",
    "serve.workers.worker",
    "serve.handlers.worker",
}
NAMES_OF_NOTHING = {"utils", "util", "helpers", "common", "misc", "config", "constants", "base"}

each_module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix()
)


def imported(path: Path) -> Iterator[str]:
    """Everything a module imports at any depth; of `from a import b` both `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if "stubs" in path.parts and node.level == 1:  # scripts know these by another name
                continue
            assert node.level == 0, "imports are absolute"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@each_module
def test_imports_go_one_way(path: Path) -> None:
    mine = path.relative_to(ROOT).parts[0]
    ours = {name.partition(".")[0] for name in imported(path)} & {*PACKAGES, "tests"}
    assert ours <= MAY_IMPORT[mine]


@each_module
def test_no_module_imports_a_command(path: Path) -> None:
    assert COMMANDS.isdisjoint(imported(path))


@each_module
def test_every_module_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", "`."))


@each_module
def test_modules_are_called_by_nouns_of_the_domain(path: Path) -> None:
    assert path.stem not in NAMES_OF_NOTHING


PRINTED = """
import runpy
import sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
except SystemExit as ended:
    heavy = {name.partition(".")[0] for name in sys.modules} & {"torch", "ray", "optuna"}
    print(ended.code, *sorted(heavy), file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["app.tune", "app.runs", "trainables.check"])
def test_help_is_printed_before_anything_heavy_is_imported(command: str) -> None:
    arguments = [sys.executable, "-c", PRINTED, command]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith(f"usage: python -m {command}")
    assert ended.stderr == "0\n"


IMPORTED = """
import importlib
import sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "ray", "optuna"}))
"""


def test_serving_and_the_pure_layer_need_no_library_for_training() -> None:
    names = [
        "serve.runtime.backend",
        "serve.handlers.script_handlers",
        "trainables.data",
        "app.experiment.schema",
        "app.run.journal",
        "app.run.store",
        "app.engine.progress",
        "app.engine.runner",
        "app.cluster.connection",
        "app.cluster.resources",
    ]
    arguments = [sys.executable, "-c", IMPORTED, *names]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert ended.stdout == "\n"
