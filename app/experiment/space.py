"""The search space: parameters by name, which may depend on others, and configurations."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.experiment.distributions import MAX_COMBINATIONS
from app.experiment.errors import SpaceError
from app.experiment.parameter import Parameter, Value, equality_key
from app.experiment.parameter_tables import read_parameter

if TYPE_CHECKING:
    import optuna

Identity = tuple[tuple[str, bool, Value], ...]


@dataclass(frozen=True)
class Space:
    """Parameters by name, each after those that it depends on."""

    parameters: Mapping[str, Parameter]

    def suggest(self, trial: "optuna.Trial") -> dict[str, Value]:
        """Let the trial's sampler choose a configuration."""
        return self._fill(lambda name, parameter: parameter.suggest(trial, name))

    def middle(self) -> dict[str, Value]:
        """Return the configuration in the middle of every range."""
        return self.at([0.5] * len(self.parameters))

    def at(self, fractions: Iterable[float]) -> dict[str, Value]:
        """Return the configuration with each parameter, in their order, this far into its range."""
        by_name = dict(zip(self.parameters, fractions, strict=True))
        return self._fill(lambda name, parameter: parameter.at(by_name[name]))

    def encode(self, config: Mapping[str, Value]) -> dict[str, float]:
        """Return the numbers that a sampler sees for a configuration, by parameter."""
        return {
            name: parameter.encode(config[name])
            for name, parameter in self.parameters.items()
            if name in config
        }

    def fractions(self, config: Mapping[str, Value]) -> list[float]:
        """Return how far into each range a configuration is, 0 to 1: the inverse of `at`."""
        return [
            parameter.fraction(config[name]) if name in config else 0.5
            for name, parameter in self.parameters.items()
        ]

    def position(self, config: Mapping[str, Value]) -> list[float]:
        """Return coordinates of a configuration, 0 to 1; absent parameters are in the middle."""
        return [
            coordinate
            for name, parameter in self.parameters.items()
            for coordinate in parameter.position(
                config[name] if name in config else parameter.at(0.5)
            )
        ]

    def select(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Pick a configuration from values; raises SpaceError where one is missing or outside."""
        return self._fill(lambda name, parameter: _select(name, parameter, values))

    def extremes(self) -> Iterator[dict[str, Value]]:
        """Yield the middle configuration with each parameter in turn at each of its ends."""
        for name, parameter in self.parameters.items():
            for value in parameter.extremes():
                yield {**self._around(name, value), name: value}

    def _around(self, name: str, value: Value) -> dict[str, Value]:
        """Return the middle configuration where one parameter has a value."""
        return self._fill(lambda key, parameter: value if key == name else parameter.at(0.5))

    def grid(self) -> list[dict[str, Value]]:
        """Return every configuration, in the order of the parameters.

        Raises SpaceError for a continuous parameter without steps, and for too many.
        """
        grids = {name: self._grid(name) for name in self.parameters}
        count = math.prod(map(len, grids.values()))
        if count > MAX_COMBINATIONS:
            raise SpaceError(
                f"space: has {count} combinations, grid search takes at most {MAX_COMBINATIONS};"
                " give steps or fewer values"
            )
        return list(_combinations({}, self.parameters, grids))

    def combinations(self) -> Iterator[dict[str, Value]]:
        """Yield every configuration, however many there are, in the order of `grid`.

        Raises SpaceError for a continuous parameter without steps, or with too many.
        """
        yield from _combinations({}, self.parameters, {n: self._grid(n) for n in self.parameters})

    def _grid(self, name: str) -> Sequence[Value]:
        try:
            return self.parameters[name].grid()
        except SpaceError as error:
            raise SpaceError(f"space.{name}: {error}") from error

    def _fill(self, choose: Callable[[str, Parameter], Value]) -> dict[str, Value]:
        config: dict[str, Value] = {}
        for name, parameter in self.parameters.items():
            if _applies(parameter, config):
                config[name] = choose(name, parameter)
        return config


def _holds(value: Value, values: Sequence[Value]) -> bool:
    return equality_key(value) in map(equality_key, values)


def _select(name: str, parameter: Parameter, values: Mapping[str, Value]) -> Value:
    if name not in values:
        raise SpaceError(f"it has no {name}")
    if not parameter.contains(values[name]):
        raise SpaceError(f"its {name} of {values[name]!r} is outside the space")
    return values[name]


def identity(config: Mapping[str, Value]) -> Identity:
    """Return a key that is equal for configurations that agree to twelve digits, and no others."""
    return tuple(sorted((name, *equality_key(_round(value))) for name, value in config.items()))


def _round(value: Value) -> Value:
    return float(f"{value:.12g}") if isinstance(value, float) else value


def _applies(parameter: Parameter, config: Mapping[str, Value]) -> bool:
    """Tell whether a configuration has the parameter, by the values of those it depends on."""
    return all(_holds(config.get(on), values) for on, values in parameter.when.items())


def _combinations(
    config: dict[str, Value],
    left: Mapping[str, Parameter],
    grids: Mapping[str, Sequence[Value]],
) -> Iterator[dict[str, Value]]:
    """Yield each way to fill a configuration with the parameters that are left."""
    if not left:
        yield config
        return
    name, *others = left
    rest = {other: left[other] for other in others}
    if not _applies(left[name], config):
        yield from _combinations(config, rest, grids)
        return
    for value in grids[name]:
        yield from _combinations({**config, name: value}, rest, grids)


def parse(table: Mapping[str, Any]) -> Space:
    """Read a `[space]` table.

    Raises SpaceError, naming the parameter, for whatever cannot be searched.
    """
    if not table:
        raise SpaceError("space: is empty; name at least one parameter to search")
    parameters = {name: read_parameter(name, entry) for name, entry in table.items()}
    for name, parameter in parameters.items():
        _check_when(name, parameter, parameters)
    return Space(_parents_first(parameters))


def _check_when(name: str, parameter: Parameter, parameters: Mapping[str, Parameter]) -> None:
    for on in parameter.when:
        if on not in parameters or on == name:
            others = ", ".join(other for other in parameters if other != name) or "no other"
            raise SpaceError(f"space.{name}.when: no other parameter {on!r}; there is {others}")
        if not parameter.when[on]:
            raise SpaceError(f"space.{name}.when.{on}: needs at least one value")
        for value in parameter.when[on]:
            if not parameters[on].contains(value):
                raise SpaceError(
                    f"space.{name}.when.{on}: {value!r} is no value that {on} can have"
                )


def _parents_first(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    ordered: dict[str, Parameter] = {}
    waiting = dict(parameters)
    while waiting:
        ready = [name for name, p in waiting.items() if all(on in ordered for on in p.when)]
        if not ready:
            raise SpaceError(f"space: {', '.join(waiting)} depend on each other in a circle")
        for name in ready:
            ordered[name] = waiting.pop(name)
    return ordered
