"""Fixtures of several packages of `app`."""

from functools import partial
from pathlib import Path

import pytest

from tests.support.script_experiments import Write, script_experiment


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes an experiment file beside a script and its data."""
    return partial(script_experiment, tmp_path)
