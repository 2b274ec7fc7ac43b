"""Routes of the pages of runs: odd names, mistakes, and files that cannot be read."""

import asyncio
import html
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import plotly.graph_objects as go
import pytest
from starlette.testclient import TestClient

from app.report.page import render
from app.run import store
from app.watch import streams
from app.watch.app import create_app
from tests.support.searches import write_search

ODD = "a#b 5% ?<i>&amp; ü"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with a run of an odd name, one with another, and two that cannot be read."""
    place = tmp_path_factory.mktemp("place")
    write_search(place / ODD, 5, error="<b>too far</b>")
    write_search(place / "other", 4)
    (place / "broken").mkdir()
    (place / "broken/result.json").write_text('{"name": "br')
    (place / "stranger").mkdir()
    (place / "stranger/result.json").write_text('{"version": 9}')
    (place / "no-run").mkdir()
    return place


@pytest.fixture(scope="module")
def client(place: Path) -> Iterator[TestClient]:
    with TestClient(create_app(place), "http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


def test_a_run_of_any_name_is_reached_by_links(client: TestClient) -> None:
    path = f"/runs/{quote(ODD, safe='')}"
    assert f'href="{path}"' in client.get("/").text
    page = client.get(path)
    assert "&lt;b&gt;too far" in page.text
    assert f'href="{path}/trials/001"' in page.text
    trial = client.get(f"{path}/trials/001")
    assert f'data-log="{path}/trials/001/log"' in trial.text
    assert f'href="{path}"' in trial.text
    compared = client.get("/compare", params={"name": [ODD, "other"]})
    assert f'href="{path}"' in compared.text
    assert client.get(f"{path}/figures").json()["Learning curves"]
    source = re.search(r'data-source="(/compare/figures\?.*?)"', compared.text)
    assert source is not None
    figures = client.get(html.unescape(source[1])).json()
    assert list(figures) == ["Best so far", "Learning curve of each best trial"]
    for figure in figures.values():
        go.Figure(figure)
        assert [html.unescape(trace["name"]) for trace in figure["data"]] == [ODD, "other"]


@pytest.mark.parametrize(
    ("path", "status", "title", "sentence"),
    [
        ("/runs/two", 404, "No such run", "No run &#39;two&#39;"),
        ("/runs/no-run", 404, "No such run", "No run &#39;no-run&#39;"),
        ("/runs/%2e%2e", 404, "No such run", "No run &#39;..&#39;"),
        ("/runs/oth", 404, "No such run", "No run &#39;oth&#39;"),
        ("/runs/oth/figures", 404, "No such run", "No run &#39;oth&#39;"),
        ("/runs/..%2F..%2Fetc%2Fpasswd", 404, "No such page", "Not Found"),
        ("/static/..%2F..%2Fapp.py", 404, "No such page", "Not Found"),
        ("/runs/other/trials/9", 404, "No such trial", "there is no trial &#39;9&#39;"),
        ("/runs/broken", 500, "This run cannot be read", "Unterminated string"),
        ("/runs/stranger", 500, "This run cannot be read", "needs `"),
        ("/compare?name=other", 400, "Nothing to compare", "Choose two runs or more"),
        ("/compare?name=other&name=two", 404, "No such run", "No run &#39;two&#39;"),
    ],
)
def test_a_mistake_has_its_own_title_and_sentence(
    client: TestClient, path: str, status: int, title: str, sentence: str
) -> None:
    page = client.get(path)
    assert page.status_code == status
    assert f"<h1>{title}</h1>" in page.text
    assert sentence in page.text
    is_retried = title in ("No such run", "This run cannot be read")
    assert ('http-equiv="refresh"' in page.text) is is_retried


def test_nothing_is_changed_and_other_hosts_are_refused(client: TestClient, place: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    for path in ("", "runs/other", "runs/other/figures", "runs/other/trials/1", "runs/broken"):
        client.get(f"/{path}")
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before
    assert "<h1>Not allowed</h1>" in client.post("/runs/other").text
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_a_mistake_of_ours_is_a_sentence_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(create_app(place / "other", "http://ray:8265"), "http://localhost") as client:
        assert "There is no run yet" in client.get("/").text
        assert '<a href="http://ray:8265">' in client.get("/").text
    (place / "file").touch()
    with TestClient(
        create_app(place / "file"), "http://localhost", raise_server_exceptions=False
    ) as client:
        page = client.get("/")
    assert (page.status_code, "cannot read" in page.text) == (500, True)


def test_runs_that_begin_or_are_deleted_behind_a_uri_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    runs = store.open_runs((tmp_path / "bucket").as_uri())
    with TestClient(create_app(runs), "http://127.0.0.1") as client:
        assert client.get("/runs/one").status_code == 404
        write_search(tmp_path / "bucket/one", 4)
        assert client.get("/runs/one").status_code == 200
        write_search(tmp_path / "bucket/two", 4)
        assert 'href="/runs/two"' in client.get("/").text
        table = json.loads((tmp_path / "bucket/one/result.json").read_text())
        assert table["metric"] in client.get("/compare?name=one&name=two").text
        shutil.rmtree(tmp_path / "bucket/one")
        assert client.get("/runs/one").status_code == 404


async def first(events: AsyncIterator[str]) -> str:
    return await anext(events)


def test_other_things_in_the_place_of_files_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_search(folder, 5)
    for name in ("experiment.json", "journal.jsonl"):
        (folder / name).unlink()
    (folder / "experiment.json").symlink_to("experiment.json")
    (folder / "journal.jsonl").mkdir()
    (folder / "model").write_text("")
    (folder / "logs").mkdir()
    os.mkfifo(folder / "logs/001.log")
    (folder / "logs/002.log").mkdir()
    (tmp_path / "linked").symlink_to("one")
    (tmp_path / "loop").symlink_to("loop")
    with TestClient(create_app(tmp_path), "http://127.0.0.1") as client:
        assert {"one", "linked"} == set(re.findall(r'href="/runs/(\w+)"', client.get("/").text))
        assert "5 trials" in client.get("/runs/linked").text
        assert list(client.get("/runs/one/figures").json()) == ["Learning curves"]
        assert client.get("/runs/one/trials/1").status_code == 200
        assert "Cannot read" in client.get("/compare?name=one&name=linked").text
    for trial in ("001", "002"):
        assert asyncio.run(first(streams.log(folder, trial, ""))) == streams.ALIVE


def test_values_of_another_version_take_nothing_else_from_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_search(folder, 5)
    table = json.loads((folder / "experiment.json").read_text())
    table |= {"space": {**table["space"], "of": {"type": "new", "values": 7, "when": 3}}}
    table["fixed"] = {"half": "\ud800"}
    (folder / "experiment.json").write_text(json.dumps(table))
    result = json.loads((folder / "result.json").read_text())
    result["trials"][0]["config"] = {"lr": "auto", "batch_size": None}
    result["trials"][1]["history"][0]["average_test_loss"] = 10**400
    result |= {"model": "model", "new": 1}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "model").mkdir()
    evaluation = {"size_bytes": 1, "latency": {}, "test": {"worst": [{"label": 1}]}}
    (folder / "model/evaluation.json").write_text(json.dumps(evaluation))
    with TestClient(create_app(tmp_path), "http://127.0.0.1") as client:
        assert "least average_test_loss" in client.get("/runs/one").text
        assert "Learning curves" in client.get("/runs/one/figures").json()
    assert "Learning curves" in render(store.read(folder))
