"""The Ray Serve deployment of an endpoint: `deploy` starts its proxies and replicas."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

from serve.http.access import AccessPolicy
from serve.models.manifest import ArtifactError
from serve.ray_serve.cluster import CPUS_PER_REPLICA
from serve.ray_serve.proxy_hook import create_environment
from serve.ray_serve.proxy_middleware import ProxySettings
from serve.ray_serve.replica_set import RayLostError, ReplicaSet
from serve.runtime.script_backend import ANSWER_SECONDS
from serve.settings import RayOptions, SettingError, Settings

NAME = "tuneport"
"""Of the application and its deployment."""
MAX_ONGOING_REQUESTS = 8
"""Requests that a replica has at once: enough to keep it busy, few to lose with it."""
TARGET_ONGOING_REQUESTS = 4.0
"""Mean number of requests in work for each replica that autoscaling aims at."""
KEEP_ALIVE_SECONDS = 65
DRAIN_SECONDS = 20
MAX_START_ATTEMPTS = 3
POLL_SECONDS = 0.2
_CONTROLLER_ENVIRONMENT = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
"""On a busy machine, Ray would otherwise kill a proxy that starts slowly."""


@dataclass(frozen=True)
class ListenAddress:
    """Address of an endpoint."""

    host: str
    port: int


class StopRequested(Exception):
    """The command is to end before its endpoint answers."""


@contextmanager
def deploy(
    replicas: ReplicaSet,
    address: ListenAddress,
    settings: Settings,
    ray_options: RayOptions,
    stop: Event,
) -> Iterator[None]:
    """Serve on the connected Ray within the block; leaving it drains the endpoint.

    Args:
        replicas: Holds the models.
        address: Address of the proxies.
        settings: Limits on clients.
        ray_options: Number of replicas.
        stop: Set to give up before the endpoint answers.

    Raises:
        SettingError: Ray Serve cannot listen.
        ArtifactError: No replica starts.
        StopRequested: `stop` was set before every replica answered.
    """
    from ray import serve as ray_serve

    try:
        _start_proxies(address, settings)
        application = _create_application(replicas, address, settings, ray_options)
        target = ray_serve.RunTarget(application, name=NAME)
        ray_serve.run_many([target], wait_for_applications_running=False)
        _wait_until_running(stop)
        yield
    except RayLostError:
        raise
    except BaseException:
        _shut_down()
        raise
    _shut_down()


def _shut_down() -> None:
    from ray import serve as ray_serve

    ray_serve.delete(NAME)
    ray_serve.shutdown()


def _start_proxies(address: ListenAddress, settings: Settings) -> None:
    """Start Ray Serve, with our middleware and protocol in its HTTP proxies."""
    import ray
    from ray import serve as ray_serve

    proxy = ProxySettings(settings.limits, settings.wait_s + ANSWER_SECONDS)
    options = ray_serve.config.HTTPOptions(
        host=address.host,
        port=address.port,
        keep_alive_timeout_s=KEEP_ALIVE_SECONDS,
        request_timeout_s=proxy.timeout_s,
    )
    environment = {**_CONTROLLER_ENVIRONMENT, **create_environment(proxy)}
    try:
        ray_serve.start(
            proxy_location="EveryNode",
            http_options=options,
            controller_options={"runtime_env": {"env_vars": environment}},
        )
    except (RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
        last = str(error).strip().splitlines()[-1]
        raise SettingError(f"--ray: Ray Serve cannot listen on {address.host}: {last}") from error


def _create_application(
    replicas: ReplicaSet, address: ListenAddress, settings: Settings, ray_options: RayOptions
) -> Any:
    from ray import serve as ray_serve

    from serve.ray_serve.replica import Replica, ReplicaSettings

    access = AccessPolicy.create(address.host, settings)
    replica_settings = ReplicaSettings(
        access, settings.root_path, settings.wait_s, settings.log_json
    )
    number: dict[str, Any] = {"num_replicas": ray_options.min_replicas}
    if ray_options.max_replicas > ray_options.min_replicas:
        number = {
            "autoscaling_config": {
                "min_replicas": ray_options.min_replicas,
                "initial_replicas": ray_options.min_replicas,
                "max_replicas": ray_options.max_replicas,
                "target_ongoing_requests": TARGET_ONGOING_REQUESTS,
            }
        }
    deployment: Any = ray_serve.deployment(
        ray_serve.ingress()(Replica),
        name=NAME,
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        max_queued_requests=settings.limits.max_requests,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=DRAIN_SECONDS,
        max_constructor_retry_count=MAX_START_ATTEMPTS,
        ray_actor_options={"num_cpus": CPUS_PER_REPLICA},
        **number,
    )
    return deployment.bind(replicas.shared_state, replica_settings)


def _wait_until_running(stop: Event) -> None:
    from ray import serve as ray_serve

    while not stop.wait(POLL_SECONDS):
        application = ray_serve.status().applications[NAME]
        if application.status == "RUNNING":
            return
        if application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            last = application.deployments[NAME].message.strip().splitlines()[-1]
            raise ArtifactError(f"model: no replica starts: {last}")
    raise StopRequested
