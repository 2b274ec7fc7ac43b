"""Translation of Ray's failures for Tune, and the one name of Ray's that is replaced for it.

A trial that loses its node is rescheduled and does not spend a retry.
"""

import copy
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.air.execution import PlacementGroupResourceManager
from ray.air.execution._internal import RayActorManager, TrackedActor
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.tune import tune as tune_run
from ray.tune.error import _TuneStopTrialError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial as TuneTrial
from ray.util.placement_group import PlacementGroup, placement_group_table

from app.cluster.watchdog import accepts_connections
from trainables.contract import ProgramKilled

OUT_OF_MEMORY = "OutOfMemoryError"
"""Word in the error of a process that Ray ended because memory was short."""
NODE_LOST = "NodeLost: "
"""Word in the error of a process that was lost with its node, before the node's name."""
UNNEEDED = frozenset({"OUT_OF_SCOPE", "REF_DELETED"})
"""Ray's causes of death of an actor that nobody needs, which was neither killed nor lost."""


class ActorManager(RayActorManager):
    """Gives Tune the two errors that it knows: a lost process, and an exception.

    With any other error Tune ends the whole run. It also names the actors, for Ray's dashboard.
    """

    run = ""
    """The name of the run, which stands in its actors' names."""

    def add_actor(
        self,
        cls: Any,
        kwargs: dict[str, Any],
        resource_request: Any,
        *,
        on_start: Any = None,
        on_stop: Any = None,
        on_error: Any = None,
    ) -> TrackedActor:
        """Add an actor by the name of run and class; trials reuse it, and no two share a name."""
        named = copy.copy(cls)
        name = f"{self.run}/{cls.__ray_metadata__.class_name}-{secrets.token_hex(4)}"
        named._default_options = {**cls._default_options, "name": name}
        handlers = {"on_start": on_start, "on_stop": on_stop, "on_error": on_error}
        return super().add_actor(named, kwargs, resource_request, **handlers)

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        actor = tracked_actor_task._tracked_actor
        if isinstance(exception, RayTaskError) and isinstance(exception.cause, ProgramKilled):
            has: Any = self._live_actors_to_ray_actors_resources[actor][1]
            exception = _with_lost_node(exception, exception.cause, has.placement_group)
        super()._actor_task_failed(tracked_actor_task, translate(exception))

    def _actor_start_failed(self, tracked_actor: Any, exception: Exception) -> None:
        super()._actor_start_failed(tracked_actor, translate(exception))


class Controller(TuneController):
    """Corrects three things of Tune's controller.

    - The loss of a process that is being reset for its next trial counts once. Tune hears of it
      twice, for the process and for the call; the second time it would fail the trial, which waits
      by then, and take it as being reset still.
    - A trial for which a process is being started is not given another one: two would set it up,
      and the one that is not needed would write to its log and folders while the other trains.
    - An exception of a searcher or a scheduler as a trial ends is raised, and fails no trial.

    Its actors are held by our actor manager.
    """

    _handled: Exception | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._actor_manager = ActorManager(PlacementGroupResourceManager())
        self._actor_manager.run = Path(options["storage"].storage_fs_path).name

    def _maybe_reuse_cached_actor(self, trial: TuneTrial) -> bool:
        own = self._trial_to_actor.get(trial)
        if own is not None and self._actor_manager.is_actor_started(own):
            return False
        return bool(super()._maybe_reuse_cached_actor(trial))

    def _trial_task_failure(self, trial: TuneTrial, exception: Exception) -> None:
        self._resetting_trials.discard(trial)
        if exception is not self._handled:
            self._handled = exception
            super()._trial_task_failure(trial, exception)

    def _process_trial_failure(self, trial: TuneTrial, exception: Any) -> None:
        if isinstance(exception, _TuneStopTrialError):
            raise RuntimeError(f"as trial {trial.trial_id} ended: {exception}")
        super()._process_trial_failure(trial, exception)


@contextmanager
def controller_replaced() -> Iterator[None]:
    """Let Tune run trials by our controller, which it can only be given by its class's name."""
    module: Any = tune_run
    module.TuneController = Controller
    try:
        yield
    finally:
        module.TuneController = TuneController


def translate(error: Exception) -> Exception:
    """Return the error, or one that Tune knows in its place."""
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


def _with_lost_node(
    error: RayTaskError, killed: ProgramKilled, group: PlacementGroup
) -> RayTaskError:
    """Return the error of a trial that lost a worker, or that the worker's node is lost."""
    if killed.actor_id is not None:  # a worker of Ray Train, which has a group of its own
        lost = _lost_node(killed.actor_id)
    else:
        places = placement_group_table(group)["bundles_to_node_id"].values()
        dead = (node for node in ray.nodes() if node["NodeID"] in places and not _is_alive(node))
        lost = next(map(node_name, dead), None)
    if lost is None:
        return error
    message = f"{NODE_LOST}{lost}"
    cause = RayActorError(error_msg=message, preempted=True)
    # The exception of `ray.get` no longer knows which method it was.
    return RayTaskError("train", message, cause)


def _lost_node(actor_id: str) -> str | None:
    """Return the name of an actor's node if that is gone, too.

    The actor's error comes at once, Ray's word that the node is dead a quarter of a minute later.
    """
    node_id = node_of(actor_id)
    for node in ray.nodes():
        if node["NodeID"] == node_id:
            return None if _is_alive(node) else node_name(node)
    return None


def node_of(actor_id: str) -> str | None:
    """Return the ID of the node that an actor is or was on; None if it never was on one."""
    node = _state(actor_id).get("Address", {}).get("NodeID")
    return None if node is None else str(node)


def death_cause(actor_id: str) -> str | None:
    """Return Ray's word for why an actor ended; None while it is alive."""
    state = _state(actor_id)
    if state["State"] != "DEAD":
        return None
    context = state["DeathCause"].actor_died_error_context
    return str(context.Reason.Name(context.reason))


def _state(actor_id: str) -> dict[str, Any]:
    """Return the state of an actor; there is no public way to it without a dashboard."""
    return dict(ray._private.state.actors(actor_id))


def _is_alive(node: dict[str, Any]) -> bool:
    return bool(node["Alive"]) and accepts_connections(
        node["NodeManagerAddress"], node["NodeManagerPort"]
    )


def node_name(node: dict[str, Any]) -> str:
    """Return a node's address, with what tells it from others on one machine."""
    return f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})"
