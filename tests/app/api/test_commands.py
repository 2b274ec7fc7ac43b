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
        Command("app.runs", "show", "absent", "--runs", str(tmp_path)).wait()
    command = Command("absent")
    with pytest.raises(CommandError, match=r"No module named absent$"):
        command.wait(command.show)
    assert "No module named absent" in capsys.readouterr().out


def test_what_a_command_has_for_data_is_shown_apart(capsys: pytest.CaptureFixture[str]) -> None:
    command = Command("this")
    command.wait(command.show)
    assert capsys.readouterr().out == command.output() == ""
    command.show_result()
    command.show_result()
    assert capsys.readouterr().out.count("Beautiful is better than ugly.") == 1


class Interrupting(io.StringIO):
    """Output stream at whose first word the user presses Ctrl-C."""

    def write(self, text: str) -> int:
        if not self.getvalue():
            super().write(text)  # what is printed is seen before the key is pressed
            raise KeyboardInterrupt
        return super().write(text)


def test_an_interrupt_is_passed_on_and_the_last_words_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = Command("tests.support.patient")
    shown = Interrupting()
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", shown)
        with pytest.raises(KeyboardInterrupt):
            command.wait(command.show)
    assert command.has_ended
    assert shown.getvalue() == "waiting\nsaved\n"
