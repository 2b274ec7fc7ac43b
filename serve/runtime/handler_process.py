"""The process that runs a model's handlers: started in a folder of its own, killed with its group.

The program it runs is `serve.handlers.worker`.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from serve.ipc import Channel
from serve.models.archive import CODE, model_dir
from serve.models.manifest import Manifest

LOAD_SECONDS = 240.0
"""How long a model may take to load; SageMaker has the same limit."""
STDERR = 2


class HandlerProcess:
    """One start of the process, from here to its end."""

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel) -> None:
        self.channel = channel
        self._process = process
        self._lock = threading.Lock()
        self._reaped = False

    def load(self) -> str | None:
        """Wait until the model is loaded; returns the reason where it cannot be."""
        try:
            failure = self.channel.receive(LOAD_SECONDS).values["failure"]
        except TimeoutError:
            return f"the model was not loaded within {LOAD_SECONDS:g} seconds"
        except (EOFError, OSError):
            return f"the model's process {self.wait(kill=False)} while it loaded the model"
        return None if failure is None else str(failure)

    def kill(self) -> None:
        """Kill the process and all that it has started; does nothing once it has ended."""
        with self._lock:
            if not self._reaped:
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, *, kill: bool) -> str:
        """Wait for the end of the process, killing it first where asked; returns how it ended."""
        if kill:
            self.kill()
        if not self._reaped:
            # Until it is reaped nobody else gets its pid, so no other process group is killed.
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            self.kill()
        with self._lock:
            code = self._process.wait()
            self._reaped = True
        return f"ended with status {code}" if code >= 0 else f"was ended by signal {-code}"


def start_process(folder: Path, manifest: Manifest, scratch: Path) -> HandlerProcess:
    """Start the process that loads a model's handlers.

    Args:
        folder: The model's folder.
        manifest: The content of its `model.json`.
        scratch: The process's working directory, with links to the script's files. A process that
            wrote into the model's folder would change the files that the manifest lists.
    """
    for path in (folder / CODE).iterdir() if (folder / CODE).is_dir() else ():
        (scratch / path.name).symlink_to(path)
    parent_socket, child_socket = socket.socketpair()
    descriptor = child_socket.fileno()
    with child_socket:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "serve.handlers.worker",
                str(descriptor),
                str(os.getpid()),
            ],
            cwd=scratch,
            env=_environment(folder, manifest),
            stdin=subprocess.DEVNULL,
            stdout=STDERR,
            pass_fds=[descriptor],
            start_new_session=True,
        )
    return HandlerProcess(process, Channel(parent_socket))


def _environment(folder: Path, manifest: Manifest) -> Mapping[str, str]:
    """The variables that handlers read, and no GPU whatever the model was trained on."""
    path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    # `pip` and `python` are those of the environment that serves, whatever the user has first.
    programs = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return {
        **os.environ,
        "PATH": os.pathsep.join(programs),
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HIP_VISIBLE_DEVICES": "",
        "SAGEMAKER_PROGRAM": manifest.entry_point or "",
        "SAGEMAKER_SUBMIT_DIRECTORY": str(folder / CODE),
        "TUNEPORT_MODEL_NAME": manifest.name,
        "SM_MODEL_DIR": str(model_dir(folder, manifest)),
        "SM_MODULE_DIR": str(folder / CODE),
        "SM_NUM_GPUS": "0",
        "SM_NUM_CPUS": str(os.cpu_count()),
        "SM_HOSTS": '["algo-1"]',
        "SM_CURRENT_HOST": "algo-1",
    }
