"""What Ray lost, as Tune is to take it: a trial whose node is gone goes on elsewhere, unblamed."""

from typing import Any

import ray
from ray.air.execution._internal import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.error import _TuneStopTrialError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial as TuneTrial
from ray.util.placement_group import PlacementGroup, placement_group_table

from app.cluster.watchdog import answers
from trainables.contract import ProgramKilled

OUT_OF_MEMORY = "OutOfMemoryError"
"""What the error of a process says that Ray ended for want of memory."""
NODE_LOST = "NodeLost: "
"""What the error of a process says that was lost with its node, before the node's name."""
UNNEEDED = frozenset({"OUT_OF_SCOPE", "REF_DELETED"})
"""Ray's words for the end of a process that nobody needs, and that was neither killed nor lost."""


class ActorManager(RayActorManager):
    """Gives Tune the errors that it knows: a lost process, and an exception.

    With any other it ends the whole run.
    """

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        actor = tracked_actor_task._tracked_actor
        if isinstance(exception, RayTaskError) and isinstance(exception.cause, ProgramKilled):
            has: Any = self._live_actors_to_ray_actors_resources[actor][1]
            exception = _of_its_node(exception, has.placement_group)
        super()._actor_task_failed(tracked_actor_task, as_tune_knows_it(exception))

    def _actor_start_failed(self, tracked_actor: Any, exception: Exception) -> None:
        super()._actor_start_failed(tracked_actor, as_tune_knows_it(exception))


class Controller(TuneController):
    """Takes the loss of a process that was being given its next trial as one loss.

    Tune is told of it twice, for the process and for what it was asked; the second time it would
    give the trial up, which waits by then, and the trial would count as being given its process.

    A trial for which a process is being started is not given another one: two would set it up, and
    the one that is not needed would write to its log and folders while the other trains.

    What a search or a rule raises when a trial ends is raised, and fails no trial.
    """

    _told: Exception | None = None

    def _maybe_reuse_cached_actor(self, trial: TuneTrial) -> bool:
        own = self._trial_to_actor.get(trial)
        if own is not None and self._actor_manager.is_actor_started(own):
            return False
        return bool(super()._maybe_reuse_cached_actor(trial))

    def _trial_task_failure(self, trial: TuneTrial, exception: Exception) -> None:
        self._resetting_trials.discard(trial)
        if exception is not self._told:
            self._told = exception
            super()._trial_task_failure(trial, exception)

    def _process_trial_failure(self, trial: TuneTrial, exception: Any) -> None:
        if isinstance(exception, _TuneStopTrialError):
            # What the search or a rule raised when a trial ended is no failure of the trial's.
            raise RuntimeError(f"as trial {trial.trial_id} ended: {exception}")
        super()._process_trial_failure(trial, exception)


def as_tune_knows_it(error: Exception) -> Exception:
    """The error, or what Tune knows in its place."""
    if isinstance(error, RayTaskError):
        return error
    if isinstance(error, OutOfMemoryError):
        return RayActorError(error_msg=f"{OUT_OF_MEMORY}: {error}")
    if not isinstance(error, RayActorError):
        return RayActorError(error_msg=f"{type(error).__name__}: {error}")
    node = None if error.actor_id is None else _lost_node(error.actor_id)
    if node is None:
        return error
    # To Tune, a node that was taken away is no failure of the trial's.
    return RayActorError(error.actor_id, f"{NODE_LOST}{node}", preempted=True)


def _of_its_node(error: RayTaskError, group: PlacementGroup) -> RayTaskError:
    """What a trial of several workers raised that lost one, or that this was with its node."""
    places = placement_group_table(group)["bundles_to_node_id"].values()
    for node in ray.nodes():
        if node["NodeID"] in places and not _is_there(node):
            told = f"{NODE_LOST}{name(node)}"
            cause = RayActorError(error_msg=told, preempted=True)
            # What `ray.get` raises no longer knows which method it was.
            return RayTaskError("train", told, cause)
    return error


def _lost_node(actor_id: str) -> str | None:
    """The name of the node that a process was on, where that is gone with it.

    A process's error comes at once, Ray's word that the node is dead a quarter of a minute later.
    """
    of_actor = node_of(actor_id)
    for node in ray.nodes():
        if node["NodeID"] == of_actor:
            return None if _is_there(node) else name(node)
    return None


def node_of(actor_id: str) -> str | None:
    """The node that a process is on, or was; None where it never was on one."""
    node = _state(actor_id).get("Address", {}).get("NodeID")
    return None if node is None else str(node)


def ending(actor_id: str) -> str | None:
    """Why a process ended, in Ray's word; None while it goes on."""
    state = _state(actor_id)
    if state["State"] != "DEAD":
        return None
    context = state["DeathCause"].actor_died_error_context
    return str(context.Reason.Name(context.reason))


def _state(actor_id: str) -> dict[str, Any]:
    """What Ray knows of a process; there is no public way to it without a dashboard."""
    return dict(ray._private.state.actors(actor_id))


def _is_there(node: dict[str, Any]) -> bool:
    return bool(node["Alive"]) and answers(node["NodeManagerAddress"], node["NodeManagerPort"])


def name(node: dict[str, Any]) -> str:
    """A node as people know it, and as Ray tells apart those of one machine."""
    return f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})"
