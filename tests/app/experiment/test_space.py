"""The search space: what it refuses, what samplers see of it and what trials get."""

import math
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import IntDistribution
from optuna.samplers import GPSampler
from optuna.trial import FixedTrial

from app.experiment import space
from app.experiment.distributions import Continuous
from app.experiment.errors import SpaceError
from app.experiment.parameter import Parameter

NUMBERS = st.floats(-1e6, 1e6)
POSITIVE = st.floats(1e-9, 1e6)
BELOW_ONE = st.floats(0, 0.999999)
WHOLE = st.integers(-1_000_000, 1_000_000)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (3, r"^space\.p: needs a table such as \{ type = 'integer', … \}, got 3$"),
        ({}, r"^space\.p: needs `type`; choose from continuous, integer, categorical$"),
        ({"typ": "integer"}, r"^space\.p: unknown key 'typ'; did you mean 'type'\?$"),
        ({"type": "intger"}, r"^space\.p\.type: unknown 'intger'; did you mean 'integer'\?$"),
        ({"type": "integer", "lwo": 1}, r"^space\.p: unknown key 'lwo'; did you mean 'low'\?$"),
        ({"type": "float"}, r"^space\.p\.type: unknown 'float'; choose from continuous, integer,"),
        ({"type": ["integer"]}, r"^space\.p\.type: unknown \['integer'\]; choose from"),
        ({"type": "integer", "when": 2}, r"^space\.p\.when: needs a table .*, got 2$"),
        ({"type": "integer", "when": {"q": 1}}, r"^space\.p: needs `low`$"),
        ({"type": "continuous", "low": 1}, r"^space\.p: needs `high`$"),
        ({"type": "categorical"}, r"^space\.p: needs `values`$"),
    ],
)
def test_an_entry_that_is_no_parameter_is_named(entry: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        space.parse({"p": entry})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"low": 1, "high": 0}, r"^space\.p: needs low <= high, got \[1\.0, 0\.0\]$"),
        ({"low": "a", "high": 1}, r"^space\.p\.low: needs a finite number, got 'a'$"),
        ({"low": 0, "high": math.nan}, r"^space\.p\.high: needs a finite number, got nan$"),
        ({"low": 0, "high": math.inf}, r"^space\.p\.high: needs a finite number, got inf$"),
        ({"low": 0, "high": True}, r"^space\.p\.high: needs a finite number, got True$"),
        ({"low": 0, "high": 10**400}, r"^space\.p\.high: needs a finite number, got 1000"),
        ({"low": 0, "high": 1, "scale": "exp"}, r"^space\.p\.scale: unknown 'exp'; choose from"),
        ({"low": 0, "high": 1, "scale": "log"}, r"a log scale needs low > 0, got \[0\.0, 1\.0\]$"),
        (
            {"low": 0, "high": 1, "scale": "reverse-log"},
            r"a reverse-log scale needs 0 <= low and high < 1, got \[0\.0, 1\.0\]$",
        ),
        ({"low": 0, "high": 1, "step": 0}, r"^space\.p\.step: needs a number above 0 and a linear"),
        ({"low": 1, "high": 2, "step": 1, "scale": "log"}, r"^space\.p\.step: needs .* got 1\.0$"),
        ({"low": 0, "high": 1, "q": 1}, r"unknown key 'q'; choose from type, low, high, scale, "),
    ],
)
def test_a_continuous_range_that_cannot_be_searched_is_named(entry: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        space.parse({"p": {"type": "continuous", **entry}})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"low": 4, "high": 1}, r"^space\.p: needs low <= high, got \[4, 1\]$"),
        ({"low": 1.0, "high": 4}, r"^space\.p\.low: needs a whole number, got 1\.0$"),
        ({"low": 1, "high": True}, r"^space\.p\.high: needs a whole number, got True$"),
        ({"low": 1, "high": 4, "step": "2"}, r"^space\.p\.step: needs a whole number, got '2'$"),
        ({"low": 1, "high": 4, "step": 0}, r"^space\.p\.step: needs at least 1, .*, got 0$"),
        ({"low": 1, "high": 4, "step": 2, "scale": "log"}, r"and 1 on a log scale, got 2$"),
        ({"low": 0, "high": 4, "scale": "log"}, r"a log scale needs low > 0, got \[0, 4\]$"),
        ({"low": 0, "high": 4, "scale": "reverse-log"}, r"choose from linear, log$"),
    ],
)
def test_an_integer_range_that_cannot_be_searched_is_named(entry: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        space.parse({"p": {"type": "integer", **entry}})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"^space\.p\.values: needs a list of at least one value, got \[\]$"),
        ("abc", r"^space\.p\.values: needs a list of at least one value, got 'abc'$"),
        ([[1]], r"^space\.p\.values: needs numbers, strings or booleans, got \[1\]$"),
        ([1.0, math.nan], r"^space\.p\.values: needs finite numbers, got nan$"),
        (["a", "a"], r"^space\.p\.values: names a value twice: \['a', 'a'\]$"),
        ([1, 1.0], r"^space\.p\.values: names a value twice: \[1, 1\.0\]$"),
    ],
)
def test_categorical_values_that_cannot_be_searched_are_named(values: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        space.parse({"p": {"type": "categorical", "values": values}})


def test_true_is_another_value_than_one() -> None:
    parsed = space.parse(
        {
            "p": {"type": "categorical", "values": [0, 1, False, True]},
            "q": {"type": "integer", "low": 7, "high": 7, "when": {"p": [True]}},
        }
    )
    values = [0, 1, False, True]
    p = parsed.parameters["p"]
    assert [p.encode(value) for value in values] == [0, 1, 2, 3]
    assert [p.at(0.25 * index) for index in range(4)] == values
    grid = parsed.grid()
    assert grid == [{"p": 0}, {"p": 1}, {"p": False}, {"p": True, "q": 7}]
    assert [type(config["p"]) for config in grid] == [int, int, bool, bool]
    fixed: list[Any] = [FixedTrial(dict(parsed.encode(config))) for config in grid]
    chosen = [parsed.suggest(trial) for trial in fixed]
    assert [type(config["p"]) for config in chosen] == [int, int, bool, bool]
    assert chosen == grid
    assert p.contains(True)
    assert (
        not space.parse({"p": {"type": "categorical", "values": [1]}})
        .parameters["p"]
        .contains(True)
    )


def test_an_empty_space_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"^space: is empty; name at least one parameter"):
        space.parse({})


def test_a_condition_needs_another_parameter_that_is_there() -> None:
    p = {"type": "integer", "low": 1, "high": 2}
    with pytest.raises(SpaceError, match=r"^space\.p\.when: no other parameter 'z'; there is q$"):
        space.parse({"p": {**p, "when": {"z": 1}}, "q": p})
    with pytest.raises(SpaceError, match=r"^space\.p\.when: no other .* 'p'; there is no other$"):
        space.parse({"p": {**p, "when": {"p": 1}}})


def test_conditions_in_a_circle_are_refused() -> None:
    p = {"type": "integer", "low": 1, "high": 2}
    with pytest.raises(SpaceError, match=r"^space: a, b depend on each other in a circle$"):
        space.parse({"a": {**p, "when": {"b": 1}}, "b": {**p, "when": {"a": 1}}, "c": p})


def ends(low: Any, high: Any) -> dict[str, Any]:
    return {"low": min(low, high), "high": max(low, high)}


CONTINUOUS = st.one_of(
    st.builds(ends, NUMBERS, NUMBERS),
    st.builds(ends, POSITIVE, POSITIVE).map(lambda e: {**e, "scale": "log"}),
    st.builds(ends, BELOW_ONE, BELOW_ONE).map(lambda e: {**e, "scale": "reverse-log"}),
)
STEPPED = st.builds(
    lambda low, count, step: {
        "low": low / 100,
        "high": (low + count * step) / 100,
        "step": step / 100,
    },
    st.integers(-1000, 1000),
    st.integers(0, 50),
    st.integers(1, 300),
)
INTEGER = st.one_of(
    st.builds(ends, WHOLE, WHOLE),
    st.builds(ends, st.integers(1, 10**6), st.integers(1, 10**6)).map(
        lambda e: {**e, "scale": "log"}
    ),
    st.builds(
        lambda e, step: {**e, "step": step},
        st.builds(ends, st.integers(-99, 99), st.integers(-99, 99)),
        st.integers(1, 50),
    ),
)
ENTRIES = st.one_of(
    st.one_of(CONTINUOUS, STEPPED).map(lambda e: {"type": "continuous", **e}),
    INTEGER.map(lambda e: {"type": "integer", **e}),
    st.one_of(
        st.lists(NUMBERS | WHOLE, min_size=1, unique=True),
        st.lists(st.text(max_size=5) | st.booleans(), min_size=1, unique=True),
    ).map(lambda values: {"type": "categorical", "values": values}),
)


def parsed(entry: dict[str, Any]) -> Parameter:
    return space.parse({"p": entry}).parameters["p"]


def in_domain(value: Any, entry: dict[str, Any]) -> bool:
    """Whether a value is one that the entry as written allows, type included."""
    if entry["type"] == "categorical":
        return any(value == each and type(value) is type(each) for each in entry["values"])
    steps = (value - entry["low"]) / entry.get("step", 1)
    on_step = "step" not in entry or math.isclose(steps, round(steps), abs_tol=1e-6)
    kind = int if entry["type"] == "integer" else float
    return type(value) is kind and entry["low"] <= value <= entry["high"] and on_step


def fixed(chosen: Any) -> Any:
    """A trial whose sampler chose this."""
    return FixedTrial({"p": chosen})


def asked(seed: int) -> optuna.Trial:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()


@given(ENTRIES, st.integers(0, 2**31))
def test_what_is_drawn_lies_in_the_domain(entry: dict[str, Any], seed: int) -> None:
    assert in_domain(parsed(entry).suggest(asked(seed), "p"), entry)


@given(ENTRIES, st.floats(0, 1))
def test_every_fraction_and_the_extremes_lie_in_the_domain(
    entry: dict[str, Any], fraction: float
) -> None:
    parameter = parsed(entry)
    assert all(in_domain(value, entry) for value in (parameter.at(fraction), *parameter.extremes()))


@given(ENTRIES)
def test_what_is_encoded_is_what_is_suggested_again(entry: dict[str, Any]) -> None:
    parameter = parsed(entry)
    for value in (parameter.at(0.5), *parameter.extremes()):
        again = parameter.suggest(fixed(parameter.encode(value)), "p")
        assert type(again) is type(value)
        assert again == value or math.isclose(again, value, rel_tol=1e-9, abs_tol=1e-15)


@given(ENTRIES, st.integers(0, 2**31))
def test_what_is_drawn_encodes_to_what_the_sampler_chose(entry: dict[str, Any], seed: int) -> None:
    trial = asked(seed)
    value = parsed(entry).suggest(trial, "p")
    chosen = trial.params["p"]
    # Of more steps than a sampler can count it sees a plain range.
    step = entry.get("step", entry["type"] == "integer") or 0
    assert math.isclose(parsed(entry).encode(value), chosen, rel_tol=1e-6, abs_tol=1e-12 + step)


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "integer", "low": 0, "high": 2**31 - 1},
        {"type": "integer", "low": 1, "high": 2**53, "scale": "log"},
        {"type": "integer", "low": -(10**12), "high": 10**12, "step": 1000},
        {"type": "continuous", "low": 0, "high": 1e10, "step": 0.1},
    ],
)
def test_a_range_of_a_great_many_values_is_searched_without_listing_them(
    entry: dict[str, Any],
) -> None:
    study = optuna.create_study(sampler=GPSampler(seed=0, n_startup_trials=2))
    parameter = parsed(entry)
    for number in range(4):
        trial = study.ask()
        value = parameter.suggest(trial, "p")
        assert parameter.contains(value)
        assert math.isclose(parameter.encode(value), trial.params["p"], abs_tol=1000)
        study.tell(trial, number)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"type": "integer", "low": 0, "high": 10**30},
            r"p\.high: needs .* at most 2\^53, got 1000",
        ),
        (
            {"type": "continuous", "low": 0, "high": 1, "step": 1e-17},
            r"p\.step: 1e-17 is too small",
        ),
        (
            {"type": "continuous", "low": -1.7e308, "high": 1.7e308},
            r"p: the range \[-1\.7e\+308, 1\.7e\+308\] is wider than a float can tell",
        ),
        (
            {"type": "integer", "low": 0, "high": 1, "when": {"p": []}},
            r"p\.when: no other parameter 'p'",
        ),
    ],
)
def test_a_range_that_no_float_can_tell_is_refused(entry: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=rf"^space\.{message}"):
        space.parse({"p": entry})


@given(ENTRIES)
def test_both_ends_are_reachable(entry: dict[str, Any]) -> None:
    parameter = parsed(entry)
    trial = asked(0)
    parameter.suggest(trial, "p")
    chosen_from: Any = trial.distributions["p"]
    if hasattr(chosen_from, "choices"):
        reached = {parameter.suggest(fixed(choice), "p") for choice in chosen_from.choices}
        assert reached == set(entry["values"])
        return
    encoded = [parameter.encode(value) for value in parameter.extremes()]
    assert (min(encoded), max(encoded)) == (chosen_from.low, chosen_from.high)


def test_numbers_are_sampled_by_their_order_and_given_as_their_own() -> None:
    parameter = parsed({"type": "categorical", "values": [128, 0.5, 32]})
    trial = asked(0)
    parameter.suggest(trial, "p")
    assert trial.distributions["p"] == IntDistribution(0, 2)
    given_ = [parameter.suggest(fixed(index), "p") for index in range(3)]
    assert [(value, type(value)) for value in given_] == [(0.5, float), (32, int), (128, int)]
    assert parameter.at(0.5) == 32
    assert list(parameter.grid()) == [128, 0.5, 32]


@pytest.mark.parametrize("values", [["sgd", "adam"], [True, False], [1, "auto"]])
def test_what_has_no_order_is_sampled_as_a_choice(values: Sequence[Any]) -> None:
    trial = asked(0)
    parsed({"type": "categorical", "values": values}).suggest(trial, "p")
    assert not isinstance(trial.distributions["p"], IntDistribution)


def test_reverse_log_is_as_fine_at_its_end_as_log_is_at_its_beginning() -> None:
    parameter = Continuous(0.9, 0.999, "reverse-log")
    assert parameter.at(0.5) == pytest.approx(0.99)
    assert parameter.encode(0.999) == pytest.approx(0.001)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [parameter.suggest(study.ask(), "p") for _ in range(200)]
    assert 70 < sum(value > 0.99 for value in drawn) < 130


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        ({"type": "continuous", "low": 0, "high": 0.3, "step": 0.1}, [0.0, 0.1, 0.2, 0.3]),
        ({"type": "continuous", "low": 0, "high": 1, "step": 0.3}, [0.0, 0.3, 0.6, 0.9]),
        ({"type": "continuous", "low": 2, "high": 2}, [2.0]),
        ({"type": "integer", "low": 1, "high": 10, "step": 4}, [1, 5, 9]),
        ({"type": "integer", "low": 1, "high": 4, "scale": "log"}, [1, 2, 3, 4]),
    ],
)
def test_grid_takes_every_step(entry: dict[str, Any], values: list[Any]) -> None:
    assert space.parse({"p": entry}).grid() == [{"p": value} for value in values]
    assert parsed(entry).extremes() == [values[0], values[-1]]


def test_a_parameter_that_depends_on_no_value_is_refused() -> None:
    whole = {"type": "integer", "low": 0, "high": 1}
    with pytest.raises(SpaceError, match=r"^space\.q\.when\.p: needs at least one value$"):
        space.parse({"p": whole, "q": {**whole, "when": {"p": []}}})


def test_a_grid_of_steps_too_small_to_list_is_refused() -> None:
    lr = {"type": "continuous", "low": 0.0, "high": 1.0, "step": 1e-9}
    with pytest.raises(SpaceError, match=r"^space\.lr: has 1000000001 steps, more than grid"):
        space.parse({"lr": lr}).grid()


def test_a_grid_that_no_memory_holds_is_refused_with_its_size() -> None:
    wide = {"type": "integer", "low": 1, "high": 10**12}
    message = "^space: has 1000000000000 combinations, grid search takes at most 1000000;"
    with pytest.raises(SpaceError, match=message):
        space.parse({"n": wide}).grid()
    every_millionth = space.parse({"n": {**wide, "step": 10**6}}).grid()
    assert (len(every_millionth), every_millionth[-1]) == (1_000_000, {"n": 999_999_000_001})


def test_grid_over_a_continuous_parameter_asks_for_its_steps() -> None:
    lr = {"type": "continuous", "low": 0.1, "high": 1}
    message = r"^space\.lr: grid search over a continuous parameter needs its `step`$"
    with pytest.raises(SpaceError, match=message):
        space.parse({"lr": lr}).grid()


LAYERS = {
    "width": {"type": "integer", "low": 1, "high": 2, "when": {"layers": [2, 3], "wide": True}},
    "layers": {"type": "integer", "low": 1, "high": 3},
    "wide": {"type": "categorical", "values": [True, False]},
}


def test_a_parameter_is_left_out_where_its_condition_does_not_hold() -> None:
    grid = space.parse(LAYERS).grid()
    assert len(grid) == 8
    for config in grid:
        assert ("width" in config) == (config["layers"] in (2, 3) and config["wide"])
    assert len({tuple(sorted(config.items())) for config in grid}) == 8


@given(st.integers(0, 2**31))
def test_conditions_hold_for_what_is_drawn(seed: int) -> None:
    parameters = space.parse(LAYERS)
    config = parameters.suggest(asked(seed))
    assert ("width" in config) == (config["layers"] in (2, 3) and config["wide"])
    assert parameters.encode(config).keys() == config.keys()


def test_extremes_show_each_end_with_what_depends_on_it() -> None:
    table = {
        "layers": {"type": "integer", "low": 1, "high": 5},
        "dropout": {"type": "continuous", "low": 0.0, "high": 0.5, "when": {"layers": 5}},
    }
    assert list(space.parse(table).extremes()) == [
        {"layers": 1},
        {"layers": 5, "dropout": 0.25},
        {"layers": 3, "dropout": 0.0},
        {"layers": 3, "dropout": 0.5},
    ]


def test_a_wide_integer_range_costs_no_memory() -> None:
    assert parsed({"type": "integer", "low": 0, "high": 10**15}).at(0.5) == 5 * 10**14


@given(ENTRIES, st.floats(0, 1))
def test_a_parameter_contains_what_it_gives(entry: dict[str, Any], fraction: float) -> None:
    parameter = parsed(entry)
    assert all(map(parameter.contains, (parameter.at(fraction), *parameter.extremes())))


@pytest.mark.parametrize(
    ("entry", "others"),
    [
        ({"type": "continuous", "low": 0.0, "high": 1.0}, [-0.1, 1.1, "0.5", True]),
        ({"type": "continuous", "low": 0.0, "high": 1.0, "step": 0.25}, [0.3]),
        ({"type": "integer", "low": 1, "high": 9, "step": 2}, [0, 2, 11, 3.5, True]),
        ({"type": "categorical", "values": [1, 2]}, [3, True, "1"]),
        ({"type": "categorical", "values": [True, False]}, [1, 0]),
    ],
)
def test_a_parameter_does_not_contain_what_it_cannot_give(
    entry: dict[str, Any], others: Sequence[Any]
) -> None:
    assert not any(map(parsed(entry).contains, others))


def test_a_condition_on_a_value_that_cannot_be_is_a_mistake() -> None:
    table = {
        "layers": {"type": "integer", "low": 1, "high": 3},
        "width": {"type": "integer", "low": 8, "high": 64, "when": {"layers": [3, 4]}},
    }
    message = r"^space\.width\.when\.layers: 4 is no value that layers can have$"
    with pytest.raises(SpaceError, match=message):
        space.parse(table)
