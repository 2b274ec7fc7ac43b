"""A run of a class whose labels do not fit: it ends at once and leaves its name free."""

from pathlib import Path

import pytest

from app import tune as command

EXPERIMENT = """
name = "mislabelled"
trainable = "tests.support.counter:Mislabelled"
metric = "loss"
mode = "min"
num_samples = 2
search = "random"

[space]
x = { type = "continuous", low = 0.0, high = 1.0 }
"""


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_refused_class_trains_no_epoch_and_leaves_no_run(
    ray_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    runs = tmp_path / "runs"
    place = ["--runs", str(runs), "--address", ray_address, "--name", "mine"]
    with pytest.raises(SystemExit) as ended:
        command.main([str(tmp_path / "mine.toml"), *place])
    assert ended.value.code == "error: labels: 2 labels for 3 outputs; name each output once"
    assert not (runs / "mine").exists()
    assert "epoch 1" not in capsys.readouterr().err
