"""Run an experiment or go on with a run, and export the best trial's model."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app import loggers
from app.cluster import connection, home_directory, storage_check
from app.cluster.capacity import NodeWait, wait_for_capacity
from app.cluster.signals import SignalHandler
from app.cluster.watchdog import ray_watched
from app.engine import attempt
from app.engine.model_export import export_best
from app.engine.outcome import NoBestError, failure_recorded, record_status, why_no_best
from app.engine.plan import ClusterOptions, Plan, Progress
from app.engine.preparation import Prepared, check_flag, prepare
from app.engine.run_cleanup import remedy_named, removed_if_refused
from app.engine.run_report import write_report
from app.experiment.run_folder import CODE, DASHBOARD
from app.experiment.schema import Experiment
from app.export.best_so_far import BestModelExport
from app.export.export_check import ExportCheck
from app.export.model_exporter import ModelExporter
from app.export.trial_snapshot import best_epoch_of
from app.run import failure_summary, run_sync
from app.run.commands import resume_command, run_arguments
from app.run.journal import Journal
from app.run.layout import STOP
from app.run.record import Record
from app.run.status import RunStatus
from app.run.trial import Trial
from app.search.warm_start import WarmStart

if TYPE_CHECKING:
    from app.cluster.node_watch import NodeWatch
    from app.search.stoppers import Ending

LEAVE_S = 1.0
"""How long a search that is interrupted, or cannot go on, waits for an export: it may hang."""
HERE = ClusterOptions()


@dataclass(frozen=True)
class _Search:
    """All that a search needs, from the first trial that is left to the export."""

    plan: Plan
    prepared: Prepared
    journal: Journal
    progress: Progress
    signals: SignalHandler
    background: ThreadPoolExecutor


def run(
    experiment: Experiment,
    folder: Path,
    progress: Progress,
    *,
    resume: bool = False,
    warm: WarmStart | None = None,
    options: ClusterOptions = HERE,
    export_best: bool = False,
    needs_model: str | None = None,
    signals: SignalHandler | None = None,
) -> Record:
    """Run the experiment in `folder`, or go on with what is there, and export the best model.

    Where the best trial cannot be exported the run is complete all the same, and its record says
    why.

    Args:
        experiment: What to search.
        folder: The run's folder, which `resume` says is there already.
        progress: Shows how the run goes.
        resume: Whether to go on with the run in `folder`.
        warm: Trials of earlier runs, with which a new run starts.
        options: The cluster to join.
        export_best: Whether to export the best model so far whenever it improves.
        needs_model: A flag that needs a model: a trainable without one is refused at once.
        signals: Handles signals.

    Raises:
        RunError: No trial succeeded.
        Interrupted: A signal came; everything is saved.
        ClusterError, ExperimentError, JournalError, StorageError, StoreError, TrainableError: Known
            errors, in one sentence.
    """
    loggers.check_installed(experiment.log_to)
    home_directory.ensure_home()
    connection.quiet_ray()
    address = connection.find_address(options.address)
    signals = signals or SignalHandler()
    with (
        removed_if_refused(folder, is_new=not resume),
        remedy_named(folder, address),
        _background() as background,
        signals.handled(),
        ExitStack() as connections,
    ):
        if announcement := connection.connecting(options.address):
            progress.say(announcement)
        if needs_model is not None:
            background.submit(check_flag, experiment, needs_model).result()
        preparing = background.submit(prepare, experiment, folder)
        wait = NodeWait(options.wait_s, progress.say, signals)
        with signals.deferred():
            cluster = connections.enter_context(
                connection.connect(options.address, run=folder.name)
            )
        if cluster.is_open:
            progress.say(connection.OPEN)
        cluster, share = wait_for_capacity(experiment, cluster, wait)
        experiment = experiment.with_resources(share.cpus, share.gpus)
        prepared = preparing.result()
        if not cluster.is_local:
            storage_check.check(folder.parent, signals)
        used = {
            "threads": share.threads,
            "data": prepared.digests,
            DASHBOARD: connection.dashboard_entry(cluster),
        }
        with run_sync.hold(folder, download=resume) as sync:
            open_run = attempt.resume if resume else attempt.begin
            journal = open_run(folder, experiment, used)
            plan = Plan(
                experiment,
                journal.record,
                folder=folder,
                cluster=cluster,
                resources=share,
                export_best=export_best,
            )
            try:
                # A request to stop was for the attempt before this one.
                (folder / STOP).unlink(missing_ok=True)
                with (
                    loggers.following(journal, experiment, progress.say),
                    failure_recorded(journal),
                    ray_watched(cluster, _on_lost(plan, progress, address)),
                ):
                    sync.follow(journal)
                    if warm is not None:
                        journal.append("warm", **warm.as_json())
                    _run(_Search(plan, prepared, journal, progress, signals, background))
            finally:
                write_report(journal, progress.say)
                journal.close()
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


def _on_lost(plan: Plan, progress: Progress, address: str | None) -> Callable[[str], None]:
    """Watchdog callback: say how to resume and exit at once, as calls into a dead Ray hang."""

    def exit_now(process: str) -> None:
        command = resume_command(plan.folder, address)
        try:
            progress.stop()
            progress.say(f"error: Ray's {process} was lost; go on by: {command}")
        finally:
            os._exit(1)

    return exit_now


def _run(search: _Search) -> None:
    """Run the trials that are left, then export the best one's model."""
    plan, journal, progress = search.plan, search.journal, search.progress
    progress.start(plan)
    _say_remarks(search)
    exporter = ModelExporter(
        journal, plan.experiment, search.prepared.trainable, search.prepared.shared
    )
    ending, is_exported = _train(search, exporter)
    best = journal.record.best
    if best is None:
        as_typed = run_arguments(plan.folder)
        hints = failure_summary.describe_lost_best(journal.record.as_json(), as_typed)
        raise NoBestError(why_no_best(journal.record, ending), hints)
    if is_exported:
        progress.say(f"trial {best.trial_id} is exported already")
    else:
        export_best(exporter, best, progress.say)
    if ending is None:
        record_status(journal, RunStatus.COMPLETED, None)
    else:
        record_status(journal, ending.status, ending.reason)
    (plan.folder / STOP).unlink(missing_ok=True)


def _say_remarks(search: _Search) -> None:
    """Say what the user should know before the first trial starts."""
    journal, progress = search.journal, search.progress
    for kind, times in journal.unknown_events.items():
        event = f"the event {kind!r}, {times} of them"
        progress.say(f"passed over, as this version does not know it: {event}")
    for trial in journal.record.in_order():
        if trial.rewind_reason is not None and not trial.is_finished:
            progress.update("back", trial)
    for remark in search.plan.experiment.kind.remarks():
        progress.say(remark)


def _train(search: _Search, exporter: ModelExporter) -> "tuple[Ending | None, bool]":
    """Run the trials that are left.

    Returns:
        What ended the run before all trials had ended, and whether the best one is exported.
    """
    from app.engine import tuner
    from app.engine.artifact_recovery import ArtifactRecovery
    from app.engine.journal_callback import JournalCallback
    from app.storage.trial_storage import trial_storage

    plan, progress, background = search.plan, search.progress, search.background
    experiment, prepared = plan.experiment, search.prepared
    storage = trial_storage(plan.folder, experiment.kind.name, CODE)
    recovery = ArtifactRecovery(storage, search.signals.check)
    export_check = ExportCheck(exporter)
    best_export = BestModelExport(exporter, recovery.wait_for) if plan.export_best else None
    if best_export is None and not plan.resources.gpus:
        export_check.start(background, progress.say)

    def listen(event: str, trial: Trial) -> None:
        if best_export is None:
            export_check.on_event(event, trial, background, progress.say)
        else:
            best_export.on_event(event, background, progress.say)
        progress.update(event, trial)

    watch = None if plan.cluster.is_local else _watch_nodes(search)

    def check() -> None:
        search.signals.check()
        if watch is not None:
            watch.poll()

    timeout_s: float | None = LEAVE_S
    try:
        with search.signals.deferred(saves=True):
            callback = JournalCallback(
                search.journal, experiment, recovery, listen, check, progress.say
            )
            ending = tuner.search(
                experiment, plan.resources, prepared.trainable, prepared.shared, callback
            )
            recovery.finish()
        timeout_s = None
    finally:
        progress.stop()
        if watch is not None:
            watch.finish()
        if best_export is not None:
            best_export.finish(progress.say, timeout_s)
    best = search.journal.record.best
    if best is None:
        return ending, False
    if best_export is not None:
        return ending, best_export.exported == best_epoch_of(best)
    export_check.wait()
    return ending, False


def _watch_nodes(search: _Search) -> "NodeWatch":
    """Watch the nodes of a cluster that this process joined."""
    from app.cluster.node_watch import NodeWatch

    journal, progress = search.journal, search.progress
    runs = search.plan.folder.parent

    def on_lost(node: str) -> None:
        if node not in journal.record.lost_nodes:  # it is named with the trial that it had
            journal.append("node", node=node)
            progress.say(f"node {node} was lost")

    def check(nodes: Mapping[str, str]) -> None:
        storage_check.check_nodes(runs, SignalHandler(), nodes)

    return NodeWatch(check, progress.say, on_lost)
