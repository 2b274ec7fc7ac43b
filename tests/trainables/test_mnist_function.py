"""The example of a training function: its experiment file, and the promises that it keeps."""

import pytest

import trainables
from app.experiment import loading
from tests.support import ROOT
from trainables.check.__main__ import main

EXPERIMENT = ROOT / "trainables/mnist_function.toml"


def test_its_file_is_an_experiment_of_a_function_with_a_model() -> None:
    experiment = loading.load(EXPERIMENT, {})
    found = trainables.resolve(experiment.trainable, experiment.folder)
    assert (found.__name__, hasattr(found, "model")) == ("train", True)


@pytest.mark.nightly
def test_it_keeps_its_promises(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--experiment", str(EXPERIMENT)])  # seven epochs
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert all(line.startswith("holds") for line in lines)
