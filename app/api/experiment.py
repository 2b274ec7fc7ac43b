"""`Experiment` as a notebook makes it: from a file, or from Python values."""

from pathlib import Path
from typing import Any, Self

from app.experiment import loading, schema
from app.experiment.errors import ExperimentError
from app.experiment.flags import NAMES
from trainables.errors.choices import unknown


class Experiment(schema.Experiment):
    """Everything that decides what a run does, checked when it is made."""

    def __init__(self, **values: Any) -> None:
        """Take the keys of an experiment file; what they leave open is filled as in a file.

        Raises ExperimentError for anything wrong, in one sentence that begins with the key.
        """
        super().__init__(**dict(loading.from_values(values)))

    @classmethod
    def load(cls, path: str | Path | None = None, **flags: Any) -> Self:
        """Read a file, or the built-in experiment, with values over it.

        Args:
            path: A TOML file, or a run's `experiment.json`.
            flags: The flags of `python -m app.tune` by name, such as `num_samples=20`; `inputs`
                is a dictionary.

        Raises:
            ExperimentError: For anything wrong; what is wrong in a file names the file.
        """
        for name in flags:
            if name not in NAMES:
                raise ExperimentError(unknown(name, NAMES, "flag"))
        values = {name: loading.as_written(v) for name, v in flags.items() if v is not None}
        if isinstance(values.get("inputs"), dict):
            values["inputs"] = [f"{name}={place}" for name, place in values["inputs"].items()]
        found = loading.load(None if path is None else Path(path), values)
        return cls.model_construct(**dict(found))
