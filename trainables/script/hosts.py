"""All hosts of a script's trial: the first beside the trial, the others in actors of Ray."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from trainables.contract import ProgramKilled
from trainables.errors.last_lines import LastWords
from trainables.errors.trial_log import write
from trainables.script.channels import Channel
from trainables.script.host import Host, HostExit, failure_message, launch
from trainables.script.job import Job, Network, host_names
from trainables.script.metric_reports import UnreadMetrics
from trainables.script.placement_group import create_actors
from trainables.script.rendezvous import NodeAddress, rendezvous, this_node_address

if TYPE_CHECKING:
    from trainables.script.trainable import Script

SETTLE_S = 5.0
"""Seconds after a failure in which a host may turn out to be lost, which is then the cause."""


class Hosts:
    """The running programs of one trial; metrics are read from the first host's output."""

    def __init__(self, job: Job, script: "Script", others: Sequence[Any]) -> None:
        """Start the programs of all hosts.

        Args:
            job: The first host's job, whose folders are made.
            script: The script of the run.
            others: Actors of the other hosts.

        Raises:
            ProgramKilled: One of the others is lost already.
        """
        self._job = job
        self.unread = UnreadMetrics(script.definitions)
        self._others = dict(zip(job.hosts[1:], others, strict=True))
        self._changed = threading.Condition()
        self._exits: dict[str, HostExit] = {}
        self._last = LastWords()
        self._threads: list[threading.Thread] = []
        self._alarm = self._log = -1
        jobs = self._prepare(script)
        self._first = launch(jobs.pop(job.host))
        if jobs:
            self._watch(jobs)

    def lines(self) -> Iterator[str]:
        """Yield the first host's lines as they come, until it has ended or another has failed."""
        for line in self._first.lines(self._alarm if self._threads else None):
            self._last.read(line)
            yield line

    def exit(self) -> HostExit:
        """Wait for all hosts, or for a failure; return the end that counts for the trial."""
        first = self._job.host
        ended = self._cause() if self._threads else HostExit(first, self._first.wait())
        if ended.host != first:
            return ended
        return replace(ended, message=failure_message(self._job.tree, self._last))

    def close(self) -> None:
        """End all programs that go on, without waiting for it."""
        self._first.close()
        for actor in self._others.values():
            actor.end.remote()

    def wait(self) -> None:
        """Wait until all programs have ended."""
        for thread in self._threads:
            thread.join()
        self._first.wait()
        for file in (self._alarm, self._log) if self._threads else ():
            os.close(file)
        self._threads = []

    @property
    def _failed(self) -> list[HostExit]:
        failed = [ended for ended in self._exits.values() if ended.status != 0]
        return sorted(failed, key=lambda ended: (not ended.is_lost, ended.at))

    @property
    def _is_over(self) -> bool:
        return len(self._exits) == len(self._job.hosts)

    def _prepare(self, script: "Script") -> dict[str, Job]:
        """Make the other hosts' folders; return each host's job."""
        job = self._job
        trees = {host: job.tree.of_host(host) for host in self._others}
        references = {
            host: actor.prepare.remote(trees[host], job.tree, script)
            for host, actor in self._others.items()
        }
        nodes = {host: _get(host, reference) for host, reference in references.items()}
        networks = _networks({job.host: this_node_address(), **nodes}) if nodes else {}
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
        """Run the programs of the other hosts, and wait for all in threads."""
        self._alarm, self._log = os.eventfd(0), os.dup(2)
        self._threads = [
            threading.Thread(target=self._follow, args=(host, job), daemon=True)
            for host, job in jobs.items()
        ]
        self._threads.append(threading.Thread(target=self._wait_for_first, daemon=True))
        for thread in self._threads:
            thread.start()

    def _follow(self, host: str, job: Job) -> None:
        """Run another host's program, log what it prints, and note its end."""
        ended = HostExit(host, None)
        try:
            for reference in self._others[host].run.options(num_returns="streaming").remote(job):
                item = ray.get(reference)
                if isinstance(item, HostExit):
                    ended = item
                else:
                    self._write(host, item)
                    for line in item:
                        self.unread.read(host, line)
        except RayError as error:  # its process or its node was lost
            self._write(host, f"{error}\n".splitlines(keepends=True))
        finally:
            self._note(ended)

    def _wait_for_first(self) -> None:
        self._note(HostExit(self._job.host, self._first.wait(), self._first.ended_at))

    def _note(self, ended: HostExit) -> None:
        with self._changed:
            self._exits[ended.host] = ended
            self._changed.notify_all()
        if ended.status != 0 and ended.host != self._job.host:
            os.eventfd_write(self._alarm, 1)

    def _write(self, host: str, lines: Sequence[str]) -> None:
        whole = (line if line.endswith("\n") else f"{line}\n" for line in lines)
        content = "".join(f"{host}: {line}" for line in whole).encode()
        with self._changed:
            write(content, self._log)

    def _cause(self) -> HostExit:
        """Return the end of a host that was lost, else of one that failed, else of the first."""
        with self._changed:
            self._changed.wait_for(lambda: self._failed or self._is_over)
            self._changed.wait_for(
                lambda: self._is_over or (self._failed and self._failed[0].is_lost), SETTLE_S
            )
            return self._failed[0] if self._failed else self._exits[self._job.host]


def create_hosts(count: int, inputs: Sequence[Channel]) -> list[Any]:
    """Create an actor for each host but the first, with the channels' data on its node.

    Raises ProgramKilled where one is lost meanwhile.
    """
    hosts = create_actors(Host, count, max_concurrency=2)  # `end` is called while `run` runs
    references = [host.fetch.remote(inputs) for host in hosts]
    for name, reference in zip(host_names(count)[1:], references, strict=True):
        _get(name, reference)
    return hosts


def _get(host: str, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error
    except RayActorError as error:
        raise ProgramKilled(f"{host} was lost before its program started") from error


def _networks(nodes: Mapping[str, NodeAddress]) -> dict[str, Network]:
    """Return the rendezvous of all hosts, as each of them reaches it."""
    addresses = zip(nodes, rendezvous(list(nodes.values())), strict=True)
    return {host: Network(node.address, node.interface) for host, node in addresses}
