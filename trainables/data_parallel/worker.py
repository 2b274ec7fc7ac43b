"""A further worker of a trial: it holds the same class as the first, and does each step with it."""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from torch import distributed

from trainables.contract import Config, ProgramFailed, ProgramKilled, TrainableError, share
from trainables.data_parallel import random_state
from trainables.data_parallel.placement_group import Place, Quarters, here, this_node
from trainables.data_parallel.random_state import RandomState
from trainables.errors import reason
from trainables.errors.trial_log import Printed, flush, print_trace, print_whole_lines, write_to

MEET_S = 120.0
"""How long workers may take to find each other."""


CUT = re.compile("gloo/|NCCL|Connection (closed|reset) by peer")
"""What an exception says whose reason is that another worker is gone."""


@dataclass(frozen=True)
class Failure:
    """What a worker raised; where it came from is in the trial's log."""

    kind: type[TrainableError]
    """What it is to the trial; ProgramKilled where it is another worker that is gone."""
    said: str

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """What an exception is to the trial."""
        said = reason.told(error)
        if isinstance(error, TrainableError):
            return cls(type(error), said)
        is_cut = CUT.search("".join(traceback.format_exception_only(error)))
        return cls(ProgramKilled if is_cut else ProgramFailed, said)


@dataclass(frozen=True)
class Order:
    """What a worker is to train, as the first one was told."""

    config: Config
    trial_folder: Path | None
    log: Path | None
    """Where the trial's output goes; None leaves it where it goes."""
    quarters: Quarters | None = None
    """Where the run is, where nodes share no folder."""
    is_apart: bool = False
    """Whether the first worker is on another node: output goes there with each answer."""

    def here(self) -> "Order":
        """The order as it is for the node that this is called on."""
        if self.quarters is None or self.trial_folder is None or self.quarters.is_with_first:
            return self
        return Order(self.config, trial_folder=None, log=None, is_apart=True)


@dataclass(frozen=True)
class Reply:
    """What a worker that was asked gives back."""

    answer: Any
    printed: Printed | None = None
    """None where its output goes to the log, or where it goes by itself."""


class Fellow:
    """What is asked of a further worker, by name; each answer is what comes back."""

    _trial: Any = None
    _order: Order | None = None
    _folder: str | None = None
    _log: Path | None = None
    _told = 0
    """Bytes of its own log that it told of."""
    _rank = 0

    def act(self, method: str, *arguments: Any) -> Reply:
        """Do what is asked; what that raises is told as a Failure."""
        try:
            answer = getattr(self, method)(*arguments)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            print_trace()
            answer = Failure.of(error)
        flush()
        return Reply(answer, self._printed())

    def place(self) -> Place:
        """Where this worker is."""
        return here()

    def join(self, place: Place, port: int, rank: int, size: int) -> None:
        """Meet the others."""
        self._rank = rank
        join(store(place.address, port, size), place, rank, size)

    def take(self, order: Order) -> None:
        """Print into the order's log from now on, or into one that is this worker's own."""
        self._folder = self._folder or tempfile.mkdtemp(prefix="tuneport-")
        self._order = order = order.here()
        if order.is_apart:
            mine = Path(self._folder)
            shutil.rmtree(mine / "trial", ignore_errors=True)
            self._order = replace(order, trial_folder=mine / "trial", log=mine / "printed")
        print_whole_lines()
        self._write_to(self._order.log)

    def setup(self, trainable: type[tune.Trainable], shared: Mapping[str, Any]) -> None:
        """Make a trial of that class, and set it up, by the order that was taken."""
        order, folder = self._order, self._folder
        assert order is not None  # it is taken before
        assert folder is not None
        logging.getLogger("ray.tune.trainable").setLevel(logging.ERROR)  # its advice is for us
        self._trial = _inner(trainable, resolved(shared), order, folder)(config=dict(order.config))
        random_state.seed_from(order.config["seed"], self._rank)

    def reset(self, order: Order) -> bool:
        """Take another configuration."""
        self.take(order)
        assert self._order is not None
        self._trial.trial_folder = self._order.trial_folder
        done = self._trial.reset(dict(order.config))
        random_state.seed_from(order.config["seed"], self._rank)
        return bool(done)

    def step(self, iteration: int) -> None:
        """Do a step; the first worker's metrics are those that count."""
        self._trial._iteration = iteration
        self._trial.step()

    def random(self) -> RandomState:
        """The state of random numbers, for a checkpoint."""
        return random_state.capture()

    def load(self, checkpoint: Any, states: Mapping[int, RandomState]) -> None:
        """Go on from a checkpoint, with the random numbers that this worker had then."""
        with unpacked(checkpoint) as kept:
            self._trial.load_checkpoint(kept)
        if self._rank in states:
            random_state.restore(states[self._rank])
        else:  # There were fewer workers then; what was loaded is the first one's.
            random_state.seed_from(int(torch.randint(2**31, ())), self._rank)

    def weights(self) -> str:
        """A digest of the weights, by which workers are compared."""
        return digest(self._trial)

    def cleanup(self) -> None:
        """Let the trial leave what it holds."""
        if self._trial is not None:
            self._trial.cleanup()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _printed(self) -> Printed | None:
        """What came into its own log, where it has one; it may be removed by now."""
        if self._order is None or not self._order.is_apart or self._log is None:
            return None
        content = os.pread(1, os.fstat(1).st_size - self._told, self._told)
        self._told += len(content)
        return Printed(content, this_node(), self._log)

    def _write_to(self, log: Path | None) -> None:
        if log is None or log == self._log:
            return
        write_to(log)
        self._log = log


def _inner(
    trainable: type[tune.Trainable], shared: Mapping[str, Any], order: Order, folder: str
) -> type[tune.Trainable]:
    """The class with its data and its folders."""

    class Inner(trainable):  # type: ignore[misc, valid-type]
        trial_folder = order.trial_folder

        def _setup_logdir(self) -> None:
            # Ray's own makes a folder in the user's home for each trial.
            self._logdir = folder

        def setup(self, config: Config, **given: Any) -> None:
            trainable.setup(self, config, **(given or shared))

    Inner.__name__ = trainable.__name__
    return Inner


def store(address: str, port: int, size: int, listener: int | None = None) -> Any:
    """Where the workers of a group find each other; the first one has the file that listens."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    return TCPStore(
        address,
        port,
        size,
        is_master=listener is not None,
        timeout=timedelta(seconds=MEET_S),
        wait_for_workers=False,
        master_listen_fd=listener,
    )


def join(found: Any, place: Place, rank: int, size: int) -> None:
    """Make this process one of the group's, by NCCL where each has GPUs, which cannot be shared."""
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, place.interface)  # whoever set it knows the network
    backend = "cpu:gloo,cuda:nccl" if share().gpus >= 1 else "gloo"
    distributed.init_process_group(backend, store=found, rank=rank, world_size=size)


def resolved(shared: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name, those that lie in Ray's memory from there."""
    return {
        name: ray.get(value) if isinstance(value, ray.ObjectRef) else value
        for name, value in shared.items()
    }


def digest(trial: Any) -> str:
    """A digest of a trial's weights; the same for all where it has no model."""
    found = hashlib.sha256()
    if hasattr(type(trial), "model"):
        for name, value in trial.model().state_dict().items():
            found.update(name.encode())
            found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def packed(checkpoint: Any) -> Any:
    """A checkpoint as it can be sent: the dictionary that it is, or a folder's files by name."""
    if isinstance(checkpoint, dict):
        return checkpoint
    folder = Path(checkpoint)
    files = (path for path in folder.rglob("*") if path.is_file())
    return _Files({str(path.relative_to(folder)): path.read_bytes() for path in files})


@dataclass(frozen=True)
class _Files:
    contents: dict[str, bytes]


@contextlib.contextmanager
def unpacked(checkpoint: Any) -> Any:
    """What `packed` was given, a folder as another one with the same files."""
    if not isinstance(checkpoint, _Files):
        yield checkpoint
        return
    with tempfile.TemporaryDirectory(prefix="tuneport-") as folder:
        for name, content in checkpoint.contents.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield folder
