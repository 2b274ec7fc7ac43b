"""Directions of imports, the cost of importing, and the names of files."""

import ast
import re
import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.support.imports import (
    PACKAGES,
    Figures,
    cycle,
    figures,
    imported,
    imports,
    longest_chain,
    parsed,
)

MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
IMPORTED_TESTS = re.compile(r"^\s*(?:from|import) (tests\.(?!support|benchmarks)\S+)", re.MULTILINE)
MAY_IMPORT = {
    "app": {"app", "trainables", "serve"},
    "serve": {"serve"},
    "trainables": {"trainables"},
}
LAYERS = {
    "app": [
        ("__main__", "tune", "runs", "sagemaker"),
        ("api", "watch"),
        ("engine",),
        ("search", "cluster", "export", "report", "loggers"),
        ("run",),
        ("experiment", "storage"),
        ("terminal", "pad"),
    ],
    "serve": [
        ("__main__",),
        ("launch",),
        ("ray_serve", "workers"),
        ("server", "http"),
        ("rollout", "page"),
        ("runtime",),
        ("handlers",),
        ("formats",),
        ("models", "child_process"),
        ("settings", "ipc", "errors"),
    ],
}
"""Entries from the top down; each imports entries of lower layers only."""
MAY_BE_IMPORTED_BY = {"app.pad": set(), "serve.page": {"serve.http"}}
IMPORTS_ALONE = {"serve.handlers": {"serve.formats", "serve.ipc", "serve.errors"}}
BOUNDS = {
    "app": Figures(entries=18, depth=6, imports=59),
    "serve": Figures(entries=17, depth=8, imports=48),
    "trainables": Figures(entries=14, depth=4, imports=25),
}
COMMANDS = {
    "app.__main__",
    "app.tune",
    "app.runs",
    "app.watch.__main__",
    "serve.__main__",
    "serve.workers.worker",
    "serve.handlers.worker",
    "trainables.check.__main__",
}
QUESTION_WORDS = ("What", "Who", "Where", "Whoever", "Whatever", "Wherever")
NAMES_OF_NOTHING = {"utils", "util", "helpers", "common", "misc", "config", "constants", "base"}

each_package = pytest.mark.parametrize("package", PACKAGES)


def test_packages_import_one_another_in_one_direction() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in MODULES
        for name in imported(path)
        if (package := name.partition(".")[0]) in {*PACKAGES, "tests"}
        and package not in MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    ]
    assert wrong == []


@pytest.mark.parametrize("package", LAYERS)
def test_entries_import_lower_layers_only(package: str) -> None:
    heights = {
        f"{package}.{entry}": -number
        for number, entries in enumerate(LAYERS[package])
        for entry in entries
    }
    graph = imports(package)
    assert set(graph) - {f"{package}.__init__"} == set(heights), "name each entry in LAYERS"
    upwards = [
        f"{entry} imports {target}"
        for entry, targets in graph.items()
        for target in targets
        if heights[target] >= heights[entry]
    ]
    assert upwards == []


@pytest.mark.parametrize(("entry", "importers"), MAY_BE_IMPORTED_BY.items())
def test_entry_is_imported_by_few(entry: str, importers: set[str]) -> None:
    graph = imports(entry.partition(".")[0])
    assert {other for other, targets in graph.items() if entry in targets} <= importers


@pytest.mark.parametrize(("entry", "targets"), IMPORTS_ALONE.items())
def test_entry_imports_few(entry: str, targets: set[str]) -> None:
    assert imports(entry.partition(".")[0])[entry] <= targets


@each_package
def test_no_entries_import_one_another_in_a_circle(package: str) -> None:
    assert " > ".join(cycle(imports(package))) == ""


@each_package
def test_graph_of_imports_stays_within_its_bounds(package: str) -> None:
    graph, bounds = imports(package), BOUNDS[package]
    found = figures(graph)
    shown = f"{package}: {found}, longest {' > '.join(longest_chain(graph))}; at most {bounds}"
    assert found.entries <= bounds.entries, shown
    assert found.depth <= bounds.depth, shown
    assert found.imports <= bounds.imports, shown


def test_no_module_imports_a_command() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in MODULES
        for name in imported(path)
        if not COMMANDS.isdisjoint({name, name.rpartition(".")[0]})
    ]
    assert wrong == []


def test_no_test_file_imports_another() -> None:
    found = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in IMPORTED_TESTS.findall(path.read_text(encoding="utf-8"))
    }
    assert found == set()


def test_every_module_says_what_it_is() -> None:
    silent = [
        path.relative_to(ROOT)
        for path in MODULES
        if not (ast.get_docstring(parsed(path)) or "").partition("\n")[0].endswith((".", "`."))
    ]
    assert silent == []


def test_docstrings_begin_with_a_verb_or_name_the_thing() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{statement.lineno}: {docstring}"
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in node.body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if (docstring := str(statement.value.value)).split()[0] in QUESTION_WORDS
    ]
    assert wrong == []


def test_modules_are_called_by_nouns_of_the_domain() -> None:
    wrong = [path.relative_to(ROOT) for path in MODULES if path.stem in NAMES_OF_NOTHING]
    assert wrong == []


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


def test_a_trial_without_a_network_imports_no_torch() -> None:
    arguments = [sys.executable, "-c", IMPORTED, "app.engine.trial_actor"]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert ended.stdout == "ray\n"


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


def test_listing_runs_reads_no_schema() -> None:
    program = "import app.runs, sys; print('pydantic' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "False\n"
