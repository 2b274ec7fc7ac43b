"""Trainables by name, file and module, and those that are refused."""

import subprocess
import sys
from pathlib import Path

import pytest
from ray import cloudpickle

import trainables
from trainables.contract import TrainableError
from trainables.mnist import MnistTrainable

MINE = """
from dataclasses import dataclass
from ray import tune

@dataclass
class Value:
    number: int = 3

class Mine(tune.Trainable):
    def setup(self, config): ...
    def step(self): return {"loss": Value().number}
    def save_checkpoint(self, folder): ...
    def load_checkpoint(self, folder): ...

class Stepless(tune.Trainable):
    def setup(self, config): ...
    def save_checkpoint(self, folder): ...
    def load_checkpoint(self, folder): ...

class Other: ...

def function(config, data): ...

def train(config): ...
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def test_a_built_in_one_is_found_by_its_name(tmp_path: Path) -> None:
    assert trainables.resolve("mnist", tmp_path) is MnistTrainable


@pytest.mark.parametrize("name", trainables.BUILTIN)
def test_every_built_in_one_resolves(name: str, tmp_path: Path) -> None:
    assert trainables.resolve(name, tmp_path).__doc__


def test_one_in_a_file_is_found_from_the_experiments_folder(folder: Path) -> None:
    assert trainables.resolve("mine.py:Mine", folder).__name__ == "Mine"
    (folder / "below").mkdir()
    assert trainables.resolve("../mine.py:Mine", folder / "below").__name__ == "Mine"
    assert trainables.resolve(f"{folder}/mine.py:Mine", Path("/")).__name__ == "Mine"
    assert trainables.resolve("mine.py:train", folder).__name__ == "train"


def test_one_in_a_package_is_found(tmp_path: Path) -> None:
    assert trainables.resolve("trainables.mnist:MnistTrainable", tmp_path) is MnistTrainable


def test_a_file_with_the_name_of_a_library_takes_nothings_place(tmp_path: Path) -> None:
    import json

    (tmp_path / "json.py").write_text(MINE)
    assert trainables.resolve("json.py:Mine", tmp_path).__name__ == "Mine"
    assert sys.modules["json"] is json


LOADED = """
import sys
from ray import cloudpickle
cls = cloudpickle.loads(sys.stdin.buffer.read())
print(cls.step(None))
"""


def test_one_in_a_file_works_where_the_file_is_not(folder: Path) -> None:
    found = trainables.resolve("mine.py:Mine", folder)
    (folder / "mine.py").unlink()
    command = [sys.executable, "-c", LOADED]
    ended = subprocess.run(command, input=cloudpickle.dumps(found), capture_output=True, check=True)
    assert ended.stdout.strip() == b"{'loss': 3}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnits", r"^trainable: unknown 'mnits'; did you mean 'mnist'\?$"),
        ("x", r"^trainable: unknown 'x'; choose from mnist, script, or write \"my_file\.py:"),
        ("", r"^trainable: unknown ''; choose from mnist, script, or write "),
        (":Mine", r"^trainable: unknown ':Mine'; choose from mnist, script, or write "),
        ("mine.py", r"^trainable: unknown 'mine\.py'; choose from mnist, script, or write "),
        ("absent.py:Mine", r"^trainable: no file at /.*/absent\.py$"),
        ("mine.py:Absent", r"^trainable: mine\.py has no 'Absent'$"),
        ("absent.module:Mine", r"'absent\.module:Mine' cannot be imported: No module named 'abs"),
        ("trainables.mnist:Absent", r"^trainable: trainables\.mnist has no 'Absent'$"),
        (
            "mine.py:Other",
            r"'mine\.py:Other' is neither a subclass of ray\.tune\.Trainable nor a fu",
        ),
        (
            "mine.py:function",
            r"'mine\.py:function' must take one argument, the configuration: miss",
        ),
        ("mine.py:Stepless", r"^trainable: 'mine\.py:Stepless' has no step\(\)$"),
    ],
)
def test_one_that_cannot_be_tuned_is_named(folder: Path, name: str, message: str) -> None:
    with pytest.raises(TrainableError, match=message):
        trainables.resolve(name, folder)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import absent_library", r"cannot be imported: No module named 'absent_library'$"),
        ("from ray import absent", r"cannot be imported: cannot import name 'absent' from 'ray'"),
        ("class Mine(", r"cannot be imported: .*line 1\)$"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named(tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "broken.py").write_text(code)
    with pytest.raises(TrainableError, match=rf"^trainable: 'broken\.py:Mine' {message}"):
        trainables.resolve("broken.py:Mine", tmp_path)
