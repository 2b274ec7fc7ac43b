"""Check, before the first trial, that all nodes of a cluster use the same storage of runs."""

import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.cluster.signals import SignalHandler
from app.run.store import StoreError
from app.storage.remote_folder import RemoteFolder, StorageError
from app.storage.working_copy import nodes_folder, remote_runs

ANSWER_S = 120.0
"""How long a node may take to start a process and check, which takes a second or two."""
POLL_S = 0.5
OURS = "driver"
"""Name of the file that this process writes."""


def check(runs: Path, signals: SignalHandler) -> None:
    """Raise StoreError if a node cannot use the storage of runs as this process does."""
    import ray

    with signals.deferred():
        nodes = {
            node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]
        }
    if len(nodes) > 1 or remote_runs(runs) is not None:
        check_nodes(runs, signals, nodes)


def check_nodes(runs: Path, signals: SignalHandler, nodes: Mapping[str, str]) -> None:
    """Raise StoreError if one of these nodes, addresses by ID, cannot use the storage of runs.

    Each node reads a file that this process wrote, and writes one that this process reads.
    """
    name, place = f".shared.{secrets.token_hex(8)}", remote_runs(runs)
    if place is None:
        _check_folder(runs / name, nodes, signals)
    else:
        _check_place(place, name, nodes, signals)


def _check_folder(folder: Path, nodes: Mapping[str, str], signals: SignalHandler) -> None:
    place = folder.parent
    try:
        folder.mkdir()
        (folder / OURS).write_text(OURS)
        answers = _ask(nodes, signals, check_folder, folder)
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


def _check_place(
    place: RemoteFolder, name: str, nodes: Mapping[str, str], signals: SignalHandler
) -> None:
    try:
        place.write(f"{name}/{OURS}", OURS.encode())
        answers = _ask(nodes, signals, check_remote, place.with_keys(), name)
        written = place.subfolder(name).names()
    finally:
        place.remove_folder(name)
    for node, answer in answers.items():
        if answer or node not in written:
            sees = answer or f"sees another place at {place.uri}"
            raise StoreError(f"--runs: node {nodes[node]} {sees}")


def _ask(
    nodes: Mapping[str, str],
    signals: SignalHandler,
    check_node: Callable[..., str],
    *arguments: object,
) -> dict[str, str]:
    """Return each node's problem, or an empty text; nodes that are lost meanwhile are left out."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    from trainables.script.placement_group import run_on_node

    with signals.deferred():
        asked = {run_on_node(node, check_node, *arguments, node): node for node in nodes}
    _wait(list(asked), [f"{nodes[node]}" for node in asked.values()], signals)
    answers = {}
    with signals.deferred():
        for reference, node in asked.items():
            try:
                answers[node] = str(ray.get(reference))
            except RayTaskError as error:
                answers[node] = f"cannot look there ({error.cause})"
            except RayError:
                continue
    return answers


def _wait(asked: Sequence[Any], addresses: Sequence[str], signals: SignalHandler) -> None:
    """Wait for all; raise StoreError with the address of one that takes too long."""
    import ray

    until = time.monotonic() + ANSWER_S
    while True:
        with signals.deferred():
            _, waiting = ray.wait(list(asked), num_returns=len(asked), timeout=POLL_S)
        if not waiting:
            return
        if time.monotonic() > until:
            silent = addresses[asked.index(waiting[0])]
            raise StoreError(
                f"--runs: {silent} did not say in {ANSWER_S:g} s whether it sees the place; look"
                " after that node, or leave it out"
            )


def check_folder(folder: Path, node: str) -> str:
    """Return what is wrong with a folder as seen from this node; empty if nothing is."""
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


def check_remote(place: RemoteFolder, name: str, node: str) -> str:
    """Return what is wrong with a remote folder as seen from this node; empty if nothing is."""
    own = nodes_folder()
    try:
        own.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=own).cleanup()
    except OSError as error:
        return f"cannot write to {own}, where it is to work: {error.strerror}"
    try:
        if place.read(f"{name}/{OURS}") != OURS.encode():
            return f"sees another place at {place.uri}"
        place.write(f"{name}/{node}", node.encode())
    except StorageError as error:
        return str(error).removeprefix("--runs: ")
    return ""
