"""`PyTorchModel` and `PyTorchPredictor` by SageMaker's names: deploy a model, and ask it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from app.run.store import StoreError
from app.sagemaker import endpoint
from app.sagemaker.aws import ignore
from app.sagemaker.deserializers import Deserializer, NumpyDeserializer
from app.sagemaker.predictor import Predictor
from app.sagemaker.pytorch.repack import is_archive, repack
from app.sagemaker.serializers import NumpySerializer, Serializer
from app.sagemaker.session import Session

MODELS = ".models"
"""Folder beside the runs for models that were given other handlers."""


class PyTorchPredictor(Predictor):
    """Predictor that sends and gives arrays, unless other serializers are given."""

    def __init__(
        self,
        endpoint_name: str,
        sagemaker_session: Session | None = None,
        serializer: Serializer | None = None,
        deserializer: Deserializer | None = None,
        **more: Any,
    ) -> None:
        """Take the endpoint's name."""
        super().__init__(
            endpoint_name,
            sagemaker_session,
            serializer or NumpySerializer(),
            deserializer or NumpyDeserializer(),
            **more,
        )


class PyTorchModel:
    """A model that a run exported, or one of your own with the code that serves it."""

    def __init__(
        self,
        model_data: str | Path,
        role: str | None = None,
        entry_point: str | None = None,
        framework_version: str | None = None,
        py_version: str | None = None,
        image_uri: str | None = None,
        predictor_cls: type[Predictor] = PyTorchPredictor,
        model_server_workers: int | None = None,
        *,
        name: str | None = None,
        source_dir: str | None = None,
        env: Mapping[str, str] | None = None,
        sagemaker_session: Session | None = None,
        **aws: Any,
    ) -> None:
        """Take a model folder or a `model.tar.gz`, by its path or file URI.

        Its handlers are those exported with it, unless `entry_point` names others.
        """
        if aws.get("dependencies"):
            raise StoreError(
                "dependencies: put them below source_dir, which goes with the handlers"
            )
        ignore(
            {
                "framework_version": framework_version,
                "py_version": py_version,
                "image_uri": image_uri,
                **aws,
            }
        )
        parts = urlsplit(str(model_data))
        is_uri = parts.scheme == "file"
        self.model_data = Path(unquote(parts.path)) if is_uri else Path(model_data)
        self.role = role
        self.entry_point = entry_point
        self.source_dir = source_dir
        self.model_server_workers = model_server_workers
        self.env = dict(env or {})
        self.name = name
        self.predictor_cls = predictor_cls
        self.sagemaker_session = sagemaker_session

    def deploy(
        self,
        initial_instance_count: int = 1,
        instance_type: str | None = None,
        serializer: Serializer | None = None,
        deserializer: Deserializer | None = None,
        accelerator_type: str | None = None,
        endpoint_name: str | None = None,
        tags: Any = None,
        kms_key: str | None = None,
        wait: bool = True,
        **aws: Any,
    ) -> Predictor:
        """Serve the model on this machine, by a process for each instance and server worker.

        Raises StoreError if there is no model, EndpointError if it does not start.
        """
        ignore(
            {
                "instance_type": instance_type,
                "accelerator_type": accelerator_type,
                "tags": tags,
                "kms_key": kms_key,
                **aws,
            }
        )
        workers = initial_instance_count * (self.model_server_workers or 1)
        name = endpoint_name or self.name or self.model_data.resolve().parent.name
        endpoint.start(self._served(name), name, self.env, workers)
        return self.predictor_cls(name, self.sagemaker_session, serializer, deserializer)

    def _served(self, name: str) -> Path:
        """Give the folder to serve: the model's own, or a new one with the handlers named."""
        if self.entry_point is None and not is_archive(self.model_data):
            return self.model_data
        session = self.sagemaker_session or Session()
        folder = session.runs / MODELS / name
        return repack(self.model_data, self.entry_point, self.source_dir, folder)
