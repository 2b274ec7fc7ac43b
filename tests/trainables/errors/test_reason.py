"""Why a trial failed, in one line of the user's own words."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from trainables.contract import TrainableError
from trainables.errors import reason
from trainables.errors.printable import LONGEST


def caught(act: Callable[[], Any]) -> BaseException:
    try:
        act()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


class Apart(Exception):
    """Cannot be made from what it says, nor be unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raises(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no such data"), "ValueError: no such data"),
        (ValueError("\nfirst line\nsecond line\n\nDetails: many"), "ValueError: first line"),
        (ValueError(), "ValueError"),
        (KeyError("lr"), "KeyError: 'lr'"),
        (Apart("one", "other"), "Apart: one and other"),
        (Wordless(), "Wordless: its message cannot be read (RuntimeError)"),
        (ValueError("caf\udce9"), r"ValueError: caf\udce9"),
        (ValueError("\x1b[31mred\x1b[0m\tand\x07"), r"ValueError: red and\x07"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(), "the process ended by itself with status 0"),
        (SystemExit(3), "the process ended by itself with status 3"),
        (SystemExit("no data\nthere"), "the process ended by itself with status 1: no data there"),
    ],
)
def test_an_exception_is_told_by_its_first_line_and_the_users_own(
    error: BaseException, words: str
) -> None:
    place = f"test_reason.py, line {raises.__code__.co_firstlineno + 1}, in raises"
    assert reason.describe(caught(lambda: raises(error))) == f"{words} ({place})"


def test_the_place_is_where_the_user_called_a_library() -> None:
    line = test_the_place_is_where_the_user_called_a_library.__code__.co_firstlineno + 2
    words = reason.describe(caught(lambda: Path("/no/such/file").read_text()))
    assert words.startswith("FileNotFoundError: [Errno 2] No such file or directory")
    assert words.endswith(f"(test_reason.py, line {line}, in <lambda>)")


def from_ours(error: BaseException) -> TracebackType | None:
    """Traceback of an exception, without this file's frames that caught it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_name != "attempt":
        trace = trace.tb_next
    return trace


def test_a_traceback_begins_where_the_user_does_and_keeps_what_led_to_it() -> None:
    names: dict[str, Any] = {}
    ours = reason.OURS / "app" / "worker.py"
    exec(compile("def attempt(act):\n    act()", str(ours), "exec"), names)

    def chained() -> None:
        try:
            raises(KeyError("lr"))
        except KeyError as error:
            raise ValueError("no rate") from error

    error = caught(lambda: names["attempt"](chained))
    lines = reason.format_trace(error.with_traceback(from_ours(error))).splitlines()
    assert not any("worker.py" in line for line in lines)
    assert lines[0] == "Traceback (most recent call last):"
    assert [line for line in lines if re.match(r"\w+Error: ", line)] == [
        "KeyError: 'lr'",
        "ValueError: no rate",
    ]
    second = lines.index("Traceback (most recent call last):", 1)
    assert lines[second + 1].endswith("in chained")


def test_a_traceback_without_a_line_of_the_users_is_whole() -> None:
    names: dict[str, Any] = {}
    ours = reason.OURS / "app" / "worker.py"
    exec(compile("def attempt():\n    1 / 0", str(ours), "exec"), names)
    error = caught(names["attempt"])
    words = reason.format_trace(error.with_traceback(from_ours(error)))
    assert f'File "{ours}", line 2, in attempt' in words


@pytest.mark.parametrize(
    ("file", "is_users"),
    [
        (f"{reason.OURS}/trainables/train/worker_loop.py", False),
        ("/tmp/ray/_ray_pkg_0a1b/trainables/train/worker_loop.py", False),
        ("/tmp/ray/_ray_pkg_0a1b/app/engine/trial_actor.py", False),
        (f"{reason.OURS}/trainables/mnist.py", True),
        ("/tmp/ray/_ray_pkg_0a1b/trainables/mnist.py", True),
        (f"{reason.OURS}/mine.py", True),
        ("/home/me/app/engine/mine.py", True),
    ],
)
def test_a_line_of_ours_is_no_users(file: str, is_users: bool) -> None:
    assert reason.locate([(file, 3, "step")]) == (
        f"{Path(file).name}, line 3, in step" if is_users else ""
    )


def test_a_sentence_of_ours_stays_one() -> None:
    assert reason.describe(TrainableError("step() reported\n nothing")) == "step() reported nothing"


def test_last_words_have_a_bound() -> None:
    words = reason.describe(ValueError("x" * 50_000_000))
    assert len(words) < 2 * LONGEST
    assert len(reason.describe(TrainableError("x" * 50_000_000))) < 2 * LONGEST


OF_A_WORKER = """Caught ValueError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/torch/utils/data/_utils/worker.py", line 349, in _loop
    data = fetcher.fetch(index)
  File "/home/u/mine.py", line 7, in __getitem__
    raise ValueError("bad image\\nof many")
ValueError: bad image
of many
"""


def test_an_exception_of_another_process_is_told_by_that_ones_traceback() -> None:
    expected = "ValueError: bad image (mine.py, line 7, in __getitem__)"
    assert reason.describe(ValueError(OF_A_WORKER)) == expected


def test_a_traceback_is_told_by_what_it_ends_with() -> None:
    text = (
        "\x1b[36mray::Mine.save()\x1b[39m (pid=1)\n"
        '  File "/x/site-packages/ray/tune/trainable/trainable.py", line 5, in save\n'
        '  File "/home/u/mine.py", line 12, in save_checkpoint\n'
        "    raise Odd('first')\n"
        "trainable_mine.Odd: first\nsecond"
    )
    assert reason.describe_traceback(text) == "Odd: first (mine.py, line 12, in save_checkpoint)"
    assert reason.describe_traceback("ValueError: cannot save") == "ValueError: cannot save"


HUNG = [
    "Timeout (0:00:06)!",
    "Thread 0x00007f6ddaffd6c0 (most recent call first):",
    '  File "/usr/lib/python3.11/site-packages/ray/gc.py", line 29 in run',
    "",
    "Thread 0x00007f6e23a4eb80 (most recent call first):",
    '  File "/home/u/ends.py", line 36 in helper',
    '  File "/home/u/ends.py", line 21 in step',
    f'  File "{reason.OURS}/app/engine/trial_actor.py", line 154 in __reported',
]


def test_a_hung_process_is_told_by_the_users_frames() -> None:
    assert reason.locate_hang(HUNG) == "ends.py, line 36, in helper"
    assert reason.locate_hang(HUNG[:3]) == ""


@pytest.mark.parametrize(
    ("signal", "words"),
    [
        ("Segmentation fault", "its process was ended by a segmentation fault (signal 11)"),
        ("Aborted", "its process was ended by an abort (signal 6)"),
        ("_PyThreadState_Get: no thread", "_PyThreadState_Get: no thread"),
    ],
)
def test_a_crash_is_told_by_its_signal(signal: str, words: str) -> None:
    log = ["epoch 1", f"Fatal Python error: {signal}", "", "Stack (most recent call first):"]
    stack = ['  File "/home/u/ends.py", line 29 in helper', "", "Extension modules: a, b"]
    assert reason.describe_crash([*log, *stack]) == f"{words} (ends.py, line 29, in helper)"
    assert reason.describe_crash([*log, *stack, "epoch 2"]) is None


ENDS_ITSELF = """
import os
from trainables.errors import reason
reason.log_exits()
reason.log_exits()
def step():
    if child := os.fork():
        os.waitpid(child, 0)
        os._exit(3)
    os._exit(4)
step()
"""


def test_a_process_that_ends_itself_leaves_its_status(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(ENDS_ITSELF)
    environment = {**os.environ, "PYTHONPATH": str(reason.OURS)}
    ended = subprocess.run([sys.executable, script], stderr=subprocess.PIPE, env=environment)
    assert ended.returncode == 3
    log = ended.stderr.decode().splitlines()
    expected = "the process ended by itself with status 3 (mine.py, line 9, in step)"
    assert reason.describe_crash(log) == expected
    assert log == ["", expected]  # nothing of the child's
