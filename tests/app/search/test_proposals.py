"""What a search proposes: nothing twice, and away from what fails."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from app.experiment.objective import Objective
from app.experiment.space import identity, parse
from app.search.proposals import Proposals

Config = dict[str, Any]
LR = {"lr": {"type": "continuous", "low": 0.001, "high": 0.1, "scale": "log"}}
WHOLE = {
    "layers": {"type": "integer", "low": 1, "high": 4},
    "bias": {"type": "categorical", "values": [True, False]},
}
STEPS = {"p": {"type": "continuous", "low": 0.0, "high": 0.5, "step": 0.1}}
CONDITIONAL = {
    "kind": {"type": "categorical", "values": ["plain", "deep"]},
    "depth": {"type": "integer", "low": 2, "high": 4, "when": {"kind": ["deep"]}},
}
LARGE = {"n": {"type": "integer", "low": 1, "high": 10_000}}


def searching(space: Mapping[str, Any], search: str, *, mode: str = "min") -> Proposals:
    return Proposals(parse(space), search, seed=1, objective=Objective("loss", mode))


def search_through(
    proposals: Proposals,
    value: Callable[[Config], float | None],
    trials: int = 9,
    *,
    at_once: int = 1,
) -> list[Config]:
    """Train so many at once, each as long as any other."""
    configs: list[Config] = []
    for number in range(trials):
        if number >= at_once:
            proposals.tell(number - at_once, value(configs[number - at_once]))
        config = proposals.suggest(number)
        if config is None:
            break
        configs.append(config)
    return configs


def low(config: Config) -> float:
    """The best where every number is at its lowest."""
    return sum(float(value) for value in config.values() if not isinstance(value, str))


@pytest.mark.parametrize(("search", "at_once"), [("bayesian", 3), ("tpe", 1), ("random", 3)])
@pytest.mark.parametrize(
    ("space", "count"), [(LR, None), (WHOLE, 8), (STEPS, 6), (CONDITIONAL, 4), (LARGE, None)]
)
def test_no_configuration_comes_twice(
    space: Mapping[str, Any], count: int | None, search: str, at_once: int
) -> None:
    proposals = searching(space, search)
    configs = search_through(proposals, low, at_once=at_once)
    assert len({identity(config) for config in configs}) == len(configs) == (count or 9)
    assert proposals.count_if_exhausted() == count


def test_another_proposal_is_apart_from_what_was_tried() -> None:
    """Where the best is at an end of the range, the model proposes that end again and again."""
    rates = [config["lr"] for config in search_through(searching(LR, "bayesian"), low)]
    assert min(rates) == pytest.approx(0.001)
    logarithms = sorted(math.log10(lr) / 2 for lr in rates)
    gaps = [after - before for before, after in itertools.pairwise(logarithms)]
    assert min(gaps) > 0.004


def dies_below(lr: float) -> Callable[[Config], float | None]:
    return lambda config: None if config["lr"] < lr else float(config["lr"])


@pytest.mark.parametrize(("search", "at_once"), [("bayesian", 1), ("bayesian", 3), ("tpe", 3)])
def test_where_the_better_side_fails_the_search_leaves_it(search: str, at_once: int) -> None:
    rates = [
        config["lr"]
        for config in search_through(searching(LR, search), dies_below(0.008), at_once=at_once)
    ]
    assert sum(lr < 0.008 for lr in rates) <= 3
    # And it still comes near to where the best is.
    assert min(lr for lr in rates if lr >= 0.008) < 0.0101


def test_where_the_best_is_the_greatest_failures_are_the_least() -> None:
    proposals = searching(LR, "bayesian", mode="max")
    configs = search_through(
        proposals, lambda config: None if config["lr"] > 0.02 else float(config["lr"])
    )
    assert sum(config["lr"] > 0.02 for config in configs) <= 3


@pytest.mark.parametrize("search", ["bayesian", "tpe"])
def test_while_everything_fails_the_search_keeps_far_from_it(search: str) -> None:
    rates = [c["lr"] for c in search_through(searching(LR, search), lambda config: None, 7)]
    assert max(rates) > 0.09
    assert min(rates) < 0.0011
    assert max(rates[3:]) > max(rates[:3])


def test_one_failure_does_not_ban_a_choice_for_ever() -> None:
    """Half of the first four fail by chance; `deep`, where they were, is the best."""
    proposals = searching(CONDITIONAL | LR, "tpe")
    flaky = iter([0.5, None])
    configs = search_through(
        proposals, lambda c: next(flaky, 0.1 if c["kind"] == "deep" else 0.5), 20
    )
    assert any(config["kind"] == "deep" for config in configs[6:])


def test_what_was_ended_without_a_verdict_teaches_nothing_but_is_not_tried_again() -> None:
    proposals = searching(WHOLE, "bayesian")
    config = proposals.suggest(0)
    assert config is not None
    proposals.discard(0)
    others = [proposals.suggest(number) for number in range(1, 8)]
    assert config not in others
    assert proposals.suggest(8) is None


def test_random_search_does_not_depend_on_how_trials_went() -> None:
    drawn = [
        search_through(searching(WHOLE | LR, "random"), value, at_once=at_once)
        for value, at_once in ((low, 1), (low, 3), (lambda config: None, 1))
    ]
    assert drawn[0] == drawn[1] == drawn[2]


@pytest.mark.parametrize("points", [[{"lr": 0.05}, {"lr": 0.05}, {"lr": 0.02}]])
def test_points_to_begin_with_are_each_tried_once(points: Sequence[Config]) -> None:
    proposals = searching(LR, "bayesian")
    proposals.add({"lr": 0.02}, 0.3)
    proposals.enqueue(points)
    configs = search_through(proposals, low, 3)
    assert [config["lr"] for config in configs].count(0.05) == 1
    assert {"lr": 0.02} not in configs


def test_points_to_begin_with_may_be_as_near_to_each_other_as_they_like() -> None:
    proposals = searching(LR, "bayesian")
    points = [{"lr": 0.05}, {"lr": 0.05001}]
    proposals.enqueue(points)
    assert search_through(proposals, low, 2) == points
