"""A script's saved files as a model folder."""

from pathlib import Path

import pytest

from app.experiment import loading
from app.experiment.loading import load
from app.export import script_model
from app.run.status import TrialStatus
from app.run.trial import Epoch, Trial
from serve.models.archive import read_handlers
from tests.support.script_experiments import Write, script_table
from trainables.contract import TrainableError


def test_what_a_script_left_is_found(tmp_path: Path) -> None:
    with pytest.raises(TrainableError, match=r"^the script of trial 002 saved nothing in SM_MODEL"):
        script_model.model_files(tmp_path, "002")
    model = tmp_path / "trials/002/model"
    model.mkdir(parents=True)
    (model / "model.pth").touch()
    assert script_model.model_files(tmp_path, "002") == model


def test_a_model_folder_has_what_the_script_saved_and_its_code_without_links_to_data(
    tmp_path: Path, write: Write
) -> None:
    trial = Trial("002", {"lr": 0.01}, TrialStatus.COMPLETED, [Epoch(3, {"loss": 0.5})])
    (tmp_path / "trials/002/model").mkdir(parents=True)
    (tmp_path / "trials/002/model/model.pth").write_bytes(b"weights")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/points").touch()
    (tmp_path / "code/__pycache__").mkdir(parents=True)
    for name in ("train.py", "layers.py", "__pycache__/train.pyc"):
        (tmp_path / "code" / name).write_text(f"# {name}")
    (tmp_path / "code/data").symlink_to(tmp_path / "data")
    script_model.export_script(tmp_path, loading.load(write(), {}), trial, tmp_path / "model")
    manifest = read_handlers(tmp_path / "model")
    assert set(manifest.sha256) == {"model.pth", "code/train.py", "code/layers.py"}
    assert (manifest.entry_point, manifest.trial_id, manifest.epoch) == ("train.py", "002", 3)
    assert (manifest.config, manifest.metrics) == ({"lr": 0.01, "seed": 0}, {"loss": 0.5})


def test_a_scripts_model_tells_the_seed_that_the_script_was_given(
    tmp_path: Path, write: Write
) -> None:
    (tmp_path / "trials/002/model").mkdir(parents=True)
    (tmp_path / "trials/002/model/model.pth").write_bytes(b"weights")
    (tmp_path / "code").mkdir()
    (tmp_path / "code/train.py").touch()
    asked = loading.load(write(top="repeats = 2\nfixed.seed = 7\n"), {})
    trial = Trial("002", {"lr": 0.01}, TrialStatus.COMPLETED, [Epoch(3, {"loss": 0.5})])
    script_model.export_script(tmp_path, asked, trial, tmp_path / "model")
    assert read_handlers(tmp_path / "model").config == {"lr": 0.01, "seed": 8}


def test_a_scripts_model_is_of_its_last_epoch_whichever_of_its_values_counts(
    tmp_path: Path, write: Write
) -> None:
    history = [Epoch(epoch, {"loss": abs(epoch - 2) / 8}) for epoch in range(1, 7)]
    trial = Trial("002", {"lr": 0.01}, TrialStatus.COMPLETED, history, best_epoch=history[1])
    (tmp_path / "trials/002/model").mkdir(parents=True)
    (tmp_path / "trials/002/model/model.pth").write_bytes(b"weights")
    (tmp_path / "code").mkdir()
    (tmp_path / "code/train.py").touch()
    model = tmp_path / "model"
    assert script_model.export_script(tmp_path, loading.load(write(), {}), trial, model) == 6
    manifest = read_handlers(model)
    assert (manifest.epoch, manifest.metrics) == (6, {"loss": 0.5})


HANDLES = "def model_fn(model_dir): ..."


@pytest.mark.parametrize(
    ("script", "files", "entry_point"),
    [
        ("train.py", {"train.py": HANDLES, "inference.py": HANDLES}, "train.py"),
        ("train.py", {"train.py": "lr = 1", "inference.py": HANDLES}, "inference.py"),
        ("train.py", {"train.py": "lr = 1", "inference.pyc": HANDLES}, "train.py"),
        ("train.py", {"train.py": "from a import transform_fn", "inference.py": ""}, "train.py"),
        ("train.py", {"train.py": "from a import *", "inference.py": ""}, "train.py"),
        ("train.py", {"train.py": "predict_fn = print", "inference.py": ""}, "train.py"),
        ("train.py", {"train.py": "def (", "inference.py": ""}, "train.py"),
        ("src/train.py", {"src/train.py": "", "src/inference.py": ""}, "src/inference.py"),
        ("src/train.py", {"src/train.py": "", "inference.py": ""}, "inference.py"),
        ("train.sh", {"train.sh": "", "inference.py": HANDLES}, "inference.py"),
        ("train.sh", {"train.sh": "", "train.py": HANDLES}, None),
        ("train.py", {"train.py": "", "../trials/002/model/code/inference.py": ""}, "inference.py"),
    ],
)
def test_handlers_are_the_scripts_or_in_the_file_where_sagemaker_looks_for_them(
    tmp_path: Path, write: Write, script: str, files: dict[str, str], entry_point: str | None
) -> None:
    (tmp_path / "trials/002/model").mkdir(parents=True)
    (tmp_path / "trials/002/model/model.pth").touch()
    for name, text in files.items():
        path = tmp_path / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    asked = load(write(), {})
    paths = {"entry_point": tmp_path / script, "source_dir": tmp_path}
    asked = asked.model_copy(update={"script": script_table(asked).model_copy(update=paths)})
    trial = Trial("002", {"lr": 0.01}, TrialStatus.COMPLETED, best_epoch=Epoch(3, {"loss": 0.5}))
    script_model.export_script(tmp_path, asked, trial, tmp_path / "model")
    assert read_handlers(tmp_path / "model").entry_point == entry_point
