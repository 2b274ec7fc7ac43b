"""An endpoint of one's own, asked by SageMaker's names."""

import io
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from app.sagemaker import endpoint
from app.sagemaker.aws import ignore
from app.sagemaker.deserializers import (
    BytesDeserializer,
    Deserializer,
)
from app.sagemaker.endpoint import EndpointError
from app.sagemaker.serializers import (
    IdentitySerializer,
    Serializer,
)

__all__ = ["EndpointError", "Predictor"]

ANSWER_S = 60.0


class Predictor:
    """Asks an endpoint that this process has started, or one at an address."""

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
        """Send bytes and give bytes unless other serializers are given."""
        ignore(aws)
        self.endpoint_name = endpoint_name
        self.serializer = serializer or IdentitySerializer()
        self.deserializer = deserializer or BytesDeserializer()
        self._address = address

    @property
    def address(self) -> str:
        """Where the endpoint answers; raises EndpointError where it is not running."""
        return self._address or endpoint.find(self.endpoint_name).address

    @property
    def content_type(self) -> str:
        """MIME type of the data that is sent."""
        return self.serializer.CONTENT_TYPE

    @property
    def accept(self) -> tuple[str, ...]:
        """MIME types of the answers that are asked for."""
        return tuple(self.deserializer.ACCEPT)

    def predict(self, data: Any, initial_args: Mapping[str, str] | None = None, **aws: Any) -> Any:
        """What the model answers; raises EndpointError with the endpoint's own sentence."""
        asked = dict(initial_args or {})
        kind = asked.pop("ContentType", self.content_type)
        accept = asked.pop("Accept", ", ".join(self.accept))
        ignore({**{name: value for name, value in asked.items() if name != "EndpointName"}, **aws})
        body = self.serializer.serialize(data)
        request = urllib.request.Request(
            f"{self.address}/invocations",
            body.encode() if isinstance(body, str) else body,
            {"content-type": kind, "accept": accept},
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as reply:
                stream = io.BytesIO(reply.read())
                return self.deserializer.deserialize(stream, reply.headers.get_content_type())
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise EndpointError(f"{self.endpoint_name} answered {error.code}: {text}") from error
        except urllib.error.URLError as error:
            raise EndpointError(f"nothing answers at {self.address}: {error.reason}") from error

    def delete_endpoint(self, delete_endpoint_config: bool = True) -> None:
        """End the endpoint; once it has gone this does nothing."""
        endpoint.stop(self.endpoint_name)

    def delete_model(self) -> None:
        """Nothing: the model is the run's, and stays with it."""
