"""Experiment files for training scripts, written beside an empty script and its data."""

from collections.abc import Callable
from pathlib import Path

from app.experiment.schema import Experiment
from app.experiment.script_source import ScriptSource
from app.experiment.script_table import ScriptTable
from tests.support import SCRIPTS

PARABOLA = str(SCRIPTS / "parabola.py")

TOML = """
name = "mine"
trainable = "script"
metric = "loss"
mode = "min"
[space]
lr = {{ type = "continuous", low = 0.0, high = 1.0 }}
[script]
entry_point = "train.py"
{script}
"""

METRIC = """
[[script.metrics]]
name = "loss"
regex = "loss=([0-9.]+)"
"""


Write = Callable[..., Path]


def script_experiment(folder: Path, script: str = METRIC, top: str = "") -> Path:
    """A file with these lines in `[script]` and these above all tables."""
    (folder / "train.py").touch()
    (folder / "data").mkdir(exist_ok=True)
    path = folder / "mine.toml"
    path.write_text(top + TOML.format(script=script))
    return path


def script_table(asked: Experiment) -> ScriptTable:
    """The table `[script]` of an experiment that trains one."""
    assert asked.script is not None
    return asked.script


def script_source(asked: Experiment) -> ScriptSource:
    """The files of the script that an experiment trains."""
    assert asked.script_source is not None
    return asked.script_source


def source_tree(folder: Path) -> ScriptSource:
    """A script among what belongs to it and what does not."""
    for name in ("src/train.py", "src/lib/part.py", "src/data/big.bin", "elsewhere/x.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    left_out = (
        ".git/HEAD",
        ".hidden",
        "__pycache__/x.pyc",
        "runs/a/journal.jsonl",
        "venv/pyvenv.cfg",
    )
    for name in left_out:
        (folder / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "src" / name).write_text(name)
    (folder / "src/link").symlink_to(folder / "elsewhere")
    (folder / "src/nowhere").symlink_to(folder / "absent")
    inputs = {"training": str(folder / "src/data")}
    return ScriptSource(folder / "src/train.py", folder / "src", inputs)
