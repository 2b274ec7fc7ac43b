"""The process in which a model's own handlers run, seen from the server that started it."""

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from serve.errors import DeadlineError, HandlerError, NotReadyError
from serve.ipc import Channel, Message
from serve.models.archive import CODE, model_dir, read_handlers
from serve.models.artifact import ArtifactError
from serve.models.manifest import Manifest

LOAD_SECONDS = 240.0
"""How long a model may take to load; SageMaker gives up after as long."""
ANSWER_SECONDS = 60.0
"""How long an answer may take, as there."""
CLOSE_SECONDS = 5.0
"""How long the process may take to end by itself."""
LONGEST_PAUSE = 30.0
"""Seconds before a start after many that failed."""
LOADING = "the model is being loaded"
STDERR = 2

log = logging.getLogger(__name__)


class ModelProcess:
    """A model with handlers in a process of its own, which is started again when it dies.

    A context manager: entering waits until the model is loaded, and raises `ArtifactError` where
    that fails; leaving ends the process and whatever it has started.
    """

    def __init__(self, folder: Path, *, answer_s: float = ANSWER_SECONDS) -> None:
        self._folder = folder.absolute()
        self._answer_s = answer_s
        self.manifest = read_handlers(self._folder)
        self._asking = threading.Lock()
        self._changing = threading.Condition()
        self._life: _Life | None = None
        self._why_not: str | None = LOADING
        self._loading = True
        self._closing = threading.Event()
        self._held = 0
        self._released = threading.Condition()
        # One thread starts every child, for a child ends with the thread that started it.
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_until_loaded()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Begin to load the model, without waiting for it."""
        self._keeper.start()

    def wait_until_loaded(self) -> None:
        """Wait until the model is loaded, or raise `ArtifactError` where that has failed."""
        with self._changing:
            self._changing.wait_for(lambda: not self._loading)
        if self._why_not is not None:
            raise ArtifactError(f"{self._folder}: {self._why_not}")

    def check(self) -> None:
        """Raise `NotReadyError`, which says why, unless the model is loaded."""
        if (why_not := self._why_not) is not None:
            raise NotReadyError(why_not)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the process from being retired: for a request, from its beginning to its end."""
        with self._released:
            self._held += 1
        try:
            yield
        finally:
            with self._released:
                self._held -= 1
                self._released.notify_all()

    def retire(self) -> None:
        """Wait until no request holds the process, then close it."""
        with self._released:
            self._released.wait_for(lambda: not self._held)
        self.close()

    def ask(self, request: Message) -> Message:
        """The handlers' answer; requests wait for each other, as the handlers take one at a time.

        Raises `NotReadyError` where no model is loaded, `DeadlineError` where the answer is late,
        and `HandlerError` where the process dies over it.
        """
        with self._asking:
            self.check()
            life = self._life
            assert life is not None  # a loaded model lives
            try:
                life.channel.send(request)
                return life.channel.receive(self._answer_s)
            except TimeoutError as error:
                self._lose(life, "the model's process is started again, as it did not answer")
                life.kill()
                raise DeadlineError(
                    f"the model did not answer within {self._answer_s:g} seconds"
                ) from error
            except (EOFError, OSError) as error:
                self._lose(life, "the model's process ended; it is started again")
                raise HandlerError(
                    500, "the model's process ended over this request; it is started again"
                ) from error

    def close(self) -> None:
        """End the process: what answers requests may end by itself, for a few seconds."""
        with self._changing:
            self._closing.set()
            life = self._life
        if life is not None:
            if self._why_not is None:
                life.channel.hang_up()
                self._keeper.join(CLOSE_SECONDS)
            life.kill()
        self._keeper.join()
        self._say("the model's process was ended")

    def _keep(self) -> None:
        """One life of the process after the other, with pauses where they end before they begin."""
        pause = 0.0
        while not self._closing.wait(pause):
            try:
                loaded = self._live()
            except (ArtifactError, OSError) as error:
                self._say(f"the model's process cannot be started: {error}")
                loaded = False
            pause = 0.0 if loaded else min(2 * pause + 1, LONGEST_PAUSE)

    def _live(self) -> bool:
        """One life of the process; whether its model was loaded."""
        if self._life is not None and read_handlers(self._folder) != self.manifest:
            raise ArtifactError("its folder has another model by now; start the server again")
        with tempfile.TemporaryDirectory(prefix="tuneport-", ignore_cleanup_errors=True) as scratch:
            with self._changing:
                if self._closing.is_set():
                    return False
                life = self._life = _begin(self._folder, self.manifest, Path(scratch))
            failure = life.load()
            self._say(failure)
            ended = life.end(kill=failure is not None)
        if not self._closing.is_set() and failure is None:
            self._lose(life, f"the model's process {ended}; it is started again")
            log.error("%s: the model's process %s; it is started again", self._folder, ended)
        with self._asking:  # Whoever waits for an answer has been told that none will come.
            life.channel.close()
        return failure is None

    def _say(self, why_not: str | None) -> None:
        """Note that the model is loaded, or why it is not."""
        with self._changing:
            self._why_not, self._loading = why_not, False
            self._changing.notify_all()

    def _lose(self, life: "_Life", why_not: str) -> None:
        """Send nothing more to that process, which another one will follow."""
        with self._changing:
            if self._life is life and self._why_not is None:
                self._why_not, self._loading = why_not, True


class _Life:
    """One run of the process."""

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel) -> None:
        self.channel = channel
        self._process = process
        self._lock = threading.Lock()
        self._reaped = False

    def load(self) -> str | None:
        """Wait for the model to be loaded; gives the reason where it is not."""
        try:
            failure = self.channel.receive(LOAD_SECONDS).values["failure"]
        except TimeoutError:
            return f"the model was not loaded within {LOAD_SECONDS:g} seconds"
        except (EOFError, OSError):
            return f"the model's process {self.end(kill=False)} as it loaded the model"
        return None if failure is None else str(failure)

    def kill(self) -> None:
        """End it and all that it has started, at once; nothing, where it has ended."""
        with self._lock:
            if not self._reaped:
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self, *, kill: bool) -> str:
        """Wait for its end, or bring it about, and say how it came."""
        if kill:
            self.kill()
        if not self._reaped:
            # Until it is reaped its number is its own, so that no stranger's group is ended.
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            self.kill()
        with self._lock:
            code = self._process.wait()
            self._reaped = True
        return f"ended with status {code}" if code >= 0 else f"was ended by signal {-code}"


def _begin(folder: Path, manifest: Manifest, scratch: Path) -> _Life:
    """Start the process in a folder of its own, where it finds its code and may leave anything.

    Were it to work in the model's folder, a log file would make that a folder which was changed.
    """
    for path in (folder / CODE).iterdir() if (folder / CODE).is_dir() else ():
        (scratch / path.name).symlink_to(path)
    ours, its = socket.socketpair()
    with its:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "serve.handlers.worker",
                str(its.fileno()),
                str(os.getpid()),
            ],
            cwd=scratch,
            env=_environment(folder, manifest),
            stdin=subprocess.DEVNULL,
            stdout=STDERR,
            pass_fds=[its.fileno()],
            start_new_session=True,
        )
    return _Life(process, Channel(ours))


def _environment(folder: Path, manifest: Manifest) -> Mapping[str, str]:
    """What handlers look for, and no GPU whatever the model was trained on."""
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
