"""`Predictor` by SageMaker's name: a client of an endpoint."""

import io
from collections.abc import Mapping
from typing import Any

from app.api import EndpointError
from app.api.endpoint import post
from app.sagemaker import endpoint
from app.sagemaker.aws import ignore
from app.sagemaker.deserializers import (
    BytesDeserializer,
    Deserializer,
)
from app.sagemaker.serializers import (
    IdentitySerializer,
    Serializer,
)

__all__ = ["EndpointError", "Predictor"]


class Predictor:
    """Client of an endpoint that this process started, or of one at an address."""

    def __init__(
        self,
        endpoint_name: str,
        sagemaker_session: Any = None,
        serializer: Serializer | None = None,
        deserializer: Deserializer | None = None,
        *,
        address: str | None = None,
        **aws: Any,
    ) -> None:
        """Take the endpoint's name; without serializers, bytes are sent and given."""
        ignore(aws)
        self.endpoint_name = endpoint_name
        self.serializer = serializer or IdentitySerializer()
        self.deserializer = deserializer or BytesDeserializer()
        self._address = address

    @property
    def address(self) -> str:
        """URL of the endpoint; raises EndpointError if it is not running."""
        return self._address or endpoint.find(self.endpoint_name).url

    @property
    def content_type(self) -> str:
        """MIME type of the data that is sent."""
        return self.serializer.CONTENT_TYPE

    @property
    def accept(self) -> tuple[str, ...]:
        """MIME types of the answers that are asked for."""
        return tuple(self.deserializer.ACCEPT)

    def predict(self, data: Any, initial_args: Mapping[str, str] | None = None, **aws: Any) -> Any:
        """Ask the model.

        Args:
            data: what the serializer takes, for MNIST pixels of shape (N, 1, 28, 28), 0 to 255.
            initial_args: `ContentType` and `Accept`, if not the serializers' own.
            aws: arguments of AWS alone.

        Returns:
            What the deserializer makes of the answer.

        Raises:
            EndpointError: the endpoint refused, with its message, or does not answer.
        """
        extra = dict(initial_args or {})
        kind = extra.pop("ContentType", self.content_type)
        accept = extra.pop("Accept", ", ".join(self.accept))
        extra.pop("EndpointName", None)
        ignore({**extra, **aws})
        body = self.serializer.serialize(data)
        reply, reply_kind = post(
            self.address,
            "/invocations",
            body.encode() if isinstance(body, str) else body,
            {"content-type": kind, "accept": accept},
        )
        return self.deserializer.deserialize(io.BytesIO(reply), reply_kind)

    def delete_endpoint(self, delete_endpoint_config: bool = True) -> None:
        """Stop the endpoint; do nothing if it has ended."""
        endpoint.stop(self.endpoint_name)

    def delete_model(self) -> None:
        """Do nothing: the model belongs to the run and stays with it."""
