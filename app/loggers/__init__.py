"""Loggers: a run's trials in TensorBoard, MLflow and Weights & Biases, as they train.

A logger takes the journal's events and writes them where its tool looks; `log_to` in an experiment
chooses them. Not here: the journal itself, and the Optuna study, which every run has. The runner
calls::

    with loggers.following(journal, experiment, say=print):
        ...
"""

from app.loggers.following import check_installed, following

__all__ = ["check_installed", "following"]
