"""Shares of a machine, signals, and a Ray that does not start."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app import cluster, experiment
from app.cluster import Cluster, ClusterError, Interrupted, Interrupts, Node, Resources
from app.experiment import Experiment, ExperimentError


def machine(cpus: float = 2, gpus: float = 0, nodes: int = 1) -> Cluster:
    each = Node(cpus / nodes, gpus / nodes)
    return Cluster((each,) * nodes, dashboard=None, is_local=True)


def asking(**flags: object) -> Experiment:
    return experiment.load(None, flags)


@pytest.mark.parametrize(
    ("has", "flags", "share"),
    [
        (machine(2), {}, Resources(0.66, 0, at_once=3)),
        (machine(1), {}, Resources(0.33, 0, at_once=3)),
        (machine(16), {}, Resources(1, 0, at_once=3)),
        (machine(8, gpus=1), {}, Resources(1, 0.33, at_once=3)),
        (machine(8, gpus=4), {}, Resources(1, 1, at_once=3)),
        (machine(2), {"max_concurrent": 2}, Resources(1, 0, at_once=2)),
        (machine(2), {"num_samples": 1}, Resources(1, 0, at_once=1)),
        (machine(2), {"cpus_per_trial": 2.0}, Resources(2, 0, at_once=1)),
        (machine(8, gpus=1), {"gpus_per_trial": 0.5}, Resources(1, 0.5, at_once=2)),
        (machine(2), {"workers_per_trial": 2}, Resources(0.33, 0, at_once=3, workers=2)),
        (machine(16), {"workers_per_trial": 2}, Resources(1, 0, at_once=3, workers=2)),
        (
            machine(2),
            {"workers_per_trial": 2, "cpus_per_trial": 1.0},
            Resources(1, 0, at_once=1, workers=2),
        ),
        # No worker is on two nodes: two thirds of a CPU fit twice there, and not three times.
        (machine(2, nodes=2), {}, Resources(0.5, 0, at_once=3)),
        (machine(3, nodes=3), {"workers_per_trial": 4}, Resources(0.25, 0, at_once=3, workers=4)),
        (machine(8, gpus=4), {"workers_per_trial": 2}, Resources(1, 1, at_once=2, workers=2)),
        (machine(8, gpus=1), {"workers_per_trial": 2}, Resources(1, 0, at_once=3, workers=2)),
    ],
)
def test_trials_share_what_there_is(
    has: Cluster, flags: dict[str, object], share: Resources
) -> None:
    assert cluster.resources(asking(**flags), has) == share


@pytest.mark.parametrize(("cpus", "threads"), [(0.33, 1), (1, 1), (1.9, 1), (4, 4)])
def test_a_trial_computes_with_its_whole_cpus(cpus: float, threads: int) -> None:
    assert Resources(cpus, 0, at_once=1).threads == threads


@pytest.mark.parametrize(
    ("has", "flags", "message"),
    [
        (
            machine(2),
            {"cpus_per_trial": 64.0},
            "cpus_per_trial: a trial asks for 64 CPUs, this machine has 2; ask for at most 2",
        ),
        (
            machine(8, gpus=4, nodes=2),
            {"gpus_per_trial": 4.0},
            "gpus_per_trial: a trial asks for 4 GPUs, the largest node has 2; ask for at most 2",
        ),
        (
            machine(2),
            {"workers_per_trial": 3, "cpus_per_trial": 1.0},
            "workers_per_trial: a trial asks for 3 workers of 1 CPU, this machine has 2 CPU and"
            " room for 2; ask for at most 2, or for less of each",
        ),
        (
            machine(3, gpus=2, nodes=2),
            {"workers_per_trial": 3, "cpus_per_trial": 1.0, "gpus_per_trial": 0.5},
            "workers_per_trial: a trial asks for 3 workers of 1 CPU and 0.5 GPU, the cluster's"
            " nodes have 3 CPU and 2 GPU and room for 2; ask for at most 2, or for less of each",
        ),
    ],
)
def test_more_than_a_node_has_is_refused(
    has: Cluster, flags: dict[str, object], message: str
) -> None:
    with pytest.raises(ExperimentError, match=f"^{message}$"):
        cluster.resources(asking(**flags), has)


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but it does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ExperimentError, match=f"^--address: no Ray at {address}: "):
            cluster.start(address)


def test_a_ray_that_cannot_be_started_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray's sockets are below this folder, and their paths must be short.
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("long" * 25)))
    with pytest.raises(ClusterError, match=r"^Ray did not start: .*AF_UNIX path length"):
        cluster.start()


@pytest.mark.ray
def test_a_ray_that_never_answers_ends_the_command(tmp_path: Path) -> None:
    impatient = "from app import cluster; cluster.START_S = 0.01; cluster.start()"
    process = subprocess.run(
        [sys.executable, "-c", impatient], capture_output=True, text=True, timeout=100
    )
    assert process.returncode == 1
    assert process.stderr.startswith("Timeout (0:00:00.01")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_raised_and_its_handler_is_the_one_from_before(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    with pytest.raises(Interrupted, match=signum.name) as caught, Interrupts().handled():
        os.kill(os.getpid(), signum)
    assert caught.value.status == 128 + signum
    assert signal.getsignal(signum) == before


def test_a_deferred_signal_waits_for_the_check() -> None:
    interrupts = Interrupts()
    reached = []

    def work() -> None:
        with interrupts.handled(), interrupts.deferred():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("after the signal")
            interrupts.check()
            reached.append("after the check")

    with pytest.raises(Interrupted):
        work()
    assert reached == ["after the signal"]


def test_a_second_signal_does_not_cut_short_what_the_first_set_off() -> None:
    interrupts = Interrupts()
    saved = []

    def work() -> None:
        with interrupts.handled():
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except Interrupted:
                os.kill(os.getpid(), signal.SIGTERM)
                saved.append("all of it")
                raise

    with pytest.raises(Interrupted, match="SIGINT"):
        work()
    assert saved == ["all of it"]


def test_a_deferred_signal_is_raised_at_the_latest_at_the_end() -> None:
    interrupts = Interrupts()
    with pytest.raises(Interrupted), interrupts.handled(), interrupts.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
