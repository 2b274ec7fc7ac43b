"""Experiments that cost nothing, written as files."""

from pathlib import Path

from tests.support import SCRIPTS, SUPPORT

QUADRATIC = """
name = "quadratic"
trainable = "{folder}/quadratic.py:Quadratic"
metric = "loss"
mode = "min"
num_samples = 4
max_concurrent = 1
epochs = 2
search = "random"

[space]
x = {{ type = "continuous", low = 0.0, high = 1.0 }}

[fixed]
{fixed}

[resources]
cpus_per_trial = 0.5
"""
HOSTS = """
name = "hosts"
trainable = "script"
metric = "loss"
mode = "min"
num_samples = 1
search = "random"
retries = {retries}
[space]
lr = {{ type = "continuous", low = 0.001, high = 0.4 }}
[fixed]
{fixed}
[resources]
cpus_per_trial = {cpus}
workers_per_trial = 2
[script]
entry_point = "{folder}/meets.py"
[[script.metrics]]
name = "loss"
regex = 'loss=([0-9.]+)'
"""


def write_quadratic(path: Path, **fixed: object) -> Path:
    """Write an experiment of `quadratic.py`, with the given fixed values."""
    lines = "\n".join(f"{key} = {value!r}" for key, value in fixed.items())
    path.write_text(QUADRATIC.format(folder=SUPPORT, fixed=lines))
    return path


def write_hosts(path: Path, fixed: str = "", *, retries: int = 0, cpus: float = 0.5) -> Path:
    """Write an experiment of `meets.py`, a script whose two hosts meet."""
    path.write_text(HOSTS.format(folder=SCRIPTS, fixed=fixed, retries=retries, cpus=cpus))
    return path
