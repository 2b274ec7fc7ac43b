"""Lets scripts of older torch, and of a network with SageMaker's names, work on several hosts.

Python imports a module of this name before a program. This one comes before any other on the path,
gives way to that, and changes `torch.distributed` once the script imports it: a `group=0` is the
default group, and where the hosts meet may be told by the name of one of them.
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
MET = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/nowhere"), "input/.met")
"""By this file the trial knows that its hosts meet."""


class Finder:
    """Finds the module as whoever comes next finds it, to change it once it is loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Nothing but the one module, and that once."""
        if name != WANTED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_and_change(module: ModuleType) -> None:
            load(module)
            change(module)

        spec.loader.exec_module = load_and_change  # type: ignore[method-assign]
        return spec


def change(distributed: ModuleType) -> None:
    """Let every function that takes a group take 0 for the default one."""
    for name, function in list(vars(distributed).items()):
        # What is deprecated there warns of itself as soon as anything but its type is asked for.
        if type(function) is FunctionType and "group" in inspect.signature(function).parameters:
            setattr(distributed, name, _without_zero(function))
    if hasattr(distributed, "init_process_group"):
        distributed.init_process_group = _met(distributed.init_process_group)  # type: ignore[attr-defined]


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


def _met(begin: Callable[..., Any]) -> Callable[..., Any]:
    """Begin a group of processes where the hosts of this trial meet, by whatever name it is told.

    On SageMaker a host's name is an address, on which every port is free.
    """
    hosts = json.loads(os.environ["SM_HOSTS"])
    address, port = os.environ["SM_MASTER_ADDR"], os.environ["SM_MASTER_PORT"]

    @functools.wraps(begin)
    def call(backend: Any = None, init_method: str | None = None, *others: Any, **more: Any) -> Any:
        if os.environ.get("MASTER_ADDR") in hosts:
            os.environ.update(MASTER_ADDR=address, MASTER_PORT=port)
        if init_method is not None and urlsplit(init_method).hostname in hosts:
            init_method = f"tcp://{address}:{port}"
        with suppress(OSError):
            MET.touch()
        return begin(backend, init_method, *others, **more)

    return call


def give_way() -> None:
    """Run the module of the same name that would have been run without this one."""
    elsewhere = [each for each in sys.path if Path(each) != Path(__file__).parent]
    spec = PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


sys.meta_path.insert(0, Finder())
give_way()
