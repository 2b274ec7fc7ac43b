"""Progress of a run as lines, and the formats of numbers and durations."""

import io
import json
import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from rich.console import ConsoleDimensions

from app.engine import progress
from app.engine.plan import Plan
from app.engine.progress import Lines, LiveTable
from app.run import formatting
from app.run.trial import Trial
from tests.support import ROOT
from tests.support.plans import apply, epoch, plan


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Script:
    """Takes events as a run does: into the record, and then told."""

    def __init__(self, going_on: Plan) -> None:
        self.record = going_on.record
        self.stream = io.StringIO()
        self.lines = Lines(self.stream)
        self.lines.start(going_on)

    def tell(self, event: str, trial_id: str, **fields: Any) -> None:
        apply(self.record, event, trial_id, **fields)
        self.lines.update(event, self.record.trials[trial_id])

    def said(self) -> list[str]:
        """The lines after the opening, the time that is left without its number."""
        lines = self.stream.getvalue().splitlines()[1:]
        return [re.sub(r"about .* left$", "about … left", line) for line in lines]


def test_a_script_of_unknown_epochs_shows_no_total() -> None:
    script = Script(plan(trainable="script", script={"entry_point": "/x.py"}))
    assert script.stream.getvalue().startswith("own-1: 3 trials, 2 at a time, random search")
    script.tell("trial", "001", config={"x": 0.5, "kind": "a"}, leg=1)
    script.tell("epoch", "001", **epoch(1, 0.5))
    assert script.said()[-1] == "trial 001  epoch 1  loss 0.5  best 0.5 (trial 001)"
    known: dict[str, Any] = {
        "trainable": "script",
        "script": {"entry_point": "/x.py"},
        "fixed": {"epochs": 4},
    }
    script = Script(plan(**known))
    script.tell("trial", "001", config={"x": 0.5, "kind": "a"}, leg=1)
    script.tell("epoch", "001", **epoch(1, 0.5))
    assert "epoch 1/4" in script.said()[-1]


def test_every_event_is_a_line() -> None:
    script = Script(plan())
    script.tell("trial", "001", config={"x": 0.123456, "kind": "a"}, leg=1)
    script.tell("trial", "002", config={"x": 1.0, "kind": "b"}, leg=1)
    script.tell("epoch", "001", **epoch(1, 0.5))
    script.tell("epoch", "002", **epoch(1, 0.61237))
    script.tell("epoch", "001", **epoch(2, 0.25))
    script.tell("end", "001", status="completed", error=None)
    script.tell("end", "002", status="stopped", error=None)
    script.tell("trial", "003", config={"x": 0.5, "kind": "a"}, leg=1)
    script.tell("end", "003", status="failed", error="ValueError: too far\nTraceback …")

    assert script.said() == [
        "trial 001  x=0.1235  kind=a",
        "trial 002  x=1  kind=b",
        "trial 001  epoch 1/2  loss 0.5  best 0.5 (trial 001)  about … left",
        "trial 002  epoch 1/2  loss 0.6124  best 0.6124 (trial 002)  about … left",
        "trial 001  epoch 2/2  loss 0.25  best 0.6124 (trial 002)  about … left",
        "trial 002  stopped",
        "trial 003  x=0.5  kind=a",
        "trial 003  failed: ValueError: too far",
        "  | Traceback …",
    ]


def test_the_last_epoch_leaves_nothing_to_wait_for() -> None:
    script = Script(plan())
    for trial_id in ("001", "002", "003"):
        script.tell("trial", trial_id, config={"x": 0.5}, leg=1)
        script.tell("epoch", trial_id, **epoch(1, 0.5))
        script.tell("epoch", trial_id, **epoch(2, 0.5))
    assert script.said()[-1] == "trial 003  epoch 2/2  loss 0.5  best 0.5 (trial 001)"


def test_a_trial_that_goes_on_says_from_where() -> None:
    going_on = plan()
    apply(going_on.record, "trial", "001", config={"x": 0.5}, leg=1)
    apply(going_on.record, "epoch", "001", **epoch(1, 0.5))
    script = Script(going_on)
    script.tell("trial", "001", config={"x": 0.5}, leg=2)
    assert script.lines.time_left.describe() == ""  # nothing is known of how fast it is now
    assert script.said() == ["trial 001  x=0.5, goes on after epoch 1"]


def test_a_restart_is_a_line() -> None:
    script = Script(plan())
    script.tell("trial", "001", config={"x": 0.5, "kind": "a"}, leg=1)
    script.tell("restart", "001", node=None, reason="its process was lost")
    assert script.said()[-1] == "trial 001  begins again: its process was lost"
    script.tell("epoch", "001", **epoch(1, 0.5))
    script.tell("restart", "001", node="10.0.0.7 (ab12cd)", reason="its node was lost")
    assert script.said()[-1] == "trial 001  goes on after epoch 1: its node was lost"


def test_the_opening_says_what_runs_and_where() -> None:
    assert progress.opening(plan()) == (
        "own-1: 3 trials of 2 epochs, 2 at a time, random search over x, kind; on this machine"
        " (4 CPUs), 0.5 CPU and 1 thread a trial; in /runs/own-1"
    )


def test_the_opening_names_gpus_a_cluster_and_the_dashboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "absent"))
    line = progress.opening(plan(nodes=3, gpus=1, dashboard="127.0.0.1:8265"))
    assert "; on a cluster of 3 nodes (4 CPUs and 1 GPUs), 0.5 CPU and 0.5 GPU and 1 th" in line
    assert line.endswith("; Ray dashboard http://127.0.0.1:8265")


def test_the_opening_says_where_the_dashboards_token_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.touch()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    line = progress.opening(plan(dashboard="127.0.0.1:8265"))
    assert line.endswith(f", whose token this prints: cat {token}")


@pytest.fixture(autouse=True)
def screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns and 24 lines, on a machine that is no server of tests."""
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CI", raising=False)


def test_a_pipe_gets_lines_and_a_terminal_the_table() -> None:
    assert type(progress.progress(io.StringIO())) is Lines
    stream = Terminal()
    table = progress.progress(stream)
    running = plan()
    table.start(running)
    apply(running.record, "trial", "001", config={"x": 0.5, "kind": "a"}, leg=1)
    apply(running.record, "epoch", "001", **epoch(1, 0.25))
    apply(running.record, "end", "001", status="failed", error="ValueError: [no]")
    table.update("end", running.record.trials["001"])
    table.say("a remark")
    table.stop()
    table.say("the end")
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", stream.getvalue())
    assert "failed: trial 001: ValueError: [no]" in shown
    assert "own-1: 1 of 3 trials done" in shown
    assert re.search(r"001 +0\.5 +a +1/2 +0\.25 +0\.25 +▁ +failed", shown)
    assert shown.index("a remark") < shown.rindex("own-1: 1 of 3 trials")
    assert shown.endswith("the end\n")


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("TERM", "dumb")])
def test_a_terminal_that_is_a_log_gets_lines(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert type(progress.progress(Terminal())) is Lines


def drawn(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    running = plan()
    table = progress.progress(stream)
    table.start(running)
    apply(running.record, "trial", "001", config={"x": 0.5, "kind": "a"}, leg=1)
    apply(running.record, "epoch", "001", **epoch(1, 0.25))
    table.stop()
    return stream.getvalue()


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.search(r"\x1b\[[\d;]*3[0-7]m", drawn(monkeypatch))
    assert not re.search(r"\x1b\[[\d;]*3[0-7]m", drawn(monkeypatch, NO_COLOR="1"))


def test_words_of_the_opening_are_broken_at_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    opening = drawn(monkeypatch, COLUMNS="30").split("own-1: 0 of 3")[0]
    words = progress.opening(plan()).replace(";", "").split()
    assert [word for word in words if word not in opening.split()] == []


def test_a_search_that_is_killed_leaves_the_cursor_in_sight() -> None:
    stream = Terminal()
    table = progress.progress(stream)
    table.start(plan())
    table.say("a remark")
    shown = stream.getvalue()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    table.stop()


def test_a_resized_terminal_is_cleared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    table = progress.progress(stream)
    assert isinstance(table, LiveTable)
    table.start(plan())
    assert table.live is not None
    table.live.console.size = ConsoleDimensions(50, 20)
    before = len(stream.getvalue())
    table.say("narrower")
    table.say("as narrow")
    table.stop()
    assert stream.getvalue()[before:].count("\x1b[2J") == 1


CELL = """
import sys
sys.path.insert(0, {root!r})
from app.engine import progress
from tests.support import ROOT
from tests.support.plans import apply, epoch, plan
running = plan()
table = progress.progress(sys.stderr)
table.start(running)
apply(running.record, "trial", "001", config={{"x": 0.5, "kind": "a"}}, leg=1)
apply(running.record, "epoch", "001", **epoch(1, 0.25))
apply(running.record, "end", "001", status="completed", error=None)
table.stop()
"""


@pytest.mark.nightly
def test_a_notebook_keeps_the_last_table() -> None:
    cell = nbformat.v4.new_code_cell(CELL.format(root=str(ROOT)))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    shown = json.dumps(notebook.metadata["widgets"])
    assert "own-1: 1 of 3 trials done" in shown
    assert "best: loss 0.25 in epoch 1 of trial 001" in shown


def test_a_table_that_was_not_started_can_print_a_line_and_stop() -> None:
    stream = Terminal()
    table = progress.progress(stream)
    table.stop()
    table.say("error: Ray's raylet was lost")
    assert stream.getvalue() == "error: Ray's raylet was lost\n"


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["lines", "table"])
def test_control_characters_of_a_trial_do_not_move_the_cursor(stream: io.StringIO) -> None:
    hostile = "\x1b]0;title\x07[bold]"
    running = plan(space={"kind": {"type": "categorical", "values": ["a", hostile]}})
    shown = progress.progress(stream)
    shown.start(running)
    apply(running.record, "trial", "001", config={"kind": hostile}, leg=1)
    shown.update("trial", running.record.trials["001"])
    apply(running.record, "end", "001", status="failed", error=f"ValueError: {hostile}\n{hostile}")
    shown.update("end", running.record.trials["001"])
    shown.say(hostile)
    shown.stop()
    text = stream.getvalue()
    assert r"ValueError: \x1b]0;title\x07[bold]" in text
    assert "\x1b]0" not in text
    assert "\x07" not in text
    assert text.count(r"\x1b]0;title\x07[bold]") >= 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"),
        (0.00012345, "0.0001234"),
        (1e-9, "1e-09"),
        (123456.0, "1.235e+05"),
        (2.0, "2"),
        (512, "512"),
        (True, "True"),
        ("adam", "adam"),
    ],
)
def test_numbers_have_the_digits_that_people_compare(value: Any, text: str) -> None:
    assert formatting.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (61, "1 min 1 s"),
        (3599.6, "1 h 0 min"),
        (7384, "2 h 3 min"),
    ],
)
def test_durations_are_in_the_units_that_people_say(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 trials"), (1, "1 trial"), (2, "2 trials")])
def test_one_is_singular(number: int, text: str) -> None:
    assert formatting.count(number, "trial") == text


def test_a_trial_without_a_report_is_no_best() -> None:
    running = plan()
    running.record.trials["001"] = Trial("001", {"x": 0.5})
    assert progress.best_so_far(running) == "none"
