"""Recovery of files that a trial left on a node and its own process could not send.

A Ray task on that node sends them to the run's place.
"""

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from app.cluster.failures import UNNEEDED, death_cause, node_of
from app.storage.trial_storage import RemoteTrialStorage, TrialStorage
from trainables.script.placement_group import run_on_node

LOOK_S = 0.5
DEATH_S = 0.05
"""Interval at which Ray is asked whether a process that was told to end has; it says so at once."""
END_S = 30.0
"""How long Ray may take to say so of all of them."""
LOG_S = 30.0
"""How long a node may take to send the log of a lost process; it takes a second or two."""


class ArtifactRecovery:
    """Asks the nodes of a run's trials to send what is left there."""

    def __init__(self, storage: TrialStorage, check: Callable[[], None]) -> None:
        """Ask for nothing where all nodes share the run's folder; `check` may raise."""
        self.storage = storage
        self._kept = None if storage.is_shared else ray.put(storage)
        self._check = check
        self._actors: dict[str, str] = {}
        """IDs of the actors of trials that have something to be sent, by trial."""
        self._leaving: dict[str, str] = {}
        """The last trial of each actor that sends the last of it itself, by the actor's ID."""
        self._tasks: dict[str, Any] = {}
        """References to what nodes were asked for, by trial."""

    def start(self, trial_id: str, actor: Any) -> None:
        """Note the actor that a trial has now."""
        if not self.storage.is_shared and actor is not None:
            self._actors[trial_id] = actor._actor_id.hex()

    def forget(self, trial_id: str) -> None:
        """Expect nothing more of a trial: all is sent already, or lost."""
        self._actors.pop(trial_id, None)

    def complete(self, trial_id: str) -> None:
        """Have the last files of a trial that ended.

        The process of a class or function sends them itself when it is stopped or given another
        trial. What a script still makes is sent by a task, when the script has ended.
        """
        if self.storage.outlives_trials:
            self._ask(trial_id, "send_last")
            return
        actor = self._actors.pop(trial_id, None)
        if actor is not None:
            self._leaving[actor] = trial_id

    def recover_log(self, trial_id: str) -> None:
        """Have what a trial printed before its process was lost, where its node is there.

        Raises StorageError where it cannot be sent.
        """
        self._ask(trial_id, "send_log")
        task = self._tasks.pop(trial_id, None)
        if task is not None and ray.wait([task], timeout=LOG_S)[0]:
            _check_sent(task)

    def wait_for(self, trial_id: str) -> None:
        """Wait until all is sent of a trial that ended; raises StorageError where that fails."""
        if trial_id in self._tasks:
            _check_sent(self._tasks[trial_id])

    def finish(self) -> None:
        """Wait until all is sent of all trials that ended; those that have not have ended by now.

        Raises StorageError where something cannot be sent.
        """
        until = time.monotonic() + END_S
        for actor, trial_id in self._leaving.items():
            while (why := death_cause(actor)) is None and time.monotonic() < until:
                self._check()
                time.sleep(DEATH_S)
            if why not in UNNEEDED:  # Tune gives it ten seconds to stop
                self._actors[trial_id] = actor
        for trial_id in list(self._actors):
            self._ask(trial_id, "send_last")
        waiting = list(self._tasks.values())
        while waiting:
            self._check()
            done, waiting = ray.wait(waiting, timeout=LOOK_S)
            for task in done:
                _check_sent(task)

    def _ask(self, trial_id: str, method: str) -> None:
        actor = self._actors.pop(trial_id, None)
        node = None if actor is None else node_of(actor)
        if node is not None:
            self._tasks[trial_id] = run_on_node(node, send, self._kept, trial_id, method)


def send(storage: RemoteTrialStorage, trial_id: str, method: str) -> None:
    """Send what a trial left on the node that runs this task, by a method of its artifacts."""
    getattr(storage.artifacts(trial_id), method)()


def _check_sent(task: Any) -> None:
    """Raise StorageError where something could not be sent, but not of a node that is lost."""
    try:
        ray.get(task)
    except RayTaskError as error:
        raise error.cause from error
    except RayError:
        return
