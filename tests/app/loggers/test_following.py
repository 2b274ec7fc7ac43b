"""A run's loggers take its events; one that fails is left out, and the search goes on."""

import sys
import types
from pathlib import Path

import pytest

from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment
from app.loggers import check_installed
from app.run.events import Event
from app.run.journal import Journal
from tests.support.loggers import experiment, with_trial


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A logger under a known name that takes one event, and breaks at the second."""
    taken: list[str] = []

    class Broken:
        def __init__(self, journal: Journal, experiment: Experiment) -> None: ...

        def on_event(self, event: Event) -> None:
            taken.append(event["event"])
            if len(taken) > 1:
                raise ConnectionError("no answer\nfrom the server")

        def close(self) -> None:
            taken.append("close")

    module = types.ModuleType("app.loggers.wandb")
    module.WandbLogger = Broken  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "app.loggers.wandb", module)
    return taken


def test_a_logger_that_fails_is_left_out_and_the_others_go_on(
    tmp_path: Path, wandb: list[str]
) -> None:
    assert with_trial(tmp_path, ("wandb", "tensorboard")) == [
        "warning: log_to: wandb failed, and the search goes on without it:"
        " no answer from the server"
    ]
    assert wandb == ["trial", "epoch"]
    assert list((tmp_path / "tensorboard/001").iterdir())


def test_a_tool_that_is_not_installed_is_said_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_installed(["tensorboard"])
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ExperimentError, match=r"mlflow is not installed.*pip install -e"):
        check_installed(["mlflow"])


def test_an_unknown_tool_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ExperimentError, match=r"log_to.*'mlfow'.*did you mean 'mlflow'"):
        experiment("mlfow")
