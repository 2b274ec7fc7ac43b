"""Trials of several workers: every method of such a trial runs on all of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from ray import tune

from trainables.contract import Config, Metrics
from trainables.data_parallel.checkpoints import hash_weights, pack_checkpoint
from trainables.data_parallel.random_state import RandomState
from trainables.data_parallel.worker import TrialContext, get_shared
from trainables.data_parallel.worker_group import StartWorkers, WorkerGroup
from trainables.errors.trial_log import print_whole_lines

STATES = "workers.pt"
"""File of a checkpoint with the random states of ranks 1 and up; rank 0 saves its own."""

T = TypeVar("T")


def make_data_parallel(
    trainable: type[tune.Trainable], workers: int, start_workers: StartWorkers
) -> type[tune.Trainable]:
    """Derive a class whose trials have that many workers, each trial being rank 0 itself.

    Checkpoints are those of rank 0, and all workers load them; the class itself can load them too.
    """

    class DataParallel(trainable):  # type: ignore[misc, valid-type]
        # Two underscores: the names of one are the trainable's own to use.
        __group: WorkerGroup | None = None
        __is_inside = False
        """Whether the trainable itself calls, for rank 0 alone."""

        def setup(self, config: Config, **given: Any) -> None:
            """Set all workers up; `shared` has their shared values, or references to them."""
            if self.__is_inside:
                trainable.setup(self, config, **given)
                return
            self.__shared = given.get("shared", {})
            self.__start(config)

        def reset_config(self, new_config: Config) -> bool:
            """Reset all workers, or start others where one has failed."""
            if self.__is_inside:
                return bool(trainable.reset_config(self, new_config))
            if self.__group is None:
                self.__start(new_config)
                return True
            context = self.__context(new_config)
            is_reset, others = self.__run(
                lambda: trainable.reset_config(self, new_config), "reset", context
            )
            return bool(is_reset) and all(others)

        def step(self) -> Metrics:
            """Step on all workers; returns the metrics of rank 0."""
            metrics: Metrics
            metrics, _ = self.__run(lambda: trainable.step(self), "step", self._iteration)
            return metrics

        def save_checkpoint(self, checkpoint_dir: str) -> Any:
            """Save the state of rank 0, and the random states of the others beside it."""
            saved = trainable.save_checkpoint(self, checkpoint_dir)
            _, others = self.__run(lambda: None, "random")
            states = dict(enumerate(others, 1))
            if isinstance(saved, dict):
                return {**saved, STATES: states}
            torch.save(states, Path(checkpoint_dir, STATES))
            return saved

        def load_checkpoint(self, checkpoint: Any) -> None:
            """Load a checkpoint on all workers."""
            own, states = _split(checkpoint)
            self.__run(
                lambda: trainable.load_checkpoint(self, own), "load", pack_checkpoint(own), states
            )

        def cleanup(self) -> None:
            """Clean up on all workers, and end those but rank 0."""
            if self.__group is None:
                trainable.cleanup(self)
                return
            self.__run(lambda: trainable.cleanup(self), "cleanup")
            self.__end()

        def _hash_all_weights(self) -> list[str]:
            """Digests of the workers' weights, for a check that they agree."""
            own, others = self.__run(lambda: hash_weights(self), "weights")
            return [own, *others]

        def __start(self, config: Config) -> None:
            print_whole_lines()
            self.__group = WorkerGroup(start_workers(workers - 1))
            with self.__running() as group:
                group.connect()
            shared = self.__shared
            # Before the setup, so that a worker's output is there if it is lost in that.
            self.__run(lambda: None, "set_context", self.__context(config))
            self.__run(
                lambda: trainable.setup(self, config, **get_shared(shared)),
                "setup",
                trainable,
                shared,
            )

        def __context(self, config: Config) -> TrialContext:
            folder, log, storage = (
                getattr(self, name, None) for name in ("trial_folder", "trial_log", "trial_storage")
            )
            return TrialContext(config, folder, log, storage)

        def __run(
            self, on_rank_0: Callable[[], T], method: str, *arguments: Any
        ) -> tuple[T, Sequence[Any]]:
            """Run on all workers; returns rank 0's result, and the answers of the others."""
            with self.__running() as group:
                return group.run(on_rank_0, method, *arguments), group.answers

        @contextmanager
        def __running(self) -> Iterator[WorkerGroup]:
            """End all workers but rank 0 where anything fails."""
            group = self.__group
            assert group is not None  # a trial that failed is not called again before a reset
            self.__is_inside = True
            try:
                yield group
            except BaseException:
                self.__end()
                raise
            finally:
                self.__is_inside = False

        def __end(self) -> None:
            group, self.__group = self.__group, None
            if group is not None:
                group.end()

    DataParallel.__name__ = trainable.__name__
    return DataParallel


def _split(checkpoint: Any) -> tuple[Any, dict[int, RandomState]]:
    """Split a checkpoint into that of rank 0 and the random states of the other ranks."""
    if isinstance(checkpoint, dict):
        own = {name: value for name, value in checkpoint.items() if name != STATES}
        return own, checkpoint.get(STATES, {})
    file = Path(checkpoint, STATES)
    return checkpoint, torch.load(file, weights_only=True) if file.exists() else {}
