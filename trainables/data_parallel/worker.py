"""Worker of rank 1 or more: it holds a trial of the same class as rank 0, and steps with it."""

import logging
import os
import re
import shutil
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from trainables.contract import Config, ProgramFailed, ProgramKilled, TrainableError
from trainables.data_parallel import random_state
from trainables.data_parallel.checkpoints import hash_weights, unpack_checkpoint
from trainables.data_parallel.node_storage import NodeStorage
from trainables.data_parallel.placement_group import this_node_id
from trainables.data_parallel.random_state import RandomState
from trainables.data_parallel.rendezvous import (
    NodeAddress,
    create_store,
    join_process_group,
    this_node_address,
)
from trainables.errors import reason
from trainables.errors.trial_log import Printed, flush, print_trace, print_whole_lines, write_to

OTHER_WORKER_LOST = re.compile("gloo/|NCCL|Connection (closed|reset) by peer")
"""Words of exceptions that are raised because another worker is gone."""


@dataclass(frozen=True)
class Failure:
    """An exception of a worker, in words; its traceback is in the trial's log."""

    kind: type[TrainableError]
    """The exception to raise for the trial; ProgramKilled where another worker is gone."""
    message: str

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Describe an exception."""
        message = reason.describe(error)
        if isinstance(error, TrainableError):
            return cls(type(error), message)
        is_cut = OTHER_WORKER_LOST.search("".join(traceback.format_exception_only(error)))
        return cls(ProgramKilled if is_cut else ProgramFailed, message)


@dataclass(frozen=True)
class TrialContext:
    """The trial that a worker is to train: its configuration and where its files go."""

    config: Config
    trial_folder: Path | None
    log: Path | None
    """The file for output; None leaves output as it is."""
    storage: NodeStorage | None = None
    """The run's storage, where nodes share no folder."""
    is_remote: bool = False
    """Whether rank 0 is on another node: output is sent there with each reply."""

    def on_this_node(self) -> "TrialContext":
        """Return the context for a worker on this node."""
        if self.storage is None or self.trial_folder is None or self.storage.is_with_first:
            return self
        return TrialContext(self.config, trial_folder=None, log=None, is_remote=True)


@dataclass(frozen=True)
class Reply:
    """A worker's reply to a call."""

    answer: Any
    """The value of the method, or a Failure."""
    printed: Printed | None = None
    """New output, where it is for rank 0 to write into the trial's log."""


class Worker:
    """Runs what rank 0 asks for, one method at a time."""

    _trial: Any = None
    _context: TrialContext | None = None
    _folder: str | None = None
    _log: Path | None = None
    _sent_bytes = 0
    """Bytes of its own log that went out with replies."""
    _rank = 0

    def call(self, method: str, *arguments: Any) -> Reply:
        """Call one of the methods below; an exception becomes a Failure."""
        try:
            answer = getattr(self, method)(*arguments)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            print_trace()
            answer = Failure.of(error)
        flush()
        return Reply(answer, self._new_output())

    def address(self) -> NodeAddress:
        """Return the address of this worker's node."""
        return this_node_address()

    def join(self, node: NodeAddress, port: int, rank: int, world_size: int) -> None:
        """Join the process group at that address."""
        self._rank = rank
        store = create_store(node.address, port, world_size)
        join_process_group(store, node, rank, world_size)

    def set_context(self, context: TrialContext) -> None:
        """Take a trial, and print into its log from now on, or into a log of this worker's own."""
        self._folder = self._folder or tempfile.mkdtemp(prefix="tuneport-")
        self._context = context = context.on_this_node()
        if context.is_remote:
            own = Path(self._folder)
            shutil.rmtree(own / "trial", ignore_errors=True)
            self._context = replace(context, trial_folder=own / "trial", log=own / "printed")
        print_whole_lines()
        self._write_to(self._context.log)

    def setup(self, trainable: type[tune.Trainable], shared: Mapping[str, Any]) -> None:
        """Make a trial of that class for the context."""
        context, folder = self._context, self._folder
        assert context is not None  # it is set before
        assert folder is not None
        # The advice of Ray is for our own code.
        logging.getLogger("ray.tune.trainable").setLevel(logging.ERROR)
        bound = _bind(trainable, get_shared(shared), context, folder)
        self._trial = bound(config=dict(context.config))
        random_state.seed_from(context.config["seed"], self._rank)

    def reset(self, context: TrialContext) -> bool:
        """Reset the trial for another context."""
        self.set_context(context)
        assert self._context is not None
        self._trial.trial_folder = self._context.trial_folder
        is_reset = self._trial.reset(dict(context.config))
        random_state.seed_from(context.config["seed"], self._rank)
        return bool(is_reset)

    def step(self, iteration: int) -> None:
        """Train for a step; the metrics of rank 0 are those that count."""
        self._trial._iteration = iteration
        self._trial.step()

    def random(self) -> RandomState:
        """Return the random state, for a checkpoint."""
        return random_state.capture()

    def load(self, packed: Any, states: Mapping[int, RandomState]) -> None:
        """Load a checkpoint, and restore the random state that this rank had then."""
        with unpack_checkpoint(packed) as checkpoint:
            self._trial.load_checkpoint(checkpoint)
        if self._rank in states:
            random_state.restore(states[self._rank])
        else:  # There were fewer workers then; what was loaded is the state of rank 0.
            random_state.seed_from(int(torch.randint(2**31, ())), self._rank)

    def weights(self) -> str:
        """Return the digest of the weights."""
        return hash_weights(self._trial)

    def cleanup(self) -> None:
        """Release what the trial holds."""
        if self._trial is not None:
            self._trial.cleanup()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _new_output(self) -> Printed | None:
        """Read what came into this worker's own log since the last reply."""
        if self._context is None or not self._context.is_remote or self._log is None:
            return None
        # By its descriptor: the file may have been removed.
        content = os.pread(1, os.fstat(1).st_size - self._sent_bytes, self._sent_bytes)
        self._sent_bytes += len(content)
        return Printed(content, this_node_id(), self._log)

    def _write_to(self, log: Path | None) -> None:
        if log is None or log == self._log:
            return
        write_to(log)
        self._log = log


def _bind(
    trainable: type[tune.Trainable], shared: Mapping[str, Any], context: TrialContext, folder: str
) -> type[tune.Trainable]:
    """Derive a class whose trials get their data and folders."""

    class Bound(trainable):  # type: ignore[misc, valid-type]
        trial_folder = context.trial_folder

        def _setup_logdir(self) -> None:
            # Ray's own makes a folder in the user's home for each trial.
            self._logdir = folder

        def setup(self, config: Config, **given: Any) -> None:
            trainable.setup(self, config, **(given or shared))

    Bound.__name__ = trainable.__name__
    return Bound


def get_shared(shared: Mapping[str, Any]) -> dict[str, Any]:
    """Get shared values by name, references from Ray's object store."""
    return {
        name: ray.get(value) if isinstance(value, ray.ObjectRef) else value
        for name, value in shared.items()
    }
