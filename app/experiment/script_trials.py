"""Trials of a training script: `TrialKind` for `trainable = "script"`."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from app.experiment.run_folder import CODE
from app.experiment.script_remarks import remarks
from app.experiment.script_source import ScriptSource
from app.experiment.script_table import ScriptTable
from trainables.contract import TrainableError
from trainables.script.log_check import LoggedMetric, find_metrics
from trainables.script.process import read_lines

if TYPE_CHECKING:
    from ray.tune import Trainable

    from app.experiment.schema import Experiment

OF_FURTHER_HOST = re.compile(r"algo-(?!1:)\d+: ")
"""Begins lines of a log that come from second and further hosts; no metric is read from them."""


@dataclass(frozen=True)
class ScriptTrials:
    """Trials of a training script, which prints its metrics and keeps its own checkpoints."""

    name: ClassVar[str] = "script"
    keeps_checkpoints: ClassVar[bool] = True
    saves_model: ClassVar[bool] = True
    is_ray_train: ClassVar[bool] = False

    experiment: "Experiment"
    table: ScriptTable
    source: ScriptSource

    @property
    def value(self) -> str:
        """The value that `[script]` names: the script saves one model, of its last epoch."""
        return self.table.value

    @property
    def last_epoch(self) -> int | None:
        """Unknown: the script ends by itself."""
        return None

    @property
    def expected_epochs(self) -> int | None:
        """The number of epochs where the script is given it."""
        return self.experiment.epochs if "epochs" in self.experiment.fixed else None

    @property
    def gives_seeds(self) -> bool:
        """Only where the script is given one."""
        return "seed" in self.experiment.fixed

    def check_files(self) -> None:
        """Look for the script, its folder and its inputs."""
        self.check_environment()
        self.source.check_files()

    def check_environment(self) -> None:
        """Look for the variables that may be secrets."""
        self.table.variables()

    def check_workers(self, trainable: "type[Trainable]") -> None:
        """Accept any number: each is a host of the script."""

    def shared(
        self, trainable: "type[Trainable]", folder: Path, stubs: Callable[[], Path]
    ) -> Mapping[str, Any]:
        """Describe the script as trials start it, and fetch the versions of its inputs.

        Raises TrainableError where a channel's URI has nothing to be read.
        """
        from trainables.script.channels import open_channel
        from trainables.script.trainable import Script

        experiment, source = self.experiment, self.source
        script = Script(
            entry_point=source.name,
            code=folder / CODE,
            digest=source.digest,
            parameters=(*experiment.fixed, *experiment.space),
            objective=experiment.metric,
            definitions=self.table.metrics,
            inputs=tuple(
                open_channel(name, place) for name, place in sorted(source.inputs.items())
            ),
            workers=experiment.resources.workers_per_trial,
            styles=self.table.arguments,
            folder=str(source.folder),
            beside=source.left_beside,
            variables=self.table.variables(),
            stubs=stubs,
        )
        return {"script": script}

    def digests(self, shared: Mapping[str, Any]) -> dict[str, str]:
        """The script's digest, and the versions of inputs that have one."""
        script = shared["script"]
        versions = {
            f"inputs.{channel.name}": channel.version
            for channel in script.inputs
            if channel.version
        }
        return {"script": script.digest, **versions}

    def copy_code(self, folder: Path) -> None:
        """Copy the script's code, so that a resumed run trains the same."""
        self.source.copy_to(folder)

    def remarks(self) -> Iterable[str]:
        """Name what the script imports, or needs installed, that does not go with it."""
        experiment = self.experiment
        parameters = (*experiment.fixed, *experiment.space)
        return remarks(self.source, parameters, experiment.resources.workers_per_trial)

    def check_log(self, log: Path, say: Callable[[str], None]) -> list[LoggedMetric]:
        """Find the values of each metric in a log; `say` gets the remarks of a trial's own log."""
        try:
            lines = (line for line in read_lines(log) if not OF_FURTHER_HOST.match(line))
            return find_metrics(self.table.metrics, self.experiment.metric, lines, say)
        except OSError as error:
            raise TrainableError(f"--check-log: cannot read {log}: {error.strerror}") from error
