"""Stubs of the modules in SageMaker's containers, for scripts that import them.

They hold what training scripts and handlers use, and are imported under SageMaker's own names: a
program that runs a script has the folder `path()` on its path, behind what is installed.
"""

from pathlib import Path


def path() -> Path:
    """Return the folder of the stubs on this machine, one package a stubbed module."""
    return Path(__file__).parent
