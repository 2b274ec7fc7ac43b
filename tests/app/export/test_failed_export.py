"""A search on a real Ray whose best trial cannot be exported: its result is the same."""

import json
from pathlib import Path

import pytest

from app import tune

EXPERIMENT = """
name = "fixed"
trainable = "tests.support.networks:FixedBatchNetwork"
metric = "loss"
mode = "min"
num_samples = 2
max_concurrent = 1
epochs = 1
search = "random"
[space]
lr = { type = "continuous", low = 0.0, high = 1.0 }
[resources]
cpus_per_trial = 0.5
"""


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_the_result_is_printed_and_the_reason_shown_early_and_last(
    ray_address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fixed.toml").write_text(EXPERIMENT)
    place = ["--runs", str(tmp_path / "runs"), "--address", ray_address, "--name", "r", "--json"]
    with pytest.raises(SystemExit) as ended:
        tune.main([str(tmp_path / "fixed.toml"), *place])
    streams = capfd.readouterr()
    result = json.loads(streams.out)
    assert ended.value.code == f"error: {result['model_error']}"
    assert result["model_error"].startswith("trial 001 cannot be exported: forward()'s batch is")
    assert (result["status"], result["model"], result["best"]["trial_id"]) == (
        "completed",
        None,
        "001",
    )
    assert "no trial can be exported: forward()'s batch is fixed at 4" in streams.err
    assert (tmp_path / "runs/r/weights.safetensors").is_file()
    assert not (tmp_path / "runs/r/model").exists()
