"""Lines of a run's page that change without its files: time left, and an endpoint's link."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from app.run import store
from app.run.journal import Journal
from app.watch.endpoint import served_at
from app.watch.snapshot import Snapshot, describe_now, environment, take
from app.watch.snapshots import Snapshots
from serve.rollout import run_dir
from tests.support.searches import write_search


class Answer(BaseHTTPRequestHandler):
    """Answer any request with the manifest of a model of the run `one`."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"run": "one"}).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def endpoint() -> Iterator[int]:
    """Answer on a port until the block ends."""
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(autouse=True)
def no_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this test's servers apart from those of the user, behind a proxy that is none."""
    (tmp_path / "servers").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "servers"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")


def test_an_endpoint_is_found_on_any_port_and_asked_without_a_proxy() -> None:
    assert served_at("one") is None
    with run_dir.create("127.0.0.1", 1), endpoint() as port, run_dir.create("0.0.0.0", port):
        assert served_at("one") == f"http://127.0.0.1:{port}/"
        assert served_at("two") is None


def test_time_goes_on_and_an_endpoint_comes_without_a_change_of_files(tmp_path: Path) -> None:
    folder = tmp_path / "runs/one"
    write_search(folder, 12, until_s=70)
    journal = Journal(folder, store.empty_record(folder), must_exist=True)
    templates = environment()
    found = take(folder, templates)
    journal.close()
    assert found.estimate is not None
    seconds, left = found.estimate.now()
    assert 60 < seconds < 70
    assert left.startswith("about ")
    assert "An endpoint serves" not in describe_now(found, templates)
    model = json.loads((folder / "result.json").read_text()) | {"model": "model"}
    (folder / "result.json").write_text(json.dumps(model))
    found = take(folder, templates)
    with endpoint() as port, run_dir.create("127.0.0.1", port):
        assert f'<a href="http://127.0.0.1:{port}/">' in describe_now(found, templates)
    assert "An endpoint serves" not in describe_now(found, templates)


def test_a_slow_run_holds_up_nobody_who_looks_at_another(tmp_path: Path) -> None:
    write_search(tmp_path / "slow", 4)
    write_search(tmp_path / "quick", 4)
    waiting, go_on = threading.Event(), threading.Event()

    def make(folder: Path) -> Snapshot:
        if folder.name == "slow":
            waiting.set()
            go_on.wait(60)
        return take(folder, environment())

    async def look() -> None:
        snapshots = Snapshots(make)
        slow = asyncio.create_task(snapshots.get(tmp_path / "slow"))
        await asyncio.to_thread(waiting.wait)
        quick = await snapshots.get(tmp_path / "quick")
        assert not slow.done()
        go_on.set()
        assert (await slow).version != quick.version
        assert snapshots.last(tmp_path / "quick") is quick

    asyncio.run(look())


def test_a_page_is_not_made_again_at_once_unless_the_run_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_search(folder, 12, until_s=70)
    journal = Journal(folder, store.empty_record(folder), must_exist=True)

    async def look(max_share: float) -> list[bool]:
        """Whether the page is made again: after nothing, a change, and the end."""
        snapshots = Snapshots(partial(take, templates=environment()), max_share)
        first = await snapshots.get(folder)
        again = [await snapshots.get(folder) is not first]
        with (folder / "journal.jsonl").open("a") as file:
            file.write(" ")
        changed = await snapshots.get(folder)
        again.append(changed is not first)
        if max_share < 1:
            journal.close()
            again.append(await snapshots.get(folder) is not changed)
        return again

    assert asyncio.run(look(1e9)) == [False, True]
    assert asyncio.run(look(1e-9)) == [False, False, True]
