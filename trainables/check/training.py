"""Promises of training: steps, checkpoints and resets."""

from collections.abc import Iterator
from dataclasses import replace

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
