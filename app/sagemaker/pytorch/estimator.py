"""A training script and what every run of it is given, by SageMaker's names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.sagemaker.deserializers import Deserializer
from app.sagemaker.predictor import Predictor, deployed
from app.sagemaker.serializers import Serializer
from app.sagemaker.session import Session, ignore
from app.store import StoreError


class PyTorch:
    """A script, as an experiment with `trainable = "script"` describes it."""

    def __init__(
        self,
        entry_point: str,
        role: str | None = None,
        *,
        source_dir: str | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        instance_count: int | None = None,
        train_instance_count: int | None = None,
        metric_definitions: Sequence[Mapping[str, str]] = (),
        sagemaker_session: Session | None = None,
        **aws: Any,
    ) -> None:
        """Describe the script; an instance is a worker, and what kind of one is ignored."""
        ignore({name: value for name, value in aws.items() if name != "model"})
        self.entry_point = entry_point
        self.source_dir = source_dir
        self.role = role
        self.metric_definitions = list(metric_definitions)
        self.instance_count = instance_count or train_instance_count or 1
        self.sagemaker_session = sagemaker_session or Session()
        self.model: Path | None = None
        self._hyperparameters = dict(hyperparameters or {})

    def hyperparameters(self) -> dict[str, Any]:
        """What every trial is given, with the types that were written."""
        return dict(self._hyperparameters)

    def set_hyperparameters(self, **values: Any) -> None:
        """Give every trial these too."""
        self._hyperparameters.update(values)

    def deploy(
        self,
        initial_instance_count: int = 1,
        instance_type: str | None = None,
        serializer: Serializer | None = None,
        deserializer: Deserializer | None = None,
        endpoint_name: str | None = None,
        **aws: Any,
    ) -> Predictor:
        """Serve the model that came with this estimator; raises StoreError where none did."""
        ignore({"instance_type": instance_type, **aws})
        if self.model is None:
            raise StoreError(f"{self.entry_point}: has no model; deploy what a tuner found best")
        name = endpoint_name or self.model.parent.name
        return deployed(self.model, name, serializer, deserializer)
