"""What can be tuned: built in by name, or a class of one's own by `file.py:Class`."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.contract import TrainableError

if TYPE_CHECKING:
    from ray.tune import Trainable

BUILTIN = {"mnist": "trainables.mnist:MnistTrainable"}
"""Trainables by name, as strings so that listing them imports nothing."""

NEEDED = ("setup", "step", "save_checkpoint", "load_checkpoint")


def resolve(name: str, folder: Path) -> "type[Trainable]":
    """The trainable of that name; `file.py:Class` is looked up from `folder`.

    Raises TrainableError where there is none, or where it is no Ray trainable.
    """
    where, _, attribute = BUILTIN.get(name, name).partition(":")
    if not where or not attribute:
        raise TrainableError(
            f"trainable: unknown {name!r}; choose from {', '.join(BUILTIN)},"
            ' or write "my_file.py:Mine" or "package.module:Mine"'
        )
    try:
        module = _file(folder / where) if where.endswith(".py") else importlib.import_module(where)
    except (ImportError, SyntaxError) as error:
        raise TrainableError(f"trainable: {name!r} cannot be imported: {error}") from error
    found = getattr(module, attribute, None)
    if found is None:
        raise TrainableError(f"trainable: {where} has no {attribute!r}")
    return as_trainable(found, name)


def _file(path: Path) -> Any:
    if not path.is_file():
        raise TrainableError(f"trainable: no file at {path}")
    # A file called json.py must not take the place of the library's.
    spec = importlib.util.spec_from_file_location(f"trainable_{path.stem}", path)
    assert spec is not None  # a .py file always has a loader
    assert spec.loader is not None
    from ray.cloudpickle import register_pickle_by_value

    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    # Trials run where this file cannot be imported, so its classes travel as they are.
    register_pickle_by_value(module)
    return module


def as_trainable(found: Any, name: str) -> "type[Trainable]":
    """What was found under that name; raises TrainableError where it cannot be tuned."""
    from ray.tune import Trainable

    if not (isinstance(found, type) and issubclass(found, Trainable)):
        raise TrainableError(f"trainable: {name!r} is no subclass of ray.tune.Trainable")
    for method in NEEDED:
        if getattr(found, method) is getattr(Trainable, method):
            raise TrainableError(f"trainable: {name!r} has no {method}()")
    return found
