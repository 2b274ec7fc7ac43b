"""A user's own SageMaker training script as a trial.

The script is not changed and knows nothing of Ray: it finds the folders, variables and arguments
that a SageMaker container would give it, and its metrics are read from its output.
"""

import json
import math
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune

from trainables.contract import (
    EXIT_STATUS,
    OVER,
    Config,
    Metrics,
    ProgramFailed,
    ProgramKilled,
    TrainableError,
    share,
)
from trainables.errors.exit_status import describe_exit
from trainables.script.channels import Channel, fetch_folders
from trainables.script.hints import hints
from trainables.script.host import HostExit, lay_out
from trainables.script.hosts import Hosts, create_hosts
from trainables.script.job import Job, host_names
from trainables.script.metric_parser import DIRECT, Definition
from trainables.script.metric_reports import ReportReader, UnreadMetrics
from trainables.script.node_storage import NodeStorage
from trainables.script.tree import Tree

PORTS = range(20_000, 30_000)
"""Ports below those that Linux assigns, and above those of Ray's processes."""
STATE = "reports"


@dataclass(frozen=True)
class Script:
    """A script, as all trials of a run have it."""

    entry_point: str
    """Path of the script in the folder of its code."""
    code: Path
    """The run's copy of the script and its neighbours."""
    digest: str
    """Digest of the code as it was when the run began."""
    parameters: tuple[str, ...]
    """Names of the script's hyperparameters; a configuration may hold more."""
    objective: str
    definitions: tuple[Definition, ...]
    inputs: tuple[Channel, ...]
    workers: int = 1
    """How many hosts train a trial together."""
    styles: Mapping[str, str] = field(default_factory=dict)
    """Names of `STYLES` by hyperparameter, where not `value`."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the script's own, on whichever machine it runs."""
    storage: NodeStorage | None = None
    """The run's storage, where nodes share no folder."""
    stubs: Callable[[], Path] | None = None
    """Returns, on the node that calls it, the folder with stubs of SageMaker's modules."""
    folder: str = ""
    """The folder in which the script was found."""
    beside: frozenset[str] = frozenset()
    """Names of files in that folder that were not copied with the script."""


class ScriptTrainable(tune.Trainable):
    """One trial: a step ends with each value of the objective that the script reports."""

    trial_folder: Path
    hosts: Hosts | None = None
    previous: Hosts | None = None
    """The hosts of the trial before, whose script may take its time to end."""
    other_hosts: Sequence[Any] = ()
    """Actors of all hosts but the first, which serve one trial after the other."""

    def setup(self, config: Config, script: Script) -> None:  # type: ignore[override]
        """Take the script, which starts with the first step, and fetch its data."""
        self.script = script
        # Now, since the time of a step may be limited.
        fetch_folders(script.inputs)
        if script.workers > 1 and not self.other_hosts:
            self.other_hosts = create_hosts(script.workers, script.inputs)
        self.reset_config(config)

    def reset_config(self, new_config: Config) -> bool:
        """End the script of the trial before, and take another configuration."""
        self.cleanup()
        names = self.script.parameters
        self.parameters = {name: new_config[name] for name in names if name in new_config}
        self.reports = 0
        return True

    def step(self) -> Metrics:
        """Wait for the script's next report; the trial is complete when the script has ended."""
        if self.hosts is None:
            self._start()
        try:
            report = next(self.incoming, None)
        except TrainableError:
            self.cleanup()
            raise
        if report is None:
            self.cleanup()
            return OVER
        self.reports += 1
        if not math.isfinite(report[self.script.objective]):
            self.cleanup()  # the trial has failed with it
        return report

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save the number of reports; the script keeps its own checkpoints."""
        Path(checkpoint_dir, STATE).write_text(str(self.reports))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load the number of reports, for a script that goes on from its own checkpoint."""
        self.reports = int(Path(checkpoint, STATE).read_text())

    def count_from(self, reports: int) -> None:
        """Go on after so many reports without a checkpoint: the script has its own."""
        self.reports = reports

    def cleanup(self) -> None:
        """End the script without waiting for it; its supervisor does."""
        if self.hosts is not None:
            self.hosts.close()
            self.previous, self.hosts = self.hosts, None

    def _start(self) -> None:
        if self.previous is not None:
            self.previous.wait()
            self.previous = None
        tree = Tree(self.trial_folder)
        lay_out(tree, self.script, self.script.code)
        if not any(tree.checkpoints.iterdir()):
            self.reports = self._iteration = 0  # a script without checkpoints begins again
        self.hosts = Hosts(self._job(tree), self.script, self.other_hosts)
        self.incoming = self._read(self.hosts)

    def _job(self, tree: Tree) -> Job:
        resources = share()
        return Job(
            name=f"{tree.base.parents[1].name}-{tree.base.name}",
            tree=tree,
            entry_point=self.script.entry_point,
            hyperparameters=self.parameters,
            objective=self.script.objective,
            inputs=[channel.name for channel in self.script.inputs],
            cpus=resources.threads,
            gpus=_gpus() if resources.device == "cuda" else 0,
            port=free_port(),
            hosts=host_names(self.script.workers),
            styles=self.script.styles,
            variables=self.script.variables,
        )

    def _read(self, hosts: Hosts) -> Iterator[dict[str, float]]:
        """Yield the script's reports as they come; after the last, raise why the script failed."""
        reader = ReportReader(self.script.definitions, self.script.objective, _log)
        for line in hosts.lines():
            yield from reader.read(line)
        ended = hosts.exit()
        self._warn_of_other_hosts(reader, hosts.unread)
        if ended.status == 0:
            if self.script.objective == EXIT_STATUS:
                yield from reader.read(json.dumps({DIRECT: {EXIT_STATUS: 0}}))
            yield from reader.close()
        self._check(ended, hosts.unread)

    def _warn_of_other_hosts(self, reader: ReportReader, unread: UnreadMetrics) -> None:
        """Warn in the log of metrics and hosts that have no effect on the trial."""
        for name, host in list(unread.hosts.items()):
            if name not in reader.seen:
                _log(f"{name}: only {host} printed it; what the first host prints is read")
        if self.script.workers > 1 and not Tree(self.trial_folder).group_mark.exists():
            _log(
                f"{self.script.entry_point} began no process group of torch: unless its"
                f" {self.script.workers} hosts met otherwise, each trained by itself"
            )

    def _check(self, ended: HostExit, unread: UnreadMetrics) -> None:
        """Raise the exception for a script that failed, was killed or reported nothing."""
        where = f" on {ended.host}" if self.script.workers > 1 else ""
        description = describe_exit(f"{self.script.entry_point}{where}", ended.status)
        if ended.is_lost:
            raise ProgramKilled(description)
        if ended.status != 0:
            words = f": {ended.message}{self._hints(ended.message)}" if ended.message else ""
            raise ProgramFailed(f"{description}{words}")
        if self.reports == 0:
            raise TrainableError(f"{description} and never reported {self._missing(unread)}")

    def _hints(self, message: str) -> str:
        """Return hints for a known failure, to follow the message."""
        sentences = hints(message, self.script, Tree(self.trial_folder))
        return "".join(f"; {sentence}" for sentence in sentences)

    def _missing(self, unread: UnreadMetrics) -> str:
        objective = self.script.objective
        if objective in unread.hosts:
            host = unread.hosts[objective]
            return f"{objective} on the first host, whose lines are read: only {host} printed it"
        regexes = [one.regex for one in self.script.definitions if one.name == objective]
        direct = f'no line was {{"{DIRECT}": {{"{objective}": …}}}}'
        return f"{objective}: {f'nothing matched {regexes[0]} and ' if regexes else ''}{direct}"


def _log(sentence: str) -> None:
    """Write a sentence into the trial's log, among the script's output."""
    os.write(2, f"{sentence}\n".encode())


def _gpus() -> int:
    """Count the GPUs that Ray lets this process see."""
    return len(os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(","))


def free_port() -> int:
    """Find a free port of `PORTS`, which Linux gives to no program that asks for any port.

    Seconds pass until the script listens on it, in which other programs ask for ports.
    """
    while True:
        port = PORTS.start + secrets.randbelow(len(PORTS))
        with socket.socket() as server, suppress(OSError):
            server.bind(("", port))
            return port
