"""A run's loggers take its events; one that fails is left out, and the search goes on."""

import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.experiment.errors import ExperimentError
from app.experiment.schema import Experiment
from app.loggers import check_installed
from app.run.events import Event
from app.run.journal import Journal
from tests.support.loggers import experiment, with_trial


def replace_wandb(monkeypatch: pytest.MonkeyPatch, logger: type) -> None:
    """Give a logger of a test a known name."""
    module = types.ModuleType("app.loggers.wandb")
    module.WandbLogger = logger  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "app.loggers.wandb", module)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A logger that takes one event, and breaks at the second."""
    taken: list[str] = []

    class Broken:
        def __init__(self, journal: Journal, experiment: Experiment) -> None: ...

        def on_event(self, event: Event) -> None:
            taken.append(event["event"])
            if len(taken) > 1:
                raise ConnectionError("no answer\nfrom the server")

        def close(self) -> None:
            taken.append("close")

    replace_wandb(monkeypatch, Broken)
    return taken


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A logger that hangs in its first event until the test ends."""
    taken: list[str] = []
    goes_on = threading.Event()

    class Hung:
        def __init__(self, journal: Journal, experiment: Experiment) -> None: ...

        def on_event(self, event: Event) -> None:
            goes_on.wait()
            taken.append(event["event"])

        def close(self) -> None:
            taken.append("close")

    replace_wandb(monkeypatch, Hung)
    yield taken
    goes_on.set()
    for thread in threading.enumerate():
        if thread.name == "logger":
            thread.join()
    assert not {"epoch", "close"} & set(taken)  # it was left out


def test_a_logger_that_fails_is_left_out_and_the_others_go_on(
    tmp_path: Path, wandb: list[str]
) -> None:
    assert with_trial(tmp_path, ("wandb", "tensorboard")) == [
        "warning: log_to: wandb failed: no answer from the server; the search goes on without it"
    ]
    assert wandb == ["trial", "epoch"]
    assert list((tmp_path / "tensorboard/001").iterdir())


def test_a_logger_that_hangs_is_left_out_at_the_end(
    tmp_path: Path, hung: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["app.loggers.following"], "END_S", 0.0)
    assert (
        "warning: log_to: wandb does not end: it took 0 of 4 events; the search goes on without it"
    ) in with_trial(tmp_path, ("wandb",))


def test_a_logger_that_hangs_while_many_events_come_is_left_out_at_once(
    tmp_path: Path, hung: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.loggers.logger_thread.MAX_WAITING", 2)
    assert any(
        warning.startswith("warning: log_to: wandb hangs: it took 0 of ")
        for warning in with_trial(tmp_path, ("wandb",))
    )


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
