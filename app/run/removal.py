"""Removal of runs, and of checkpoints that no longer serve: neither touches a run in hand."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from app.experiment.run_folder import JOURNAL
from app.run import store
from app.run.commands import run_arguments
from app.run.errors import JournalError
from app.run.formatting import count
from app.run.journal import lock
from app.run.layout import TUNE
from app.run.status import RunStatus
from app.run.store import Run, StoreError
from app.storage.run_storage import run_storage
from app.storage.trial_files import TRIALS
from app.storage.working_copy import location

ENDED = (RunStatus.COMPLETED, RunStatus.STOPPED, RunStatus.FAILED)
"""Statuses of runs whose trials need their checkpoints no more; others can be resumed."""


@dataclass(frozen=True)
class Removal:
    """Files of a run that are to be removed, and their size."""

    folder: Path
    names: tuple[str, ...]
    """Folders of the run; none for the whole of it."""
    size: int
    """Bytes."""
    what: str
    """The same in words."""


def plan_deletion(runs: Path, names: Sequence[str]) -> list[Removal]:
    """Return the removal of each of these runs, called by their whole names.

    Raises StoreError for a name that is no run's, and for a run that is going on.
    """
    known = store.names(runs)
    for name in names:
        if name not in known:
            raise StoreError(
                f"no run is called {name!r} in {location(runs)}; delete takes whole names:"
                f" {store.some(known) or 'there is none'}"
            )
    return [_deletion(runs / name) for name in dict.fromkeys(names)]


def plan_pruning(runs: Path, names: Sequence[str]) -> tuple[list[Removal], list[str]]:
    """Return the removal of the checkpoints of losing trials, by run, and what is passed over.

    Args:
        runs: The folder of runs.
        names: Runs that have ended; without any, all that have.

    Raises:
        StoreError: One of them does not exist, cannot be read or has not ended.
    """
    removals: list[Removal] = []
    passed_over: list[str] = []
    for name in dict.fromkeys(names) or store.names(runs):
        try:
            run = store.find(runs, name) if names else store.read(runs / name)
            _check_ended(run)
            removals += _pruning(run)
        except StoreError as error:
            if names:
                raise
            passed_over.append(str(error))
    return removals, passed_over


def remove(removal: Removal) -> None:
    """Remove it; raises StoreError where it cannot be removed, or the run has been taken up."""
    storage = run_storage(removal.folder)
    with _held(removal.folder):
        if removal.names:
            for name in removal.names:
                storage.remove_folder(name)
        else:
            storage.remove()
    left = removal.folder if not removal.names else removal.folder / removal.names[0]
    if left.exists():
        raise StoreError(f"{left} could not be removed: look at its owner and permissions")


def _deletion(folder: Path) -> Removal:
    storage = run_storage(folder)
    if storage.is_running():
        raise StoreError(_in_hand(folder))
    sizes = storage.sizes()
    try:
        result = store.read(folder).result
        parts = [count(len(result["trials"]), "trial"), *(["its model"] if result["model"] else [])]
    except (JournalError, StoreError):
        parts = ["it cannot be read"]
    return Removal(folder, (), sum(sizes.values()), ", ".join(parts))


def _check_ended(run: Run) -> None:
    if run_storage(run.folder).is_running():
        raise StoreError(_in_hand(run.folder))
    status = run.result["status"]
    if status not in ENDED:
        raise StoreError(f"{run.name} is {status}: it needs its checkpoints to go on")


def _in_hand(folder: Path) -> str:
    stop = f"python -m app.runs stop {run_arguments(folder)}"
    return f"{folder.name} is running; end it first: {stop}"


def _pruning(run: Run) -> Iterator[Removal]:
    """Yield what losing trials of a run have that only they need, if they have anything."""
    kept = {source["trial_id"] for source in (run.result["best"], run.result["model_of"]) if source}
    if not kept:
        return
    losers = [
        str(trial["trial_id"]) for trial in run.result["trials"] if trial["trial_id"] not in kept
    ]
    parents = (TUNE, TRIALS) if _keeps_own_files(run) else (TUNE,)
    sizes: dict[str, int] = {}
    for name, size in run_storage(run.folder).sizes().items():
        parent, _, rest = name.partition("/")
        trial_id = rest.partition("/")[0]
        if parent in parents and trial_id in losers:
            folder = f"{parent}/{trial_id}"
            sizes[folder] = sizes.get(folder, 0) + size
    if sizes:
        pruned = len({folder.partition("/")[2] for folder in sizes})
        what = f"checkpoints of {pruned} of {count(len(run.result['trials']), 'trial')}"
        yield Removal(run.folder, tuple(sizes), sum(sizes.values()), what)


def _keeps_own_files(run: Run) -> bool:
    """Whether trials keep their checkpoints in folders of their own, as scripts do."""
    return store.read_experiment(run).kind.keeps_checkpoints


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Lock a run's journal, so that nobody takes the run up; raises StoreError where one has."""
    if run_storage(folder).is_running():
        raise StoreError(_in_hand(folder))
    with ExitStack() as stack:
        # A run that is kept behind a URI, or has lost its journal, has none here.
        with suppress(FileNotFoundError):
            file = stack.enter_context((folder / JOURNAL).open("rb"))
            try:
                lock(file.fileno(), folder)
            except JournalError as error:
                raise StoreError(_in_hand(folder)) from error
        yield
