"""Run directories of servers: private, found by address, and removed."""

import os
import socket
from pathlib import Path

import pytest

from serve.rollout import run_dir
from serve.rollout.run_dir import RunDirError


def test_leftovers_of_a_killed_server_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    root = tmp_path / f"tuneport-{os.getuid()}"
    left = root / "server-left" / "models"
    left.mkdir(parents=True)
    root.chmod(0o700)
    (root / "::1-7").symlink_to("server-gone")
    with run_dir.create("127.0.0.1", 8080) as server_dir:
        assert not left.exists()
        with run_dir.create("127.0.0.1", 8080) as newer:
            assert server_dir.models.is_dir()
            assert newer.folder.stat().st_mode & 0o077 == 0
            assert run_dir.list_servers() == [("127.0.0.1", 8080)]
        assert run_dir.list_servers() == []
    assert [path.name for path in root.iterdir()] == ["lock"]


def test_a_folder_that_others_can_enter_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"tuneport-{os.getuid()}").mkdir(mode=0o755)
    opening = run_dir.create("127.0.0.1", 8080)
    with pytest.raises(RunDirError, match="must be a folder of yours that nobody else can"):
        opening.__enter__()


def test_a_socket_that_another_user_may_own_is_not_asked(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The path of a socket must be short.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("s")))
    assert run_dir.find("127.0.0.1", 8080) is None
    with run_dir.create("127.0.0.1", 8080) as server_dir, socket.socket(socket.AF_UNIX) as listener:
        assert run_dir.find("127.0.0.1", 8080) is None
        listener.bind(str(server_dir.socket))
        for path, mode in ((server_dir.socket, 0o600), (server_dir.folder, 0o700)):
            path.chmod(0o777)
            with pytest.raises(RunDirError, match=f"^{path}: must be a .* of yours that nobody"):
                run_dir.find("127.0.0.1", 8080)
            path.chmod(mode)
        assert run_dir.find("127.0.0.1", 8080) == server_dir
        if os.getuid() == 0:  # Nobody else can give a folder away.
            os.chown(server_dir.folder, 1, -1)
            with pytest.raises(RunDirError, match=f"^{server_dir.folder}: must be a folder of yo"):
                run_dir.find("127.0.0.1", 8080)
