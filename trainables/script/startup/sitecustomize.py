"""Let scripts for older PyTorch, and for SageMaker's names of hosts, work on several hosts.

Python imports a module of this name before a program. This one is the first of that name on the
path: it imports the next one, and patches `torch.distributed` once the script imports it. A
`group=0` is then the default group, and a host name of SageMaker's may stand for the rendezvous.
"""

import functools
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any
from urllib.parse import urlsplit

WANTED = "torch.distributed"
GROUP_MARK = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/nowhere"), "input/.met")
"""File by which the trial knows that its hosts made a process group."""


class Finder:
    """Finder that finds a module as the others do, and patches it once it is loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of the one module, once."""
        if name != WANTED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_and_patch(module: ModuleType) -> None:
            load(module)
            patch(module)

        spec.loader.exec_module = load_and_patch  # type: ignore[method-assign]
        return spec


def patch(distributed: ModuleType) -> None:
    """Let every function that takes a group take 0 for the default group."""
    for name, function in list(vars(distributed).items()):
        # Deprecated functions warn as soon as anything but their type is read.
        if type(function) is FunctionType and "group" in inspect.signature(function).parameters:
            setattr(distributed, name, _without_zero(function))
    if hasattr(distributed, "init_process_group"):
        distributed.init_process_group = _at_rendezvous(distributed.init_process_group)  # type: ignore[attr-defined]


def _without_zero(function: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        bound = signature.bind(*arguments, **named)
        group = bound.arguments.get("group")
        if type(group) is int and group == 0:
            bound.arguments["group"] = None
        return function(*bound.args, **bound.kwargs)

    return call


def _at_rendezvous(init_process_group: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `init_process_group`: a host's name stands for the address and port of the rendezvous.

    On SageMaker a host's name is an address, on which every port is free.
    """
    hosts = json.loads(os.environ["SM_HOSTS"])
    address, port = os.environ["SM_MASTER_ADDR"], os.environ["SM_MASTER_PORT"]

    @functools.wraps(init_process_group)
    def call(backend: Any = None, init_method: str | None = None, *others: Any, **more: Any) -> Any:
        if os.environ.get("MASTER_ADDR") in hosts:
            os.environ.update(MASTER_ADDR=address, MASTER_PORT=port)
        if init_method is not None and urlsplit(init_method).hostname in hosts:
            init_method = f"tcp://{address}:{port}"
        with suppress(OSError):
            GROUP_MARK.touch()
        return init_process_group(backend, init_method, *others, **more)

    return call


def import_next() -> None:
    """Import the module of the same name that Python would have imported without this one."""
    elsewhere = [entry for entry in sys.path if Path(entry) != Path(__file__).parent]
    spec = PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


sys.meta_path.insert(0, Finder())
import_next()
