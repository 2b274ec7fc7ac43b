"""A home directory where there is none, and Ray's token."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from app.cluster import connection, home_directory

USER = os.getuid()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files, and an environment that says nothing of a token."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    for name in home_directory.ELSEWHERE:
        monkeypatch.delenv(name, raising=False)
    return folder


def of_this_user_alone(path: Path) -> bool:
    return path.stat().st_uid == USER and not stat.S_IMODE(path.stat().st_mode) & 0o077


def test_an_existing_home_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    home_directory.ensure_home()
    assert Path.home() == tmp_path


def test_a_missing_home_is_replaced_by_one_of_this_user(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    home_directory.ensure_home()
    assert Path.home() == temporary / f"tuneport-{USER}" / "home"
    assert of_this_user_alone(Path.home())
    assert of_this_user_alone(Path.home().parent)
    home_directory.ensure_token()
    token = Path.home() / ".ray" / "auth_token"
    assert of_this_user_alone(token)
    assert connection.token_path() == token
    assert home_directory.TOKEN_PATH not in os.environ


def test_an_unknown_user_gets_a_home(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("HOME", "/to be replaced")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "home", unknown)
        home_directory.ensure_home()
    assert Path.home() == temporary / f"tuneport-{USER}" / "home"


def test_the_token_is_elsewhere_if_the_home_cannot_be_written(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(home_directory.TOKEN_PATH, "")
    (tmp_path / ".ray").touch()
    home_directory.ensure_home()
    home_directory.ensure_token()
    token = temporary / f"tuneport-{USER}" / "token" / "auth_token"
    assert Path.home() == tmp_path
    assert (os.environ[home_directory.TOKEN_PATH], connection.token_path()) == (str(token), token)
    assert of_this_user_alone(token)
    assert of_this_user_alone(token.parent)
    assert len(token.read_text()) == 64


def test_an_existing_token_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    home_directory.ensure_token()
    token = (tmp_path / ".ray" / "auth_token").read_text()
    home_directory.ensure_token()
    assert (tmp_path / ".ray" / "auth_token").read_text() == token


@pytest.mark.parametrize("name", home_directory.ELSEWHERE)
def test_a_token_from_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(name, "given")
    home_directory.ensure_token()
    assert not (tmp_path / ".ray").exists()


def test_a_folder_of_another_user_is_not_used(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (temporary / f"tuneport-{USER}").symlink_to(theirs)
    monkeypatch.setenv("HOME", "/proc/none")
    home_directory.ensure_home()
    assert Path.home().parent.parent == temporary
    assert of_this_user_alone(Path.home().parent)
    assert not list(theirs.iterdir())


def test_a_token_that_everybody_may_read_is_restricted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("as `ray get-auth-token --generate` writes it")
    token.chmod(0o644)
    home_directory.ensure_token()
    assert of_this_user_alone(token)
    assert token.read_text().startswith("as `ray")
