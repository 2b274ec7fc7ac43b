"""Translation of Ray's failures for Tune."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.air.execution._internal import RayActorManager
from ray.exceptions import (
    ActorUnschedulableError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
)
from ray.tune import tune as tune_run
from ray.tune.execution.tune_controller import TuneController

from app.cluster import failures
from app.cluster.failures import NODE_LOST, OUT_OF_MEMORY
from trainables.contract import ProgramKilled

REPLACED = {
    RayActorManager: {"add_actor", "_actor_task_failed", "_actor_start_failed"},
    TuneController: {
        "__init__",
        "_maybe_reuse_cached_actor",
        "_trial_task_failure",
        "_process_trial_failure",
    },
}
"""Methods of Ray's that ours override."""


@pytest.mark.parametrize("ours", [failures.ActorManager, failures.Controller])
def test_what_is_overridden_is_rays_as_it_was(ours: type) -> None:
    (theirs,) = ours.__bases__
    own = {name for name, value in vars(ours).items() if inspect.isfunction(value)}
    assert own == REPLACED[theirs]
    for name in own - {"__init__"}:
        assert list(inspect.signature(getattr(ours, name)).parameters) == list(
            inspect.signature(getattr(theirs, name)).parameters
        )


def test_tune_makes_its_controller_by_the_name_that_is_replaced() -> None:
    module: Any = tune_run
    assert module.TuneController is TuneController
    assert "TuneController" in module.run.__code__.co_names
    with failures.controller_replaced():
        assert module.TuneController is failures.Controller
    assert module.TuneController is TuneController
    # Ours is made in its place: theirs sets the attribute, with the same manager of resources.
    made = inspect.getsource(TuneController.__init__)
    assert "resource_manager = PlacementGroupResourceManager()" in made
    assert made.count("self._actor_manager") == 1


def test_an_error_that_tune_does_not_know_is_a_lost_process_to_it() -> None:
    given = failures.translate(ActorUnschedulableError("its group was removed"))
    assert type(given) is RayActorError
    assert str(given).startswith("ActorUnschedulableError: ")
    assert not given.preempted


def test_a_lack_of_memory_is_a_lost_process_that_says_so() -> None:
    given = failures.translate(OutOfMemoryError("the node ran low"))
    assert type(given) is RayActorError
    assert str(given).startswith(OUT_OF_MEMORY)


def test_an_error_that_tune_knows_is_left_as_it_is() -> None:
    for known in (RayTaskError("step", "trace", ValueError()), RayActorError()):
        assert failures.translate(known) is known


def test_actors_have_names_of_their_own_by_run_and_class() -> None:
    mine: Any = ray.remote(type("Mine", (), {}))
    resources: Any = SimpleNamespace(request_resources=lambda resource_request: None)
    manager = failures.ActorManager(resources)
    manager.run = "digits"
    for _ in range(2):
        manager.add_actor(mine, {}, "a request")
    added = [cls for cls, *_ in manager._pending_actors_to_attrs.values()]
    assert all(isinstance(cls, ray.actor.ActorClass) for cls in added)
    names = {cls._default_options["name"] for cls in added}
    assert len(names) == 2
    assert all(name.startswith("digits/Mine-") for name in names)
    assert "name" not in mine._default_options


def test_an_exception_of_a_searcher_fails_no_trial() -> None:
    failed: list[str] = []

    class Search:
        def on_trial_complete(self, trial_id: str, **told: Any) -> None:
            raise KeyError("no such parameter")

    controller: Any = object.__new__(failures.Controller)
    controller._search_alg = Search()
    controller._scheduler_alg = SimpleNamespace(
        on_trial_remove=lambda *told: None, on_trial_error=lambda *told: failed.append("trial")
    )
    controller._fail_fast = False
    trial = SimpleNamespace(trial_id="t1", status="PENDING")
    with pytest.raises(RuntimeError, match=r"^as trial t1 ended: (.|\n)*KeyError: 'no such param"):
        controller.stop_trial(trial)
    assert failed == []


@pytest.mark.parametrize("is_alive", [False, True])
@pytest.mark.parametrize("actor_id", [None, "ab"], ids=["in the trial's group", "of Ray Train"])
def test_a_worker_lost_with_its_node_is_no_fault_of_the_trials(
    is_alive: bool, actor_id: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "node_of", {"ab": "a1b2c3d4"}.get)
    node = {"NodeID": "a1b2c3d4", "Alive": is_alive, "NodeManagerAddress": "10.0.0.4"}
    monkeypatch.setattr(ray, "nodes", lambda: [{**node, "NodeManagerPort": 1}])
    monkeypatch.setattr(failures, "accepts_connections", lambda host, port: True)
    table = {"bundles_to_node_id": {0: "e5", 1: "a1b2c3d4"}}
    monkeypatch.setattr(failures, "placement_group_table", lambda group: table)
    given: list[Any] = []
    told = "_actor_task_failed"
    monkeypatch.setattr(RayActorManager, told, lambda self, task, error: given.append(error))
    manager: Any = object.__new__(failures.ActorManager)
    task = SimpleNamespace(_tracked_actor="actor")
    resources = {"actor": (None, SimpleNamespace(placement_group=None))}
    manager._live_actors_to_ray_actors_resources = resources
    # As `ray.get` raises it: it is the cause as well, and has that alone.
    raised = RayTaskError("train", "trace", ProgramKilled("algo-2", actor_id)).as_instanceof_cause()
    manager._actor_task_failed(task, raised)
    (error,) = given
    if is_alive:
        assert error is raised
    else:
        cause = error.as_instanceof_cause()
        assert isinstance(cause, RayActorError)
        assert cause.preempted
        assert f"{NODE_LOST}10.0.0.4 (a1b2c3)" in str(cause)


@pytest.mark.parametrize("is_started", [False, True])
def test_a_trial_for_which_a_process_is_being_started_is_not_given_another(
    is_started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TuneController, "_maybe_reuse_cached_actor", lambda self, trial: True)
    controller: Any = object.__new__(failures.Controller)
    controller._trial_to_actor = {"its own": "actor"}
    controller._actor_manager = SimpleNamespace(is_actor_started=lambda actor: is_started)
    assert controller._maybe_reuse_cached_actor("its own") is not is_started
    assert controller._maybe_reuse_cached_actor("none yet")
