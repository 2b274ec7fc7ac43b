"""Runs on several Ray nodes on this machine: recovery from a lost node, and cost of nodes.

Run as `python -m tests.benchmarks.nodes lost | cost`. `lost [--rounds 10]` kills one node of three
in the middle of runs of nine trials, and checks each run; the exit status is 1 if one is wrong.
With `--train` each trial is a function under Ray Train, with two workers.
`cost [--trials 1000]` has trials that do nothing, on one node and on eight of the same size
together. Each node is a raylet with its own workers and object store. All share two cores and one
disk, so neither figure includes a network.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.meter import conditions, measured, table
from tests.benchmarks.overhead import EXPERIMENT as NOOP
from tests.support import SUPPORT

HERE = Path(__file__).parent
TRIALS, EPOCHS, EPOCH_S = 9, 4, 0.5
SLOW = """
name = "lost"
trainable = "{here}/slow.py:Slow"
metric = "loss"
mode = "min"
num_samples = {trials}
epochs = {epochs}
search = "random"
retries = 0
[space]
x = {{ type = "continuous", low = 0.0, high = 1.0 }}
[fixed]
log = "{log}"
seconds = {seconds}
[resources]
cpus_per_trial = 1
"""
TRAIN = SLOW.replace("{here}/slow.py:Slow", "{support}/pair_train.py:train").replace(
    "cpus_per_trial = 1", "cpus_per_trial = 0.5\nworkers_per_trial = 2"
)
AHEAD = 3
"""Epochs that Ray Train's workers may be ahead of the journal."""
SMALL = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
TRIES = 5
RUN_S = 600
"""How long a run may take to its end, however it was disturbed."""


@dataclass(frozen=True)
class Round:
    """A run that lost a node."""

    number: int
    killed_at: int
    """How many epochs had begun, of all trials together."""
    seconds: float
    result: dict[str, Any]
    trained: Sequence[tuple[float, int]]
    """Each epoch that began: the trial's x, and which it was."""
    is_disturbed: bool
    """Whether it had a trial on the node when that was killed."""
    most_repeated: int
    """How many epochs of a trial may begin again."""

    @property
    def repeated(self) -> Counter[float]:
        """How many epochs began again, by the trial's x."""
        times = Counter(self.trained)
        return Counter({x: 0 for x, _ in times}) + Counter(
            {x: times[x, epoch] - 1 for x, epoch in times if times[x, epoch] > 1}
        )

    @property
    def wrong(self) -> list[str]:
        """List the faults of a run."""
        trials = self.result["trials"]
        lost = {trial for trials in self.result["lost_nodes"].values() for trial in trials}
        unlucky = {trial["config"]["x"] for trial in trials if trial["trial_id"] in lost}
        told = []
        if [(trial["status"], trial["epochs"]) for trial in trials] != [
            ("completed", EPOCHS)
        ] * TRIALS:
            told.append(f"trials: {[(trial['status'], trial['epochs']) for trial in trials]}")
        if len(self.result["lost_nodes"]) != 1:
            told.append(f"lost nodes: {self.result['lost_nodes']}")
        if max(self.repeated.values(), default=0) > self.most_repeated or not unlucky.issuperset(
            self.repeated
        ):
            told.append(f"repeated: {dict(self.repeated)}")
        return told

    def row(self) -> dict[str, str]:
        """The round in cells."""
        done = sum(trial["status"] == "completed" for trial in self.result["trials"])
        lost = [trial for trials in self.result["lost_nodes"].values() for trial in trials]
        return {
            "round": str(self.number),
            "killed at epoch": f"{self.killed_at} of {TRIALS * EPOCHS}",
            "trials done": f"{done} of {TRIALS}",
            "went on elsewhere": ", ".join(lost) or "none",
            "epochs repeated": str(sum(self.repeated.values())),
            "seconds": f"{self.seconds:.0f}",
            "wrong": "; ".join(self.wrong) or "nothing",
        }


def main() -> None:
    """Do what was asked for, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    lost_flags = kinds.add_parser("lost")
    lost_flags.add_argument("--rounds", type=int, default=10)
    lost_flags.add_argument("--seed", type=int, default=0)
    lost_flags.add_argument("--train", action="store_true", help="functions under Ray Train")
    cost_flags = kinds.add_parser("cost")
    cost_flags.add_argument("--trials", type=int, default=1000)
    arguments = parser.parse_args()
    if arguments.kind == "cost":
        print(conditions("ray", "optuna"))
        print(table([cost([8], arguments.trials), cost([1] * 8, arguments.trials)]))
        return
    rounds = lost(arguments.rounds, random.Random(arguments.seed), is_train=arguments.train)
    print(conditions("ray", "optuna"))
    print(table([each.row() for each in rounds]))
    sys.exit(any(each.wrong for each in rounds))


def lost(rounds: int, chance: random.Random, *, is_train: bool) -> list[Round]:
    """As many runs on three nodes, one of which is killed in the middle of each.

    On a busy machine a run may end before that node has a trial: such a one does not count.
    """
    done: list[Round] = []
    numbers = itertools.count(1)
    with nodes([1, 1]) as cluster, tempfile.TemporaryDirectory(dir="/tmp") as place:
        while len(done) < rounds:
            third = another(cluster, 1)
            ended = disturbed(next(numbers), cluster, third, Path(place), chance, is_train=is_train)
            print(ended.row(), file=sys.stderr, flush=True)
            done += [ended] if ended.is_disturbed else []
    return done


def disturbed(
    number: int, cluster: Any, third: Any, place: Path, chance: random.Random, *, is_train: bool
) -> Round:
    """A run whose third node is killed once so many epochs have begun."""
    log, toml = place / f"{number}.log", place / f"{number}.toml"
    log.touch()
    sizes = {"trials": TRIALS, "epochs": EPOCHS, "seconds": EPOCH_S}
    text = TRAIN if is_train else SLOW
    toml.write_text(text.format(here=HERE, support=SUPPORT, log=log, **sizes))
    # Late enough for all three nodes to train, early enough for its trials not to be the last.
    moment = chance.randint(TRIALS, TRIALS * (EPOCHS - 1))
    began = time.monotonic()
    with (place / f"{number}.err").open("w") as err:
        process = subprocess.Popen(
            tune(toml, place, str(number), cluster.address),
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )
    is_training = is_training_last if is_train else has_training
    while process.poll() is None and not (
        len(lines := log.read_text().splitlines()) >= moment and is_training(third, lines)
    ):
        time.sleep(0.02)
    is_disturbed = process.poll() is None
    cluster.remove_node(third, allow_graceful=False)
    out, _ = process.communicate(timeout=RUN_S)
    if process.returncode:
        sys.exit(f"round {number} ended with {process.returncode}: {Path(err.name).read_text()}")
    trained = [tuple(json.loads(line)[:2]) for line in log.read_text().splitlines()]
    seconds = time.monotonic() - began
    most = AHEAD if is_train else 1
    return Round(number, moment, seconds, json.loads(out), trained, is_disturbed, most)


def has_training(node: Any, lines: Sequence[str]) -> bool:
    """Whether a trial of a class is in the middle of an epoch on that node."""
    raylet = node.all_processes["raylet"][0].process.pid
    for children in Path(f"/proc/{raylet}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # thread or child may have ended
            names = [
                Path(f"/proc/{each}/cmdline").read_text() for each in children.read_text().split()
            ]
            if any(name.startswith("ray::") and ".train" in name for name in names):
                return True
    return False


def is_training_last(node: Any, lines: Sequence[str]) -> bool:
    """Whether the epoch of a Train function that began last is one on that node."""
    return bool(json.loads(lines[-1])[2] == node.node_id)


def cost(sizes: Sequence[int], trials: int) -> dict[str, str]:
    """Measure trials that do nothing, eight at a time, on nodes of so many CPUs."""
    with nodes(sizes) as cluster, tempfile.TemporaryDirectory(dir="/tmp") as place:
        toml = Path(place, "noop.toml")
        resources = "\n[resources]\ncpus_per_trial = 1\n"
        toml.write_text(NOOP.format(here=HERE) + resources)
        counts = ["--num-samples", str(trials), "--max-concurrent", "8"]
        spent = measured([*tune(toml, Path(place), "noop", cluster.address), *counts])
        events = map(json.loads, Path(place, "noop/journal.jsonl").read_text().splitlines())
        ends = [event["run_seconds"] for event in events if event["event"] == "end"]
    # The first trials wait for the imports of eight processes.
    settled = ends[len(ends) // 10 :]
    return {
        "nodes": str(len(sizes)),
        "trials": str(trials),
        "whole command s": f"{spent.wall_s:.0f}",
        "a trial, the first tenth left out, s": (
            f"{(settled[-1] - settled[0]) / (len(settled) - 1):.4f}"
        ),
    }


def tune(toml: Path, place: Path, name: str, address: str) -> list[str]:
    """The command that runs an experiment on a cluster."""
    words = ["--runs", str(place), "--name", name, "--address", address, "--json"]
    return [sys.executable, "-m", "app.tune", str(toml), *words]


@contextlib.contextmanager
def nodes(sizes: Sequence[int]) -> Iterator[Any]:
    """A Ray of nodes with so many CPUs each, in a folder of its own."""
    # Ray's sockets are below this folder, and their paths must be short.
    folder = tempfile.mkdtemp(prefix="tp", dir="/tmp")
    token = Path(folder, "token")
    token.write_text(secrets.token_hex(32))
    os.environ.update(
        RAY_TMPDIR=folder, RAY_AUTH_TOKEN_PATH=str(token), RAY_USAGE_STATS_ENABLED="0"
    )
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster()
    try:
        for size in sizes:
            another(cluster, size)
        yield cluster
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def another(cluster: Any, cpus: int) -> Any:
    """A further node; on a busy machine the half minute that Ray gives one may not do."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(Exception):  # what Ray raises here shares no class but this
            return cluster.add_node(num_cpus=cpus, **SMALL)
    return cluster.add_node(num_cpus=cpus, **SMALL)


if __name__ == "__main__":
    main()
