"""Commands as child processes: their output, their end and their sentence."""

import io
from pathlib import Path

import pytest

from app.api.commands import Command, CommandError, as_flags


def test_keyword_arguments_are_spelt_as_flags() -> None:
    values = {
        "log_json": True,
        "reload": False,
        "host": None,
        "workers": 2,
        "allow_origin": ["a", "b"],
    }
    assert as_flags(values) == ["--log-json", "--workers=2", "--allow-origin=a", "--allow-origin=b"]


def test_a_command_that_fails_raises_its_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandError, match=r"^no run 'absent' in .*; there is none$"):
        Command("app.runs", "show", "absent", "--runs", str(tmp_path)).wait(show=False)
    with pytest.raises(CommandError, match=r"No module named absent$"):
        Command("absent").wait()
    assert "No module named absent" in capsys.readouterr().out


def test_a_commands_output_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    command = Command("this", environment={"PYTHONUNBUFFERED": "1"})
    command.wait()
    command.wait()
    shown = capsys.readouterr().out
    assert shown.count("Beautiful is better than ugly.") == 1
    assert command.output() == shown


class Interrupting(io.StringIO):
    """Output stream at whose first word the user presses Ctrl-C."""

    def write(self, text: str) -> int:
        if not self.getvalue():
            super().write(text)
            raise KeyboardInterrupt
        return super().write(text)


def test_an_interrupt_is_passed_on_and_the_last_words_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = Command("http.server", "0", environment={"PYTHONUNBUFFERED": "1"})
    shown = Interrupting()
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", shown)
        with pytest.raises(KeyboardInterrupt):
            command.wait()
    assert command.has_ended
    assert "Keyboard interrupt received, exiting." in shown.getvalue()
