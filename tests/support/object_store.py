"""An object store for tests: a server of S3's protocol, in a process of its own on loopback."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from pyarrow.fs import FileSystem

SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_EC2_METADATA_DISABLED": "true",
}


KEYS = {"AccessKeyId": "AWS_ACCESS_KEY_ID", "SecretAccessKey": "AWS_SECRET_ACCESS_KEY"}
STRICT = {"INITIAL_NO_AUTH_ACTION_COUNT": "4"}
"""Lets a server take no more from whoever it does not know, once it has a bucket and a user."""
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}


@dataclass(frozen=True)
class ObjectStore:
    """A running server."""

    port: int
    log: Path
    """Lines of the log of requests."""
    buckets: set[str] = field(default_factory=set)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def uri(self, path: str) -> str:
        """The URI of `bucket/path`, in a bucket that is there."""
        bucket = path.partition("/")[0]
        if bucket not in self.buckets:
            urlopen(Request(f"{self.endpoint}/{bucket}", method="PUT")).close()
            self.buckets.add(bucket)
        return self.absent(path)

    def absent(self, path: str) -> str:
        """The URI of `bucket/path`, wherever that is."""
        return f"s3://{path}?scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{self.port}"

    def write(self, path: str, content: bytes) -> None:
        system, name = self._at(path)
        with system.open_output_stream(name) as file:
            file.write(content)

    def read(self, path: str) -> bytes:
        system, name = self._at(path)
        with system.open_input_stream(name) as file:
            return bytes(file.read())

    def reads(self, path: str) -> int:
        """How often an object was read."""
        return len(re.findall(rf"GET /{re.escape(path)} ", self.log.read_text()))

    def put(self, path: str, content: bytes, **headers: str) -> None:
        """Write an object as any client might, under a name and by headers of whatever kind."""
        headers = {"content-type": "binary/octet-stream", **headers}
        urlopen(Request(f"{self.endpoint}/{path}", content, headers, method="PUT")).close()

    def keys(self) -> dict[str, str]:
        """The keys of a new user who may do everything, as the environment has them."""
        self._iam("CreateUser")
        made = self._iam("CreateAccessKey")
        self._iam("PutUserPolicy", PolicyName="all", PolicyDocument=json.dumps(POLICY))
        found = {name: re.findall(f"<{name}>(.*)</{name}>", made) for name in KEYS}
        return {KEYS[name]: key for name, (key,) in found.items()}

    def _iam(self, action: str, **fields: str) -> str:
        form = {"Action": action, "UserName": "user", "Version": "2010-05-08", **fields}
        headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/iam/aws4"}
        with urlopen(Request(f"{self.endpoint}/", urlencode(form).encode(), headers)) as answer:
            return str(answer.read().decode())

    def _at(self, path: str) -> tuple[Any, str]:
        system, name = FileSystem.from_uri(self.uri(path))
        return system, str(name)


@contextmanager
def object_store(log: Path, **environment: str) -> Iterator[ObjectStore]:
    """A server that ends with the block."""
    with (
        log.open("w") as asked,
        subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=asked,
            text=True,
            env={**os.environ, **environment},
        ) as server,
    ):
        assert server.stdout is not None
        yield ObjectStore(int(server.stdout.readline()), log)
        assert server.stdin is not None
        server.stdin.close()
