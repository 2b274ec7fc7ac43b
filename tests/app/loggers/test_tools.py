"""MLflow and Weights & Biases, in an environment of their own: a search, and its model asked."""

import json
import os
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.support import ROOT, SUPPORT

pytestmark = [pytest.mark.nightly, pytest.mark.ray, pytest.mark.timeout(900)]

EXPERIMENT = f"""
name = "small"
trainable = "{SUPPORT}/small_mnist.py:SmallMnist"
metric = "average_test_loss"
mode = "min"
num_samples = 2
epochs = 2
log_to = ["mlflow", "wandb", "tensorboard"]

[fixed]
momentum = 0.5
batch_size = 64

[space]
lr = {{ type = "continuous", low = 0.001, high = 0.1, scale = "log" }}
"""
READ = """
import json
import mlflow
import numpy as np

mlflow.set_tracking_uri("file:mlruns")
runs = mlflow.search_runs(experiment_names=["small"], output_format="list")
parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
(parent,) = parents
model = mlflow.pyfunc.load_model(f"runs:/{parent.info.run_id}/model")
outputs = model.predict(np.zeros((2, 1, 28, 28), np.float32))
trials = {run.data.tags["mlflow.runName"]: run.data for run in runs if run not in parents}
print(json.dumps({
    "best": parent.data.tags["best_trial"],
    "status": parent.info.status,
    "losses": {name: data.metrics["average_test_loss"] for name, data in trials.items()},
    "shape": next(iter(outputs.values())).shape,
}))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with this one's packages, and the tools."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "these.pth").write_text(sysconfig.get_path("purelib"))
    found = folder / "bin/python"
    install = [str(found), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*install, "mlflow-skinny", "wandb"], check=True, timeout=600)
    return found


def test_a_search_stands_in_all_tools_and_mlflow_loads_its_model(
    python: Path, tmp_path: Path
) -> None:
    (tmp_path / "small.toml").write_text(EXPERIMENT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_ALLOW_FILE_STORE": "true"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    tuned = run("-m", "app.tune", "small.toml", "--name", "r", "--json")
    assert tuned.returncode == 0, tuned.stderr
    assert "warning: log_to" not in tuned.stderr
    result = json.loads(tuned.stdout)
    read = run("-c", READ)
    assert read.returncode == 0, read.stderr
    found = json.loads(read.stdout)
    assert found["best"] == result["best"]["trial_id"]
    assert found["losses"] == {
        trial["trial_id"]: trial["history"][-1]["average_test_loss"] for trial in result["trials"]
    }
    assert found["shape"] == [2, 10]
    offline = list((tmp_path / "runs/r/wandb").glob("offline-run-*/*.wandb"))
    assert len(offline) == len(list((tmp_path / "runs/r/tensorboard").iterdir())) == 2

    went_on = run("-m", "app.tune", "--resume", "r", "--num-samples", "3", "--json")
    assert went_on.returncode == 0, went_on.stderr
    assert "warning: log_to" not in went_on.stderr
    result = json.loads(went_on.stdout)
    found = json.loads(run("-c", READ).stdout)
    assert (found["best"], found["status"]) == (result["best"]["trial_id"], "FINISHED")
    assert found["losses"] == {
        trial["trial_id"]: trial["history"][-1]["average_test_loss"] for trial in result["trials"]
    }
    ids = {path.name for path in (tmp_path / "runs/r/wandb").glob("offline-run-*/*.wandb")}
    assert len(ids) == 3
