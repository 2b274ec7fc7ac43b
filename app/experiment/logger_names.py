"""Names of loggers, which `log_to` takes, and the packages that each needs."""

from collections.abc import Mapping

PACKAGES: Mapping[str, str] = {
    "tensorboard": "tensorboardX",
    "mlflow": "mlflow",
    "wandb": "wandb",
}
"""Module that each logger imports; the extra that installs it has the logger's name."""
