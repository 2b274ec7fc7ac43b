"""Importance of a run's parameters, by Optuna's evaluator."""

import warnings

from app.experiment.errors import SpaceError
from app.experiment.space import Space
from app.report.outcome import Outcome, objective, valued

MIN_TRIALS = 4
"""Trials with a value below which no evaluator tells one parameter from another."""


def importances(result: Outcome, space: Space) -> dict[str, float]:
    """Return the share of each parameter in what makes a trial good; they add up to 1.

    Empty where too few trials have a value, or one lies outside the space.
    """
    pairs = valued(result)
    if len(pairs) < MIN_TRIALS or len({found for _, found in pairs}) < 2:
        return {}
    import optuna
    from optuna.importance import get_param_importances
    from optuna.trial import create_trial

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=objective(result).direction)
    distributions = {name: p.distribution() for name, p in space.parameters.items()}
    try:
        for trial, found in pairs:
            params = {name: v for name, v in trial["config"].items() if name in distributions}
            used = {name: distributions[name] for name in params}
            study.add_trial(create_trial(params=params, distributions=used, value=found))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Experimental features, each time they are used.
            return dict(get_param_importances(study))
    except (SpaceError, ValueError, RuntimeError, OverflowError):
        return {}
