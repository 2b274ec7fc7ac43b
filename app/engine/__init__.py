"""One run: what starts, watches and ends its trials.

The runner joins a cluster, begins a run's folder or goes on with one, lets Ray's `Tuner` train what
is left, and has the best trial exported; a `TrialActor` holds the user's trainable in each trial's
process, and a callback writes what happens to the journal. What to try next is in `app.search`, the
record of a run in `app.run`, models in `app.export`. A call that works::

    import sys

    from app.engine.progress import progress
    from app.engine.runner import run
    from app.experiment.loading import load
    from app.run import store

    folder = store.new_folder(store.open_runs("runs"), "mine")
    record = run(load(None, {"num_samples": 2, "epochs": 1}), folder, progress(sys.stderr))
"""
