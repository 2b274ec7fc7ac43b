"""An experiment: what to tune, how, and with what budget.

Here are the schema, the search space, the objective, the names of search algorithms and
early-stopping rules with their checks, and the two kinds of trials; samplers and schedulers are
built in `app.search`, and nothing here starts Ray. An experiment is read by

    from app.experiment.loading import load

    experiment = load(Path("mine.toml"), {"epochs": 2})
"""
