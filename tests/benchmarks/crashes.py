"""Kills the driver, a trial's process or Ray at random: `python -m tests.benchmarks.crashes`.

Each round begins a small run, ends a process of it by SIGKILL at a random moment, resumes the run
and looks at all that is left: the trials, what was trained twice, the files, the processes. Every
fourth round is killed and resumed twice. Ends with 1 where anything was wrong.
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app import journal, store
from app.journal import JOURNAL, PARTIAL, Record
from serve import artifact
from tests.benchmarks.meter import MARK, conditions, processes, table

HERE = Path(__file__).parent
TRIALS, EPOCHS = 6, 3
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
seconds = 0.4
[resources]
cpus_per_trial = 0.5
"""
VICTIMS: Mapping[str, Sequence[str]] = {
    "driver": ("-m app.tune",),
    "worker": ("ray::",),
    "Ray": ("/raylet ", "/gcs_server "),
}
"""What the command line of a process has in it that may be killed."""
ENDED_S = 300
"""How long a command may take to its end, however it was disturbed."""
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
            disturb(runs[-1], random.Random(f"{arguments.seed}/{number}"), whole.seconds)
            print(" | ".join(runs[-1].row().values()), file=sys.stderr, flush=True)
    print(conditions("ray", "optuna"))
    print(table([each.row() for each in (whole, *runs)]))
    sound = sum(not each.wrong for each in runs)
    kinds = Counter(kill.split(" ", 1)[0] for each in runs for kill in each.kills)
    killed = ", ".join(f"{kind} {times}" for kind, times in sorted(kinds.items()))
    print(f"{sound} of {len(runs)} runs ended as if nothing had happened; killed: {killed}")
    sys.exit(sound < len(runs))


def undisturbed(run: Run) -> Run:
    """A run that nothing is done to: it must be right, and its time says when to kill others."""
    began = time.monotonic()
    end(run, begin(run))
    run.seconds = time.monotonic() - began
    look(run)
    if run.wrong:
        sys.exit(f"error: a run that nothing happened to is wrong: {run.row()['wrong']}")
    return run


def disturb(run: Run, chance: random.Random, whole_s: float) -> None:
    """Begin the run, kill what it is made of once or twice, resume it, and look."""
    began = time.monotonic()
    for _ in range(2 if run.number % 4 == 0 else 1):
        if run.is_done:
            break
        leg = begin(run)
        kill(run, leg, list(VICTIMS)[run.number % len(VICTIMS)], chance, whole_s)
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
        text = EXPERIMENT.format(here=HERE, trials=TRIALS, epochs=EPOCHS, log=run.log)
        experiment.write_text(text)
        command += [str(experiment), "--name", run.name]
    mark = secrets.token_hex(8)
    with (run.place / f"{run.name}.err").open("a") as err:
        environment = {**os.environ, MARK: mark, "TUNEPORT_DASHBOARD": "off"}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=err, text=True
        )
    return Leg(process, mark)


def kill(run: Run, leg: Leg, kind: str, chance: random.Random, whole_s: float) -> None:
    """Wait for a random moment, then end one of the processes of that kind."""
    moment = chance.uniform(0, 0.9 * whole_s)  # the rest is Ray's leaving
    time.sleep(moment)
    while leg.process.poll() is None:
        if found := leg.victims(kind):
            at = f"after {moment:.1f} s, {sum(epochs_known(run).values())} epochs"
            os.kill(chance.choice(sorted(found)), signal.SIGKILL)
            run.kills.append(f"{kind} {at}")
            return
        time.sleep(0.05)
    run.kills.append(f"nothing: it had ended after {moment:.1f} s")


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
    """What the run's journal adds up to."""
    known = Record(run.name, "loss", "min", seed=0)
    if (run.folder / JOURNAL).exists():
        for event in journal.read(run.folder / JOURNAL):
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
    """What is not whole, or should not be there, in the run's folder and beside it."""
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
