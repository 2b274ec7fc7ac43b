"""Texts and rows of a run's report, which its template shows."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.experiment.errors import SpaceError
from app.experiment.space import Space, parse
from app.report import chronology, evaluation
from app.report.asked import again, asked, space_rows, versions
from app.report.chronology import Chronology
from app.report.figures import run_figures
from app.report.findings import MAX_NAMED, findings
from app.report.outcome import GOALS, Outcome, best_id
from app.report.plotting import Figure
from app.run import failure_summary, store
from app.run.commands import run_arguments
from app.run.errors import JournalError
from app.run.formatting import configuration, count, duration, number
from app.run.status import RunStatus, TrialStatus
from app.run.store import Run, StoreError
from app.run.summaries import model_remark
from app.storage.working_copy import location

MAX_FAILED = 30
"""Failed trials that are listed with their errors."""


def content(run: Run) -> dict[str, Any]:
    """Return everything that the template shows of a run, but its figures."""
    result, table = run.result, _experiment(run)
    space = _space(table)
    failed = [trial for trial in result["trials"] if trial["status"] == TrialStatus.FAILED]
    model = _model(run)
    return {
        "name": run.name,
        "status": str(result["status"]),
        "reason": result["reason"],
        "lead": _lead(result, table),
        "goal": GOALS.get(result["mode"], ""),
        "metric": result["metric"],
        "winner": _winner(result),
        "findings": list(findings(result, space)),
        "space": list(space_rows(result, table, space)),
        "asked": list(asked(run, table)),
        "failures": failure_summary.describe_failures(result),
        "failed": [_failed(trial) for trial in failed[:MAX_FAILED]],
        "failed_more": len(failed) - MAX_FAILED if len(failed) > MAX_FAILED else 0,
        "stopped": list(_stopped(result, table)),
        "model": model,
        "no_model": result["model_error"] or "No model was exported.",
        "again": again(run),
        "serve": _serve(run) if model else None,
        "versions": list(versions(result, table)),
        "trials": list(_trials(result)),
        "footer": f"Made from {location(run.folder)} by Tuneport; the file needs no network.",
    }


def figures(run: Run) -> dict[str, Figure]:
    """Return the figures of a run by their titles; without the journal, those that need none."""
    return run_figures(run.result, _space(_experiment(run)), chronology_of(run))


def _experiment(run: Run) -> dict[str, Any]:
    try:
        return store.read_table(run)
    except StoreError:
        return {}


def _space(table: Mapping[str, Any]) -> Space:
    """The space; without parameters where this version cannot read it."""
    try:
        return parse(table.get("space", {}))
    except (SpaceError, TypeError, AttributeError):
        return Space({})


def chronology_of(run: Run) -> Chronology:
    """Read a run's events by its seconds; none where its journal cannot be read."""
    try:
        return chronology.read(run.folder)
    except (JournalError, OSError):
        return Chronology()


def _lead(result: Outcome, table: Mapping[str, Any]) -> str:
    """Say what was trained, and how long, in a sentence or two."""
    statuses = [trial["status"] for trial in result["trials"]]
    parts = [
        f"{statuses.count(status)} {status}"
        for status in TrialStatus
        if statuses.count(status) and statuses.count(status) < len(statuses)
    ]
    by_status = f" ({', '.join(parts)})" if parts else ""
    epochs = sum(trial["epochs"] for trial in result["trials"])
    what = f" of {table['trainable']}" if table.get("trainable") else ""
    trained = f"trained {count(epochs, 'epoch')} in {duration(result['seconds'])}"
    sentence = f"{count(len(statuses), 'trial')}{what}{by_status} {trained}."
    reason = str(result["reason"] or "").rstrip(".")
    if not reason or result["best"] is None:  # In place of the winner stands the reason.
        return sentence
    end = "failed" if result["status"] == RunStatus.FAILED else "ended early"
    return f"{sentence} It {end}: {reason}."


def _winner(result: Outcome) -> dict[str, Any] | None:
    best, metric = result["best"], result["metric"]
    if best is None:
        return None
    others = [(name, number(value)) for name, value in best["metrics"].items() if name != metric]
    return {
        "trial_id": best["trial_id"],
        "epoch": best["epoch"],
        "value": number(best["metrics"].get(metric)),
        "config": [(name, number(value)) for name, value in best["config"].items()],
        "metrics": others[:MAX_NAMED],
    }


def _failed(trial: Outcome) -> dict[str, str]:
    return {
        "trial_id": trial["trial_id"],
        "after": count(trial["epochs"], "epoch"),
        "config": configuration(trial["config"]),
        # Lines of a traceback, which the trial's log has, follow the reason.
        "error": (trial["error"] or "no reason is recorded").split("\n", 1)[0],
    }


def _stopped(result: Outcome, table: Mapping[str, Any]) -> Iterator[str]:
    stopped = [trial for trial in result["trials"] if trial["status"] == TrialStatus.STOPPED]
    if stopped:
        named = [f"{t['trial_id']} after epoch {t['epochs']}" for t in stopped[:MAX_NAMED]]
        end = ", …" if len(stopped) > MAX_NAMED else "."
        yield (
            f"{count(len(stopped), 'trial')} stopped before the last epoch: trial"
            f" {', '.join(named)}{end}"
        )
    for node, trials in result["lost_nodes"].items():
        moved = f"went on elsewhere: trial {', '.join(trials)}" if trials else "no trial was on it"
        yield f"Node {node} was lost; {moved}."


def _model(run: Run) -> dict[str, Any] | None:
    """The facts of the run's model; None where it has none."""
    if not run.result["model"]:
        return None
    folder = run.folder / run.result["model"]
    remark = model_remark(run.result)
    rows = [("folder", location(folder) + (f" ({remark})" if remark else ""))]
    manifest, figures = _manifest(folder), evaluation.read(folder)
    if manifest.get("version"):
        rows.append(("version", str(manifest["version"])))
    test = None
    try:
        rows += [("size", evaluation.size(figures)), ("one input", evaluation.speed(figures))]
        test = evaluation.test(figures)
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError):
        pass  # Exported by a version that measured nothing, or other things.
    return {"facts": rows, "test": test}


def _serve(run: Run) -> str:
    """Return the command that serves the run's model, in whichever folder it is typed."""
    folder = location(run.folder / run.result["model"])
    remote = "://" in folder
    return f"python -m serve {run_arguments(run.folder) if remote else shlex.quote(folder)}"


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / "model.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _trials(result: Outcome) -> Iterator[dict[str, Any]]:
    best = best_id(result)
    for trial in result["trials"]:
        value = trial["metrics"].get(result["metric"])
        yield {
            "trial_id": trial["trial_id"],
            "is_best": trial["trial_id"] == best,
            "status": str(trial["status"]),
            "value": "" if value is None else number(value),
            "epochs": trial["epochs"],
            "took": duration(trial["seconds"]),
            "config": configuration(trial["config"]),
        }
