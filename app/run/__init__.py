"""One run: its journal, the record that the events add up to, `result.json`, and runs by name.

How a run is executed is in `app.engine`, what it was asked in `app.experiment`, and where its files
are kept in `app.storage`. `store.find(store.open_runs("runs"), "mnist").result` reads a run's
outcome, as `app.runs show` prints it.
"""
