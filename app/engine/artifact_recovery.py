"""What trials left on nodes and their own processes could not send: sent by other ones there."""

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from app.cluster.failures import UNNEEDED, ending, node_of
from app.engine.artifact_sync import Quarters
from trainables.data_parallel.placement_group import run_on_node

LOOK_S = 0.5
DEATH_S = 0.05
"""How often Ray is asked whether a process that was told to end has; it says so at once."""
END_S = 30.0
"""How long Ray may take to say so of all of them."""
LOG_S = 30.0
"""How long a node may take to send the log of a lost process; it takes a second or two."""


class Gathering:
    """Asks the nodes of a run's trials for what is left there."""

    def __init__(self, quarters: Quarters | None, check: Callable[[], None]) -> None:
        """Nothing is asked for where all nodes share the run's folder; `check` may raise."""
        self.quarters = quarters
        self._kept = None if quarters is None else ray.put(quarters)
        self._check = check
        self._actors: dict[str, str] = {}
        """The processes of trials of which there is something to be sent, by trial."""
        self._leaving: dict[str, str] = {}
        """The last trial of each process that sends the last of it itself, by process."""
        self._asked: dict[str, Any] = {}

    def began(self, trial_id: str, actor: Any) -> None:
        """A trial has this process now."""
        if self.quarters is not None and actor is not None:
            self._actors[trial_id] = actor._actor_id.hex()

    def sent(self, trial_id: str) -> None:
        """There is nothing more to be had of a trial: it is sent already, or lost."""
        self._actors.pop(trial_id, None)

    def leaves(self, trial_id: str) -> None:
        """A trial ended whose process sends the last of it when it is stopped or given another."""
        actor = self._actors.pop(trial_id, None)
        if actor is not None:
            self._leaving[actor] = trial_id

    def ended(self, trial_id: str) -> None:
        """A trial was ended: what its script still makes is to be sent when that has ended, too."""
        self._ask(trial_id, "send_last")

    def lost(self, trial_id: str) -> None:
        """A trial's process was lost: have what it printed last, where its node is there.

        Raises PlaceError where it cannot be sent.
        """
        self._ask(trial_id, "send_log")
        asked = self._asked.pop(trial_id, None)
        if asked is not None and ray.wait([asked], timeout=LOG_S)[0]:
            _check_sent(asked)

    def wait_for(self, trial_id: str) -> None:
        """Wait until all is sent of a trial that was ended; raises PlaceError where that fails."""
        if trial_id in self._asked:
            _check_sent(self._asked[trial_id])

    def finish(self) -> None:
        """Wait until all is sent of all trials that were ended; those that were not are by now.

        Raises PlaceError where it cannot be.
        """
        until = time.monotonic() + END_S
        for actor, trial_id in self._leaving.items():
            while (why := ending(actor)) is None and time.monotonic() < until:
                self._check()
                time.sleep(DEATH_S)
            if why not in UNNEEDED:  # Tune gives it ten seconds to stop
                self._actors[trial_id] = actor
        for trial_id in list(self._actors):
            self.ended(trial_id)
        waiting = list(self._asked.values())
        while waiting:
            self._check()
            done, waiting = ray.wait(waiting, timeout=LOOK_S)
            for asked in done:
                _check_sent(asked)

    def _ask(self, trial_id: str, what: str) -> None:
        actor = self._actors.pop(trial_id, None)
        node = None if actor is None else node_of(actor)
        if node is not None:
            self._asked[trial_id] = run_on_node(node, send, self._kept, trial_id, what)


def send(quarters: Quarters, trial_id: str, what: str) -> None:
    """On a node: send what a trial left there."""
    getattr(quarters.belongings(trial_id), what)()


def _check_sent(asked: Any) -> None:
    """Raise PlaceError where something could not be sent; of a node that is lost nothing can be."""
    try:
        ray.get(asked)
    except RayTaskError as error:
        raise error.cause from error
    except RayError:
        return
