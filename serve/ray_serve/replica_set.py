"""The replicas of an endpoint as one holder of models, seen from the command: `ReplicaSet`."""

import secrets
from pathlib import Path
from threading import Event
from typing import Any, Self

from serve.models.artifact import ArtifactError, read_manifest
from serve.models.files import open_regular
from serve.models.manifest import MANIFEST, Manifest
from serve.ray_serve.shared_state import SharedState
from serve.rollout.loaded_models import LoadedModels
from serve.runtime.script_backend import ANSWER_SECONDS
from serve.settings import SettingError

NAMESPACE = "tuneport"
POLL_SECONDS = 0.2


class RayLostError(SettingError):
    """The Ray that served is gone, with everything that ran on it."""


class ReplicaSet:
    """Load, switch and drop models in all replicas, by way of an actor that they share.

    A context manager; leaving it ends the actor.
    """

    def __init__(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # On this node, where the model folders are.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"lifetime": "detached", "num_cpus": 0, "scheduling_strategy": here}
        name = f"{NAMESPACE}-{secrets.token_hex(4)}"
        actor_class = ray.remote(SharedState)
        self.shared_state: Any = actor_class.options(
            name=name, namespace=NAMESPACE, **options
        ).remote()

    def load(self, folder: Path) -> None:
        """Load a model in every replica; raises ArtifactError if one cannot, and drops it again."""
        for name in (MANIFEST, *_load_here(folder).sha256):
            with open_regular(folder / name) as file:
                self._call("put_file", folder, name, file.read())
        self._call("add_model", folder)
        pause = Event()
        while not self._call("is_ready", folder):
            if (failure := self._call("find_failure", folder)) is not None:
                self.drop(folder)
                raise ArtifactError(f"{folder}: a replica cannot load it: {failure}")
            pause.wait(POLL_SECONDS)

    def answer(self, folder: Path) -> None:
        """Switch every replica to a loaded model."""
        self._call("answer", folder)
        pause = Event()
        while not self._call("is_settled"):
            pause.wait(POLL_SECONDS)

    def drop(self, folder: Path) -> None:
        """Unload a model in every replica."""
        self._call("drop", folder)

    def read_log(self) -> list[str]:
        """Return the lines that replicas have logged since the last call.

        Raises RayLostError if Ray or the shared actor is lost.
        """
        lines: list[str] = self._call("pop_log")
        return lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        import ray

        if kind is not RayLostError:
            ray.kill(self.shared_state)

    def _call(self, method: str, *arguments: object) -> Any:
        """Call a method of the shared actor; paths are passed as strings."""
        import ray

        plain = [str(value) if isinstance(value, Path) else value for value in arguments]
        try:
            reference = getattr(self.shared_state, method).remote(*plain)
            return ray.get(reference, timeout=ANSWER_SECONDS)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
            raise RayLostError("--ray: the Ray that served is lost; start again") from error


def _load_here(folder: Path) -> Manifest:
    """Load a model once in this process, to fail early; returns its manifest."""
    with LoadedModels() as models:
        models.load(folder)
    return read_manifest(folder)
