"""Losses of an endpoint on Ray Serve: replicas and nodes, told as they go and come back."""

from collections.abc import Callable
from threading import Event

from serve.ray_serve.cluster import call_ray, list_nodes
from serve.ray_serve.deployment import Deployment

POLL_SECONDS = 1.0


def report_losses(deployment: Deployment, stop: Event, say: Callable[[str], None]) -> None:
    """Report lost replicas and nodes until `stop` is set; raises RayLostError if Ray is lost."""
    nodes, was_healthy = call_ray(_addresses), True
    while not stop.wait(POLL_SECONDS):
        alive = call_ray(_addresses)
        for node in nodes.keys() - alive.keys():
            say(f"the node {nodes[node]} is lost, with the replicas that it had")
        nodes, status = alive, deployment.status
        # While a model is changed, it is neither.
        if status.status == ("UNHEALTHY" if was_healthy else "RUNNING"):
            was_healthy = not was_healthy
            count = status.deployments[deployment.name].replica_states.get("RUNNING", 0)
            answer = f"{count} {'replica answers' if count == 1 else 'replicas answer'}"
            lost = f"a replica is lost: {answer}, and Ray starts another"
            say(f"{answer} again" if was_healthy else lost)


def _addresses() -> dict[str, str]:
    """Return the addresses of the nodes that are alive, by id."""
    return {node["NodeID"]: node["NodeManagerAddress"] for node in list_nodes()}
