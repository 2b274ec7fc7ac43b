"""Placement groups of lost Ray Train controllers, removed so that their resources are free again.

Ray removes a group only when the whole job that made it has ended, and Ray Train's own way needs a
dashboard.
"""

import time
from contextlib import suppress
from typing import Any

import ray
from ray.core.generated import gcs_pb2
from ray.exceptions import RayError
from ray.tune import Callback
from ray.util.placement_group import PlacementGroup, remove_placement_group

LOOK_S = 1.0
"""Interval at which Ray is asked for groups."""


class OrphanedGroups(Callback):
    """Callback of Tune that removes this job's groups whose creator has ended."""

    def __init__(self) -> None:
        self._looked_at = 0.0

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Remove them, now and then."""
        if time.monotonic() - self._looked_at > LOOK_S:
            self._looked_at = time.monotonic()
            with suppress(RayError):  # the head may be away for a while
                remove_orphans()


def remove_orphans() -> list[str]:
    """Remove this job's groups that an actor made that has ended; return their IDs.

    There is no public way to a group's creator.
    """
    job = ray.get_runtime_context().get_job_id()
    orphans = []
    for group in _groups():
        creator = group.creator_actor_id.hex()
        if group.creator_job_id.hex() == job and group.state != group.REMOVED and _is_dead(creator):
            id_ = ray.PlacementGroupID(group.placement_group_id)
            remove_placement_group(PlacementGroup(id_))
            orphans.append(id_.hex())
    return orphans


def _groups() -> list[Any]:
    state: Any = ray._private.state.state
    table = state._connect_and_get_accessor().get_placement_group_table()
    messages: Any = gcs_pb2
    return [messages.PlacementGroupTableData.FromString(group) for group in table]


def _is_dead(actor_id: str) -> bool:
    """Whether an actor has ended; a group without one is the command's own."""
    actor = ray._private.state.actors(actor_id) if actor_id.strip("f") else {}
    return bool(actor) and actor["State"] == "DEAD"
