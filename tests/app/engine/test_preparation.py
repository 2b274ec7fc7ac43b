"""Configurations that a trainable refuses before anything starts."""

from pathlib import Path

import pytest

from app.engine.preparation import check_configs
from app.experiment import loading
from app.experiment.errors import ExperimentError
from trainables.mnist import MnistTrainable


def written(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space.batch_size = { type = 'integer', low = 0, high = 9 }", r"batch_size: .* got 0$"),
        ("space.batch_size = { type = 'categorical', values = [64, 0] }", r"batch_size: .* got 0$"),
        ("space.lr = { type = 'continuous', low = 0, high = 1 }", r"lr: .* above 0, got 0\.0$"),
        ("space.lr = { type = 'categorical', values = ['a'] }", r"lr: .* above 0, got 'a'$"),
        ("fixed.momentum = 2", r"momentum: .* below 1, got 2$"),
    ],
)
def test_the_trainable_refuses_a_value_before_anything_starts(
    tmp_path: Path, text: str, message: str
) -> None:
    entries = {
        "space.lr": "{ type = 'continuous', low = 0.1, high = 1 }",
        "space.batch_size": "{ type = 'categorical', values = [64] }",
    }
    key, _, value = text.partition(" = ")
    entries[key] = value
    lines = "\n".join(f"{key} = {value}" for key, value in entries.items())
    loaded = loading.load(written(tmp_path, lines), {})
    table = key.partition(".")[0]
    with pytest.raises(ExperimentError, match=rf"^{table}\.{message}"):
        check_configs(loaded, MnistTrainable)


def test_a_parameter_that_the_trainable_needs_is_asked_for(tmp_path: Path) -> None:
    text = "space.lr = { type = 'continuous', low = 0.1, high = 1 }"
    message = "^space: mnist needs a parameter 'batch_size'; search it in "
    loaded = loading.load(written(tmp_path, text), {})
    with pytest.raises(ExperimentError, match=message):
        check_configs(loaded, MnistTrainable)


def test_the_default_experiment_is_one_that_its_trainable_takes() -> None:
    check_configs(loading.load(None, {}), MnistTrainable)
