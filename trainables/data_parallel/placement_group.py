"""Where a trial's processes are: in bundles of its placement group; and where they meet."""

import fcntl
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

SIOCGIFADDR = 0x8915


@dataclass(frozen=True)
class Place:
    """A node, as others find it."""

    address: str = "127.0.0.1"
    interface: str = "lo"
    """The network interface that has this address."""


class Quarters(Protocol):
    """Where a run is, on nodes that share no folder."""

    def here(self, path: Path) -> Path:
        """The path on this node for one on the node of the trial's first process."""
        ...

    @property
    def is_with_first(self) -> bool:
        """Whether the trial's first process is on this node, too."""
        ...

    def code(self, digest: str) -> Path:
        """The run's copy of its script, on this node."""
        ...

    def fetch(self, path: Path, target: Path) -> None:
        """Have a folder here as the trial's first process sent it, or began with it."""
        ...


def further(kind: type, count: int, *, calls_at_once: int = 1) -> list[Any]:
    """An actor of that kind in each of the trial's bundles, in its placement group, but the first.

    One that takes several calls at once is called in threads, another one in its main thread.
    """
    group = ray.util.get_current_placement_group()
    assert group is not None  # Tune starts every trial in one
    return [
        ray.remote(kind)
        .options(
            num_cpus=bundle.get("CPU", 0),
            num_gpus=bundle.get("GPU", 0),
            max_concurrency=calls_at_once,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, index),
        )
        .remote()
        for index, bundle in enumerate(group.bundle_specs[:count])
        if index > 0
    ]


def errand(node: str, act: Callable[..., Any], *arguments: Any) -> Any:
    """Have a node do something once, whatever else it does; a reference to what that gives."""
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    sent = ray.remote(act).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
    return sent.remote(*arguments)


def this_node() -> str:
    """This node, by Ray's name."""
    return str(ray.get_runtime_context().get_node_id())


def here() -> Place:
    """This node's address, as the other nodes know it, and the interface that has it."""
    address = ray.util.get_node_ip_address()
    for _, name in socket.if_nameindex():
        if _address_of(name) == address:
            return Place(address, name)
    return Place(address, Place.interface)


def meeting(places: Sequence[Place]) -> list[Place]:
    """Where those at the places meet, at the first one's, and each one's interface to it.

    Those on one machine meet on its loopback, where nobody else comes.
    """
    first = places[0].address
    if all(place.address == first for place in places):
        return [Place() for _ in places]
    return [Place(first, place.interface) for place in places]


def _address_of(interface: str) -> str | None:
    """The interface's IPv4 address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = struct.pack("256s", interface.encode())
        try:
            answer = fcntl.ioctl(any_socket, SIOCGIFADDR, name)
        except OSError:  # it has none
            return None
    return socket.inet_ntoa(answer[20:24])
