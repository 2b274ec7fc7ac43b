"""One replica of an endpoint on Ray Serve: the application as ever, with the depot's model."""

import asyncio
import io
import itertools
import logging
import shutil
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError
from starlette.types import ASGIApp

from serve.http.app import create_app
from serve.http.metrics import Families, Metrics
from serve.models.manifest import ArtifactError, Manifest
from serve.ray_serve.shared_state import Files, Orders, Standing
from serve.rollout.loaded_models import Models

BEAT_S = 0.25
"""How often a replica asks what it is to do."""
BEATS_A_COUNT = 4
"""How many times it asks before it tells its numbers again."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Terms:
    """For whom an endpoint answers."""

    hosts: frozenset[str] | None
    api_key: str | None
    wait_s: float
    log_json: bool
    """Whether each request is a line of the log."""


class SharedMetrics(Metrics):
    """The numbers of a replica, of which the depot makes the endpoint's."""

    def __init__(self, depot: Any, name: str) -> None:
        super().__init__()
        self._depot = depot
        self._name = name

    async def share(self, manifest: Manifest) -> None:
        """Tell the depot how far they are."""
        await self._depot.count.remote(self._name, self.families(manifest))

    async def total(self, manifest: Manifest) -> Families:
        """The numbers of all replicas together."""
        try:
            await self.share(manifest)
            families: Families = await self._depot.counted.remote()
        except RayActorError:
            return self.families(manifest)
        return families


class Endpoint:
    """What Ray Serve runs: it builds the application, and does what the depot says."""

    def __init__(self, depot: Any, terms: Terms) -> None:
        self._depot = depot
        self._terms = terms
        self._name = str(ray.get_runtime_context().get_actor_id())
        self._answering = self._wanted = ""
        self._models = Models()
        self._folder = Path(tempfile.mkdtemp(prefix="tuneport-replica-"))
        self._ready: dict[str, Path] = {}
        self._failed: dict[str, str] = {}
        self._tasks: set[asyncio.Future[None]] = set()
        self._loading = asyncio.Lock()
        self._log = io.StringIO() if terms.log_json else None
        self._metrics = SharedMetrics(depot, self._name)

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        """The application, once the model of now is loaded."""
        orders: Orders = await self._depot.orders.remote()
        await self._load(orders.current)
        self._answer(orders.current)
        self._beat = asyncio.create_task(self._follow())
        terms = self._terms
        return create_app(
            self._models.registry,
            hosts=terms.hosts,
            api_key=terms.api_key,
            wait_s=terms.wait_s,
            log=self._log,
            metrics=self._metrics,
        )

    def check_health(self) -> None:
        """Be replaced, by Ray, where it cannot load the model that is to answer."""
        if self._wanted in self._failed:
            raise RuntimeError(self._failed[self._wanted])

    def __del__(self) -> None:
        """End the processes of models with handlers."""
        self._models.__exit__(None, None, None)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _follow(self) -> None:
        for beat in itertools.count():
            standing = Standing(self._answering, frozenset(self._ready), dict(self._failed))
            try:
                self._obey(await self._depot.report.remote(self._name, standing))
                if self._log is not None and (text := self._log.getvalue()):
                    self._log.seek(self._log.truncate(0))
                    await self._depot.log.remote(text.splitlines(keepends=True))
                if beat % BEATS_A_COUNT == 0:
                    await self._metrics.share(self._models.registry.current.manifest)
            except RayActorError as error:
                log.error("the depot is lost; this replica goes on as it is: %s", error)
                return
            await asyncio.sleep(BEAT_S)

    def _obey(self, orders: Orders) -> None:
        self._wanted = orders.current
        if orders.current != self._answering and orders.current in self._ready:
            self._answer(orders.current)
        for key in self._ready.keys() - orders.held - {self._answering}:
            self._drop(key)
        self._failed = {key: why for key, why in self._failed.items() if key in orders.held}
        if not self._loading.locked():
            for key in orders.held - self._ready.keys() - self._failed.keys():
                self._aside(self._prepare(key))

    async def _prepare(self, key: str) -> None:
        async with self._loading:
            if key in self._ready:
                return
            try:
                await self._load(key)
            except KeyError:
                log.info("the model %s was dropped meanwhile", key)
            except (ArtifactError, OSError) as error:
                log.error("the model %s cannot be loaded: %s", key, error)
                self._failed[key] = str(error)

    async def _load(self, key: str) -> None:
        files: Files = await self._depot.files.remote(key)
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            await asyncio.to_thread(_write, folder, files)
            # It reads the files again, and checks their digests.
            await asyncio.to_thread(self._models.load, folder)
        except BaseException:
            shutil.rmtree(folder)
            raise
        self._ready[key] = folder

    def _answer(self, key: str) -> None:
        """Let a model answer that is ready; called on the event loop, where requests are."""
        self._models.answer(self._ready[key])
        self._answering = key

    def _drop(self, key: str) -> None:
        folder = self._ready.pop(key)
        self._models.drop(folder)
        self._aside(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))

    def _aside(self, work: Awaitable[None]) -> None:
        """Have something done while requests are answered."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _write(folder: Path, files: Files) -> None:
    """A model's files, as they came to the depot."""
    for name, reference in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content: Any = ray.get(reference)
        path.write_bytes(content)
