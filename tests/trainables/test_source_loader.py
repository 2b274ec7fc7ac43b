"""A file's neighbours are imported, in this process and where their folder is not."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle

import trainables
from app import tune
from trainables import source_loader

MINE = """
{imports}
from ray import tune

class Mine(tune.Trainable):
    def setup(self, config): ...
    def step(self):
        {step}
    def save_checkpoint(self, folder): ...
    def load_checkpoint(self, folder): ...
"""


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    source_loader.forget()


def mine(folder: Path, imports: str, step: str, **files: str) -> Any:
    """The class in mine.py, written with its neighbours; a name's `__` is a folder's."""
    (folder / "mine.py").write_text(MINE.format(imports=imports, step=step))
    for name, code in files.items():
        file = folder / f"{name.replace('__', '/').replace('INIT', '__init__')}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)
    return trainables.resolve("mine.py:Mine", folder)


ELSEWHERE = """
import os, sys
from ray import cloudpickle, tune

# Importing Ray takes a second or two: each class is unpickled in a fork of one process.
for size in sys.stdin.buffer:
    pickled = sys.stdin.buffer.read(int(size))
    if not (child := os.fork()):
        print(repr(cloudpickle.loads(pickled).step(None)), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print(flush=True)
"""
Elsewhere = Callable[[Any, Path], Any]


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    """Steps in another process, where the folder of the class has another name."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", ELSEWHERE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def step(cls: Any, folder: Path) -> Any:
            pickled = cloudpickle.dumps(cls)
            folder.rename(folder.with_name("away"))
            stdin.write(b"%d\n%b" % (len(pickled), pickled))
            stdin.flush()
            lines = list(iter(stdout.readline, b"\n"))
            folder.with_name("away").rename(folder)
            return ast.literal_eval(b"".join(lines).decode())

        yield step
        stdin.close()


NEIGHBOURS: dict[str, tuple[str, str, dict[str, str]]] = {
    "one": ("import helpers", "return helpers.value()", {"helpers": "def value(): return 3"}),
    "one that imports another": (
        "from helpers import value",
        "return value()",
        {"helpers": "import deeper\ndef value(): return deeper.VALUE", "deeper": "VALUE = 3"},
    ),
    "one that is imported late": (
        "",
        "import helpers; return helpers.value()",
        {
            "helpers": "def value():\n from deeper import VALUE\n return VALUE",
            "deeper": "VALUE = 3",
        },
    ),
    "a package": (
        "import parts.inner",
        "return parts.inner.VALUE + parts.ONE",
        {
            "parts__INIT": "from . import outer\nONE = outer.ONE",
            "parts__inner": "from parts.outer import ONE\nVALUE = ONE + 1",
            "parts__outer": "ONE = 1",
        },
    ),
    "a folder": ("from parts.inner import VALUE", "return VALUE", {"parts__inner": "VALUE = 3"}),
    "what cannot be pickled": (
        "import helpers",
        "return helpers.value()",
        {
            "helpers": "import functools, threading\nLOCK = threading.Lock()\n"
            "@functools.cache\ndef value():\n with LOCK: return 3"
        },
    ),
    "what is pickled by its name": (
        "import helpers, pickle",
        "return pickle.loads(pickle.dumps(helpers.Value())).number",
        {"helpers": "class Value:\n number = 3"},
    ),
    "a name of the standard library": (
        "import json, wave",
        "return json.loads('3') * (not hasattr(wave, 'VALUE'))",
        {"json": "VALUE = 3", "wave": "VALUE = 3"},
    ),
    "a name of this project": (
        "import serve.errors",
        "return 3 * (not hasattr(serve, 'VALUE'))",
        {"serve": "VALUE = 3"},
    ),
    "a name that is imported already": (
        "import ray",
        "return 3 * (not hasattr(ray, 'VALUE'))",
        {"ray": "VALUE = 3"},
    ),
    "one that the folder of this process has too": (
        "import tests",
        "return tests.VALUE",
        {"tests": "VALUE = 3"},
    ),
    "a broken one that nobody imports": (
        "import helpers",
        "return 3 if helpers else __import__('broken')",
        {"helpers": "def never(): import broken", "broken": "class ("},
    ),
}


@pytest.mark.parametrize("neighbours", NEIGHBOURS.values(), ids=NEIGHBOURS.keys())
def test_neighbours_are_found_here_and_elsewhere(
    tmp_path: Path,
    neighbours: tuple[str, str, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: Elsewhere,
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        monkeypatch.delitem(sys.modules, name)
    folder = tmp_path / "mine"
    folder.mkdir()
    imports, step, files = neighbours
    found = mine(folder, imports, step, **files)
    assert found.step(None) == 3
    assert elsewhere(found, folder) == 3


def test_each_folder_has_neighbours_of_its_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        imports, step = "import helpers", "return helpers.NAME"
        found = mine(tmp_path / name, imports, step, helpers=f"NAME = {name!r}")
        assert found.step(None) == name


def test_a_neighbour_that_was_changed_is_read_again(tmp_path: Path) -> None:
    for value in (1, 2):
        found = mine(tmp_path, "import helpers", "return helpers.VALUE", helpers=f"VALUE = {value}")
        assert found.step(None) == value


def test_only_what_is_imported_travels(tmp_path: Path) -> None:
    found = mine(tmp_path, "import helpers", "return 3", helpers="", other="", parts__inner="")
    assert set(found.__sources__.files) == {"trainable_mine", "helpers"}


def test_an_error_in_a_neighbour_shows_its_line_elsewhere(
    tmp_path: Path, elsewhere: Elsewhere
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    step = "import traceback, helpers\n        try: helpers.fail()\n"
    step += "        except ValueError: return traceback.format_exc()"
    found = mine(folder, "", step, helpers="def fail():\n    raise ValueError('no')  # here")
    trace = elsewhere(found, folder)
    assert f'File "{folder}/helpers.py", line 2, in fail' in trace
    assert "raise ValueError('no')  # here" in trace


def test_the_class_is_still_what_it_was(tmp_path: Path) -> None:
    found = mine(tmp_path, "import helpers", "return 3", helpers="")
    assert (found.__name__, found.__module__) == ("Mine", "trainable_mine")
    base = sys.modules["trainable_mine"].Mine
    for kind in (found, cloudpickle.loads(cloudpickle.dumps(found))):
        assert issubclass(kind, base)


EXPERIMENT = """
name = "mine"
trainable = "{trainable}"
metric = "loss"
mode = "min"
num_samples = 3
max_concurrent = 2
epochs = 2
search = "random"

[space]
x = {{ type = "continuous", low = 0.0, high = 1.0 }}

[resources]
cpus_per_trial = 0.5
"""

TUNED = """
from pathlib import Path

import curve
from ray import tune


class Mine(tune.Trainable):
    @staticmethod
    def shared(data_dir, download):
        for name in ("mine", "curve", "depth", "json"):
            Path(__file__).with_name(f"{name}.py").unlink()
        return {"offset": curve.Offset(1.0)}

    def setup(self, config, offset):
        self.state = curve.State(config["x"], offset)

    def step(self):
        from depth import deeper

        deeper(self.state)
        return {"loss": self.state.loss()}

    def save_checkpoint(self, folder):
        self.state.save(Path(folder, "state"))

    def load_checkpoint(self, folder):
        self.state = curve.load(Path(folder, "state"))
"""

CURVE = """
import json
import pickle
from dataclasses import dataclass

from depth import DEPTH


@dataclass
class Offset:
    value: float


@dataclass
class State:
    x: float
    offset: Offset
    epochs: int = 0

    def loss(self):
        return json.loads(json.dumps(self.x)) ** 2 + self.offset.value + DEPTH / self.epochs

    def save(self, path):
        path.write_bytes(pickle.dumps(self))


def load(path):
    return pickle.loads(path.read_bytes())
"""

DEPTH = """
DEPTH = 8


def deeper(state):
    state.epochs += 1
"""

FILES = {"mine.py": TUNED, "curve.py": CURVE, "depth.py": DEPTH, "json.py": "dumps = None"}


def _check(result: dict[str, Any]) -> None:
    assert [trial["error"] for trial in result["trials"]] == [None] * 3
    for trial in result["trials"]:
        losses = [epoch["loss"] for epoch in trial["history"]]
        assert losses == [pytest.approx(trial["config"]["x"] ** 2 + 1 + 8 / n) for n in (1, 2)]


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_file_and_its_neighbours_travel_to_where_their_folder_is_not(
    ray_address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # The files are gone before the first trial begins, and this process was started elsewhere.
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    experiment = tmp_path / "mine.toml"
    experiment.write_text(EXPERIMENT.format(trainable="mine.py:Mine"))
    place = ["--runs", str(tmp_path / "runs"), "--address", ray_address]
    tune.main([str(experiment), *place, "--name", "m", "--json"])
    assert sorted(path.name for path in tmp_path.glob("*.py")) == []
    _check(json.loads(capfd.readouterr().out))


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_package_in_the_folder_of_the_command_is_found_by_its_trials(
    ray_address: str, tmp_path: Path
) -> None:
    package = tmp_path / "lines"
    package.mkdir()
    for name, code in FILES.items():
        whole = code.replace("import curve", "from lines import curve")
        (package / name).write_text(whole.replace("from depth", "from lines.depth"))
    mine = (package / "mine.py").read_text().replace("unlink()", "exists()")
    (package / "mine.py").write_text(mine)
    (tmp_path / "mine.toml").write_text(EXPERIMENT.format(trainable="lines.mine:Mine"))
    command = [sys.executable, "-m", "app.tune", "mine.toml", "--name", "m", "--json"]
    ended = subprocess.run(
        [*command, "--address", ray_address], cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    _check(json.loads(ended.stdout))
