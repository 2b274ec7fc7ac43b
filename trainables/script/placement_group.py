"""Actors in the bundles of a trial's placement group, and tasks on one node of the cluster."""

from collections.abc import Callable
from typing import Any

import ray
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)


def create_actors(kind: type, bundles: int, *, max_concurrency: int = 1) -> list[Any]:
    """Create an actor of that class in each of the trial's first bundles but the very first.

    That one is the trial's own process. An actor that takes several calls at once runs them in
    threads, any other one in its main thread.
    """
    group = ray.util.get_current_placement_group()
    assert group is not None  # Tune starts every trial in one
    return [
        ray.remote(kind)
        .options(
            num_cpus=bundle.get("CPU", 0),
            num_gpus=bundle.get("GPU", 0),
            max_concurrency=max_concurrency,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, index),
        )
        .remote()
        for index, bundle in enumerate(group.bundle_specs[:bundles])
        if index > 0
    ]


def run_on_node(
    node: str,
    function: Callable[..., Any],
    *arguments: Any,
    cpus: float = 0.0,
    gpus: float = 0.0,
) -> Any:
    """Run a function once on that node; returns Ray's reference.

    It runs there whatever else does, unless it takes CPUs or GPUs.
    """
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(function).options(
        num_cpus=cpus, num_gpus=gpus, max_retries=0, scheduling_strategy=there
    )
    return task.remote(*arguments)


def this_node_id() -> str:
    """Return Ray's ID of this node."""
    return str(ray.get_runtime_context().get_node_id())
