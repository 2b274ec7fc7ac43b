"""A replica on Ray Serve: the HTTP application with the models of the shared state."""

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

from serve.http.access import AccessPolicy
from serve.http.app import create_app
from serve.http.metrics import Families, Metrics
from serve.models.manifest import ArtifactError, Manifest
from serve.ray_serve.shared_state import Files, ReplicaStatus, TargetState
from serve.rollout.loaded_models import LoadedModels

REPORT_SECONDS = 0.25
"""Pause between reports to the shared state."""
REPORTS_PER_METRICS = 4
"""Reports for each record of metrics."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReplicaSettings:
    """Arguments of a replica's application."""

    access: AccessPolicy
    root_path: str
    wait_s: float
    log_json: bool
    """Whether each request is a line of the log."""


class SharedMetrics(Metrics):
    """Metrics of a replica, which the shared state adds up."""

    def __init__(self, shared_state: Any, replica: str) -> None:
        super().__init__()
        self._shared_state = shared_state
        self._replica = replica

    async def record(self, manifest: Manifest) -> None:
        """Send the metrics to the shared state."""
        families = await super().total(manifest)
        await self._shared_state.record_metrics.remote(self._replica, families)

    async def total(self, manifest: Manifest) -> Families:
        """Return the metrics of all replicas."""
        try:
            await self.record(manifest)
            families: Families = await self._shared_state.total_metrics.remote()
        except RayActorError:
            return await super().total(manifest)
        return families


class Replica:
    """The class of the deployment: builds the application, and follows the target state."""

    def __init__(self, shared_state: Any, settings: ReplicaSettings) -> None:
        self._shared_state = shared_state
        self._settings = settings
        self._id = str(ray.get_runtime_context().get_actor_id())
        self._answering = self._target = ""
        self._models = LoadedModels()
        self._folder = Path(tempfile.mkdtemp(prefix="tuneport-replica-"))
        self._ready: dict[str, Path] = {}
        self._failures: dict[str, str] = {}
        self._tasks: set[asyncio.Future[None]] = set()
        self._loading = asyncio.Lock()
        self._log = io.StringIO() if settings.log_json else None
        self._metrics = SharedMetrics(shared_state, self._id)

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        """Load the current model and return the application; Ray Serve calls it."""
        target: TargetState = await self._shared_state.target.remote()
        await self._load(target.current)
        self._answer(target.current)
        self._reporter = asyncio.create_task(self._report())
        settings = self._settings
        return create_app(
            self._models.registry,
            access=settings.access,
            root_path=settings.root_path,
            wait_s=settings.wait_s,
            log=self._log,
            metrics=self._metrics,
        )

    def check_health(self) -> None:
        """Raise if the target model cannot be loaded, so that Ray Serve replaces the replica."""
        if self._target in self._failures:
            raise RuntimeError(self._failures[self._target])

    def __del__(self) -> None:
        """End the processes of handlers, and delete the copies of models."""
        self._models.__exit__(None, None, None)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _report(self) -> None:
        for count in itertools.count():
            status = ReplicaStatus(self._answering, frozenset(self._ready), dict(self._failures))
            try:
                self._approach(await self._shared_state.report.remote(self._id, status))
                if self._log is not None and (text := self._log.getvalue()):
                    self._log.seek(self._log.truncate(0))
                    await self._shared_state.log.remote(text.splitlines(keepends=True))
                if count % REPORTS_PER_METRICS == 0:
                    await self._metrics.record(self._models.registry.current.manifest)
            except RayActorError as error:
                log.error("the shared state is lost; this replica goes on as it is: %s", error)
                return
            await asyncio.sleep(REPORT_SECONDS)

    def _approach(self, target: TargetState) -> None:
        """Switch, drop and load models to reach the target."""
        self._target = target.current
        if target.current != self._answering and target.current in self._ready:
            self._answer(target.current)
        for key in self._ready.keys() - target.models - {self._answering}:
            self._drop(key)
        self._failures = {
            key: reason for key, reason in self._failures.items() if key in target.models
        }
        if not self._loading.locked():
            for key in target.models - self._ready.keys() - self._failures.keys():
                self._start_task(self._prepare(key))

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
                self._failures[key] = str(error)

    async def _load(self, key: str) -> None:
        files: Files = await self._shared_state.files.remote(key)
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            await asyncio.to_thread(_write_files, folder, files)
            # Loading reads the files again, and checks their digests.
            await asyncio.to_thread(self._models.load, folder)
        except BaseException:
            shutil.rmtree(folder)
            raise
        self._ready[key] = folder

    def _answer(self, key: str) -> None:
        """Switch to a loaded model; runs on the event loop, as requests do."""
        self._models.answer(self._ready[key])
        self._answering = key

    def _drop(self, key: str) -> None:
        folder = self._ready.pop(key)
        self._models.drop(folder)
        self._start_task(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))

    def _start_task(self, work: Awaitable[None]) -> None:
        """Run `work` beside requests, and keep a reference until it is done."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _write_files(folder: Path, files: Files) -> None:
    """Write a model's files from the object store into a folder."""
    for name, reference in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content: Any = ray.get(reference)
        path.write_bytes(content)
