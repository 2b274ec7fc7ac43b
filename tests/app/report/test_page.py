"""The report of a run: its facts, whatever a run contains, and the command that writes it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app import runs
from app.experiment.run_folder import JOURNAL
from app.report.page import render, write_report
from app.run import store
from app.run.layout import EXPERIMENT
from app.run.result_file import RESULT
from tests.support.searches import write_search

EVIL = "</script><img src=x onerror=alert(1)>"


def text_of(page: str) -> str:
    """What a person reads: no scripts, styles and tags, and one space between words."""
    bare = re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    return " ".join(bare.split())


def report(folder: Path) -> str:
    return render(store.read(folder))


def test_it_tells_winner_margin_failures_and_how_to_do_it_again(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_search(folder, 10, error="ValueError: lr too high (train.py, line 3)")
    page = text_of(report(folder))
    for words in (
        "least average_test_loss 0.1437 trial 007, epoch 6",
        "Better by 13 % than the next one, trial 001 (0.1645).",
        "No other trial came near: none lies within 5 % of the way from the best value to the"
        " median.",
        "None of its parameters is at the end of a range.",
        "10 trials of mnist (6 completed, 2 stopped, 2 failed) trained 44 epochs in",
        "lr 0.001 to 0.1, log 0.01674",
        "2 of 10 trials failed: ValueError",
        "2 trials stopped before the last epoch: trial 004 after epoch 2, 008 after epoch 2.",
        f"python -m app.tune {folder}/{EXPERIMENT}",
        "torch 2.14.1",
        "No model was exported.",
    ):
        assert words in page


def test_nothing_of_a_run_is_markup_or_script(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    space = {f"x{EVIL}": {"type": "categorical", "values": [f"a{EVIL}", "b"]}}
    write_search(folder, 10, error=f"RuntimeError: {EVIL}")
    for name in (RESULT, EXPERIMENT):
        table = json.loads((folder / name).read_text())
        text = json.dumps(table).replace("average_test_loss", json.dumps(f"loss{EVIL}")[1:-1])
        (folder / name).write_text(text.replace("batch_size", json.dumps(f"size{EVIL}")[1:-1]))
    table = json.loads((folder / EXPERIMENT).read_text())
    table["space"] |= space
    table |= {"trainable": EVIL, "search": EVIL, "fixed": {EVIL: EVIL}, "data": {EVIL: EVIL}}
    (folder / EXPERIMENT).write_text(json.dumps(table))
    result = json.loads((folder / RESULT).read_text())
    result |= {"reason": EVIL, "versions": {EVIL: EVIL}, "lost_nodes": {EVIL: ["001"]}}
    result |= {"model": "model", "model_error": EVIL}
    (folder / RESULT).write_text(json.dumps(result))
    model = folder / "model"
    model.mkdir()
    (model / "model.json").write_text(json.dumps({"version": EVIL}))
    (model / "evaluation.json").write_text(json.dumps(evaluation(EVIL)))
    page = report(folder)
    assert "<img src=x" not in page
    assert page.count("<script") == 3
    assert page.count("</script>") == 3
    assert "&lt;img src=x onerror" in page


def evaluation(label: str) -> dict[str, Any]:
    latency = {"median_ms": 0.03, "p95_ms": 0.04, "runs": 100, "batch": 1, "threads": 1}
    counts = {"available": 12, "examples": 10, "correct": 9, "confusion": [[4, 1], [0, 5]]}
    worst = {"index": 3, "label": label, "taken_for": "b", "probability": 0.001, "image": label}
    return {
        "size_bytes": 90_113,
        "latency": {**latency, "onnxruntime": "1.32", "processor": label, "cpus": 2},
        "test": {"labels": [label, "b"], **counts, "worst": [worst]},
    }


def test_the_model_is_shown_with_what_export_measured(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_search(folder, 4)
    result = json.loads((folder / RESULT).read_text()) | {"model": "model"}
    (folder / RESULT).write_text(json.dumps(result))
    (folder / "model").mkdir()
    (folder / "model/evaluation.json").write_text(json.dumps(evaluation("a")))
    page = text_of(report(folder))
    assert "size 90 kB" in page
    assert "0.03 ms, 95 % within 0.04 ms (median of 100 runs at export, 1 thread of a" in page
    assert "It labels 90.00% of 10 (the first of 12) test examples correctly, 1 wrongly." in page
    assert "a → b 0.10%" in page
    (folder / "model/evaluation.json").write_text('{"test": {"labels": 7}}')
    assert "test examples correctly" not in text_of(report(folder))


def test_a_run_is_reported_with_little_that_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_search(folder, 4)
    (folder / JOURNAL).write_text("no event\n")
    (folder / EXPERIMENT).write_text("no JSON")
    page = report(folder)
    assert "least average_test_loss" in text_of(page)
    assert "Learning curves" in page
    assert "Timeline" not in page


def test_a_run_without_a_best_trial_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_search(folder, 4)
    result = json.loads((folder / RESULT).read_text())
    for trial in result["trials"]:
        trial |= {"status": "failed", "metrics": {}, "history": [], "error": "boom\nline 3"}
    result |= {"best": None, "status": "failed", "reason": "all 4 trials failed: boom"}
    (folder / RESULT).write_text(json.dumps(result))
    page = text_of(report(folder))
    assert page.count("all 4 trials failed: boom") == 1
    assert "No trial is best all 4 trials failed: boom" in page
    assert "line 3" not in page
    assert "4 of 4 trials failed: boom" in page


def test_the_command_writes_a_file_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_search(tmp_path / "runs/one", 4)
    where = ["--runs", str(tmp_path / "runs")]
    runs.main(["report", "one", *where])
    assert capsys.readouterr().out == f"{tmp_path}/runs/one/report.html\n"
    assert (tmp_path / "runs/one/report.html").read_text().startswith("<!")
    runs.main(["report", "one", *where, "--to", str(tmp_path / "own.html")])
    assert capsys.readouterr().out == f"{tmp_path}/own.html\n"
    with pytest.raises(SystemExit, match=r"^error: cannot write .*: No such file or directory$"):
        runs.main(["report", "one", *where, "--to", str(tmp_path / "none/own.html")])


def test_a_report_behind_a_uri_is_kept_with_its_run(tmp_path: Path) -> None:
    write_search(tmp_path / "bucket/one", 4)
    place = store.open_runs((tmp_path / "bucket").as_uri())
    write_report(store.find(place, "one"))
    assert (tmp_path / "bucket/one/report.html").is_file()
