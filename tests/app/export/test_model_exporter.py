"""The model of a run: its trial, the reason that there is none, and exports elsewhere."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
import safetensors.numpy

from app import runs, tune
from app.engine.model_export import export_again
from app.engine.outcome import RunError
from app.experiment import schema
from app.experiment.errors import ExperimentError
from app.experiment.run_folder import JOURNAL
from app.export.model_exporter import ModelExporter, check_has_model
from app.export.trial_models import NoModelError
from app.run.journal import Journal
from app.run.layout import EXPERIMENT, WEIGHTS
from app.run.record import Record
from app.run.result_file import RESULT
from app.run.store import read
from app.run.summaries import model_remark
from tests.support.networks import FixedBatchNetwork, SoundNetwork
from tests.support.quadratic import Quadratic

TABLE = {
    "name": "r",
    "metric": "loss",
    "mode": "min",
    "num_samples": 2,
    "epochs": 1,
    "search": "random",
    "space": {"lr": {"type": "continuous", "low": 0.0, "high": 1.0}},
}
WHY = (
    "trial 001 cannot be exported: forward()'s batch is fixed at 4:"
    " for a batch of 1 it gives outputs of shape [4, 3]"
)

Make = Callable[[str], Path]


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    """Makes a run of two trials of a network; the first is the best."""

    def make(network: str) -> Path:
        folder = tmp_path / "runs/r"
        asked = schema.from_table({**TABLE, "trainable": f"tests.support.networks:{network}"})
        folder.mkdir(parents=True)
        (folder / EXPERIMENT).write_text(json.dumps(asked.as_json()))
        journal = Journal(folder, Record("r", "loss", "min", seed=0))
        journal.append("run", versions={})
        for number in (1, 2):
            fields = {"trial_id": f"{number:03d}"}
            checkpoint = f"tune/{number:03d}/checkpoint_000000"
            (folder / checkpoint).mkdir(parents=True)
            journal.append("trial", **fields, config={"lr": number / 8}, leg=1)
            journal.append(
                "epoch",
                **fields,
                epoch=1,
                metrics={"loss": number},
                seconds=1,
                checkpoint=checkpoint,
            )
            journal.append("end", **fields, status="completed", error=None)
        journal.append("status", status="completed", reason=None)
        journal.close()
        return folder

    return make


def exporter(folder: Path, trainable: Any) -> ModelExporter:
    journal = Journal(folder, Record("r", "loss", "min", seed=0))
    return ModelExporter(journal, schema.from_table({**TABLE, "trainable": "t:T"}), trainable, {})


def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / RESULT).read_text()))


def test_a_failed_export_leaves_the_result_a_reason_and_the_weights(make_run: Make) -> None:
    folder = make_run("FixedBatchNetwork")
    model_exporter = exporter(folder, FixedBatchNetwork)
    best = model_exporter.journal.record.best
    assert best is not None
    for _ in range(2):  # The journal records the same reason once.
        with pytest.raises(NoModelError) as refused:
            model_exporter.export_best(best)
        assert str(refused.value) == WHY
    fields = result(folder)
    assert (fields["status"], fields["best"]["trial_id"]) == ("completed", "001")
    assert (fields["model"], fields["model_error"], fields["export_failed"]) == (None, WHY, True)
    assert (folder / JOURNAL).read_text().count('"event":"model"') == 1
    assert set(safetensors.numpy.load_file(folder / WEIGHTS)) == {"linear.weight", "linear.bias"}
    model_exporter.journal.close()
    again = exporter(folder, SoundNetwork)
    again.export_best(best)
    again.journal.close()
    fields = result(folder)
    assert (fields["model"], fields["model_error"], fields["export_failed"]) == (
        "model",
        None,
        False,
    )
    assert fields["model_of"] == {"trial_id": "001", "epoch": 1}
    assert not (folder / WEIGHTS).exists()


def test_a_trainable_without_model_is_no_failed_export(make_run: Make) -> None:
    folder = make_run("SoundNetwork")
    model_exporter = exporter(folder, Quadratic)
    best = model_exporter.journal.record.best
    assert best is not None
    with pytest.raises(NoModelError, match=r"t:T has no model\(\): there is nothing to export"):
        model_exporter.export_best(best)
    model_exporter.journal.close()
    assert not result(folder)["export_failed"]
    with pytest.raises(ExperimentError, match=r"^--serve: t:T has no model\(\): there is nothing"):
        check_has_model(model_exporter.experiment, Quadratic, "--serve")
    check_has_model(model_exporter.experiment, SoundNetwork, "--serve")


def test_a_failed_export_leaves_the_earlier_model(make_run: Make) -> None:
    folder = make_run("FixedBatchNetwork")
    model_exporter = exporter(folder, FixedBatchNetwork)
    model_exporter.journal.append("model", model="model", of={"trial_id": "002", "epoch": 1})
    best = model_exporter.journal.record.best
    assert best is not None
    with pytest.raises(NoModelError):
        model_exporter.export_best(best)
    model_exporter.journal.close()
    fields = result(folder)
    assert (fields["model"], fields["model_error"]) == ("model", WHY)
    assert model_remark(fields) == "trial 002, not the best"


def test_a_model_of_another_trial_than_the_best_is_shown_as_such(
    make_run: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run("SoundNetwork")
    place = ("--runs", str(folder.parent))
    runs.main(["export", "r", "--trial", "2", *place])
    assert capsys.readouterr().out == f"{folder}/model\n"
    assert json.loads((folder / "model/model.json").read_text())["trial_id"] == "002"
    runs.main(["show", "r", *place])
    assert capsys.readouterr().out.endswith(f"model: {folder}/model (trial 002, not the best)\n")
    runs.main(["list", *place])
    assert capsys.readouterr().out.endswith("model (trial 002, not the best)\n")
    runs.main(["export", "r", *place])
    runs.main(["show", "r", *place])
    assert capsys.readouterr().out.endswith(f"model: {folder}/model\n")


def test_an_export_elsewhere_leaves_the_runs_model(
    make_run: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, to = make_run("SoundNetwork"), tmp_path / "mine"
    before = result(folder)
    command = ["export", "r", "--runs", str(folder.parent), "--trial", "2", "--to"]
    for _ in range(2):  # A model there is replaced.
        runs.main([*command, str(to)])
        assert capsys.readouterr().out == f"{to}\n"
    assert json.loads((to / "model.json").read_text())["trial_id"] == "002"
    assert result(folder) == before
    assert not (folder / "model").exists()


@pytest.mark.parametrize(
    ("name", "message"), [("full", "has other files in it"), ("full/file", "is a file")]
)
def test_a_folder_that_is_no_model_is_not_replaced(
    make_run: Make, tmp_path: Path, name: str, message: str
) -> None:
    folder = make_run("SoundNetwork")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    with pytest.raises(RunError, match=f"^--to: .*{message}"):
        export_again(read(folder), "1", tmp_path / name)
    assert (tmp_path / "full/file").read_text() == "mine"


def test_resuming_a_complete_run_only_exports_again(
    make_run: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run("FixedBatchNetwork")
    model_exporter = exporter(folder, FixedBatchNetwork)
    model_exporter.journal.append("model", model=None, error="for a while", failed=True)
    model_exporter.journal.close()
    for words in ((), ("--json",), ("--serve",)):
        with pytest.raises(SystemExit) as ended:
            tune.main(["--resume", "r", "--runs", str(folder.parent), *words])
        assert ended.value.code == f"error: {WHY}"
    assert not ray.is_initialized()
    first, _, second = capsys.readouterr().out.partition("\n{")
    assert first.startswith("best: trial 001  lr=0.125\n")
    assert f"weights: {folder / WEIGHTS}" in first
    assert f'"model_error": "{WHY}"' in second
    runs.main(["show", "r", "--runs", str(folder.parent)])
    assert capsys.readouterr().out.endswith(f"model: {WHY}\n")


@pytest.mark.parametrize("flag", ["--export-best", "--serve"])
def test_a_flag_that_needs_a_model_is_refused_before_anything_starts(
    flag: str, tmp_path: Path, quadratic: Callable[..., Path]
) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(SystemExit) as ended:
        tune.main([str(quadratic()), "--runs", str(runs), "--name", "q", flag])
    assert str(ended.value.code).startswith(f"error: {flag}: ")
    assert "has no model(): there is nothing to export" in str(ended.value.code)
    assert not (runs / "q").exists()
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (None, ""),
        ({"trial_id": "001", "epoch": 2}, ""),
        ({"trial_id": "001", "epoch": 6}, "epoch 6, the last; the best was epoch 2"),
        ({"trial_id": "003", "epoch": 2}, "trial 003, not the best"),
    ],
)
def test_the_model_remark_names_another_trial_or_epoch_than_the_best(
    of: Mapping[str, Any] | None, said: str
) -> None:
    assert model_remark({"model_of": of, "best": {"trial_id": "001", "epoch": 2}}) == said


def test_the_model_remark_names_the_trial_if_there_is_no_best() -> None:
    of = {"trial_id": "003", "epoch": 2}
    assert model_remark({"model_of": of, "best": None}) == "trial 003; there is no best"
