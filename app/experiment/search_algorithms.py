"""Search algorithms by name, with the traits on which checks of an experiment depend.

`app.search` builds their samplers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SearchAlgorithm:
    """Traits of a search algorithm."""

    exhaustive: bool = False
    """Whether it tries a fixed list of configurations and then ends."""
    learns: bool = True
    """Whether its proposals depend on the results of earlier trials."""
    early_stopping: str | None = None
    """The early-stopping rule that is part of it; None leaves the choice to the experiment."""


ALGORITHMS: Mapping[str, SearchAlgorithm] = {
    "bayesian": SearchAlgorithm(),
    "gp": SearchAlgorithm(),
    "tpe": SearchAlgorithm(),
    "random": SearchAlgorithm(learns=False),
    "grid": SearchAlgorithm(exhaustive=True, learns=False),
    "hyperband": SearchAlgorithm(early_stopping="asha"),
}
"""Search algorithms by the names that `--search` takes."""
DEFAULT = "bayesian"
ALIASES = {"asha": "hyperband"}
"""Other names of search algorithms."""


def canonical_name(name: Any) -> Any:
    """Return our name of an algorithm; upper case, as in SageMaker's `Bayesian`, is ignored.

    What is not known is returned as it is.
    """
    if not isinstance(name, str):
        return name
    lower = name.lower()
    known = ALIASES.get(lower, lower)
    return known if known in ALGORITHMS else name
