"""A replica on Ray Serve: the HTTP application, with the model that its `user_config` names."""

import asyncio
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.http.access import AccessPolicy
from serve.http.app import create_app
from serve.http.headers import REQUEST_ID
from serve.models.manifest import ArtifactError
from serve.ray_serve.metrics import RayMetrics
from serve.rollout.loaded_models import LoadedModels
from serve.rollout.store import ModelStore, Version
from serve.settings import Settings

UserConfig = Mapping[str, str]
"""Folder or URI of the `model`, and the `version` that is there, so that replicas agree."""


class Replica:
    """The class of the deployment; Ray Serve calls its methods."""

    def __init__(self, access: AccessPolicy, settings: Settings) -> None:
        self._access = access
        self._settings = settings
        self._models = LoadedModels()
        self._folder = tempfile.TemporaryDirectory(prefix="tuneport-replica-")
        self._store = ModelStore(Path(self._folder.name))
        self._version: Version | None = None
        self._app: ASGIApp = Starlette()  # It answers the lifespan; requests come later.

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the application, before there is a model."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await self._app(scope, receive, partial(_send_without_id, send))

        return answer

    async def reconfigure(self, config: UserConfig) -> None:
        """Load and check a model beside the one that answers, then switch to it.

        Raises ArtifactError if the model cannot be loaded; Ray Serve then replaces the replica.
        """
        version = await asyncio.to_thread(load_model, self._store, self._models, config)
        self._models.answer(version.folder)
        previous, self._version = self._version, version
        if previous is None:
            self._app = create_app(
                self._models.registry,
                access=self._access,
                settings=self._settings,
                metrics=RayMetrics(),
            )
        else:
            self._models.drop(previous.folder)
            await asyncio.to_thread(self._store.remove, previous)

    def check_health(self) -> None:
        """Raise if the model cannot answer; Ray Serve replaces the replica if that lasts."""
        self._models.registry.check()

    def __del__(self) -> None:
        """End the processes of handlers, and delete the copies of models."""
        self._models.__exit__()
        self._folder.cleanup()


def load_model(store: ModelStore, models: LoadedModels, config: UserConfig) -> Version:
    """Copy a model to this node, verify and load it; raises ArtifactError if that fails."""
    source, expected = config["model"], config["version"]
    version = store.add(source)
    try:
        if version.manifest.version != expected:
            now = version.manifest.version
            raise ArtifactError(f"{source}: has version {now} now, not {expected}; use --reload")
        models.load(version.folder)
    except ArtifactError as error:
        store.remove(version)
        raise ArtifactError(str(error).replace(str(version.folder), source)) from error
    return version


async def _send_without_id(send: Send, message: Message) -> None:
    """Leave the header `x-request-id` to Ray's proxy, which adds the same one."""
    if message["type"] == "http.response.start":
        message["headers"] = [pair for pair in message["headers"] if pair[0] != REQUEST_ID]
    await send(message)
