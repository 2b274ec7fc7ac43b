"""A class whose trials have several workers: each of its steps is done by all of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from ray import tune

from trainables.contract import Config, Metrics
from trainables.data_parallel.random_state import RandomState
from trainables.data_parallel.worker import Order, digest, packed, resolved
from trainables.data_parallel.worker_group import Crew, Recruit
from trainables.errors.trial_log import print_whole_lines

STATES = "workers.pt"
"""Within a checkpoint: the random numbers of all workers but the first, which keeps its own."""

T = TypeVar("T")


def teamed(trainable: type[tune.Trainable], size: int, recruit: Recruit) -> type[tune.Trainable]:
    """The class as one whose trials train with that many workers, each trial being the first.

    Checkpoints are the first worker's alone, and are loaded by all; a class that trains with one
    can load them as well.
    """

    class Teamed(trainable):  # type: ignore[misc, valid-type]
        # Two underscores: the names of one are the trainable's own to use.
        __crew: Crew | None = None
        __is_inside = False
        """Whether the trainable itself calls, what is its own to do."""

        def setup(self, config: Config, **given: Any) -> None:
            """Set all workers up; `shared` has what they share by name, or references to it."""
            if self.__is_inside:
                trainable.setup(self, config, **given)
                return
            self.__shared = given.get("shared", {})
            self.__begin(config)

        def reset_config(self, new_config: Config) -> bool:
            """Reset all workers, or begin with others where one has failed."""
            if self.__is_inside:
                return bool(trainable.reset_config(self, new_config))
            if self.__crew is None:
                self.__begin(new_config)
                return True
            order = self.__order(new_config)
            done, others = self.__all(
                lambda: trainable.reset_config(self, new_config), "reset", order
            )
            return bool(done) and all(others)

        def step(self) -> Metrics:
            """Let all do the step; the metrics are the first one's."""
            metrics: Metrics
            metrics, _ = self.__all(lambda: trainable.step(self), "step", self._iteration)
            return metrics

        def save_checkpoint(self, checkpoint_dir: str) -> Any:
            """Save the first worker's state, and the random numbers of the others beside it."""
            kept = trainable.save_checkpoint(self, checkpoint_dir)
            _, others = self.__all(lambda: None, "random")
            states = dict(enumerate(others, 1))
            if isinstance(kept, dict):
                return {**kept, STATES: states}
            torch.save(states, Path(checkpoint_dir, STATES))
            return kept

        def load_checkpoint(self, checkpoint: Any) -> None:
            """Let all go on from what was saved."""
            kept, states = _parted(checkpoint)
            self.__all(lambda: trainable.load_checkpoint(self, kept), "load", packed(kept), states)

        def cleanup(self) -> None:
            """Let all leave what they hold, and end the further ones."""
            if self.__crew is None:
                trainable.cleanup(self)
                return
            self.__all(lambda: trainable.cleanup(self), "cleanup")
            self.__disband()

        def _weights_of_all(self) -> list[str]:
            """A digest of each worker's weights, for whoever checks that they agree."""
            mine, others = self.__all(lambda: digest(self), "weights")
            return [mine, *others]

        def __begin(self, config: Config) -> None:
            print_whole_lines()
            self.__crew = Crew(recruit(size - 1))
            with self.__acting() as crew:
                crew.meet()
            shared = self.__shared
            # Before the setup, so that what a worker prints is there if it is lost in that.
            self.__all(lambda: None, "take", self.__order(config))
            self.__all(
                lambda: trainable.setup(self, config, **resolved(shared)),
                "setup",
                trainable,
                shared,
            )

        def __order(self, config: Config) -> Order:
            folder, log, quarters = (
                getattr(self, f"trial_{name}", None) for name in ("folder", "log", "quarters")
            )
            return Order(config, folder, log, quarters)

        def __all(
            self, mine: Callable[[], T], method: str, *arguments: Any
        ) -> tuple[T, Sequence[Any]]:
            """What the first worker gives, and what the others do, each having done its share."""
            with self.__acting() as crew:
                return crew.together(mine, method, *arguments), crew.answers

        @contextmanager
        def __acting(self) -> Iterator[Crew]:
            """What fails meanwhile ends all workers but the first."""
            crew = self.__crew
            assert crew is not None  # what failed is not asked for anything more
            self.__is_inside = True
            try:
                yield crew
            except BaseException:
                self.__disband()
                raise
            finally:
                self.__is_inside = False

        def __disband(self) -> None:
            crew, self.__crew = self.__crew, None
            if crew is not None:
                crew.end()

    Teamed.__name__ = trainable.__name__
    return Teamed


def _parted(checkpoint: Any) -> tuple[Any, dict[int, RandomState]]:
    """The first worker's checkpoint, and the random numbers of those that there were beside it."""
    if isinstance(checkpoint, dict):
        kept = {name: value for name, value in checkpoint.items() if name != STATES}
        return kept, checkpoint.get(STATES, {})
    file = Path(checkpoint, STATES)
    return checkpoint, torch.load(file, weights_only=True) if file.exists() else {}
