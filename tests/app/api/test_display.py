"""Displays of a run that is waited for: in a terminal, in a notebook, in a pipe."""

import io
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from app.api import JournalError, open_run
from app.api.display import RunReader, shown
from app.run import store
from app.run.journal import Journal
from tests.support import ROOT
from tests.support.journals import end, epoch, start


class Terminal(io.StringIO):
    """Output stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Print to a terminal; pytest puts its own stream back after fixtures."""
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    return stream


def test_a_terminal_has_a_table(ended: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    open_run("ended", runs=ended.parent).wait()
    drawn = terminal.getvalue()
    assert "ended: 3 of 4 trials done" in drawn
    assert "failed: trial 002: too far out" in drawn


def test_a_pipe_has_no_table(ended: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_run("ended", runs=ended.parent).wait()
    assert capsys.readouterr().out == ""


def test_the_state_grows_with_the_journal(ended: Path) -> None:
    reader = RunReader(ended, None)
    assert len(reader.state.record.trials) == 3
    journal = Journal(ended, store.empty_record(ended))
    start(journal, "004", x=0.4)
    epoch(journal, "004", 1, 0.125)
    end(journal, "004", "completed")
    journal.close()
    with (ended / "journal.jsonl").open("a") as file:
        file.write('{"event": "epo')  # a line that is half written
    said: list[str] = []
    reader.update(said.append)
    assert (reader.state.record.best_value, said) == (0.125, [])
    assert reader.time_left.describe() == ""


def test_a_folder_without_a_journal_is_shown_by_messages(
    ended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = open_terminal(monkeypatch)
    (ended / "journal.jsonl").unlink()
    with shown(ended) as update:
        update()
    assert terminal.getvalue() == ""


def test_a_damaged_journal_is_said_in_a_sentence(
    ended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_terminal(monkeypatch)
    with (ended / "journal.jsonl").open("a") as file:
        file.write("no event\n")
    with pytest.raises(JournalError, match=r"journal\.jsonl: "):
        open_run("ended", runs=ended.parent).wait()


CELL = """
from app.api import open_run
open_run("ended", runs="runs").wait()
"""


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:(nbclient|jupyter_client|zmq).*")
def test_a_notebook_keeps_the_table(
    ended: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / ".ipython"))
    notebook: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (output,) = notebook.cells[0].outputs
    assert "ended: 3 of 4 trials done" in output.data["text/plain"]
    assert output.data["text/html"].startswith("<pre style=")
