"""Damage that a crash does to a run: driver, trial process or Ray killed at a random moment.

Run as `python -m tests.benchmarks.crashes`. Each round starts a small run, kills one of its
processes by SIGKILL, resumes the run, and compares what is left with a run that nothing happened
to: trials, epochs trained twice, files, processes. Every fourth round is killed and resumed twice.
Moments are chosen by the run's progress, so that a busy machine does not move them all to its
start. The exit status is 1 if anything was wrong.
"""

import argparse
import itertools
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.experiment.run_folder import JOURNAL
from app.run import journal_reader, store
from app.run.record import Record
from app.storage.files import PARTIAL
from serve.models import artifact
from tests.benchmarks.meter import MARK, conditions, processes, table

HERE = Path(__file__).parent
TRIALS, EPOCHS, EPOCH_S = 6, 3, 0.4
EXPERIMENT = """
name = "crashes"
trainable = "{here}/slow.py:Slow"
metric = "loss"
mode = "min"
num_samples = {trials}
max_concurrent = 2
epochs = {epochs}
[space]
x = {{ type = "continuous", low = 0.0, high = 1.0 }}
[fixed]
log = "{log}"
seconds = {seconds}
[resources]
cpus_per_trial = 0.5
"""
VICTIMS: Mapping[str, Sequence[str]] = {
    "driver": ("-m app.tune",),
    "worker": ("ray::",),
    "Ray": ("/raylet ", "/gcs_server "),
}
"""Part of the command line of a process that may be killed."""
ENDED_S = 300
"""How long a command may take to its end, however it was disturbed."""
BEGINNING = 0.4
"""The part of the moments that lies before a leg's first epoch: what Ray takes to start."""
AFTERWARDS = 2
"""How many epochs' worth of moments lie after the last one: while the model is exported."""
GONE_S = 150
"""How long its processes may take to go once it has ended: Ray's agents try for a minute or two."""


@dataclass
class Run:
    """A run, what was done to it, and what was found wrong."""

    number: int
    place: Path
    kills: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    beginning_s: float = 0.0
    """How long it took to its first epoch."""

    @property
    def name(self) -> str:
        return f"run-{self.number:02d}"

    @property
    def folder(self) -> Path:
        return self.place / self.name

    @property
    def log(self) -> Path:
        return self.place / f"{self.name}.log"

    @property
    def is_done(self) -> bool:
        return store.exists(self.folder) and status(self) == "completed"

    def row(self) -> dict[str, str]:
        return {
            "run": self.name,
            "killed": "; ".join(self.kills),
            "seconds": f"{self.seconds:.0f}",
            "wrong": "; ".join(self.wrong) or "nothing",
        }


@dataclass
class Leg:
    """A command that begins a run or goes on with it."""

    process: "subprocess.Popen[str]"
    mark: str

    def victims(self, kind: str) -> list[int]:
        found = processes(self.mark).items()
        return [pid for pid, line in found if any(part in line for part in VICTIMS[kind])]


def main() -> None:
    """Kill, resume and look, as often as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        whole = undisturbed(Run(0, Path(folder)))
        runs = []
        for number in range(1, arguments.rounds + 1):
            runs.append(Run(number, Path(folder)))
            disturb(runs[-1], random.Random(f"{arguments.seed}/{number}"), whole)
            print(" | ".join(runs[-1].row().values()), file=sys.stderr, flush=True)
    print(conditions("ray", "optuna"))
    print(table([each.row() for each in (whole, *runs)]))
    sound = sum(not each.wrong for each in runs)
    kinds = Counter(kill.split(" ", 1)[0] for each in runs for kill in each.kills)
    killed = ", ".join(f"{kind} {times}" for kind, times in sorted(kinds.items()))
    print(f"{sound} of {len(runs)} runs ended as if nothing had happened; killed: {killed}")
    sys.exit(sound < len(runs))


def undisturbed(run: Run) -> Run:
    """A run that nothing is done to: it must be right, and its beginning says how long one is."""
    began = time.monotonic()
    leg = begin(run)
    wait_for(lambda: bool(trained(run)), leg)
    run.beginning_s = time.monotonic() - began
    end(run, leg)
    run.seconds = time.monotonic() - began
    look(run)
    if run.wrong:
        sys.exit(f"error: a run that nothing happened to is wrong: {run.row()['wrong']}")
    return run


def disturb(run: Run, chance: random.Random, whole: Run) -> None:
    """Begin the run, kill what it is made of once or twice, resume it, and look."""
    began = time.monotonic()
    for _ in range(2 if run.number % 4 == 0 else 1):
        if run.is_done:
            break
        leg = begin(run)
        wait_for_moment(run, leg, chance, whole.beginning_s)
        kill(run, leg, list(VICTIMS)[run.number % len(VICTIMS)], chance)
        end(run, leg)
    known, lines_before = epochs_known(run), len(trained(run))
    if not run.is_done:
        if end(run, begin(run)) != 0:
            run.wrong.append("could not be resumed")
        repeated = [x for x, epoch in trained(run)[lines_before:] if epoch <= known.get(x, 0)]
        if repeated:
            run.wrong.append(f"trained {len(repeated)} epochs again that had ended")
    run.seconds = time.monotonic() - began
    look(run)


def begin(run: Run) -> Leg:
    """Start the run, or go on with what there is of it."""
    command = [sys.executable, "-m", "app.tune", "--runs", str(run.place), "--json"]
    if store.exists(run.folder):
        command += ["--resume", run.name]
    else:
        experiment = run.place / f"{run.name}.toml"
        sizes = {"trials": TRIALS, "epochs": EPOCHS, "seconds": EPOCH_S}
        experiment.write_text(EXPERIMENT.format(here=HERE, log=run.log, **sizes))
        command += [str(experiment), "--name", run.name]
    mark = secrets.token_hex(8)
    with (run.place / f"{run.name}.err").open("a") as err:
        environment = {**os.environ, MARK: mark, "TUNEPORT_DASHBOARD": "off"}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=err, text=True
        )
    return Leg(process, mark)


def wait_for_moment(run: Run, leg: Leg, chance: random.Random, beginning_s: float) -> None:
    """Wait until a random moment of a leg: while it starts, between its epochs, or at its end."""
    moment = chance.random()
    if moment < BEGINNING:
        time.sleep(moment / BEGINNING * beginning_s)
        return
    begun, left = len(trained(run)), TRIALS * EPOCHS - sum(epochs_known(run).values())
    epochs = (moment - BEGINNING) / (1 - BEGINNING) * (left + AFTERWARDS)
    wait_for(lambda: len(trained(run)) - begun >= min(int(epochs), left), leg)
    time.sleep((epochs - min(int(epochs), left)) * EPOCH_S)


def wait_for(true: Callable[[], bool], leg: Leg) -> None:
    """Wait until something is true, or the leg has ended."""
    while not true() and leg.process.poll() is None:
        time.sleep(0.02)


def kill(run: Run, leg: Leg, kind: str, chance: random.Random) -> None:
    """End one of the leg's processes of that kind, once there is one."""
    while leg.process.poll() is None:
        if found := leg.victims(kind):
            os.kill(chance.choice(sorted(found)), signal.SIGKILL)
            run.kills.append(f"{kind} after {sum(epochs_known(run).values())} epochs")
            return
        time.sleep(0.05)
    run.kills.append("nothing: it had ended")


def end(run: Run, leg: Leg) -> int:
    """Wait for the end of a leg and of all its processes; gives its exit status."""
    try:
        exit_status = leg.process.wait(ENDED_S)
    except subprocess.TimeoutExpired:
        run.wrong.append(f"a command did not end in {ENDED_S} s")
        leg.process.kill()
        exit_status = leg.process.wait()
    deadline = time.monotonic() + GONE_S
    while (left := processes(leg.mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        names = {line.strip().split(" ")[0] for line in left.values()}
        run.wrong.append(f"{len(left)} processes stayed: {', '.join(sorted(names))}")
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return exit_status


def status(run: Run) -> str:
    return str(store.read(run.folder).result["status"])


def trained(run: Run) -> list[tuple[float, int]]:
    """The epochs that began, in order: the trial's x, and which of its epochs."""
    if not run.log.exists():
        return []
    return [(x, epoch) for x, epoch in map(json.loads, run.log.read_text().splitlines())]


def epochs_known(run: Run) -> dict[float, int]:
    """How many epochs of each trial, by its x, the journal has as ended."""
    return {trial.config["x"]: trial.epochs for trial in record(run).trials.values()}


def record(run: Run) -> Record:
    """Read the record from the run's journal."""
    known = Record(run.name, "loss", "min", seed=0)
    if (run.folder / JOURNAL).exists():
        for event in journal_reader.read_events(run.folder / JOURNAL):
            known.apply(event)
    return known


def look(run: Run) -> None:
    """Compare what is there at the end with what a run leaves that nothing happened to."""
    result = store.read(run.folder).result
    ends = Counter((trial["status"], trial["epochs"]) for trial in result["trials"])
    if (result["status"], ends) != ("completed", {("completed", EPOCHS): TRIALS}):
        run.wrong.append(f"it is {result['status']} with trials {dict(ends)}")
    by_trial: dict[float, list[int]] = {}
    for x, epoch in trained(run):
        by_trial.setdefault(x, []).append(epoch)
    for x, epochs in by_trial.items():
        again = len(epochs) - EPOCHS
        in_order = all(0 <= after - before <= 1 for before, after in itertools.pairwise(epochs))
        if not in_order or again > len(run.kills):
            run.wrong.append(f"the trial at {x:.3f} was trained {epochs}")
    run.wrong += half_written(run)


def half_written(run: Run) -> Iterator[str]:
    """List half-written and left-over files in the run's folder and beside it."""
    for partial in (*run.place.rglob(f"*{PARTIAL}"), *run.place.rglob(f".{run.name}*")):
        yield f"{partial.relative_to(run.place)} is left"
    for path in (*run.folder.glob("*.json"), *run.folder.glob("tune/*/checkpoint_*/state.json")):
        yield from unreadable(path, path.read_text())
    for path in (run.folder / JOURNAL, run.folder / "study.log"):
        for line in path.read_text().split("\n")[:-1]:
            yield from unreadable(path, line)
    kept = {path for trial in record(run).trials.values() for path in trial.checkpoints.values()}
    there = {str(path.relative_to(run.folder)) for path in run.folder.glob("tune/*/checkpoint_*")}
    if kept != there:
        yield f"checkpoints that should not be there or are not: {sorted(kept ^ there)}"
    artifact.read(run.folder / "model")  # verifies every digest


def unreadable(path: Path, text: str) -> Iterator[str]:
    try:
        json.loads(text)
    except ValueError:
        yield f"{path.name} has {text[:40]!r}"


if __name__ == "__main__":
    main()
