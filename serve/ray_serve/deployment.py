"""The Ray Serve deployment of an endpoint, whose model a `VersionManager` changes."""

import re
from pathlib import Path
from threading import Event
from typing import Any, Self

from serve.http.access import AccessPolicy
from serve.models.artifact import read_manifest
from serve.models.manifest import ArtifactError
from serve.ray_serve.cluster import CPUS_PER_REPLICA, RayLostError, call_ray, check_on_nodes
from serve.rollout.store import ModelStore
from serve.runtime.script_backend import ANSWER_SECONDS
from serve.settings import RayOptions, SettingError, Settings

MAX_ONGOING_REQUESTS = 8
"""Requests that a replica has at once: enough to keep it busy, few to lose with it."""
TARGET_ONGOING_REQUESTS = 4.0
"""Mean number of requests in work for each replica that autoscaling aims at."""
HEALTH_CHECK_SECONDS = 5.0
KEEP_ALIVE_SECONDS = 65
DRAIN_SECONDS = 20
MAX_START_ATTEMPTS = 3
POLL_SECONDS = 0.2


class StopRequested(ArtifactError):
    """The command ends."""


class Deployment:
    """Load and switch the model of an endpoint on the connected Ray; the first starts it.

    A context manager; leaving it drains the endpoint.
    """

    def __init__(
        self,
        store: ModelStore,
        address: tuple[str, int],
        settings: Settings,
        ray_options: RayOptions,
        stop: Event,
    ) -> None:
        """Describe the deployment of models that `store` copies; `stop` ends waiting for it."""
        self._store = store
        self._address = address
        self._settings = settings
        self._ray_options = ray_options
        self._stop = stop
        self._config: dict[str, str] | None = None
        self.name = ""
        """Name of the application and its deployment: the first model's."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        from ray import serve as ray_serve

        if self.name and kind is not RayLostError:
            ray_serve.delete(self.name)
            ray_serve.shutdown()

    def load(self, folder: Path) -> None:
        """Check a model on each node; raises ArtifactError if one cannot load it."""
        check_on_nodes(self._describe(folder))

    def answer(self, folder: Path) -> None:
        """Switch every replica to a model, one after the other.

        Raises ArtifactError if a replica cannot load it; the one before goes on. Raises
        SettingError if Ray Serve cannot listen, and StopRequested if the command ends.
        """
        config = self._describe(folder)
        if self._config is None:
            self.name = re.sub(r"[^\w.-]+", "-", read_manifest(folder).name)
            self._start_proxies()
        try:
            self._deploy(config)
        except StopRequested:
            raise
        except ArtifactError:
            if self._config is not None:
                self._deploy(self._config)
            raise
        self._config = config

    def drop(self, folder: Path) -> None:
        """Do nothing: a replica drops its model when it has switched to another."""

    @property
    def status(self) -> Any:
        """Ray Serve's status of the application; raises RayLostError if there is none."""
        from ray import serve as ray_serve

        return call_ray(ray_serve.status).applications[self.name]

    def _describe(self, folder: Path) -> dict[str, str]:
        """Return the `user_config` for a copy of the store, or on a cluster for its source."""
        is_cluster = self._ray_options.address is not None
        source = self._store.find_source(folder) if is_cluster else str(folder)
        return {"model": source, "version": read_manifest(folder).version}

    def _start_proxies(self) -> None:
        import ray
        from ray import serve as ray_serve

        host, port = self._address
        options = ray_serve.config.HTTPOptions(
            host=host,
            port=port,
            keep_alive_timeout_s=KEEP_ALIVE_SECONDS,
            request_timeout_s=self._settings.wait_s + ANSWER_SECONDS,
        )
        environment = {
            # Uvicorn's own variable, which the proxies inherit.
            "FORWARDED_ALLOW_IPS": ",".join(self._settings.limits.trusted_proxies),
            # On a busy machine, Ray would otherwise kill a proxy that starts slowly.
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        }
        try:
            ray_serve.start(
                proxy_location="EveryNode",
                http_options=options,
                controller_options={"runtime_env": {"env_vars": environment}},
            )
        except (RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
            last = str(error).strip().splitlines()[-1]
            raise SettingError(f"--ray: Ray Serve cannot listen on {host}: {last}") from error

    def _deploy(self, config: dict[str, str]) -> None:
        from ray import serve as ray_serve

        target = ray_serve.RunTarget(self._create_application(config), name=self.name)
        ray_serve.run_many([target], wait_for_applications_running=False)
        while not self._stop.wait(POLL_SECONDS):
            status = self.status
            if status.status == "RUNNING":
                return
            if status.status == "DEPLOY_FAILED":
                last = status.deployments[self.name].message.strip().splitlines()[-1]
                raise ArtifactError(f"model: no replica can load it: {last}")
        raise StopRequested("the server is ending; nothing is changed any more")

    def _create_application(self, config: dict[str, str]) -> Any:
        from ray import serve as ray_serve

        from serve.ray_serve.replica import Replica

        minimum, maximum = self._ray_options.min_replicas, self._ray_options.max_replicas
        scaling = {
            "min_replicas": minimum,
            "initial_replicas": minimum,
            "max_replicas": maximum,
            "target_ongoing_requests": TARGET_ONGOING_REQUESTS,
        }
        deployment: Any = ray_serve.deployment(
            ray_serve.ingress()(Replica),
            name=self.name,
            user_config=config,
            max_ongoing_requests=MAX_ONGOING_REQUESTS,
            max_queued_requests=self._settings.limits.max_requests,
            health_check_period_s=HEALTH_CHECK_SECONDS,
            graceful_shutdown_wait_loop_s=0.5,
            graceful_shutdown_timeout_s=DRAIN_SECONDS,
            max_constructor_retry_count=MAX_START_ATTEMPTS,
            ray_actor_options={"num_cpus": CPUS_PER_REPLICA},
            **({"autoscaling_config": scaling} if maximum > minimum else {"num_replicas": minimum}),
        )
        # With the same version of code, Ray Serve reconfigures replicas and does not replace them.
        deployment = deployment.options(version="1", _internal=True)
        access = AccessPolicy.create(self._address[0], self._settings)
        return deployment.bind(access, self._settings)
