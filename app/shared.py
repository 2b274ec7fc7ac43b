"""The place for runs, tried on every node of a cluster before the first trial."""

import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.interrupts import Interrupts
from app.store import StoreError

ANSWER_S = 120.0
"""How long a node may take to start a process and look; it takes a second or two."""
LOOK_S = 0.5
OURS = "driver"


def check(place: Path, interrupts: Interrupts) -> None:
    """Raise StoreError where a node sees another folder there than this process does.

    Each node reads a file that was written here, and writes one that is read here.
    """
    import ray

    with interrupts.deferred():
        nodes = {
            node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]
        }
    if len(nodes) < 2:
        return
    folder = place / f".shared.{secrets.token_hex(8)}"
    try:
        folder.mkdir()
        (folder / OURS).write_text(OURS)
        answers = _asked(folder, nodes, interrupts)
        written = {path.name for path in folder.iterdir() if path.read_text() == path.name}
    except OSError as error:
        raise StoreError(f"--runs: cannot write to {place}: {error.strerror}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for node, answer in answers.items():
        if answer or node not in written:
            raise StoreError(
                f"--runs: {place} must be the same folder on all nodes, but {nodes[node]}"
                f" {answer or 'sees another one'}; choose one that they share, as by NFS"
            )


def _asked(folder: Path, nodes: Mapping[str, str], interrupts: Interrupts) -> dict[str, str]:
    """What each node says; a node that is lost meanwhile says nothing, and trains nothing."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    with interrupts.deferred():
        asked = {
            ray.remote(look)
            .options(
                num_cpus=0,
                max_retries=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            )
            .remote(folder, node): node
            for node in nodes
        }
    _wait(list(asked), [f"{nodes[node]}" for node in asked.values()], interrupts)
    answers = {}
    with interrupts.deferred():
        for reference, node in asked.items():
            try:
                answers[node] = str(ray.get(reference))
            except RayError:
                continue
    return answers


def _wait(asked: Sequence[Any], addresses: Sequence[str], interrupts: Interrupts) -> None:
    """Wait for all; raises StoreError with the address of one that takes too long."""
    import ray

    until = time.monotonic() + ANSWER_S
    while True:
        with interrupts.deferred():
            _, waiting = ray.wait(list(asked), num_returns=len(asked), timeout=LOOK_S)
        if not waiting:
            return
        if time.monotonic() > until:
            silent = addresses[asked.index(waiting[0])]
            raise StoreError(
                f"--runs: {silent} did not say in {ANSWER_S:g} s whether it sees the folder; look"
                " after that node, or leave it out"
            )


def look(folder: Path, node: str) -> str:
    """On a node: what is wrong with a folder as it is seen there; empty where nothing is."""
    if not folder.parent.is_dir():
        return "has none there"
    try:
        if (folder / OURS).read_text() != OURS:
            return "sees another one"
        (folder / node).write_text(node)
    except FileNotFoundError:
        return "sees another one"
    except OSError as error:
        return f"cannot write there ({error.strerror})"
    return ""
