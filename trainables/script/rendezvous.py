"""Rendezvous of a script's hosts: the addresses of their nodes, and where they meet."""

import fcntl
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import ray

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


def _interface_address(interface: str) -> str | None:
    """Return the interface's IPv4 address; None where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = struct.pack("256s", interface.encode())
        try:
            answer = fcntl.ioctl(any_socket, SIOCGIFADDR, name)
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])
