"""A user's program as a child process: streamed, ended, and no process of it left."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.waiting import until
from trainables.errors.exit_status import describe_exit
from trainables.script import process
from trainables.script.process import ScriptProcess, read_lines, wait_until_free

Start = Callable[..., ScriptProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts Python code, or another command, in a folder of its own."""
    started = []

    def run(code: str, *command: str, shares_log: bool = False) -> ScriptProcess:
        words = command or (sys.executable, "-u", "-c", code)
        lock = tmp_path / "lock"
        started.append(ScriptProcess(words, os.environ, tmp_path, lock, shares_log=shares_log))
        return started[-1]

    yield run
    for program in started:
        program.close()
        program.wait()


def is_alive(pid: int) -> bool:
    """Whether it runs; what only waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


WAITS = "os.mkfifo('new'); os.rename('new', 'gate'); open('gate').read()"
HALF_A_LINE = """
import array, fcntl, os, termios
print("begun, ", end="")
left = array.array("i", [1])
while left[0]:  # until it was read
    fcntl.ioctl(1, termios.FIONREAD, left)
"""


def test_what_it_prints_comes_as_it_prints_it(start: Start, tmp_path: Path) -> None:
    program = start(f"import os, sys; print('one'); {WAITS}; print('two', file=sys.stderr)")
    lines = program.lines()
    assert next(lines) == "one\n"
    until((tmp_path / "gate").exists)
    (tmp_path / "gate").write_text("")  # it waits for this, so the line came before its end
    assert list(lines) == ["two\n"]
    assert program.wait() == 0


def test_a_line_is_in_its_log_before_it_ends(
    start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = start(f"import os; print('loading ', end=''); {WAITS}")
    until(lambda: capfd.readouterr().err == "loading ")
    until((tmp_path / "gate").exists)
    (tmp_path / "gate").write_text("")
    assert program.wait() == 0


def test_a_line_is_in_a_log_that_it_shares_once_it_ends(
    start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = start(
        f"{HALF_A_LINE}\n{WAITS}; print('ended'); print('last', end='')", shares_log=True
    )
    until((tmp_path / "gate").exists)
    os.write(2, b"another's\n")
    (tmp_path / "gate").write_text("")
    assert list(program.lines()) == ["begun, ended\n", "last"]
    assert capfd.readouterr().err == "another's\nbegun, ended\nlast\n"


def test_bars_are_in_a_log_that_they_share_as_they_are_drawn(
    start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = start(f"import os; print('\\r1 %\\r2 %', end=''); {WAITS}", shares_log=True)
    until(lambda: capfd.readouterr().err == "\r1 %\r")
    until((tmp_path / "gate").exists)
    (tmp_path / "gate").write_text("")
    assert program.wait() == 0
    assert capfd.readouterr().err == "2 %\n"


def test_a_line_that_never_ends_is_in_a_log_that_it_shares_in_parts(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    list(start("print('#' * 3_000_000)", shares_log=True).lines())
    printed = capfd.readouterr().err
    assert (len(printed.split()) > 1, "".join(printed.split())) == (True, "#" * 3_000_000)


def test_nothing_more_is_read_once_an_alarm_can_be(start: Start) -> None:
    program = start("import os; print(os.getpid()); import time; time.sleep(1000)")
    alarm = os.eventfd(0)
    lines = program.lines(alarm)
    pid = int(next(lines))
    os.eventfd_write(alarm, 1)
    assert list(lines) == []
    assert is_alive(pid)
    os.close(alarm)


def test_a_line_that_never_ends_is_read_in_parts(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LONGEST", 1000)
    read = list(start("print('#' * 100_000); print('end', end='')").lines())
    assert len(read) > 2
    assert "".join(read) == "#" * 100_000 + "\nend"


def test_a_log_has_the_lines_that_its_program_printed(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LONGEST", 100_000)
    printed = b"one\r\ntw\xc3\xb6\r 1%\r 2%\n\n" + b"#" * 200_000 + b"\nends"
    (tmp_path / "log").write_bytes(printed)
    lines = list(read_lines(tmp_path / "log"))
    assert lines[:3] == ["one\r\n", "twö\r 1%\r 2%\n", "\n"]
    assert (len(lines) > 5, lines[-1]) == (True, "ends")
    assert "".join(lines).encode() == printed


def test_what_it_prints_is_in_the_log_too(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    program = start("print('one')")
    assert list(program.lines()) == ["one\n"]
    assert capfd.readouterr().err == "one\n"


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("", 0, "x.py ended with status 0"),
        ("raise SystemExit(7)", 7, "x.py ended with status 7"),
        (
            "import os; os.kill(os.getpid(), 11)",
            -11,
            "x.py was ended by a segmentation fault (signal 11)",
        ),
        (
            "import os; os.kill(os.getpid(), 9)",
            -9,
            "x.py was ended by SIGKILL (signal 9), perhaps for want of memory",
        ),
        ("import os; os.kill(os.getpid(), 40)", -40, "x.py was ended by signal 40"),
        (
            "raise SystemExit(139)",
            139,
            "x.py ended with status 139, which is a segmentation fault (signal 11)",
        ),
        ("raise SystemExit(255)", 255, "x.py ended with status 255"),
    ],
)
def test_its_status_is_told(start: Start, code: str, status: int, words: str) -> None:
    program = start(code)
    list(program.lines())
    assert program.wait() == status
    assert describe_exit("x.py", status) == words


def test_a_program_that_is_not_there_has_the_shells_status(start: Start) -> None:
    program = start("", "./absent")
    assert list(program.lines()) == ["./absent: No such file or directory\n"]
    assert program.wait() == 127


def test_a_lost_supervisor_is_told(start: Start) -> None:
    program = start("import os; print(os.getppid()); import time; time.sleep(1000)")
    os.kill(int(next(program.lines())), signal.SIGKILL)
    assert program.wait() is None
    assert describe_exit("x.py", None) == "x.py was lost with the process that watched it"


LEAVES_A_DAEMON = """
import subprocess, sys
code = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
started = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
print(started.pid)
"""


def test_what_it_leaves_behind_is_ended_with_it(start: Start) -> None:
    program = start(LEAVES_A_DAEMON)
    (line,) = program.lines()
    assert program.wait() == 0
    assert not is_alive(int(line))


ENDS_ITSELF = """
import os, signal, sys
def end(*_):
    print("saving")
    open("saved", "w").write("all")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print(os.getpid())
signal.pause()
"""
STUBBORN = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid())
while True:
    signal.pause()
"""


def test_a_closed_one_may_save_before_it_ends(start: Start, tmp_path: Path) -> None:
    program = start(ENDS_ITSELF)
    pid = int(next(program.lines()))
    program.close()
    program.wait()
    assert (tmp_path / "saved").read_text() == "all"
    assert not is_alive(pid)


def test_a_closed_one_that_will_not_end_is_killed_after_its_grace(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.2)
    program = start(STUBBORN)
    pid = int(next(program.lines()))
    program.close()
    assert program.wait() == -signal.SIGKILL
    assert not is_alive(pid)


def test_closing_does_not_wait(start: Start) -> None:
    program = start(STUBBORN)
    pid = int(next(program.lines()))
    program.close()
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    program.wait()


SHELL = """trap 'exit 0' TERM
python_code='import signal, sys
signal.signal(signal.SIGTERM, lambda *_: (open("saved", "w").write("all"), sys.exit()))
print("ready", flush=True)
signal.pause()'
"$1" -c "$python_code" &
wait
"""


def test_what_a_shell_script_started_may_save_too(start: Start, tmp_path: Path) -> None:
    program = start("", "/bin/sh", "-c", SHELL, "sh", sys.executable)
    assert next(program.lines()) == "ready\n"
    program.close()
    program.wait()
    assert (tmp_path / "saved").read_text() == "all"


STARTS_ONE = """
import os, signal, sys
from pathlib import Path
from trainables.script import process
process.GRACE_S = 0.2
command = [sys.executable, "-u", "-c", sys.argv[1]]
program = process.ScriptProcess(command, os.environ, Path(), Path("lock"))
print(next(program.lines()), flush=True)
signal.pause()
"""


@pytest.mark.parametrize("code", [ENDS_ITSELF, STUBBORN])
def test_nothing_is_left_where_the_process_that_started_it_is_killed(
    tmp_path: Path, code: str
) -> None:
    command = [sys.executable, "-c", STARTS_ONE, code]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        pid = int(worker.stdout.readline())
        worker.kill()
    wait_until_free(tmp_path / "lock")
    assert not is_alive(pid)
    assert (tmp_path / "saved").exists() == (code == ENDS_ITSELF)


def test_a_second_start_waits_for_the_end_of_the_first(start: Start) -> None:
    first = start(ENDS_ITSELF)
    pid = int(next(first.lines()))
    first.close()
    second = start(f"import os; print(os.path.exists('/proc/{pid}/exe'))")
    assert list(second.lines()) == ["False\n"]


def test_nobody_waits_for_what_was_never_started(tmp_path: Path) -> None:
    wait_until_free(tmp_path / "lock")
