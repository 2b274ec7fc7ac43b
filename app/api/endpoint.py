"""An endpoint that this process started: `python -m serve` as a child process."""

import atexit
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from app.api.commands import POLL_S, Command, as_flags

READY = re.compile(r"serving .* on (http://\S+?)/? - ")
"""The line by which the server says where it answers."""
READY_S = 240.0
"""Longest start of an endpoint; SageMaker allows as much."""
STOP_S = 30.0
ANSWER_S = 60.0
JSON = "application/json"


class EndpointError(Exception):
    """An endpoint that does not start, or that answers with an error, in one sentence."""


class Endpoint:
    """A model that is served by a process that ends with this one, or with the `with` block."""

    def __init__(self, url: str, command: Command) -> None:
        self.url = url
        """Address, without a slash at its end."""
        self._command = command
        atexit.register(self.stop)

    @classmethod
    def start(
        cls,
        model: Path,
        *,
        port: int = 8080,
        environment: Mapping[str, str] | None = None,
        **flags: Any,
    ) -> Self:
        """Serve a model folder, and return once it answers.

        Args:
            model: The model folder.
            port: Port to listen on; 0 chooses one that is free.
            environment: Variables of the server beside those of this process.
            flags: Flags of `python -m serve` by name, such as `workers=2`.

        Raises:
            CommandError: The command failed; the message is its own.
            EndpointError: It is not ready in four minutes.
        """
        arguments = [str(model), *as_flags({"port": str(port), **flags})]
        command = Command("serve", *arguments, environment=environment)
        try:
            return cls(_wait_until_ready(command), command)
        except BaseException:
            command.terminate(grace_s=STOP_S)
            raise

    def predict(self, instances: Any) -> list[dict[str, Any]]:
        """Ask for predictions: labels with their probabilities, or outputs by name.

        Args:
            instances: Inputs, one after the other, as lists or an array; images as 28 rows of 28
                pixels, 0 to 255.

        Raises:
            EndpointError: The endpoint refused, with its message, or does not answer.
        """
        reply = self._post("/predict", {"instances": instances})
        return list(reply["predictions"])

    def invoke(self, data: Any) -> Any:
        """Ask for the model's raw output, or for what a script's handlers answer, as JSON."""
        return self._post("/invocations", data)

    def logs(self) -> str:
        """Return what the server has printed."""
        return self._command.output()

    def stop(self) -> None:
        """Stop the endpoint after its open requests; do nothing if it has ended."""
        atexit.unregister(self.stop)
        if not self._command.has_ended:
            self._command.terminate(grace_s=STOP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        ended = ", stopped" if self._command.has_ended else ""
        return f"<Endpoint {self.url}{ended}>"

    def _post(self, path: str, data: Any) -> Any:
        body = json.dumps(data, default=_plain).encode()
        reply, _ = post(self.url, path, body, {"content-type": JSON, "accept": JSON})
        return json.loads(reply)


def post(address: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[bytes, str]:
    """Send a request to an endpoint, and return the reply's body and its media type.

    Raises EndpointError if the endpoint answers with an error, or not at all.
    """
    request = urllib.request.Request(f"{address}{path}", body, dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as reply:
            return reply.read(), reply.headers.get_content_type()
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        raise EndpointError(f"{address}{path} answered {error.code}: {text}") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise EndpointError(f"nothing answers at {address}: {reason}") from error


def _wait_until_ready(command: Command) -> str:
    """Return the address once the server says it."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        for line in command.new_lines():
            if ready := READY.search(line):
                return ready[1]
        command.check()
        time.sleep(POLL_S)
    raise EndpointError(f"the endpoint was not ready in {READY_S:g} s")


def _plain(value: Any) -> Any:
    """Turn arrays and tensors into lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")
