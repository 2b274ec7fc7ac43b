"""The whole story on the real data: tune, export, serve, predict, look again."""

import io
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app import runs
from tests.support.waiting import until
from trainables import data

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

BATCH = 500


@dataclass(frozen=True)
class Story:
    """A run of the built-in experiment, cut short, that went straight on to serving."""

    folder: Path
    address: str

    def post(self, route: str, body: bytes, content_type: str, accept: str) -> bytes:
        headers = {"content-type": content_type, "accept": accept}
        request = urllib.request.Request(self.address + route, body, headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            assert reply.headers["x-input-scale"] == "0-255"
            return bytes(reply.read())


@pytest.fixture(scope="module")
def story(shared_ray: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    place = tmp_path_factory.mktemp("story")
    # A port that is free now may be another's by the time that the search has ended.
    budget = ["--num-samples", "2", "--max-concurrent", "2", "--epochs", "1", "--port", "0"]
    command = [sys.executable, "-m", "app.tune", "--name", "story", "--runs", str(place), *budget]
    command += ["--address", shared_ray]
    log = place / "log"
    with log.open("w") as talk, (place / "out").open("w") as out:
        process = subprocess.Popen([*command, "--serve"], stdout=out, stderr=talk)
        try:
            until(lambda: _address(log) is not None, process, log)
            yield Story(place / "story", str(_address(log)))
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()


def _address(log: Path) -> str | None:
    """Address that the server prints; None until it does."""
    said = re.search(r"^serving .* on (http://\S+)/ ", log.read_text(), re.MULTILINE)
    return said and said[1]


@pytest.fixture(scope="module")
def digits() -> data.Digits:
    return data.load()[1]


def test_every_test_image_gets_the_same_label_by_every_way_in(
    story: Story, digits: data.Digits
) -> None:
    ways = {"/predict": _predict, "json": _json, "csv": _csv, "npy": _npy}
    labels: dict[str, list[int]] = {name: [] for name in ways}
    for start in range(0, len(digits.labels), BATCH):
        images = digits.images[start : start + BATCH]
        for name, way in ways.items():
            labels[name] += way(story, images)
    assert labels["json"] == labels["csv"] == labels["npy"] == labels["/predict"]
    right = float((np.array(labels["json"]) == digits.labels).mean())
    assert right == pytest.approx(_result(story)["best"]["metrics"]["test_accuracy"])


def _predict(story: Story, images: NDArray[np.uint8]) -> list[int]:
    body = json.dumps({"instances": images.tolist()}).encode()
    reply = json.loads(story.post("/predict", body, "application/json", "*/*"))
    assert reply["model"]["version"] == _model(story)["version"]
    return [int(prediction["label"]) for prediction in reply["predictions"]]


def _json(story: Story, images: NDArray[np.uint8]) -> list[int]:
    body = json.dumps(images[:, None].tolist()).encode()
    outputs = json.loads(story.post("/invocations", body, "application/json", "application/json"))
    return [int(label) for label in np.argmax(outputs, axis=1)]


def _csv(story: Story, images: NDArray[np.uint8]) -> list[int]:
    rows = "\n".join(",".join(map(str, row)) for row in images.reshape(len(images), -1).tolist())
    reply = story.post("/invocations", rows.encode(), "text/csv", "text/csv").decode()
    outputs = [[float(cell) for cell in line.split(",")] for line in reply.splitlines()]
    return [int(label) for label in np.argmax(outputs, axis=1)]


def _npy(story: Story, images: NDArray[np.uint8]) -> list[int]:
    body = io.BytesIO()
    np.save(body, images[:, None].astype(np.float32))
    npy = "application/x-npy"
    reply = np.load(io.BytesIO(story.post("/invocations", body.getvalue(), npy, npy)))
    assert (reply.dtype, reply.shape) == (np.float32, (len(images), 10))
    return [int(label) for label in reply.argmax(axis=1)]


def _result(story: Story) -> dict[str, Any]:
    return dict(json.loads((story.folder / "result.json").read_text()))


def _model(story: Story) -> dict[str, Any]:
    return dict(json.loads((story.folder / "model/model.json").read_text()))


def test_the_end_says_what_was_best_and_what_to_type_next(story: Story) -> None:
    best, epoch, model, serve, report, again, trials = (
        (story.folder.parent / "out").read_text().splitlines()
    )
    place = story.folder.parent
    assert best.startswith(f"best: trial {_result(story)['best']['trial_id']}  lr=")
    assert epoch.startswith("      epoch 1  average_test_loss ")
    assert model == f"model: {story.folder / 'model'}"
    assert serve == f"serve it: python -m serve story --runs {place}"
    assert report == f"report: {story.folder / 'report.html'}"
    assert again == f"look again: python -m app.runs show story --runs {place}"
    assert trials.startswith("2 trials in ")


def test_the_report_shows_the_digits_that_the_model_gets_wrong(story: Story) -> None:
    page = (story.folder / "report.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == 20
    assert f"of {10_000:,} test examples correctly" in page
    assert f"trial {_result(story)['best']['trial_id']}, epoch 1" in page


def test_the_run_reads_back(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    runs.main(["show", "story", "--runs", str(story.folder.parent)])
    shown = capsys.readouterr().out
    assert shown.startswith("story: completed after ")
    assert "lr=0.01  batch_size=128" in shown
    result = _result(story)
    assert {trial["status"] for trial in result["trials"]} == {"completed"}
    assert _model(story)["trial_id"] == result["best"]["trial_id"]
    experiment = json.loads((story.folder / "experiment.json").read_text())
    assert (experiment["epochs"], experiment["threads"]) == (1, 1)


def test_any_trial_can_be_exported_again(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    best = _result(story)["best"]["trial_id"]
    other = next(t["trial_id"] for t in _result(story)["trials"] if t["trial_id"] != best)
    place = ["--runs", str(story.folder.parent)]
    try:
        runs.main(["export", "story", "--trial", other, *place])
        assert capsys.readouterr().out == f"{story.folder / 'model'}\n"
        assert _model(story)["trial_id"] == other
    finally:
        runs.main(["export", "story", *place])
    assert _model(story)["trial_id"] == best
