"""A user's own SageMaker training script as a trial: a program that is run and read.

The script is not changed and knows nothing of Ray: it finds the folders, variables and arguments
that a SageMaker container would give it, and its metrics are read from what it prints.
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
from trainables.data_parallel.node_storage import NodeStorage
from trainables.errors.exit_status import describe_exit
from trainables.script.channels import Channel, folders
from trainables.script.environment import Job, Tree, host_names
from trainables.script.hints import hints
from trainables.script.hosts import Ended, Hosts, further_hosts, lay_out
from trainables.script.metric_parser import DIRECT, Definition, Elsewhere, Reader

PORTS = range(20_000, 30_000)
"""Below those that Linux gives away, and above those that Ray's processes take."""
STATE = "reports"


@dataclass(frozen=True)
class Script:
    """What all trials of a run have in common."""

    entry_point: str
    """The script, seen from the folder of its code."""
    code: Path
    """The run's copy of it and its neighbours."""
    digest: str
    """Of the code as it was when the run began."""
    parameters: tuple[str, ...]
    """The names that are the script's; a configuration may hold more."""
    objective: str
    definitions: tuple[Definition, ...]
    inputs: tuple[Channel, ...]
    workers: int = 1
    """How many hosts train each trial together."""
    styles: Mapping[str, str] = field(default_factory=dict)
    """How parameters are given as arguments, by name, where not as values."""
    given: Mapping[str, str] = field(default_factory=dict)
    """Variables that the script has on whichever machine it runs."""
    storage: NodeStorage | None = None
    """The run's storage, where nodes share no folder."""
    stubs: Callable[[], Path] | None = None
    """Gives, on the node that calls it, the folder with stubs of SageMaker's modules."""
    folder: str = ""
    """Where the script was found."""
    beside: frozenset[str] = frozenset()
    """Names of what is there and did not go with it."""


class ScriptTrainable(tune.Trainable):
    """One trial: a step is over with every value of the objective that the script reports."""

    trial_folder: Path
    hosts: Hosts | None = None
    previous: Hosts | None = None
    """The script of the trial before, which may take its time to end."""
    others: Sequence[Any] = ()
    """The hosts but the first, which outlast a trial as this process does."""

    def setup(self, config: Config, script: Script) -> None:  # type: ignore[override]
        """Keep what all trials have in common; the script starts with the first step."""
        self.script = script
        # Data is fetched now, since the time of a step may be limited.
        folders(script.inputs)
        if script.workers > 1 and not self.others:
            self.others = further_hosts(script.workers, script.inputs)
        self.reset_config(config)

    def reset_config(self, new_config: Config) -> bool:
        """End the script of the trial before, and take another configuration."""
        self.cleanup()
        names = self.script.parameters
        self.parameters = {name: new_config[name] for name in names if name in new_config}
        self.reports = 0
        return True

    def step(self) -> Metrics:
        """The script's next report; the trial is complete when the script has ended."""
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
        """The script keeps its own; what is counted here is how often it reported."""
        Path(checkpoint_dir, STATE).write_text(str(self.reports))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Count on, for a script that goes on."""
        self.reports = int(Path(checkpoint, STATE).read_text())

    def count_from(self, reports: int) -> None:
        """Go on after so many reports without a checkpoint: the script has its own."""
        self.reports = reports

    def cleanup(self) -> None:
        """Let the script end, without waiting for it: its guard does."""
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
            self.reports = self._iteration = 0  # what has kept nothing begins again
        self.hosts = Hosts(self._job(tree), self.script, self.others)
        self.incoming = self._read(self.hosts)

    def _job(self, tree: Tree) -> Job:
        mine = share()
        return Job(
            name=f"{tree.base.parents[1].name}-{tree.base.name}",
            tree=tree,
            entry_point=self.script.entry_point,
            hyperparameters=self.parameters,
            objective=self.script.objective,
            inputs=[each.name for each in self.script.inputs],
            cpus=mine.threads,
            gpus=_gpus() if mine.device == "cuda" else 0,
            port=free_port(),
            hosts=host_names(self.script.workers),
            styles=self.script.styles,
            given=self.script.given,
        )

    def _read(self, hosts: Hosts) -> Iterator[dict[str, float]]:
        """The script's reports as they come; what ended it badly is raised after the last."""
        reader = Reader(self.script.definitions, self.script.objective, _say)
        for line in hosts.lines():
            yield from reader.read(line)
        ended = hosts.ending()
        self._tell_of_others(reader, hosts.elsewhere)
        if ended.status == 0:
            if self.script.objective == EXIT_STATUS:
                yield from reader.read(json.dumps({DIRECT: {EXIT_STATUS: 0}}))
            yield from reader.rest()
        self._check(ended, hosts.elsewhere)

    def _tell_of_others(self, reader: Reader, elsewhere: Elsewhere) -> None:
        """Say in the log what the further hosts did to no effect."""
        for name, host in list(elsewhere.hosts.items()):
            if name not in reader.found:
                _say(f"{name}: only {host} printed it; what the first host prints is read")
        if self.script.workers > 1 and not Tree(self.trial_folder).met.exists():
            _say(
                f"{self.script.entry_point} began no process group of torch: unless its"
                f" {self.script.workers} hosts met otherwise, each trained by itself"
            )

    def _check(self, ended: Ended, elsewhere: Elsewhere) -> None:
        """Raise what the script's end says of the trial."""
        where = f" on {ended.host}" if self.script.workers > 1 else ""
        told = describe_exit(f"{self.script.entry_point}{where}", ended.status)
        if ended.is_lost:
            raise ProgramKilled(told)
        if ended.status != 0:
            raise ProgramFailed(
                f"{told}: {ended.said}{self._hint(ended.said)}" if ended.said else told
            )
        if self.reports == 0:
            raise TrainableError(f"{told} and never reported {self._missing(elsewhere)}")

    def _hint(self, said: str) -> str:
        """What would help, where a script's last words are known ones."""
        found = hints(said, self.script, Tree(self.trial_folder))
        return "".join(f"; {sentence}" for sentence in found)

    def _missing(self, elsewhere: Elsewhere) -> str:
        objective = self.script.objective
        if objective in elsewhere.hosts:
            host = elsewhere.hosts[objective]
            return f"{objective} on the first host, whose lines are read: only {host} printed it"
        regexes = [each.regex for each in self.script.definitions if each.name == objective]
        direct = f'no line was {{"{DIRECT}": {{"{objective}": …}}}}'
        return f"{objective}: {f'nothing matched {regexes[0]} and ' if regexes else ''}{direct}"


def _say(sentence: str) -> None:
    """To the trial's log, among what the script prints."""
    os.write(2, f"{sentence}\n".encode())


def _gpus() -> int:
    """GPUs that Ray lets this process see."""
    return len(os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(","))


def free_port() -> int:
    """A port on which nothing listens, and which nobody is given who asks for any.

    Seconds go by until the script takes it, in which programs of this machine may take others.
    """
    while True:
        port = PORTS.start + secrets.randbelow(len(PORTS))
        with socket.socket() as server, suppress(OSError):
            server.bind(("", port))
            return port
