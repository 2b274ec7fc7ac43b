"""Small modules in the place of SageMaker's own, for scripts that import those.

They hold what training scripts and handlers use, and are found only where the true ones are not
installed.
"""

import importlib.util
import shutil
from pathlib import Path

STARTUP = Path(__file__).parent / "startup"
"""A folder for the very front of a program's path, where several hosts train together."""
NAMES = ("sagemaker_containers", "sagemaker_inference", "sagemaker_training")


def missing() -> list[str]:
    """The names for which nothing else is installed."""
    return [name for name in NAMES if importlib.util.find_spec(name) is None]


def place(folder: Path) -> None:
    """Make a folder for the path of a program, with the modules that it would miss."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in missing():
        (folder / name).symlink_to(Path(__file__).parent / name, target_is_directory=True)
