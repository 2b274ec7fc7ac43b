"""An endpoint of one's own, asked by SageMaker's names."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.sagemaker.deserializers import Deserializer, NumpyDeserializer
from app.sagemaker.serializers import NumpySerializer, Serializer
from app.sagemaker.session import ignore
from app.store import StoreError

READY_S = 240.0
"""How long a model may take to be served, as long as SageMaker gives it."""
ANSWER_S = 60.0
STOP_S = 30.0


class EndpointError(Exception):
    """An endpoint that does not start, or an answer that is an error, in one sentence."""


class Predictor:
    """Asks an endpoint; of one that it started it is the owner, and ends it."""

    def __init__(
        self,
        endpoint_name: str,
        sagemaker_session: Any = None,
        serializer: Serializer | None = None,
        deserializer: Deserializer | None = None,
        *,
        address: str = "http://127.0.0.1:8080",
        process: "subprocess.Popen[bytes] | None" = None,
    ) -> None:
        """Ask at that address, by NPY unless other serializers are given."""
        self.endpoint_name = endpoint_name
        self.serializer = serializer or NumpySerializer()
        self.deserializer = deserializer or NumpyDeserializer()
        self.address = address
        self._process = process

    def predict(self, data: Any, initial_args: Mapping[str, str] | None = None, **aws: Any) -> Any:
        """What the model answers; raises EndpointError with the endpoint's own sentence."""
        ignore(aws)
        asked = dict(initial_args or {})
        content_type = asked.pop("ContentType", self.serializer.CONTENT_TYPE)
        accept = asked.pop("Accept", ", ".join(self.deserializer.ACCEPT))
        ignore(asked)
        request = urllib.request.Request(
            f"{self.address}/invocations",
            self.serializer.serialize(data),
            {"content-type": content_type, "accept": accept},
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as reply:
                kind = reply.headers.get_content_type()
                return self.deserializer.deserialize(reply.read(), kind)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise EndpointError(f"{self.endpoint_name} answered {error.code}: {text}") from error
        except urllib.error.URLError as error:
            raise EndpointError(f"nothing answers at {self.address}: {error.reason}") from error

    def delete_endpoint(self, delete_endpoint_config: bool = True) -> None:
        """End the endpoint that this predictor started; once it has gone this does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def delete_model(self) -> None:
        """Nothing: the model is the run's, and stays with it."""


def deployed(
    model: Path,
    name: str,
    serializer: Serializer | None = None,
    deserializer: Deserializer | None = None,
) -> Predictor:
    """Serve a model folder on a free port of this machine, and give its predictor once it answers.

    Raises EndpointError where it does not start.
    """
    if not model.is_dir():
        raise StoreError(f"{name}: there is no model at {model}")
    port = _free_port()
    command = [sys.executable, "-m", "serve", str(model), "--port", str(port)]
    path = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(address, process, name)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return Predictor(name, None, serializer, deserializer, address=address, process=process)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_until_ready(address: str, process: "subprocess.Popen[bytes]", name: str) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EndpointError(f"{name}: the endpoint ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(f"{address}/ping", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise EndpointError(f"{name}: the endpoint was not ready in {READY_S:g} s")
