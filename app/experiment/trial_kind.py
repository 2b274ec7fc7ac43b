"""Kinds of trials: Python code that Ray calls in the trial's process, or a script that it starts.

`Experiment.kind` chooses one. A class and a function are one kind here: they differ only once
their file is imported, which `trainables.resolve` does.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import trainables
from app.experiment.script_trials import ScriptTrials
from trainables.contract import TrainableError
from trainables.script.log_check import LoggedMetric

if TYPE_CHECKING:
    from ray.tune import Trainable

    from app.experiment.schema import Experiment


class TrialKind(Protocol):
    """Answers what depends on whether trials run Python code or a script."""

    name: ClassVar[str]
    """Key of the kind in tables of other packages."""
    keeps_checkpoints: ClassVar[bool]
    """Whether the trial keeps its checkpoints itself, in a folder of its own."""
    saves_model: ClassVar[bool]
    """Whether the trial saves its model itself, so that an export needs no data."""
    is_ray_train: ClassVar[bool]
    """Whether Ray Train runs trials of several workers; a script has hosts instead."""

    @property
    def value(self) -> str:
        """The rule by which one of a trial's reported values counts: best, last or first."""
        ...

    @property
    def last_epoch(self) -> int | None:
        """The epoch with which a trial is complete; None where its script alone knows."""
        ...

    @property
    def expected_epochs(self) -> int | None:
        """Number of epochs that a trial will report, where that is known."""
        ...

    @property
    def gives_seeds(self) -> bool:
        """Whether trials are given a seed."""
        ...

    def check_files(self) -> None:
        """Raise TrainableError for files that are not there."""
        ...

    def check_environment(self) -> None:
        """Raise TrainableError for variables that no run keeps and that are not set here."""
        ...

    def check_workers(self, trainable: "type[Trainable]") -> None:
        """Raise TrainableError where trials cannot have as many workers as are asked for."""
        ...

    def shared(
        self, trainable: "type[Trainable]", folder: Path, stubs: Callable[[], Path]
    ) -> Mapping[str, Any]:
        """Load what all trials of the run in `folder` share.

        Args:
            trainable: The class that `trainables.resolve` gave.
            folder: The run's folder.
            stubs: Gives, on the node that calls it, the folder with stubs of SageMaker's modules.

        Raises:
            TrainableError: For data that cannot be read.
        """
        ...

    def digests(self, shared: Mapping[str, Any]) -> dict[str, str]:
        """Digests of the shared data that has one, by name."""
        ...

    def copy_code(self, folder: Path) -> None:
        """Copy the code that belongs to a run into its new folder."""
        ...

    def remarks(self) -> Iterable[str]:
        """Sentences that whoever starts a run should read."""
        ...

    def check_log(self, log: Path, say: Callable[[str], None]) -> list[LoggedMetric]:
        """Read a log as the trials' logs are read; raises TrainableError where none is."""
        ...


@dataclass(frozen=True)
class PythonTrials:
    """Trials of a class or a function."""

    name: ClassVar[str] = "python"
    keeps_checkpoints: ClassVar[bool] = False
    saves_model: ClassVar[bool] = False
    is_ray_train: ClassVar[bool] = True

    experiment: "Experiment"

    @property
    def value(self) -> str:
        """The best: each epoch has a checkpoint."""
        return "best"

    @property
    def last_epoch(self) -> int | None:
        """As many as the experiment asks for."""
        return self.experiment.epochs

    expected_epochs = last_epoch

    @property
    def gives_seeds(self) -> bool:
        """Always, in the configuration."""
        return True

    def check_files(self) -> None:
        """Leave that to the import."""

    def check_environment(self) -> None:
        """Accept any environment."""

    def check_workers(self, trainable: "type[Trainable]") -> None:
        """Refuse several workers of a class."""
        if self.experiment.resources.workers_per_trial > 1:
            trainables.check_parallel(trainable, self.experiment.trainable)

    def shared(
        self, trainable: "type[Trainable]", folder: Path, stubs: Callable[[], Path]
    ) -> Mapping[str, Any]:
        """Call the trainable's `shared`, if it has one."""
        if not hasattr(trainable, "shared"):
            return {}
        data: Mapping[str, Any] = trainable.shared(
            self.experiment.data_dir, self.experiment.download
        )
        return data

    def digests(self, shared: Mapping[str, Any]) -> dict[str, str]:
        """Digests of the shared values that have one."""
        return {name: value.digest for name, value in shared.items() if hasattr(value, "digest")}

    def copy_code(self, folder: Path) -> None:
        """Copy nothing: the code travels with the class."""

    def remarks(self) -> Iterable[str]:
        """Say nothing."""
        return ()

    def check_log(self, log: Path, say: Callable[[str], None]) -> list[LoggedMetric]:
        """Refuse: metrics are returned, and not printed."""
        raise TrainableError(
            f"--check-log: is for scripts; this tunes {self.experiment.trainable!r}"
        )


def kind_of(experiment: "Experiment") -> TrialKind:
    """Choose the kind of an experiment's trials."""
    table, source = experiment.script, experiment.script_source
    if table is None or source is None:
        return PythonTrials(experiment)
    return ScriptTrials(experiment, table, source)
