"""Module that Python imports first in a script's process, on a trial of several hosts."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from trainables.script import startup

COLLECTIVES = """
import os, sys
assert "torch" not in sys.modules
import torch
import torch.distributed as dist

def meet(*rendezvous):
    dist.init_process_group(*rendezvous, rank=0, world_size=1)
    ones = torch.ones(2)
    dist.all_reduce(ones, op=dist.ReduceOp.SUM, group=0)
    dist.all_reduce(ones, dist.ReduceOp.SUM, 0)
    dist.broadcast(ones, 0)
    assert dist.get_world_size(0) == dist.get_world_size() == 1
    assert dist.all_reduce.__name__ == "all_reduce"
    try:
        dist.all_reduce(ones, group=1)
    except (AttributeError, ValueError):
        print(ones.tolist(), os.environ["MASTER_PORT"])
    dist.destroy_process_group()  # Without, torch aborts now and then as the process ends.

meet("gloo")
# As on SageMaker, where a host's name is an address and all its ports are free.
os.environ.update(MASTER_ADDR="algo-1", MASTER_PORT="23456")
meet("gloo")
meet("gloo", "tcp://algo-1:23456")
"""


def output(code: str, *path: Path, **env: str) -> str:
    """Output of a program that is started as on the first of two hosts."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    variables = {
        "GLOO_SOCKET_IFNAME": "lo",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "PYTHONPATH": os.pathsep.join(map(str, (startup.PATH, *path))),
        "SM_HOSTS": '["algo-1", "algo-2"]',
        "SM_MASTER_ADDR": "127.0.0.1",
        "SM_MASTER_PORT": str(port),
    }
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.replace(str(port), "PORT")


def test_group_0_is_the_default_group_wherever_hosts_meet() -> None:
    assert output(COLLECTIVES) == "[1.0, 1.0] PORT\n" * 3


def test_somebody_elses_sitecustomize_is_run(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("mark = 'the user\\'s'")
    shown = output("import sitecustomize; print(sitecustomize.mark)", tmp_path)
    assert shown == "the user's\n"


def test_a_program_without_torch_does_not_import_it(tmp_path: Path) -> None:
    assert output("import sys; print('torch' in sys.modules)") == "False\n"
