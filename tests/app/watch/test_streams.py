"""Events of a run's page and of a trial's log: a browser that asks again gets what it lacks."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from app.run import store
from app.storage.trial_files import log_path
from app.watch import snapshot
from app.watch.snapshot import key_of, version
from app.watch.snapshots import Snapshots
from app.watch.streams import ALIVE, GONE, LOG_BYTES, RESET, changes, log
from tests.support.searches import write_search


async def take(events: AsyncIterator[str], count: int) -> list[str]:
    return [await anext(events) for _ in range(count)]


def write_log(folder: Path, text: str) -> None:
    path = log_path(folder, "001")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def piece(end: int, text: str) -> str:
    return f"id: {end}\ndata: {json.dumps(text)}\n\n"


def test_a_log_goes_on_after_the_piece_that_a_browser_has(tmp_path: Path) -> None:
    write_search(tmp_path / "one", 4)
    write_log(tmp_path / "one", "first\nsecond\n")
    assert asyncio.run(take(log(tmp_path / "one", "001", ""), 2)) == [
        piece(13, "first\nsecond\n"),
        ALIVE,
    ]
    assert asyncio.run(take(log(tmp_path / "one", "001", "6"), 1)) == [piece(13, "second\n")]
    for no_offset in ("x", "-1", "9" * 5000):
        first = asyncio.run(take(log(tmp_path / "one", "001", no_offset), 1))
        assert first == [piece(13, "first\nsecond\n")]


def test_a_log_that_became_shorter_is_shown_anew(tmp_path: Path) -> None:
    write_search(tmp_path / "one", 4)
    write_log(tmp_path / "one", "first\nsecond\n")
    events = log(tmp_path / "one", "001", "")

    async def told() -> list[str]:
        before = await anext(events)
        write_log(tmp_path / "one", "anew\n")
        return [before, *await take(events, 2)]

    assert asyncio.run(told()) == [piece(13, "first\nsecond\n"), RESET, piece(5, "anew\n")]


def test_of_a_long_log_the_end_comes_first(tmp_path: Path) -> None:
    write_search(tmp_path / "one", 4)
    write_log(tmp_path / "one", "x" * LOG_BYTES + "end")
    (first,) = asyncio.run(take(log(tmp_path / "one", "001", ""), 1))
    assert first == piece(LOG_BYTES + 3, "x" * (LOG_BYTES - 3) + "end")


def follow(folder: Path, seen: str) -> AsyncIterator[str]:
    snapshots = Snapshots(partial(snapshot.take, templates=snapshot.environment()), max_share=1e9)
    return changes(folder, seen, snapshots.get, lambda found: "about 5 s left")


def change(folder: Path) -> str:
    return f"event: change\nid: {key_of(version(folder))}\ndata: {{}}\n\n"


def test_a_deleted_run_ends_its_streams(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_search(folder, 4)
    seen = key_of(version(folder))
    shutil.rmtree(folder)
    for events in (follow(folder, seen), log(folder, "001", "")):
        assert asyncio.run(take(events, 1)) == [GONE]


def test_a_run_deleted_behind_a_uri_ends_its_streams(tmp_path: Path) -> None:
    write_search(tmp_path / "bucket/one", 4)
    folder = store.open_runs((tmp_path / "bucket").as_uri()) / "one"
    seen = key_of(version(folder))
    shutil.rmtree(tmp_path / "bucket/one")
    for events in (follow(folder, seen), log(folder, "001", "")):
        assert asyncio.run(take(events, 1)) == [GONE]


def test_a_change_since_the_last_event_is_told_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_search(folder, 4)
    (first, now) = asyncio.run(take(follow(folder, "0.0"), 2))
    assert first == change(folder)
    assert now == f'event: now\nid: {key_of(version(folder))}\ndata: "about 5 s left"\n\n'


def test_a_run_that_cannot_be_read_for_a_while_is_told_of_once_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_search(folder, 4)
    result = folder / "result.json"
    whole = result.read_text()
    (folder / "journal.jsonl").unlink()
    events = follow(folder, key_of(version(folder)))

    async def told() -> list[str]:
        first = await anext(events)
        result.write_text(whole[:100])
        second = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        assert not second.done()
        result.write_text(f"{whole} ")
        return [first, await second]

    first, second = asyncio.run(told())
    assert first.startswith("event: now")
    assert second == change(folder)
