"""Run an experiment or go on with a run, and export the best trial's model."""

import importlib.metadata
import json
import os
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import trainables
from app.cluster import capacity, connection, home_directory, storage_check
from app.cluster.capacity import Patience
from app.cluster.connection import Cluster
from app.cluster.resources import Resources
from app.cluster.signals import Interrupted, Interrupts
from app.cluster.watchdog import watched
from app.experiment.errors import ExperimentError
from app.experiment.run_folder import CODE
from app.experiment.schema import Experiment
from app.export.best_so_far import BestModelExport
from app.export.export_check import ExportCheck
from app.export.model_exporter import MODEL, ModelExporter, check_has_model
from app.export.trial_models import NoModelError
from app.export.trial_snapshot import best_epoch_of
from app.run import failure_summary, run_sync, store
from app.run.formatting import count
from app.run.journal import Journal, JournalError, Moved
from app.run.record import Record
from app.run.status import RunStatus, TrialStatus
from app.run.store import Run, StoreError
from app.run.trial import Trial
from app.search.warm_start import WarmStart
from app.storage.files import PARTIAL, new_folder, replace_file
from app.storage.run_storage import run_storage
from app.storage.working_copy import location
from serve.handlers import stubs
from serve.models.manifest import MANIFEST
from trainables.contract import Refused, TrainableError

if TYPE_CHECKING:
    from ray.tune import Trainable

    from app.search.stoppers import Ending

REASONS = 3
"""Different reasons for which trials failed that a run without a best one tells."""
RECORDED = ("ray", "torch", "optuna")
LEAVE_S = 1.0
"""How long a search that is interrupted, or cannot go on, waits for an export: it may hang."""


class RunError(Exception):
    """A run that ended without what it was for, in one sentence."""


class NoBestError(RunError):
    """A run without a best trial: why, and the command that exports what a failed one had."""

    def __init__(self, why: str, lost: Sequence[str]) -> None:
        super().__init__("; ".join([why, *lost]))
        self.why = why


class Progress(Protocol):
    """Shows how a run goes."""

    def start(self, plan: "Plan") -> None:
        """Before the first trial."""
        ...

    def update(self, event: str, trial: Trial) -> None:
        """After every event of a trial."""
        ...

    def say(self, text: str) -> None:
        """Something worth a line."""
        ...

    def stop(self) -> None:
        """After the last trial, and after an interrupt."""
        ...


@dataclass(frozen=True)
class Plan:
    """What is about to run, and where."""

    folder: Path
    experiment: Experiment
    cluster: Cluster
    resources: Resources
    record: Record
    export_best: bool = False
    """Whether the best model so far is exported whenever it improves."""


@dataclass(frozen=True)
class Joining:
    """Which cluster to join, and how long to wait for its nodes."""

    address: str | None = None
    """Where it is, or None for where the environment says; if it does not, Ray starts here."""
    wait_s: float = 0.0
    """How long nodes may take to come that have room for a trial."""


NOWHERE = Joining()


@dataclass(frozen=True)
class Prepared:
    """What trials share, made ready while Ray starts."""

    trainable: "type[Trainable]"
    shared: Mapping[str, Any]
    digests: dict[str, str]
    """Digests of the data that has one, by the names under which it is shared."""


def run(
    experiment: Experiment,
    folder: Path,
    progress: Progress,
    *,
    resume: bool = False,
    warm: WarmStart | None = None,
    joining: Joining = NOWHERE,
    export_best: bool = False,
    needs_model: str | None = None,
    interrupts: Interrupts | None = None,
) -> Record:
    """Run the experiment in `folder`, or go on with what is there, and export the best model.

    A new run may start warm, with what earlier ones learned; the best model so far may be exported
    whenever it improves. A trainable without a model is refused before anything starts where the
    flag `needs_model` was typed. Where the best trial cannot be exported the run is complete all
    the same, and its record says why.

    Raises the errors of the rooms that it calls for what is known to go wrong, RunError where no
    trial succeeded, and Interrupted after everything was saved.
    """
    home_directory.ensure()
    interrupts = interrupts or Interrupts()
    with (
        _forgotten_if_refused(folder, is_new=not resume),
        _move_told(),
        _background() as background,
        interrupts.handled(),
    ):
        if needs_model is not None:
            background.submit(_check_gives, experiment, needs_model).result()
        preparing = background.submit(_prepare, experiment, folder)
        try:
            with interrupts.deferred():
                machine = connection.start(joining.address)
            patience = Patience(joining.wait_s, progress.say, interrupts)
            machine, share = capacity.found(experiment, machine, patience)
            experiment = experiment.with_resources(share.cpus, share.gpus)
            ready = preparing.result()
            if not machine.is_local:
                storage_check.check(folder.parent, interrupts)
            used = {"threads": share.threads, "data": ready.digests}
            with run_sync.hold(folder, download=resume) as sync:
                journal = (_resumed if resume else _begun)(folder, experiment, used)
                plan = Plan(folder, experiment, machine, share, journal.record, export_best)
                try:
                    # What was asked of an earlier leg, before anybody can ask it of this one.
                    (folder / store.STOP).unlink(missing_ok=True)
                    with _ending_told(journal), watched(machine, _without_ray(plan, progress)):
                        sync.follow(journal)
                        if warm is not None:
                            journal.append("warm", **warm.as_json())
                        _search(plan, ready, journal, progress, interrupts, background)
                finally:
                    journal.close()
        finally:
            connection.stop()
    return journal.record


@contextmanager
def _background() -> Iterator[ThreadPoolExecutor]:
    """Run work in a thread; wait for it at the end, but not where an error ends the block.

    What runs there may be the user's code, which may never come back.
    """
    executor = ThreadPoolExecutor(1)
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()


def _without_ray(plan: Plan, progress: Progress) -> Callable[[str], None]:
    """What ends this process where Ray has ended: nothing that calls it would come back."""

    def end(process: str) -> None:
        command = store.resume_command(plan.folder)
        try:
            progress.stop()
            progress.say(f"error: Ray's {process} was lost; go on by: {command}")
        finally:
            os._exit(1)

    return end


def _check_gives(experiment: Experiment, flag: str) -> None:
    """Raise ExperimentError where the flag needs a model and there will be none."""
    check_has_model(experiment, trainables.resolve(experiment.trainable, experiment.folder), flag)


def _prepare(experiment: Experiment, folder: Path) -> Prepared:
    """The trainable, its configurations tried for what it refuses, and the data."""
    trainable = trainables.resolve(experiment.trainable, experiment.folder)
    kind = experiment.kind
    kind.check_workers(trainable)
    asked = experiment.resources
    if asked.cpus_per_trial is None and asked.gpus_per_trial is None:
        trainables.check_resources(trainable, experiment.trainable)
    _check_configs(experiment, trainable)
    if not hasattr(trainable, "shared") and (experiment.data_dir or experiment.download):
        raise TrainableError(f"--data-dir: {experiment.trainable} has no shared() that reads it")
    shared = kind.shared(trainable, folder, stubs.path)
    return Prepared(trainable, shared, kind.digests(shared))


def _check_configs(experiment: Experiment, trainable: "type[Trainable]") -> None:
    """Let the trainable see both ends of every parameter before anything starts."""
    if not hasattr(trainable, "check_config"):
        return
    for config in experiment.parameters.extremes():
        try:
            trainable.check_config({**experiment.given(1), **config})
        except ValueError as error:
            # The sentence begins with the parameter's name.
            where = "fixed" if str(error).partition(":")[0] in experiment.fixed else "space"
            raise ExperimentError(f"{where}.{error}") from error
        except KeyError as error:
            raise ExperimentError(
                f"space: {experiment.trainable} needs a parameter {error.args[0]!r};"
                " search it in [space] or give it in [fixed]"
            ) from error


def _begun(folder: Path, experiment: Experiment, used: Mapping[str, Any]) -> Journal:
    """A new run's journal, in a folder that is whole from the first moment that it is there."""
    with _put_in_place(folder) as partial:
        _write_experiment(partial, experiment, used)
        experiment.kind.copy_code(partial / CODE)
        journal = Journal(partial, store.new_record(folder, experiment))
        journal.append("run", versions=versions())
    journal.folder = folder
    return journal


@contextmanager
def _put_in_place(folder: Path) -> Iterator[Path]:
    """A folder to be filled, which then takes its name; raises JournalError where it cannot."""
    try:
        with new_folder(folder) as partial:
            yield partial
    except OSError as error:
        raise JournalError(f"cannot make {folder}: {error.strerror}") from error


def _resumed(folder: Path, experiment: Experiment, used: Mapping[str, Any]) -> Journal:
    """An earlier run's journal; what is asked of the run now is what its folder says from now.

    Raises ExperimentError where the data, or a script, is not what the run began with.
    """
    before = store.written(store.read(folder)).get("data", used["data"])
    if not isinstance(before, dict):
        raise StoreError(f"cannot read {folder / store.EXPERIMENT}: data cannot be {before!r:.60}")
    if before != used["data"]:
        what = "script" if before.get("script") != used["data"].get("script") else "data"
        raise ExperimentError(
            f"--resume {folder.name}: its {what} has changed since it began; begin a new run"
        )
    journal = _opened(folder, experiment)
    _write_experiment(folder, experiment, used)
    _remove_leftovers(folder, journal.record)
    last = experiment.last_epoch
    for trial in journal.record.in_order():
        is_over = trial.is_over or (last is not None and trial.epochs >= last)
        if is_over and not trial.is_finished:
            # A crash came between its last epoch and the word that it had ended.
            journal.append("end", trial_id=trial.trial_id, status=TrialStatus.COMPLETED, error=None)
    if not experiment.kind.keeps_checkpoints:
        _forget_what_is_lost(journal)
    journal.append("run", versions=versions())
    return journal


def _forget_what_is_lost(journal: Journal) -> None:
    """Let trials whose latest checkpoint is gone go on from the one before, or begin again."""
    storage = run_storage(journal.folder)
    storage = run_storage(journal.folder)
    storage = run_storage(journal.folder)
    storage = run_storage(journal.folder)
    for trial in journal.record.in_order():
        if trial.is_finished or not trial.saved:
            continue
        latest, _ = trial.saved[0]
        there = (epoch for epoch, name in trial.saved if storage.has_folder(name))
        epoch = next(there, 0)
        if epoch < latest:
            reason = f"its checkpoint of epoch {latest} is gone"
            journal.append("back", trial_id=trial.trial_id, epoch=epoch, reason=reason)


def _remove_leftovers(folder: Path, record: Record) -> None:
    """Remove what a crash left half-written, and checkpoints that it kept from being removed."""
    known = {folder / path for each in record.trials.values() for path in each.checkpoints.values()}
    for path in (*folder.glob(f"*{PARTIAL}"), *folder.glob(f"{store.TUNE}/*/checkpoint_*")):
        if path.is_dir() and path not in known:
            shutil.rmtree(path, ignore_errors=True)
        elif not path.is_dir():
            path.unlink(missing_ok=True)


def _write_experiment(folder: Path, experiment: Experiment, used: Mapping[str, Any]) -> None:
    table = {**experiment.as_json(), **used}
    text = json.dumps(table, indent=2) + "\n"
    path = folder / store.EXPERIMENT
    try:
        replace_file(path, text, durable=True)
    except OSError as error:
        raise JournalError(f"cannot write {path}: {error.strerror}") from error


def _opened(folder: Path, experiment: Experiment) -> Journal:
    """The journal in a folder; what it says already is in its record."""
    with store.way_on(folder):
        return Journal(folder, store.new_record(folder, experiment), must_exist=True)


@contextmanager
def _ending_told(journal: Journal) -> Iterator[None]:
    """Whatever ends the search, the journal says so before it is raised."""
    try:
        yield
    except Interrupted as interrupt:
        journal.reread()
        _tell(journal, RunStatus.INTERRUPTED, str(interrupt))
        raise
    except Exception as error:
        # Where the disk is full this cannot be written either; the first error is the one to show.
        with suppress(JournalError):
            _tell(journal, RunStatus.FAILED, _reason(error))
        raise


def _reason(error: Exception) -> str:
    """Why a run failed: one line without commands, which would be wrong once the run is moved."""
    told = error.why if isinstance(error, NoBestError) else str(error)
    return told.strip().split("\n", 1)[0] or type(error).__name__


@contextmanager
def _forgotten_if_refused(folder: Path, *, is_new: bool) -> Iterator[None]:
    """Remove a new run whose trainable is refused before it trains, so that its name stays free."""
    try:
        yield
    except Refused:
        if is_new:
            run_storage(folder).remove()
        raise


LEFT_BEHIND = (store.TUNE, store.TRIALS, store.LOGS, store.STUDY)
"""What Ray and the processes of trials write where they think that the run is."""


@contextmanager
def _move_told() -> Iterator[None]:
    """Say where a run's folder went that was moved, once nothing writes to where it was."""
    try:
        yield
    except Moved as moved:
        _remove_ghost(moved.folder)
        on = (
            "put it back, go on by --resume where it was copied to, or begin a new run"
            if moved.now is None
            else f"go on by: {store.resume_command(moved.now)}"
        )
        raise JournalError(f"{moved}; {on}") from moved


def _remove_ghost(folder: Path) -> None:
    """Remove what was left where a run is no more, and nothing else."""
    left = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if all(name in LEFT_BEHIND or PARTIAL in name for name in left):
        shutil.rmtree(folder, ignore_errors=True)


def _tell(journal: Journal, status: RunStatus, reason: str | None) -> None:
    journal.append("status", status=status, reason=reason)


def _search(
    plan: Plan,
    ready: Prepared,
    journal: Journal,
    progress: Progress,
    interrupts: Interrupts,
    background: ThreadPoolExecutor,
) -> None:
    """Run the trials that are left, then export the best one's model."""
    from app.engine import tuner
    from app.engine.artifact_recovery import ArtifactRecovery
    from app.engine.journal_callback import Bookkeeper
    from app.engine.trial_storage import trial_storage

    progress.start(plan)
    for kind, times in journal.passed_over.items():
        event = f"the event {kind!r}, {times} of them"
        progress.say(f"passed over, as this version does not know it: {event}")
    for trial in journal.record.in_order():
        if trial.rewind_reason is not None and not trial.is_finished:
            progress.update("back", trial)
    asked = plan.experiment
    for remark in asked.kind.remarks():
        progress.say(remark)
    recovery = ArtifactRecovery(trial_storage(plan.folder, asked.kind), interrupts.check)
    exporter = ModelExporter(journal, asked, ready.trainable, ready.shared)
    export_check = ExportCheck(exporter)
    best_export = BestModelExport(exporter, recovery.wait_for) if plan.export_best else None

    if best_export is None and not plan.resources.gpus:
        export_check.start(background, progress.say)

    def heard(event: str, trial: Trial) -> None:
        if best_export is None:
            export_check.on_event(event, trial, background, progress.say)
        else:
            best_export.on_event(event, background, progress.say)
        progress.update(event, trial)

    timeout_s: float | None = LEAVE_S
    try:
        with interrupts.deferred(asked_for=True):
            check, say = interrupts.check, progress.say
            keeper = Bookkeeper(journal, asked, recovery, heard, check, say)
            ended = tuner.search(asked, plan.resources, ready.trainable, ready.shared, keeper)
            recovery.finish()
        timeout_s = None
    finally:
        progress.stop()
        if best_export is not None:
            best_export.finish(progress.say, timeout_s)
    best = journal.record.best
    if best is None:
        as_typed = store.named(plan.folder, plan.folder.parent)
        lost = failure_summary.lost_best(journal.record.as_json(), as_typed)
        raise NoBestError(_why_none(journal.record, ended), lost)
    if best_export is not None and best_export.exported == best_epoch_of(best):
        progress.say(f"trial {best.trial_id} is exported already")
    else:
        export_check.wait()
        _export(exporter, best, progress.say)
    if ended is None:
        _tell(journal, RunStatus.COMPLETED, None)
    else:
        _tell(journal, ended.status, ended.reason)
    (plan.folder / store.STOP).unlink(missing_ok=True)


def _export(exporter: ModelExporter, best: Trial, say: Callable[[str], None]) -> None:
    """Export the best trial, and say what there is to say; the journal has why it gives no model.

    The search is none the worse for that: its answer stands.
    """
    try:
        model = exporter.export_best(best)
    except NoModelError as error:
        if not error.is_fault:
            say(str(error))
        return
    say(f"exported trial {best.trial_id}")
    for remark in model.remarks:
        say(f"trial {best.trial_id}: {remark}")


def export_again(earlier: Run, trial_id: str | None, to: Path | None = None) -> Path:
    """Export a trial of a run that is not going on, the best one unless told; gives the folder.

    The model replaces the run's own, or goes to the folder `to`, and the run stays as it was.
    Raises StoreError where there is no such trial, RunError where it gives no model, or where `to`
    has something else in it.
    """
    if trial_id is not None:
        trial_id = store.trial_id(earlier, trial_id)
    if to is not None:
        _check_target(to)
    with _exporter(earlier) as exporter:
        record = exporter.journal.record
        trial = record.best if trial_id is None else record.trials.get(trial_id)
        if trial is None:
            known = ", ".join(each.trial_id for each in record.in_order()) or "none"
            asked = "best trial" if trial_id is None else f"trial {trial_id!r}"
            raise StoreError(f"{earlier.name}: there is no {asked}; its trials: {known}")
        try:
            if to is not None:
                exporter.export(trial, to)
            elif trial is record.best:
                exporter.export_best(trial)
            else:
                exporter.export_other(trial)
        except NoModelError as error:
            raise RunError(f"{error}{_kept_instead(exporter, trial)}") from error
    return earlier.folder / MODEL if to is None else to


def _kept_instead(exporter: ModelExporter, trial: Trial) -> str:
    """Name the checkpoint of a trial whose class or function has no model to export."""
    best = trial.best_epoch
    if exporter.has_model or best is None:
        return ""
    checkpoint = trial.checkpoints.get(best.number)
    if checkpoint is None:
        return ""
    path = location(exporter.journal.folder / checkpoint)
    return f"; its checkpoint of epoch {best.number} is {path}"


def export_missing(earlier: Run, say: Callable[[str], None]) -> Record:
    """Try once more to export the best trial of a run that is complete; gives its record."""
    with _exporter(earlier) as exporter:
        best = exporter.journal.record.best
        if best is not None:
            say(f"exporting trial {best.trial_id}")
            _export(exporter, best, say)
        return exporter.journal.record


@contextmanager
def _exporter(earlier: Run) -> Iterator[ModelExporter]:
    """Hold an earlier run, so that no other process has it, and give what exports its trials."""
    home_directory.ensure()
    experiment = store.experiment(earlier)
    if experiment.script is None:
        ready = _prepare(experiment, earlier.folder)
    else:
        # A script has left its model already; its data need not be there any more.
        ready = Prepared(trainables.resolve(experiment.trainable, experiment.folder), {}, {})
    with run_sync.hold(earlier.folder, download=True) as sync:
        journal = _opened(earlier.folder, experiment)
        try:
            sync.follow(journal)
            yield ModelExporter(journal, experiment, ready.trainable, ready.shared)
        finally:
            journal.close()


def _check_target(to: Path) -> None:
    """Raise RunError where a folder is neither new, nor empty, nor a model's."""
    if to.is_dir() and any(to.iterdir()) and not (to / MANIFEST).is_file():
        raise RunError(f"--to: {to} has other files in it; name a new folder, or a model's")
    if to.exists() and not to.is_dir():
        raise RunError(f"--to: {to} is a file; name a folder")


def _why_none(record: Record, ended: "Ending | None") -> str:
    """Why there is no best trial, in one sentence."""
    failed = [trial for trial in record.trials.values() if trial.status == TrialStatus.FAILED]
    if ended is not None and len(failed) < max(1, len(record.trials)):
        return f"the run ended before any trial reported {record.metric}: {ended.reason}"
    if not failed:
        return f"no trial reported a finite {record.metric}"
    reasons = Counter((trial.error or "").split("\n", 1)[0] for trial in failed)
    told = [reason for reason, _ in reasons.most_common(REASONS)]
    if (left_out := len(reasons) - len(told)) > 0:
        told.append(f"and for {count(left_out, 'other reason')}")
    all_of_them = {1: "the only trial", 2: "both trials"}
    failing = all_of_them.get(len(failed), f"all {len(failed)} trials")
    return f"{failing} failed: {'; '.join(told)}"


def versions() -> dict[str, str]:
    """What the run was made with."""
    installed = {name: importlib.metadata.version(name) for name in RECORDED}
    return {"python": platform.python_version(), **installed}
