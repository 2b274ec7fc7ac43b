"""The schema of an experiment: what to tune and with what budget, checked once.

The models below are all there is: TOML files, the flags of `python -m app.tune` with their help,
`experiment.json` and the JSON Schema for editors come from their fields and docstrings.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    Strict,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from app.experiment import checks
from app.experiment.early_stopping import JSON_SCHEMA as EARLY_STOPPING
from app.experiment.early_stopping import OFF, RULES, EarlyStopping, parse_rule, rule_of_search
from app.experiment.errors import ExperimentError, SpaceError
from app.experiment.field_checks import (
    check_cpus,
    check_fixed,
    check_gpus,
    check_inputs,
    check_metric,
    check_name,
    check_space,
    check_text,
)
from app.experiment.fields import MAX_WHOLE, Flag, OneOf, Table
from app.experiment.logger_names import PACKAGES as LOGGERS
from app.experiment.objective import DIRECTIONS, Objective
from app.experiment.parameter_tables import JSON_SCHEMA as SPACE
from app.experiment.run_folder import NAME
from app.experiment.script_source import ScriptSource
from app.experiment.script_table import ScriptTable
from app.experiment.search_algorithms import ALGORITHMS, DEFAULT, canonical_name
from app.experiment.space import Space
from app.experiment.space import parse as parse_space
from app.experiment.trial_kind import TrialKind, kind_of
from app.experiment.validation_errors import sentence
from trainables.contract import TrainableError

Count = Annotated[int, Field(ge=1, le=MAX_WHOLE)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ResourceTable(Table):
    """`[resources]`: what Ray gives a trial."""

    cpus_per_trial: Annotated[
        float | None, BeforeValidator(check_cpus), Flag("X", default="an equal share")
    ] = None
    """CPUs of a trial, or of each of its workers."""
    gpus_per_trial: Annotated[
        float | None, BeforeValidator(check_gpus), Flag("X", default="an equal share")
    ] = None
    """GPUs of a trial, or of each of its workers."""
    workers_per_trial: Annotated[Count, Flag("N")] = 1
    """Processes that train each trial together; of a script, its hosts."""


class Experiment(Table):
    """Everything that decides what a run does; it does not change while the run goes on."""

    name: Annotated[
        str, AfterValidator(check_name), Field(json_schema_extra={"pattern": f"^{NAME.pattern}$"})
    ]
    """Name of the experiment, after which its runs are named."""
    trainable: str
    """Code that trains: a built-in name, one's own by its file, or a script."""
    metric: Annotated[str, AfterValidator(check_metric)]
    """Reported number that decides which trial is best."""
    mode: Annotated[str, OneOf(tuple(DIRECTIONS))]
    """Whether the best is the least (`min`) or the greatest (`max`)."""
    num_samples: Annotated[Count, Flag("N")] = 9
    """Number of trials in all; grid search counts its own and takes at most that many."""
    max_concurrent: Annotated[Count, Flag("N")] = 3
    """Number of trials that train at once."""
    epochs: Annotated[Count, Flag("N")] = 6
    """Epochs of a trial; of a script, as many as it is expected to report."""
    seed: Annotated[int, Field(le=MAX_WHOLE, json_schema_extra={"minimum": 0}), Flag("N")] = 0
    """Seed of configurations, weights and batches."""
    repeats: Count = 1
    """Number of trials that train each configuration, each with a seed of its own."""
    search: Annotated[
        str,
        OneOf(tuple(ALGORITHMS)),
        BeforeValidator(canonical_name),
        Flag("NAME", choices=tuple(ALGORITHMS)),
    ] = DEFAULT
    """Search algorithm."""
    early_stopping: Annotated[
        EarlyStopping,
        PlainSerializer(EarlyStopping.as_json),
        WithJsonSchema(dict(EARLY_STOPPING)),
        Flag("NAME", default=OFF, choices=tuple(RULES)),
    ] = Field(default=EarlyStopping(), validate_default=True, json_schema_extra={"default": OFF})
    """Rule that stops trials early; a file may give its settings in a table."""
    time_budget: Annotated[Positive | None, Flag("S")] = None
    """Seconds after which the run ends with the trials that it has."""
    target: Annotated[Number | None, Flag("LOSS")] = None
    """Value of the objective at which the run ends."""
    patience: Annotated[Count | None, Flag("N")] = None
    """Trials in a row without a better objective after which the run ends."""
    convergence: Positive | None = None
    """Relative improvement of the best value below which the latest trials end the run."""
    retries: Annotated[int, Field(ge=0, le=MAX_WHOLE)] | None = None
    """Times that a failed trial restarts from its last checkpoint; by default if it was lost."""
    step_timeout: Positive | None = None
    """Seconds after which an epoch, a setup, saving or loading counts as hung, and is ended."""
    log_to: Annotated[
        list[Annotated[str, OneOf(tuple(LOGGERS))]],
        Flag("NAME", default="may be given more than once", choices=tuple(LOGGERS)),
    ] = Field(default_factory=list)
    """Tools that show the trials, too."""
    data_dir: Annotated[Path | None, Strict(False), Flag("DIR", default="the packaged copy")] = None
    """Folder of the dataset."""
    download: Annotated[bool, Flag()] = False
    """Fetch what is missing in the dataset folder."""
    folder: Annotated[Path, Strict(False)] = Path()
    """Folder of the experiment file, from which its relative paths count."""
    space: Annotated[dict[str, Any], AfterValidator(check_space), WithJsonSchema(dict(SPACE))]
    """Parameters to search, by name."""
    fixed: Annotated[dict[str, Any], AfterValidator(check_fixed)] = Field(default_factory=dict)
    """Values that every trial gets as they stand."""
    resources: ResourceTable = Field(default_factory=ResourceTable)
    """Resources of a trial."""
    script: ScriptTable | None = None
    """Training script, where `trainable` is `script`."""
    inputs: Annotated[
        dict[str, Annotated[str, AfterValidator(check_text)]],
        AfterValidator(check_inputs),
        Flag("NAME=PLACE", name="--input", default="may be given more than once"),
    ] = Field(default_factory=dict)
    """Folder or file of data for the script, or its URI, by channel."""

    @field_validator("early_stopping", mode="before")
    @classmethod
    def _read_early_stopping(cls, value: Any, info: ValidationInfo) -> EarlyStopping:
        """Read a name or a table; a search may have a rule of its own."""
        asked = value.as_json() if isinstance(value, EarlyStopping) else value
        search = info.data.get("search", DEFAULT)
        rule = ALGORITHMS[search].early_stopping
        if rule is not None:
            asked = rule_of_search(asked, search, rule)
        return parse_rule(asked)

    @model_validator(mode="after")
    def _check(self) -> Self:
        checks.check(self)
        return self

    @property
    def objective(self) -> Objective:
        """The metric and its mode."""
        return Objective(self.metric, self.mode)

    @property
    def kind(self) -> TrialKind:
        """Answers that depend on whether trials run Python code or a script."""
        return kind_of(self)

    @property
    def script_source(self) -> ScriptSource | None:
        """Files of the script, where one is trained."""
        if self.script is None:
            return None
        return ScriptSource(self.script.entry_point, self.script.source_dir, self.inputs)

    @property
    def parameters(self) -> Space:
        """The search space, parsed."""
        return parse_space(self.space)

    def constants(self, place: int) -> dict[str, Any]:
        """Return the values that a trial gets beside its configuration.

        The trials of one configuration follow each other, and so do their seeds.

        Args:
            place: Number of the trial among all, from 1.
        """
        constants = {**self.fixed, "seed": self.fixed.get("seed", self.seed)}
        if self.repeats > 1:
            constants["seed"] += (place - 1) % self.repeats
        return constants

    def with_resources(self, cpus: float, gpus: float) -> Self:
        """Return the experiment with so many CPUs and GPUs of each worker."""
        shares = {"cpus_per_trial": cpus, "gpus_per_trial": gpus}
        return self.model_copy(update={"resources": self.resources.model_copy(update=shares)})

    def as_json(self) -> dict[str, Any]:
        """Return every value, as `experiment.json` has it; `from_table` reads it back."""
        for_scripts = {"script", "inputs"} if self.script is None else set()
        return self.model_dump(mode="json", exclude=for_scripts)


def from_table(table: Mapping[str, Any]) -> Experiment:
    """Read an experiment from a whole table, as `experiment.json` has it.

    Raises:
        ExperimentError: For anything wrong, in one sentence that begins with the key.
    """
    try:
        checks.check_no_nul("", table)
        checks.check_script_tables(table)
        experiment = Experiment.model_validate(dict(table))
        resolved = experiment.model_copy(
            update={"epochs": _epochs(experiment), "num_samples": _num_samples(experiment)}
        )
        if resolved.kind.expected_epochs is not None:
            resolved.early_stopping.check_grace(resolved.kind.expected_epochs)
    except ValidationError as error:
        raise ExperimentError(sentence(error, Experiment)) from error
    except (SpaceError, TrainableError) as error:
        raise ExperimentError(str(error)) from error
    return resolved


def _epochs(experiment: Experiment) -> int:
    """Return the epochs that trials train; those of a script are given it as it stands."""
    own = experiment.fixed.get("epochs")
    return own if experiment.script is not None and type(own) is int else experiment.epochs


def _num_samples(experiment: Experiment) -> int:
    """Return the number of trials; grid search counts its own."""
    if experiment.search != "grid":
        return experiment.num_samples
    try:
        count = len(experiment.parameters.grid()) * experiment.repeats
    except SpaceError as error:
        raise ExperimentError(f"search = 'grid': {error}") from error
    if "num_samples" not in experiment.model_fields_set:
        return count
    return min(experiment.num_samples, count)
