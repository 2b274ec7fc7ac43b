"""The programs of a trial, one a host: the first beside the trial, the others in actors of Ray."""

import math
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from trainables.contract import ProgramKilled
from trainables.data_parallel.placement_group import create_actors
from trainables.data_parallel.rendezvous import NodeAddress, rendezvous, this_node_address
from trainables.errors.exit_status import OWN_SIGNALS
from trainables.errors.last_lines import TRACEBACK, LastWords
from trainables.errors.trial_log import write
from trainables.script import opt_ml
from trainables.script.channels import Channel, folders
from trainables.script.environment import Job, Network, Tree, host_names
from trainables.script.metric_parser import Elsewhere
from trainables.script.process import Child, wait_until_free

if TYPE_CHECKING:
    from trainables.script.trainable import Script

SETTLE_S = 5.0
"""How long after a failure a host may turn out to be lost, which is then why others failed."""
FAILURE_CHARACTERS = 1024
"""How much of `output/failure` is told, as on SageMaker."""


@dataclass(frozen=True)
class Ended:
    """How the program of a host ended."""

    host: str
    status: int | None
    """As `subprocess` gives it; None where it was lost with what watched it."""
    at: float = math.inf
    """When, in seconds since 1970."""
    said: str = ""
    """What the program said of its failure: in the file for it, or with its last words."""

    @property
    def is_lost(self) -> bool:
        """Whether something else ended it."""
        return self.status is None or (self.status < 0 and -self.status not in OWN_SIGNALS)


class Host:
    """A further host of a trial: a process that has a bundle of the trial's resources."""

    _child: Child | None = None
    _is_wanted = True
    _tree: Tree
    _stays = True
    """Whether what the program leaves stays on this node."""

    def fetch(self, inputs: Sequence[Channel]) -> None:
        """Have the channels' data on this host's node."""
        folders(inputs)

    def prepare(self, tree: Tree, first: Tree, script: "Script") -> NodeAddress:
        """Lay the folders out, and give the place of this host.

        Every host goes on from what the first one kept, so that all go on from the same.
        """
        self._child, self._is_wanted, self._tree = None, True, tree
        storage = script.storage
        if storage is None:
            lay_out(tree, script, script.code)
            shutil.copytree(first.checkpoints, tree.checkpoints, dirs_exist_ok=True)
        else:
            self._tree, self._stays = Tree(storage.local_path(tree.base)), False
            lay_out(self._tree, script, storage.code_folder(script.digest))
            storage.fetch(first.checkpoints, self._tree.checkpoints)
        return this_node_address()

    def run(self, job: Job) -> Iterator[list[str] | Ended]:
        """Run the program; what it prints as it comes, and at last how it ended."""
        job = replace(job, tree=self._tree)
        child = self._child = launch(job)
        if not self._is_wanted:
            child.end()
        last = LastWords()
        for lines in child.batches():
            for line in lines:
                last.hear(line)
            yield lines
        yield Ended(job.host, child.wait(), child.ended_at, said(job.tree, last))
        if not self._stays:
            shutil.rmtree(job.tree.base, ignore_errors=True)

    def end(self) -> None:
        """Let the program end, where it goes on."""
        self._is_wanted = False
        if self._child is not None:
            self._child.end()


class Hosts:
    """The programs of one trial while they run; what only the first prints counts."""

    def __init__(self, job: Job, script: "Script", others: Sequence[Any]) -> None:
        """Start the first host's program, whose folders are laid out, and those of the others.

        Raises ProgramKilled where one of the others is lost already.
        """
        self._job = job
        self.elsewhere = Elsewhere(script.definitions)
        self._others = dict(zip(job.hosts[1:], others, strict=True))
        self._changed = threading.Condition()
        self._ended: dict[str, Ended] = {}
        self._last = LastWords()
        self._threads: list[threading.Thread] = []
        self._alarm = self._log = -1
        jobs = self._prepared(script)
        self._first = launch(jobs.pop(job.host))
        if jobs:
            self._watch(jobs)

    def lines(self) -> Iterator[str]:
        """What the first host prints, as it comes, until it or another that failed has ended."""
        for line in self._first.lines(self._alarm if self._threads else None):
            self._last.hear(line)
            yield line

    def ending(self) -> Ended:
        """How the first host ended, once all have, or that host because of which the trial did."""
        ended = self._cause() if self._threads else Ended(self._job.host, self._first.wait())
        if ended.host != self._job.host:
            return ended
        return replace(ended, said=said(self._job.tree, self._last))

    def close(self) -> None:
        """Let all end that go on, without waiting for it."""
        self._first.close()
        for actor in self._others.values():
            actor.end.remote()

    def wait(self) -> None:
        """Wait until all have ended."""
        for thread in self._threads:
            thread.join()
        self._first.wait()
        for file in (self._alarm, self._log) if self._threads else ():
            os.close(file)
        self._threads = []

    @property
    def _failed(self) -> list[Ended]:
        failed = [each for each in self._ended.values() if each.status != 0]
        return sorted(failed, key=lambda each: (not each.is_lost, each.at))

    @property
    def _is_over(self) -> bool:
        return len(self._ended) == len(self._job.hosts)

    def _prepared(self, script: "Script") -> dict[str, Job]:
        """What each host's program is told, once all folders are there."""
        job = self._job
        trees = {host: job.tree.of(host) for host in self._others}
        asked = {
            host: actor.prepare.remote(trees[host], job.tree, script)
            for host, actor in self._others.items()
        }
        places = {host: _answer(host, reference) for host, reference in asked.items()}
        networks = _networks({job.host: this_node_address(), **places}) if places else {}
        return {
            host: replace(
                job,
                host=host,
                tree=trees.get(host, job.tree),
                network=networks.get(host, job.network),
            )
            for host in job.hosts
        }

    def _watch(self, jobs: Mapping[str, Job]) -> None:
        """Run the programs of the other hosts, and watch over all."""
        self._alarm, self._log = os.eventfd(0), os.dup(2)
        self._threads = [
            threading.Thread(target=self._follow, args=each, daemon=True) for each in jobs.items()
        ]
        self._threads.append(threading.Thread(target=self._wait_for_first, daemon=True))
        for thread in self._threads:
            thread.start()

    def _follow(self, host: str, job: Job) -> None:
        """Run a further host's program, log what it prints, and note how it ended."""
        ended = Ended(host, None)
        try:
            for reference in self._others[host].run.options(num_returns="streaming").remote(job):
                told = ray.get(reference)
                if isinstance(told, Ended):
                    ended = told
                else:
                    self._write(host, told)
                    for line in told:
                        self.elsewhere.hear(host, line)
        except RayError as error:  # its process or its node was lost
            self._write(host, f"{error}\n".splitlines(keepends=True))
        finally:
            self._note(ended)

    def _wait_for_first(self) -> None:
        self._note(Ended(self._job.host, self._first.wait(), self._first.ended_at))

    def _note(self, ended: Ended) -> None:
        with self._changed:
            self._ended[ended.host] = ended
            self._changed.notify_all()
        if ended.status != 0 and ended.host != self._job.host:
            os.eventfd_write(self._alarm, 1)

    def _write(self, host: str, lines: Sequence[str]) -> None:
        ended = (line if line.endswith("\n") else f"{line}\n" for line in lines)
        content = "".join(f"{host}: {line}" for line in ended).encode()
        with self._changed:
            write(content, self._log)

    def _cause(self) -> Ended:
        """The end that counts: of a host that was lost, of one that failed, of the first one."""
        with self._changed:
            self._changed.wait_for(lambda: self._failed or self._is_over)
            self._changed.wait_for(
                lambda: self._is_over or (self._failed and self._failed[0].is_lost), SETTLE_S
            )
            return self._failed[0] if self._failed else self._ended[self._job.host]


def further_hosts(count: int, inputs: Sequence[Channel]) -> list[Any]:
    """An actor for each host but the first, which has the channels' data.

    Raises ProgramKilled where one is lost meanwhile.
    """
    hosts = create_actors(Host, count, max_concurrency=2)  # they are told to end while they run
    fetching = [host.fetch.remote(inputs) for host in hosts]
    for name, reference in zip(host_names(count)[1:], fetching, strict=True):
        _answer(name, reference)
    return hosts


def lay_out(tree: Tree, script: "Script", code: Path) -> None:
    """Make a host's folders, once nothing of an earlier start runs there any more."""
    tree.base.mkdir(parents=True, exist_ok=True)
    wait_until_free(tree.lock)
    tree.make(code, folders(script.inputs))
    if script.stubs is not None:
        tree.link_stubs(script.stubs())


def launch(job: Job) -> Child:
    """Start a host's program in its folders, which are at `/opt/ml` too where it names that."""
    job.write_config()
    command, tree = job.command(), job.tree
    if opt_ml.is_named(tree.code, [*command, *os.environ.values(), *job.given.values()]):
        command = [sys.executable, "-I", opt_ml.__file__, str(tree.base), *command]
    environment, shares_log = job.environment(os.environ), len(job.hosts) > 1
    return Child(command, environment, tree.code, tree.lock, shares_log=shares_log)


def said(tree: Tree, last: LastWords) -> str:
    """What a program said of its failure, in the file for it or at its end.

    A traceback in the file is not repeated, but for its exception where that is all there is.
    """
    try:
        text = (tree.output / "failure").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return str(last)
    before = " ".join(text.partition(TRACEBACK)[0][:FAILURE_CHARACTERS].split())
    if before or not text.strip():
        return before or str(last)
    written = LastWords()
    for line in text.splitlines():
        written.hear(line)
    return str(written)


def _answer(host: str, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error
    except RayActorError as error:
        raise ProgramKilled(f"{host} was lost before its program started") from error


def _networks(places: Mapping[str, NodeAddress]) -> dict[str, Network]:
    """What each host is told of where all of them meet."""
    met = zip(places, rendezvous(list(places.values())), strict=True)
    return {host: Network(place.address, place.interface) for host, place in met}
