"""Samplers and schedulers are built for exactly the names that an experiment accepts."""

import inspect

import pytest

from app.experiment import early_stopping, search_algorithms
from app.search.samplers import SAMPLERS
from app.search.schedulers import SCHEDULERS


def test_every_search_algorithm_has_a_sampler() -> None:
    assert SAMPLERS.keys() == search_algorithms.ALGORITHMS.keys()


def test_every_early_stopping_rule_has_a_scheduler() -> None:
    assert SCHEDULERS.keys() == early_stopping.RULES.keys()


@pytest.mark.parametrize("name", early_stopping.RULES)
def test_a_scheduler_takes_the_settings_of_its_rule(name: str) -> None:
    assert [*inspect.signature(SCHEDULERS[name]).parameters] == [*early_stopping.RULES[name]]
