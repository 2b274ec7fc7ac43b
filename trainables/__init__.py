"""Trainables: built in by name, or a class or function of one's own by `file.py:Mine`.

Here a trainable is found and checked for what a run needs; `trainables.contract` says what it
promises, and `trainables.check` tries that. Searches and runs are in `app`. For example:

    import trainables

    trainables.resolve("my_file.py:Mine", folder=Path.cwd())  # a subclass of ray.tune.Trainable
"""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
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

REQUIRED_METHODS = ("setup", "step", "save_checkpoint", "load_checkpoint")


def resolve(name: str, folder: Path) -> "type[Trainable]":
    """Find a trainable by its name.

    Args:
        name: A built-in name, `file.py:Mine` or `package.module:Mine`.
        folder: The folder from which the file is looked up.

    Raises:
        TrainableError: There is none, or it is neither a class nor a function for Ray.
    """
    where, _, attribute = BUILTIN.get(name, name).partition(":")
    if not where or not attribute:
        message = unknown(name, BUILTIN)
        other = ', or write "my_file.py:Mine" or "package.module:Mine"'
        raise TrainableError(f"trainable: {message}{'' if message.endswith('?') else other}")
    if not where.endswith(".py"):
        return _import(where, attribute, name)
    file = (folder / where).resolve()
    if not file.is_file():
        raise TrainableError(f"trainable: no file at {file}")
    sources = source_loader.load(file)
    trainable = _import(source_loader.module_name(file), attribute, name)
    # Trials run on nodes where this file may not be.
    return source_loader.attach(sources, trainable)


def _import(module_name: str, attribute: str, name: str) -> "type[Trainable]":
    try:
        module = importlib.import_module(module_name)
    except (ImportError, SyntaxError) as error:
        raise TrainableError(f"trainable: {name!r} cannot be imported: {error}") from error
    except SystemExit as error:  # else the command would end as one that has done its work
        call = f"its file called sys.exit({error.code!r})"
        raise TrainableError(f"trainable: {name!r} cannot be imported: {call}") from error
    found = getattr(module, attribute, None)
    if found is None:
        raise TrainableError(f"trainable: {name.partition(':')[0]} has no {attribute!r}")
    return as_trainable(found, name, module)


def as_trainable(found: Any, name: str, module: ModuleType | None = None) -> "type[Trainable]":
    """Return a class as it is, and a function, or what can be called as one, as a class.

    A function's model is exported by names in `module`, or in the function's own.

    Raises TrainableError, with that name, for anything else and for a class without the methods
    that are required.
    """
    from ray.tune import Trainable

    is_written = callable(found) and not inspect.isbuiltin(found)
    if is_written and not isinstance(found, type):
        return _class_of_function(found, name, module)
    if not (isinstance(found, type) and issubclass(found, Trainable)):
        raise TrainableError(
            f"trainable: {name!r} is neither a subclass of ray.tune.Trainable nor a function"
        )
    for method in REQUIRED_METHODS:
        if getattr(found, method) is getattr(Trainable, method):
            raise TrainableError(f"trainable: {name!r} has no {method}()")
    return found


def check_resources(trainable: "type[Trainable]", name: str) -> None:
    """Raise TrainableError where a trainable asks for resources of its own.

    The experiment decides on resources; those of a class or of `with_resources` would be ignored.
    """
    from ray.tune import Trainable

    from trainables.function.trainable import FunctionTrainable

    if issubclass(trainable, FunctionTrainable):
        is_asking = hasattr(trainable.function, "_resources")
    else:
        own, default = (
            inspect.getattr_static(one, "default_resource_request")
            for one in (trainable, Trainable)
        )
        is_asking = own is not default
    if is_asking:
        raise TrainableError(
            f"trainable: {name!r} asks for resources of its own, by tune.with_resources or"
            " default_resource_request; give them to the experiment, which decides: [resources]"
            " cpus_per_trial and gpus_per_trial"
        )


def check_parallel(trainable: "type[Trainable]", name: str) -> None:
    """Raise TrainableError where trials cannot have several workers: those of a class."""
    from trainables.function.trainable import FunctionTrainable

    if not issubclass(trainable, FunctionTrainable):
        raise TrainableError(
            f"workers_per_trial: {name} is a class, which trains with one worker; a function that"
            " uses ray.train trains with several, as in trainables/mnist_train.py"
        )


def _class_of_function(
    function: Callable[..., Any], name: str, module: ModuleType | None
) -> "type[Trainable]":
    from trainables.function.trainable import as_class

    try:
        inspect.signature(function).bind({})
    except (TypeError, ValueError) as error:
        raise TrainableError(
            f"trainable: {name!r} must take one argument, the configuration: {error}"
        ) from error
    return as_class(function, module)
