"""What Tune is given for errors of Ray's that it does not know."""

from ray.exceptions import (
    ActorUnschedulableError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
)

from app import losses
from app.losses import OUT_OF_MEMORY


def test_an_error_that_tune_does_not_know_is_a_lost_process_to_it() -> None:
    given = losses.as_tune_knows_it(ActorUnschedulableError("its group was removed"))
    assert type(given) is RayActorError
    assert str(given).startswith("ActorUnschedulableError: ")
    assert not given.preempted


def test_want_of_memory_is_a_lost_process_that_says_so() -> None:
    given = losses.as_tune_knows_it(OutOfMemoryError("the node ran low"))
    assert type(given) is RayActorError
    assert str(given).startswith(OUT_OF_MEMORY)


def test_what_tune_knows_is_left_as_it_is() -> None:
    for known in (RayTaskError("step", "trace", ValueError()), RayActorError()):
        assert losses.as_tune_knows_it(known) is known
