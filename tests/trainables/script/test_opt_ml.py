"""Programs that look for their folders at `/opt/ml`, and find their own there."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.script import opt_ml

NAMES = "import json, os; print(json.dumps([sorted(os.listdir(path)) for path in {}]))"


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def run(base: Path, code: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-I", opt_ml.__file__, str(base), sys.executable, "-c", code]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder that this machine can show at the place."""
    path = tmp_path / "base"
    (path / "input/data").mkdir(parents=True)
    if refusal := run(path, "").stderr:
        pytest.skip(f"no namespaces here: {refusal}")
    return path


def test_a_program_finds_its_own_folder_there_and_nobody_else_does(base: Path) -> None:
    before = names("/opt")
    ended = run(base, f"open('/opt/ml/here', 'w').write('1'); {NAMES.format(['/opt'])}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == [sorted({*before, "ml"})]
    assert (base / "here").read_text() == "1"
    assert names("/opt") == before


def test_the_neighbours_of_the_place_are_still_there(base: Path) -> None:
    neighbours = [path for path in Path("/opt").iterdir() if path != opt_ml.OPT_ML]
    folders = [str(path) for path in neighbours if path.is_dir()]
    assert json.loads(run(base, NAMES.format(folders)).stdout) == list(map(names, folders))


def test_a_program_has_pythons_signals_back(base: Path) -> None:
    code = "import os; os.execlp('grep', 'grep', 'SigIgn', '/proc/self/status')"
    ignored = int(run(base, code).stdout.split()[1], 16)
    inherited = {number for number in signal.Signals if signal.getsignal(number) is signal.SIG_IGN}
    # Python itself ignores these two, and it is Python that this program is.
    allowed = inherited | {signal.SIGPIPE, signal.SIGXFSZ}
    assert ignored & ~sum(1 << (number - 1) for number in allowed) == 0


def test_where_it_cannot_be_done_the_program_is_told_and_run(tmp_path: Path) -> None:
    ended = run(tmp_path / "absent", "print('ran')")
    assert (ended.returncode, ended.stdout) == (0, "ran\n")
    assert ended.stderr == (
        "/opt/ml is not this trial's own, for [Errno 2] mount: No such file or directory: name"
        " the folders by SM_MODEL_DIR and the other SM_ variables, or start at SAGEMAKER_BASE_DIR\n"
    )


def test_a_folder_that_is_there_already_is_left_where_it_is() -> None:
    ended = run(Path("/opt/ml/runs/trial"), "")
    assert ended.stderr.startswith("/opt/ml is not this trial's own, for /opt/ml/runs/trial lies")


def test_a_program_that_is_not_there_has_the_shells_status(tmp_path: Path) -> None:
    words = [sys.executable, "-I", opt_ml.__file__, str(tmp_path), "/absent"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 127
    assert ended.stderr.endswith("/absent: No such file or directory\n")


@pytest.mark.parametrize(
    ("name", "text", "words", "named"),
    [
        ("train.py", "ROOT = '/opt/ml'", [], True),
        ("conf/a.yaml", "out: /opt/ml/model", [], True),
        ("train.py", "ROOT = '/opt'", ["--model-dir", "/opt/ml/model"], True),
        ("train.py", "ROOT = '/opt'", ["--lr", "1"], False),
        ("train.py", "ROOT = '/opt/mlflow'", ["/opt/ml-tools/bin"], False),
        ("data.bin", "/opt/ml", [], False),
    ],
)
def test_it_is_done_for_programs_that_name_the_place(
    tmp_path: Path, name: str, text: str, words: list[str], named: bool
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert opt_ml.is_named(tmp_path, words) == named
