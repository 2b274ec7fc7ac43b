"""Standard streams of a command: safe to read, dropped without a reader, open from the start."""

import io
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.engine.progress import LiveTable
from app.terminal import escaped, guarded_streams, in_one_line, muted, sentence
from tests.support.plans import plan

TALKS = """
import os, sys
from pathlib import Path
from app import terminal

def main():
    {body}

terminal.command(main)
"""
GOES_ON = """
    while len(sys.argv) > 2 and not Path(sys.argv[2]).exists():
        pass
    for line in range(3):
        print("talk", file=sys.stderr, flush=True)
    with terminal.stdout_to_stderr():
        print("more talk")
        if os.system("echo a program"):
            return
    os.write(2, b"and a library's")
    Path(sys.argv[1]).touch()
"""


def command(body: str, *arguments: object) -> list[str]:
    program = TALKS.format(body=body.strip())
    return [sys.executable, "-c", program, *map(str, arguments)]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain, ü and 東", "plain, ü and 東"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("bell\x07 back\x08 delete\x7f \x9b31m", r"bell\x07 back\x08 delete\x7f \x9b31m"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("over\rwritten", r"over\x0dwritten"),
    ],
)
def test_control_characters_are_shown_and_lines_stay_lines(text: str, safe: str) -> None:
    assert escaped(text) == safe
    assert escaped(safe) == safe


def test_one_line_stays_one() -> None:
    assert in_one_line("two\nlines\tand \x1b[1m") == r"two\nlines\tand \x1b[1m"


def test_a_known_error_is_one_safe_line() -> None:
    error = ValueError("a\n\n  'b  c' \x1b]0;title\x07")
    assert sentence(error) == r"error: a 'b  c' \x1b]0;title\x07"


def test_a_search_goes_on_where_nobody_reads(tmp_path: Path) -> None:
    end, gone = tmp_path / "end", tmp_path / "gone"
    reader, writer = os.pipe()
    words = command(GOES_ON, end, gone)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=writer) as process:
        os.close(writer)
        os.close(reader)
        gone.touch()
        assert process.communicate()[0] == b""
    assert process.returncode == 0
    assert end.exists()


def test_a_search_goes_on_where_its_terminal_was_closed(tmp_path: Path) -> None:
    end, gone = tmp_path / "end", tmp_path / "gone"
    here, there = os.openpty()
    words = command(GOES_ON + '    print("data")\n', end, gone)
    with subprocess.Popen(words, stdin=there, stdout=there, stderr=there) as process:
        os.close(there)
        os.close(here)
        gone.touch()
    assert process.returncode == 0
    assert end.exists()


@contextmanager
def unread_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Write stderr to a terminal of which nothing is read, and give its reading end."""
    here, there = os.openpty()
    with os.fdopen(there, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        with guarded_streams():
            yield here
        os.close(here)


@pytest.mark.timeout(20)
def test_a_terminal_that_stands_still_loses_text_until_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with unread_terminal(monkeypatch) as reader:
        for _ in range(100):
            sys.stderr.write("lost" * 2500)
        while select.select([reader], [], [], 0)[0]:
            os.read(reader, 2**16)
        sys.stderr.write("kept\n")
        assert os.read(reader, 2**16) == b"kept\r\n"


@pytest.mark.timeout(20)
def test_a_live_table_ends_on_a_terminal_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    with unread_terminal(monkeypatch):
        table = LiveTable(sys.stderr)
        table.start(plan())
        for _ in range(100):
            table.say("lost" * 2500)
        table.stop()
        assert table.live is None


def test_messages_and_data_are_apart(tmp_path: Path) -> None:
    body = GOES_ON + '    print("data")\n'
    ended = subprocess.run(command(body, tmp_path / "end"), capture_output=True, text=True)
    assert ended.stdout == "data\n"
    talk = ["talk", "talk", "talk", "more talk", "a program", "and a library's"]
    assert ended.stderr.splitlines() == talk
    assert ended.returncode == 0


def test_a_terminal_that_is_busy_loses_a_line_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy(io.StringIO):
        def write(self, text: str) -> int:
            if text.startswith("lost"):
                raise BlockingIOError
            return super().write(text)

    busy = Busy()
    monkeypatch.setattr(sys, "stderr", busy)
    with guarded_streams():
        sys.stderr.writelines(["lost\n", "kept\n"])
    assert sys.stderr is busy
    assert busy.getvalue() == "kept\n"


def test_a_closed_pipe_on_stdout_gives_the_status_of_sigpipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(
        command('print("data")'), stdout=writer, stderr=subprocess.PIPE
    ) as process:
        os.close(writer)
        assert process.communicate()[1] == b""
    assert process.returncode == 141


def test_data_that_cannot_be_written_is_a_known_error() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            command('print("data")'), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert ended.stderr == "error: stdout: cannot be written: No space left on device\n"
    assert ended.returncode == 1


@pytest.mark.parametrize("number", [0, 1, 2])
def test_no_file_takes_the_place_of_a_stream_that_is_closed(tmp_path: Path, number: int) -> None:
    body = """
    with open(sys.argv[1], "w") as file:
        assert file.fileno() > 2
        print("data")
        print("talk", file=sys.stderr)
        assert not os.system("[ -e /dev/fd/0 -a -e /dev/fd/1 -a -e /dev/fd/2 ]")
    """
    file = tmp_path / "file"
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {number}>&-', "sh", *command(body, file)], capture_output=True
    )
    assert (ended.returncode, file.read_text()) == (0, "")
    assert ended.stdout == (b"" if number == 1 else b"data\n")
    assert ended.stderr == (b"" if number == 2 else b"talk\n")


def test_a_character_that_the_encoding_lacks_is_written_as_its_number() -> None:
    ended = subprocess.run(
        command(r'print("\u00fc \u6771 \udc80")'),
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1:strict"},
    )
    assert ended.stdout == b"\xfc \\u6771 \\udc80\n"
    assert ended.returncode == 0


@pytest.mark.parametrize(
    ("body", "status", "talk"),
    [
        ("sys.exit('error: so')", 1, "error: so\n"),
        ("sys.exit(130)", 130, ""),
        ("sys.exit()", 0, ""),
    ],
)
def test_a_command_ends_as_it_asks_whatever_its_threads_do(
    body: str, status: int, talk: str
) -> None:
    thread = "import threading; threading.Thread(target=threading.Event().wait).start(); "
    ended = subprocess.run(command(thread + body), stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (status, talk)


def test_a_thread_that_is_muted_mutes_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    is_muted, may_end, stream = threading.Event(), threading.Event(), sys.stderr

    def export() -> None:
        with muted():
            sys.stderr.write("the graph")
            is_muted.set()
            assert may_end.wait(60)

    thread = threading.Thread(target=export)
    thread.start()
    assert is_muted.wait(60)
    sys.stderr.write("error: all trials failed")
    may_end.set()
    thread.join()
    assert sys.stderr is stream
    assert capsys.readouterr().err == "error: all trials failed"


def test_a_stream_that_was_replaced_while_muted_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with muted():
        first = sys.stderr
        with muted():
            second, sys.stderr = sys.stderr, first
        assert sys.stderr is first
        second.write("one is muted yet")
    assert first.write("talk") == second.write("talk")
    assert capsys.readouterr().err == "talktalk"
