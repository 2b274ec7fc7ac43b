"""An endpoint on Ray Serve: `deployed` starts its replicas, a `Fleet` has their models."""

import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Self

from serve.models.artifact import ArtifactError, read_manifest
from serve.models.files import open_regular
from serve.models.manifest import MANIFEST, Manifest
from serve.ray_serve.proxy_middleware import Limits, environment
from serve.ray_serve.shared_state import Depot
from serve.rollout.loaded_models import Models
from serve.runtime.script_backend import ANSWER_SECONDS
from serve.settings import Scale, SettingError, Settings

NAME = "tuneport"
CPUS = 1.0
"""Of each replica: a network runs on one thread."""
ONGOING = 8
"""Requests that a replica is given at once: what it would lose, and what keeps it busy."""
BUSY = 4.0
"""Requests in work on each replica, on average, at which the scaling aims."""
KEEP_ALIVE_SECONDS = 65
DRAIN_SECONDS = 20
TRIES = 3
"""How often a replica may fail to start before the endpoint is given up."""
LOOK_SECONDS = 0.2
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_LOG_TO_STDERR": "0"}
PATIENT = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
"""On a machine with much to do, Ray would end its server because it starts slowly."""
CONTROLLER = ("SERVE_CONTROLLER_ACTOR", "serve")
HERE = Path(__file__).parents[1]


@contextmanager
def joined(scale: Scale) -> Iterator[None]:
    """Ray: started on this machine for as long as the block, or the cluster at an address.

    Raises SettingError where there is none, or where it has no room for the replicas.
    """
    os.environ.update({key: value for key, value in QUIET.items() if key not in os.environ})
    import ray
    from ray import serve as ray_serve

    # Set only now, as it is set anew when Ray Serve is loaded.
    logging.getLogger(ray_serve.__name__).setLevel(logging.ERROR)
    try:
        if scale.address is None:
            _start()
        else:
            _join(scale.address)
        _check_room(scale)
        # Whatever log level it is given, Ray tells stdout of its own processes.
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        ray.shutdown()


def _start() -> None:
    import ray

    try:
        ray.init(
            address="local",  # Without it, Ray joins whatever runs on this machine already.
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # what Ray raises here shares no class but this
        raise SettingError(f"--ray: Ray did not start: {' '.join(str(error).split())}") from error


def _join(address: str) -> None:
    import ray

    _check_answers(address)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            # Every node runs this code, and one thread a replica.
            runtime_env={
                "py_modules": [str(HERE)],
                "env_vars": {"OPENBLAS_NUM_THREADS": "1", **QUIET},
            },
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise SettingError(f"--address: no Ray at {address}: {reason}") from error
    try:
        ray.get_actor(*CONTROLLER)
    except ValueError:
        return
    raise SettingError(
        f"--address: Ray Serve runs at {address} already, with a server of its own; end it by "
        "`serve shutdown` there"
    )


def _check_answers(address: str) -> None:
    """Ray itself waits for minutes where nothing listens."""
    host, colon, port = address.rpartition(":")
    if not colon or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise SettingError(f"--address: no Ray at {address}: {error}") from error


@dataclass(frozen=True)
class Place:
    """Where an endpoint listens, and for which hosts it answers."""

    host: str
    port: int
    hosts: frozenset[str] | None


class LostError(SettingError):
    """The Ray that served is gone, and what ran on it."""


class Fleet:
    """The replicas of an endpoint, and the models that they hold.

    A context manager. A model is loaded by all of them, or by none, before it answers.
    """

    def __init__(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # On this node, which has the models too.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"lifetime": "detached", "num_cpus": 0, "scheduling_strategy": here}
        name = f"{NAME}-{secrets.token_hex(4)}"
        self.depot: Any = ray.remote(Depot).options(name=name, namespace=NAME, **options).remote()

    def load(self, folder: Path) -> None:
        """Let every replica load a model beside what answers; an ArtifactError says why not."""
        for name in (MANIFEST, *_tried(folder).sha256):
            with open_regular(folder / name) as file:
                self._told("take", folder, name, file.read())
        self._told("keep", folder)
        pause = Event()
        while not self._told("ready", folder):
            if (why_not := self._told("failure", folder)) is not None:
                self.drop(folder)
                raise ArtifactError(f"{folder}: a replica cannot load it: {why_not}")
            pause.wait(LOOK_SECONDS)

    def answer(self, folder: Path) -> None:
        """Let a loaded model answer every request from now on."""
        self._told("answer", folder)
        pause = Event()
        while not self._told("settled"):
            pause.wait(LOOK_SECONDS)

    def drop(self, folder: Path) -> None:
        """Forget a loaded model, once it has answered what it has in hand."""
        self._told("drop", folder)

    def logged(self) -> list[str]:
        """The lines of the log since this was called last.

        Raises LostError where Ray, or the process that holds the models, is lost.
        """
        lines: list[str] = self._told("logged")
        return lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        import ray

        if kind is not LostError:
            ray.kill(self.depot)

    def _told(self, what: str, *about: object) -> Any:
        """Tell the depot something, and what it says to that."""
        import ray

        named = [str(each) if isinstance(each, Path) else each for each in about]
        try:
            return ray.get(getattr(self.depot, what).remote(*named), timeout=ANSWER_SECONDS)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
            raise LostError("--ray: the Ray that served is lost; start again") from error


def _tried(folder: Path) -> Manifest:
    """The model of a folder, which was loaded once, here; an ArtifactError where that fails."""
    with Models() as models:
        models.load(folder)
    return read_manifest(folder)


class Stopped(Exception):
    """The command is to end before its endpoint answers."""


@contextmanager
def deployed(
    fleet: Fleet, place: Place, settings: Settings, scale: Scale, stop: Event
) -> Iterator[None]:
    """The endpoint on the Ray that was joined; at the block's end what was asked is answered.

    Raises SettingError where Ray Serve cannot listen, ArtifactError where no replica starts, and
    `Stopped` where `stop` is set before all answer.
    """
    from ray import serve as ray_serve

    try:
        _listen(place, settings)
        application = _application(fleet, place, settings, scale)
        target = ray_serve.RunTarget(application, name=NAME)
        ray_serve.run_many([target], wait_for_applications_running=False)
        _wait(stop)
        yield
    except LostError:
        raise
    except BaseException:
        _end()
        raise
    _end()


def _end() -> None:
    from ray import serve as ray_serve

    ray_serve.delete(NAME)
    ray_serve.shutdown()


def _check_room(scale: Scale) -> None:
    import ray

    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    room = sum(int(cpus / CPUS) for cpus in nodes)
    if scale.most > room:
        flag = "--workers" if scale.most == scale.least else "--max-workers"
        where = "this machine has" if len(nodes) == 1 else "the cluster's nodes have"
        raise SettingError(
            f"{flag}: {scale.most} replicas need a CPU each, {where} {sum(nodes):g} and room for "
            f"{room}; ask for at most {room}"
        )


def _listen(place: Place, settings: Settings) -> None:
    """Start Ray Serve, its server behind our gateway."""
    import ray
    from ray import serve as ray_serve

    limits = Limits(settings.allowance, settings.wait_s + ANSWER_SECONDS)
    options = ray_serve.config.HTTPOptions(
        host=place.host,
        port=place.port,
        keep_alive_timeout_s=KEEP_ALIVE_SECONDS,
        request_timeout_s=limits.timeout_s,
    )
    try:
        ray_serve.start(
            proxy_location="EveryNode",
            http_options=options,
            controller_options={"runtime_env": {"env_vars": {**PATIENT, **environment(limits)}}},
        )
    except (RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
        last = str(error).strip().splitlines()[-1]
        raise SettingError(f"--ray: Ray Serve cannot listen on {place.host}: {last}") from error


def _application(fleet: Fleet, place: Place, settings: Settings, scale: Scale) -> Any:
    from ray import serve as ray_serve

    from serve.ray_serve.replica import Endpoint, Terms

    terms = Terms(place.hosts, settings.api_key, settings.wait_s, settings.log_json)
    number: dict[str, Any] = {"num_replicas": scale.least}
    if scale.most > scale.least:
        number = {
            "autoscaling_config": {
                "min_replicas": scale.least,
                "initial_replicas": scale.least,
                "max_replicas": scale.most,
                "target_ongoing_requests": BUSY,
            }
        }
    deployment: Any = ray_serve.deployment(
        ray_serve.ingress()(Endpoint),
        name=NAME,
        max_ongoing_requests=ONGOING,
        max_queued_requests=settings.allowance.at_once,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=DRAIN_SECONDS,
        max_constructor_retry_count=TRIES,
        ray_actor_options={"num_cpus": CPUS},
        **number,
    )
    return deployment.bind(fleet.depot, terms)


def _wait(stop: Event) -> None:
    """Wait until every replica answers."""
    from ray import serve as ray_serve

    while not stop.wait(LOOK_SECONDS):
        found = ray_serve.status().applications[NAME]
        if found.status == "RUNNING":
            return
        if found.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            last = found.deployments[NAME].message.strip().splitlines()[-1]
            raise ArtifactError(f"model: no replica starts: {last}")
    raise Stopped
