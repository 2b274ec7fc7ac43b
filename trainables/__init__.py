"""What can be tuned: built in by name, or a class or function of one's own by `file.py:Mine`."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables import source_loader
from trainables.contract import TrainableError
from trainables.errors.choices import unknown

if TYPE_CHECKING:
    from ray.tune import Trainable

BUILTIN = {
    "mnist": "trainables.mnist:MnistTrainable",
    "script": "trainables.script.trainable:ScriptTrainable",
}
"""Trainables by name, as strings so that listing them imports nothing."""

NEEDED = ("setup", "step", "save_checkpoint", "load_checkpoint")


def resolve(name: str, folder: Path) -> "type[Trainable]":
    """The trainable of that name; `file.py:Mine` is looked up from `folder`.

    Raises TrainableError where there is none, or where it is neither class nor function of Ray's.
    """
    where, _, attribute = BUILTIN.get(name, name).partition(":")
    if not where or not attribute:
        told = unknown(name, BUILTIN)
        own = "" if told.endswith("?") else ', or write "my_file.py:Mine" or "package.module:Mine"'
        raise TrainableError(f"trainable: {told}{own}")
    if not where.endswith(".py"):
        return _imported(where, attribute, name)
    file = (folder / where).resolve()
    if not file.is_file():
        raise TrainableError(f"trainable: no file at {file}")
    its_sources = source_loader.read(file)
    found = _imported(source_loader.named(file), attribute, name)
    # Trials run where this file may not be.
    return source_loader.carrying(its_sources, found)


def _imported(module_name: str, attribute: str, name: str) -> "type[Trainable]":
    try:
        module = importlib.import_module(module_name)
    except (ImportError, SyntaxError) as error:
        raise TrainableError(f"trainable: {name!r} cannot be imported: {error}") from error
    except SystemExit as error:  # else the command would end as one that has done its work
        told = f"its file called sys.exit({error.code!r})"
        raise TrainableError(f"trainable: {name!r} cannot be imported: {told}") from error
    found = getattr(module, attribute, None)
    if found is None:
        raise TrainableError(f"trainable: {name.partition(':')[0]} has no {attribute!r}")
    return as_trainable(found, name)


def as_trainable(found: Any, name: str) -> "type[Trainable]":
    """What was found under that name, a function as a class whose trials call it.

    What can be called as a function, such as a `functools.partial`, is one. Raises TrainableError
    where it cannot be tuned.
    """
    from ray.tune import Trainable

    is_written = callable(found) and not inspect.isbuiltin(found)
    if is_written and not isinstance(found, type):
        return _of_function(found, name)
    if not (isinstance(found, type) and issubclass(found, Trainable)):
        raise TrainableError(
            f"trainable: {name!r} is neither a subclass of ray.tune.Trainable nor a function"
        )
    for method in NEEDED:
        if getattr(found, method) is getattr(Trainable, method):
            raise TrainableError(f"trainable: {name!r} has no {method}()")
    return found


def check_resources(trainable: "type[Trainable]", name: str) -> None:
    """Raise TrainableError where a trainable asks for resources, by itself or `with_resources`.

    Those of the experiment are the ones that count.
    """
    from ray.tune import Trainable

    from trainables.function import FunctionTrainable

    if issubclass(trainable, FunctionTrainable):
        asks = hasattr(trainable.function, "_resources")
    else:
        asked, usual = (
            inspect.getattr_static(each, "default_resource_request")
            for each in (trainable, Trainable)
        )
        asks = asked is not usual
    if asks:
        raise TrainableError(
            f"trainable: {name!r} asks for resources of its own, by tune.with_resources or"
            " default_resource_request; give them to the experiment, which decides: [resources]"
            " cpus_per_trial and gpus_per_trial"
        )


def check_parallel(trainable: "type[Trainable]", name: str) -> None:
    """Raise TrainableError where trials of that class cannot have several workers."""
    from trainables.function import FunctionTrainable

    if issubclass(trainable, FunctionTrainable):
        raise TrainableError(
            f"workers_per_trial: {name} is a function, which trains with one worker; a class with"
            " `data_parallel = True` trains with several"
        )
    if not getattr(trainable, "data_parallel", False):
        raise TrainableError(
            f"workers_per_trial: {name} does not say that it trains with several workers; let its"
            " step() share each batch out, as trainables/data_parallel/process_group.py does it,"
            " and add `data_parallel = True` to the class"
        )


def _of_function(found: Callable[..., Any], name: str) -> "type[Trainable]":
    from trainables.function import as_class

    try:
        inspect.signature(found).bind({})
    except (TypeError, ValueError) as error:
        raise TrainableError(
            f"trainable: {name!r} must take one argument, the configuration: {error}"
        ) from error
    return as_class(found)
