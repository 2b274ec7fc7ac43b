"""Promises of training: steps, checkpoints and resets, by one worker and by several."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ray.tune import Trainable

from trainables.check.subject import (
    Subject,
    compare,
    named_errors,
    reporter,
    save,
    train_epoch,
)
from trainables.contract import Metrics, TrainableError
from trainables.function.trainable import FunctionTrainable


def try_training(subject: Subject) -> Iterator[str]:
    """Compare a trial that was repeated, or resumed, with one that was not."""
    call, metric = reporter(subject.trainable), subject.metric
    with subject.trial() as again:
        repeated = train_epoch(again)
    yield f"{call} reports {metric}, a finite number"
    with subject.trial() as straight:
        first = train_epoch(straight)
        sentence = "step(): two fresh trials of one configuration and seed differ"
        compare(sentence, first, repeated, [metric])
        names = [name for name in first if repeated.get(name) == first[name]]
        subject.repeatable.update({name: first[name] for name in names})
        yield "two fresh trials of one configuration and seed agree"
        checkpoint = save(straight, subject.folder / "checkpoint")
        second = train_epoch(straight)
    is_function = issubclass(subject.trainable, FunctionTrainable)
    if not is_function:  # for a function, our own code writes it
        yield "save_checkpoint() writes a checkpoint"
    with subject.trial() as resumed:
        with named_errors("load_checkpoint()"):
            resumed.restore(checkpoint)
        after_resume = train_epoch(resumed)
    loads = "load_checkpoint()"
    if is_function:
        loads = "tune.report(checkpoint=…) and tune.get_checkpoint()"
    sentence = f"{loads}: the trial that loaded goes on differently from the one that saved"
    if second:  # else the first epoch was the last
        compare(sentence, second, after_resume, names)
    yield f"{loads}: the trial that loaded goes on as the one that saved"


def try_reset(subject: Subject) -> Iterator[str]:
    """Compare a trial that was reset, after an epoch with another seed, with a fresh one."""
    if not _has_reset(subject) or not subject.repeatable:
        return
    sentence = "reset_config(): a trial that was reset differs from a fresh one"
    compare(sentence, subject.repeatable, _after_reset(subject), list(subject.repeatable))
    yield "reset_config(): a trial that was reset is as a fresh one"


def try_data_parallel(subject: Subject) -> Iterator[str]:
    """Compare trials of several workers in the same ways, and the weights of their workers."""
    of_several = f"of {subject.workers} workers"
    with subject.trial() as straight:
        first = train_epoch(straight)
        _check_weights(straight)
        yield f"the weights {of_several} stay equal"
        checkpoint = save(straight, subject.folder / "data_parallel")
        second = train_epoch(straight)
    with subject.trial() as other:
        repeated = train_epoch(other)
        names = [name for name in first if repeated.get(name) == first[name]]
        sentence = f"step(): two fresh trials {of_several} of one configuration and seed differ"
        compare(sentence, first, repeated, [subject.metric])
        yield f"two fresh trials {of_several} agree"
        with named_errors(f"load_checkpoint() {of_several}"):
            other.restore(checkpoint)
        sentence = f"load_checkpoint(): the trial {of_several} that loaded goes on differently"
        compare(sentence, second, train_epoch(other), names)
        yield f"load_checkpoint(): the trial {of_several} that loaded goes on as the one that saved"
        if _has_reset(subject):
            with named_errors(f"reset_config() {of_several}"):
                other.reset(dict(subject.config))
            sentence = (
                f"reset_config(): a trial {of_several} that was reset differs from a fresh one"
            )
            compare(sentence, first, train_epoch(other), names)
            yield f"reset_config(): a trial {of_several} that was reset is as a fresh one"


def _has_reset(subject: Subject) -> bool:
    return subject.trainable.reset_config is not Trainable.reset_config


def _after_reset(subject: Subject) -> Metrics:
    """Return the first epoch's metrics of a trial that trained with another seed before."""
    other = {**subject.config, "seed": subject.config["seed"] + 1}
    with replace(subject, config=other).trial() as trial:
        train_epoch(trial)
        with named_errors("reset_config()"):
            is_reset = trial.reset(dict(subject.config))
        if not is_reset:
            raise TrainableError("reset_config(): must give True once the trial is reset")
        return train_epoch(trial)


def _check_weights(trial: Any) -> None:
    own, *others = trial._hash_all_weights()
    for number, digest in enumerate(others, 2):
        if digest != own:
            raise TrainableError(
                f"step(): worker {number} has other weights than the first; each step has to add"
                " all workers' gradients up, as all_reduce_gradients() does"
            )
