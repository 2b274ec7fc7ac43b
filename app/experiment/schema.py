"""An experiment: what to tune and with what budget, read from TOML and flags, checked once."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.experiment import early_stopping, result_keys, search_algorithms, space
from app.experiment import script_table as script
from app.experiment.distributions import SpaceError
from app.experiment.errors import ExperimentError
from app.experiment.objective import DIRECTIONS, Objective
from app.experiment.run_folder import NAME
from app.experiment.script_table import ScriptTable
from app.experiment.space import Space
from app.experiment.trial_kind import TrialKind, kind_of
from trainables.contract import TrainableError
from trainables.errors.choices import is_one, unknown

A_SCRIPT = "script"
"""The trainable that is a program of the user's."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that decides what a run does; it does not change while the run goes on."""

    name: str
    """What the experiment is called; runs are named after it."""
    trainable: str
    """What is trained: a built-in name, `file.py:Class`, `package.module:Class` or `script`."""
    metric: str
    """The reported number that decides which trial is best."""
    mode: str
    """Whether the best is the least (`min`) or the greatest (`max`)."""
    space: Mapping[str, Any]
    """The parameters to search, as written."""
    fixed: Mapping[str, Any]
    """Values that every trial gets as they stand."""
    num_samples: int
    """How many trials to train."""
    max_concurrent: int = 3
    """How many trials may train at once."""
    epochs: int = 6
    """How many epochs a trial trains; of a script, as many as it is expected to report."""
    seed: int = 0
    """What configurations, weights and batches are drawn from."""
    repeats: int = 1
    """How many trials train each configuration, each with a seed of its own."""
    search: str = search_algorithms.DEFAULT
    """The search algorithm, by name."""
    early_stopping: str = "off"
    """The rule that stops trials early, by name."""
    stopping: Mapping[str, Any] = field(default_factory=dict)
    """What is set of that rule, by name, such as its `grace`."""
    time_budget: float | None = None
    """Seconds after which the run ends with the trials that it has."""
    target: float | None = None
    """The objective at which the run ends."""
    patience: int | None = None
    """How many trials in a row may end without a better objective before the run does."""
    convergence: float | None = None
    """The run ends when its latest trials improved the best by less than this part of it."""
    retries: int | None = None
    """How often a failed trial goes on from its last checkpoint; None: only a lost process's."""
    step_timeout: float | None = None
    """Seconds after which an epoch, a setup, a reset, saving or loading counts as hung, and its
    process is ended."""
    cpus_per_trial: float | None = None
    """CPUs of a trial's worker; None shares the machine's among those that train at once."""
    gpus_per_trial: float | None = None
    """GPUs of a trial's worker; None shares what there is."""
    workers_per_trial: int = 1
    """How many processes train each trial together; a script's are its hosts."""
    data_dir: Path | None = None
    """Dataset folder; None for the packaged copy."""
    download: bool = False
    """Whether to fetch what is missing in `data_dir`."""
    script: ScriptTable | None = None
    """The script that is trained, where it is one."""
    folder: Path = Path()
    """Where the file was, from which relative paths count."""

    @property
    def objective(self) -> Objective:
        """The metric and its mode."""
        return Objective(self.metric, self.mode)

    @property
    def kind(self) -> TrialKind:
        """What depends on whether trials run Python code or a script."""
        return kind_of(self)

    @property
    def parameters(self) -> Space:
        """The search space, parsed."""
        return space.parse(self.space)

    @property
    def value(self) -> str:
        """Which of a trial's reported values counts, by name."""
        return self.kind.value

    @property
    def last_epoch(self) -> int | None:
        """The epoch with which a trial is complete; None where its script alone knows."""
        return self.kind.last_epoch

    @property
    def expected_epochs(self) -> int | None:
        """How many epochs a trial will report, where that is known."""
        return self.kind.expected_epochs

    def given(self, place: int) -> dict[str, Any]:
        """What a trial gets beside its configuration, by its place among the trials, from 1.

        The trials of one configuration follow each other, and so do their seeds.
        """
        given = {**self.fixed, "seed": self.fixed.get("seed", self.seed)}
        if self.repeats > 1:
            given["seed"] += (place - 1) % self.repeats
        return given

    @property
    def gives_seeds(self) -> bool:
        """Whether trials are given a seed: a script has none but its own."""
        return self.kind.gives_seeds

    def as_json(self) -> dict[str, Any]:
        """Every value, as `experiment.json` keeps it."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "metric": self.metric,
            "mode": self.mode,
            "num_samples": self.num_samples,
            "max_concurrent": self.max_concurrent,
            "epochs": self.epochs,
            "seed": self.seed,
            "repeats": self.repeats,
            "search": self.search,
            "early_stopping": early_stopping.in_short(self.early_stopping, self.stopping),
            "time_budget": self.time_budget,
            "target": self.target,
            "patience": self.patience,
            "convergence": self.convergence,
            "retries": self.retries,
            "step_timeout": self.step_timeout,
            "space": self.space,
            "fixed": self.fixed,
            "resources": {
                "cpus_per_trial": self.cpus_per_trial,
                "gpus_per_trial": self.gpus_per_trial,
                "workers_per_trial": self.workers_per_trial,
            },
            "data_dir": None if self.data_dir is None else str(self.data_dir),
            "download": self.download,
            "folder": str(self.folder),
            **self.kind.tables,
        }


TOP = {
    "name": str,
    "trainable": str,
    "metric": str,
    "mode": str,
    "num_samples": int,
    "max_concurrent": int,
    "epochs": int,
    "seed": int,
    "repeats": int,
    "search": str,
    "early_stopping": str,
    "time_budget": float,
    "target": float,
    "patience": int,
    "convergence": float,
    "retries": int,
    "step_timeout": float,
    "data_dir": str,
    "download": bool,
    "folder": str,
}
"""Keys at the top of a file, and the type of each."""
TABLES = ("space", "fixed", "resources", "script", "inputs")
ONE_AT_LEAST = ("num_samples", "max_concurrent", "epochs", "repeats", "patience")
LEAST = {**dict.fromkeys(ONE_AT_LEAST, 1), "retries": 0}
MOST = 2**63
"""The greatest whole number that a key of an experiment takes."""
ABOVE_ZERO = ("time_budget", "convergence", "step_timeout")
RESOURCES = ("cpus_per_trial", "gpus_per_trial", "workers_per_trial")
LEAST_SHARE = 0.0001
"""The least part of a CPU or GPU that Ray can assign."""
DEFAULT_NUM_SAMPLES = 9


@contextmanager
def _told() -> Iterator[None]:
    """What is wrong with a script is wrong with its experiment."""
    try:
        yield
    except TrainableError as error:
        raise ExperimentError(str(error)) from error


def from_table(table: Mapping[str, Any]) -> Experiment:
    """The experiment that a whole table describes; raises ExperimentError for what is wrong."""
    _check_shape(table)
    # What a recorded experiment says of a key that was left out.
    table = {key: value for key, value in table.items() if value is not None}
    table = _by_our_names(table)
    _check_values(table)
    _check_fixed(table)
    _check_resources(table.get("resources", {}))
    try:
        parameters = space.parse(table["space"])
    except SpaceError as error:
        raise ExperimentError(str(error)) from error
    resources = table.get("resources", {})
    values = {key: table[key] for key in TOP if table.get(key) is not None}
    values["data_dir"] = Path(values["data_dir"]) if "data_dir" in values else None
    values["folder"] = Path(values.get("folder", "."))
    values["num_samples"] = _num_samples(table, parameters)
    values |= _script_values(table)
    values |= _early_stopping(table, values)
    return Experiment(
        **values,
        space=table["space"],
        fixed=table.get("fixed", {}),
        cpus_per_trial=resources.get("cpus_per_trial"),
        gpus_per_trial=resources.get("gpus_per_trial"),
        workers_per_trial=resources.get("workers_per_trial") or 1,
    )


def _listed(table: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """The values of each parameter, of one between two ends just one of these."""
    searched = table["space"].items()
    fixed = table.get("fixed", {}).items()
    return {
        **{name: each["values"] if "values" in each else [each["low"]] for name, each in searched},
        **{name: [value] for name, value in fixed},
    }


def _script_values(table: Mapping[str, Any]) -> dict[str, Any]:
    """What an experiment has more where it trains a script."""
    if table["trainable"] != A_SCRIPT:
        for key in ("script", "inputs"):
            if key in table:
                raise ExperimentError(
                    f'{key}: is only for trainable = "{A_SCRIPT}"; this tunes'
                    f" {table['trainable']!r}: leave one of them out"
                )
        return {}
    with _told():
        parsed = script.parse(table.get("script", {}), table.get("inputs", {}), table["metric"])
        script.check_styles(parsed, _listed(table))
    epochs = table.get("fixed", {}).get("epochs")
    return {"script": parsed, **({"epochs": epochs} if type(epochs) is int else {})}


def _early_stopping(table: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The rule that stops trials early, and what is set of it."""
    is_known = table["trainable"] != A_SCRIPT or "epochs" in table.get("fixed", {})
    epochs = values.get("epochs", Experiment.epochs) if is_known else None
    try:
        asked = table.get("early_stopping")
        name, settings = early_stopping.parse("off" if asked is None else asked, epochs)
    except ValueError as error:
        raise ExperimentError(str(error)) from error
    return {"early_stopping": name, "stopping": settings}


def _by_our_names(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table with its search by our name, and the rule that belongs to that search."""
    name = search_algorithms.canonical_name(table.get("search", search_algorithms.DEFAULT))
    named = {**table, "search": name}
    algorithm = search_algorithms.ALGORITHMS.get(name)
    if algorithm is None or algorithm.early_stopping is None:
        return named
    asked = table.get("early_stopping") or "off"
    rule = algorithm.early_stopping
    settings = dict(asked) if isinstance(asked, Mapping) else {"name": asked}
    if settings.setdefault("name", rule) not in ("off", rule):
        raise ExperimentError(
            f"early_stopping: {named['search']} search stops by {rule} itself;"
            f" leave {settings['name']!r} out"
        )
    return {**named, "early_stopping": {**settings, "name": rule}}


def _check_shape(table: Mapping[str, Any]) -> None:
    """Every key is known, none is missing, and each has its type."""
    for key in table:
        if key not in TOP and key not in TABLES:
            raise ExperimentError(unknown(key, (*TOP, *TABLES), "key"))
    for key in ("name", "trainable", "metric", "mode", "space"):
        if table.get(key) is None:
            raise ExperimentError(f"{key}: is missing; an experiment file needs it")
    for key, kind in TOP.items():
        # Early stopping may also be a table.
        if table.get(key) is not None and key != "early_stopping":
            _check_type(key, table[key], kind)
    for key in TABLES:
        if not isinstance(table.get(key, {}), Mapping):
            raise ExperimentError(f"{key}: needs a table, got {table[key]!r}")
    _check_texts("", table)


def _check_texts(where: str, value: Any) -> None:
    """Raise ExperimentError for a NUL in a text, which neither paths nor arguments can have."""
    if isinstance(value, str) and "\0" in value:
        raise ExperimentError(f"{where}: a text cannot have a NUL character, got {value!r}")
    inner: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        inner = ((f"{where}.{key}".lstrip("."), each) for key, each in value.items())
    elif isinstance(value, list):
        inner = ((where, each) for each in value)
    for name, each in inner:
        _check_texts(name, each)


def _check_type(key: str, value: Any, kind: type) -> None:
    allowed = (int, float) if kind is float else kind
    # To Python a boolean is an integer; to whoever writes `epochs = true` it is a mistake.
    if not isinstance(value, allowed) or (kind in (int, float) and isinstance(value, bool)):
        names = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
        raise ExperimentError(f"{key}: needs {names[kind]}, got {value!r}")
    most = sys.float_info.max
    if kind is float and isinstance(value, (int, float)) and not -most <= value <= most:
        raise ExperimentError(f"{key}: needs a finite number, got {value}")
    if kind is int and isinstance(value, int) and not -MOST <= value <= MOST:
        raise ExperimentError(f"{key}: needs a whole number of at most 2^63, got {value}")


def _check_values(table: Mapping[str, Any]) -> None:
    if not NAME.fullmatch(table["name"]):
        raise ExperimentError(
            f"name: {table['name']!r} must be letters, digits, dots, dashes and underscores,"
            " a letter or digit first"
        )
    for key, least in LEAST.items():
        if table.get(key) is not None and table[key] < least:
            raise ExperimentError(f"{key}: needs at least {least}, got {table[key]}")
    for key in ABOVE_ZERO:
        if table.get(key) is not None and table[key] <= 0:
            raise ExperimentError(f"{key}: needs a number above 0, got {table[key]}")
    seed, repeats = table.get("seed", 0), table.get("repeats", 1)
    if not 0 <= seed <= 2**63 - repeats:
        raise ExperimentError(f"seed: needs a number from 0 to 2^63 - {repeats}, got {seed}")
    if table["metric"] in result_keys.TAKEN:
        raise ExperimentError(
            f"metric: {table['metric']!r} is a name that Ray Tune uses itself; report another"
        )
    _check_choice("mode", table["mode"], tuple(DIRECTIONS))
    _check_choice("search", table["search"], tuple(search_algorithms.ALGORITHMS))


def _check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if not is_one(value, choices):
        raise ExperimentError(f"{key}: {unknown(value, choices)}")


def _check_fixed(table: Mapping[str, Any]) -> None:
    searched, fixed = table["space"], table.get("fixed", {})
    for key in fixed:
        if key in searched:
            raise ExperimentError(f"fixed.{key}: is searched in [space] as well; keep one of them")
    for where, names in (("space", searched), ("fixed", fixed)):
        for key in result_keys.RESERVED:
            # A script gets no seed but its own.
            own_seed = key == "seed" and table["trainable"] == A_SCRIPT
            if key in names and not own_seed:
                raise ExperimentError(f"{where}.{key}: is a reserved name; choose another")
    if table.get("repeats", 1) > 1:
        _check_seed_of_script(searched, fixed)
    try:
        json.dumps(fixed, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ExperimentError(
            f"fixed: needs numbers, strings, booleans or lists: {error}"
        ) from error


def _check_seed_of_script(searched: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    """Raise ExperimentError where repeats cannot each have a seed of their own."""
    if "seed" in searched:
        raise ExperimentError(
            "repeats: gives each trial a seed of its own, which is searched in [space] as well;"
            " keep one of them"
        )
    if type(fixed.get("seed", 0)) is not int:
        raise ExperimentError(
            f"fixed.seed: needs a whole number, from which repeats count on, got {fixed['seed']!r}"
        )


def _check_resources(resources: Mapping[str, Any]) -> None:
    for key, value in resources.items():
        if key not in RESOURCES:
            raise ExperimentError(f"resources: {unknown(key, RESOURCES, 'key')}")
        if value is not None:
            RESOURCE_CHECKS[key](key, value)


def _check_share(key: str, value: Any) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= sys.float_info.max:
        raise ExperimentError(f"{key}: needs a number of at least 0, got {value!r}")
    if 0 < value < LEAST_SHARE:
        raise ExperimentError(f"{key}: Ray counts in {LEAST_SHARE}; got {value!r}")


def _check_cpus(key: str, value: Any) -> None:
    _check_share(key, value)
    if value == 0:
        raise ExperimentError(f"{key}: needs a number above 0, got 0")


def _check_gpus(key: str, value: Any) -> None:
    _check_share(key, value)
    if value > 1 and value != int(value):
        raise ExperimentError(f"{key}: Ray assigns parts of one GPU or whole ones; got {value!r}")


def _check_workers(key: str, value: Any) -> None:
    _check_type(key, value, int)
    if value < 1:
        raise ExperimentError(f"{key}: needs at least 1, got {value}")


RESOURCE_CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    "cpus_per_trial": _check_cpus,
    "gpus_per_trial": _check_gpus,
    "workers_per_trial": _check_workers,
}
"""What each resource may be; as RESOURCES has them."""


def _num_samples(table: Mapping[str, Any], parameters: Space) -> int:
    """What was asked for; grid search counts its own and takes at most that many."""
    asked = table.get("num_samples")
    if table["search"] != "grid":
        return DEFAULT_NUM_SAMPLES if asked is None else int(asked)
    try:
        count = len(parameters.grid()) * int(table.get("repeats", 1))
    except SpaceError as error:
        raise ExperimentError(f"search = 'grid': {error}") from error
    return count if asked is None else min(int(asked), count)
