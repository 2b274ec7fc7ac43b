"""Search from Python, in a notebook or a script: start runs, find them again, read and serve them.

Not here: searching, exporting and serving themselves, which `python -m app.tune`, `app.runs` and
`serve` do in processes of their own; importing this loads none of their libraries::

    from app.api import Experiment, run

    found = run(Experiment.load("mine.toml", num_samples=20))
    found.to_pandas()
"""

from app.api.commands import CommandError
from app.api.endpoint import Endpoint, EndpointError
from app.api.experiment import Experiment
from app.api.run_handle import Run
from app.api.runs import RunList, list_runs, open_run, run
from app.api.trial import Trial
from app.experiment.errors import ExperimentError
from app.run.errors import JournalError
from app.run.status import RunStatus, TrialStatus
from app.run.store import StoreError
from app.storage.remote_folder import StorageError

__all__ = [
    "CommandError",
    "Endpoint",
    "EndpointError",
    "Experiment",
    "ExperimentError",
    "JournalError",
    "Run",
    "RunList",
    "RunStatus",
    "StorageError",
    "StoreError",
    "Trial",
    "TrialStatus",
    "list_runs",
    "open_run",
    "run",
]
