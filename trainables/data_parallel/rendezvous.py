"""Rendezvous of a trial's processes: addresses of nodes, and the process group that is made there.

PyTorch is imported by those functions alone that make the group: a script's trial needs addresses,
and no PyTorch.
"""

import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray

from trainables.contract import share

RENDEZVOUS_S = 120.0
"""Seconds that workers may take to find each other."""
SIOCGIFADDR = 0x8915


@dataclass(frozen=True)
class NodeAddress:
    """The address by which other nodes reach a node."""

    address: str = "127.0.0.1"
    interface: str = "lo"
    """The network interface that has the address."""


def this_node_address() -> NodeAddress:
    """Return this node's address in the cluster and the interface that has it."""
    address = ray.util.get_node_ip_address()
    for _, name in socket.if_nameindex():
        if _interface_address(name) == address:
            return NodeAddress(address, name)
    return NodeAddress(address, NodeAddress.interface)


def rendezvous(nodes: Sequence[NodeAddress]) -> list[NodeAddress]:
    """Choose where processes on these nodes meet: at the first, each by an interface of its own.

    Processes on one machine meet on its loopback interface, where nobody else comes.
    """
    first = nodes[0].address
    if all(node.address == first for node in nodes):
        return [NodeAddress() for _ in nodes]
    return [NodeAddress(first, node.interface) for node in nodes]


def create_store(address: str, port: int, world_size: int, listener: int | None = None) -> Any:
    """Create the store by which workers find each other; rank 0 has the socket that listens."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    return TCPStore(
        address,
        port,
        world_size,
        is_master=listener is not None,
        timeout=timedelta(seconds=RENDEZVOUS_S),
        wait_for_workers=False,
        master_listen_fd=listener,
    )


def join_process_group(store: Any, node: NodeAddress, rank: int, world_size: int) -> None:
    """Make this process a rank of the group, by NCCL where it has a whole GPU, else by Gloo."""
    from torch import distributed

    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, node.interface)  # a user who set it knows the network
    backend = "cpu:gloo,cuda:nccl" if share().gpus >= 1 else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size)


def _interface_address(interface: str) -> str | None:
    """Return the interface's IPv4 address; None where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = struct.pack("256s", interface.encode())
        try:
            answer = fcntl.ioctl(any_socket, SIOCGIFADDR, name)
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])
