"""One host of a script's trial: its folders, its program and how that ended."""

import math
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors.exit_status import OWN_SIGNALS
from trainables.errors.last_lines import TRACEBACK, LastWords
from trainables.script import opt_ml
from trainables.script.channels import Channel, fetch_folders
from trainables.script.environment import build_environment
from trainables.script.job import Job
from trainables.script.process import ScriptProcess, wait_until_free
from trainables.script.rendezvous import NodeAddress, this_node_address
from trainables.script.tree import Tree

if TYPE_CHECKING:
    from trainables.script.trainable import Script

FAILURE_CHARACTERS = 1024
"""Characters of `output/failure` that are shown, as on SageMaker."""


@dataclass(frozen=True)
class HostExit:
    """The end of a host's program."""

    host: str
    status: int | None
    """As `subprocess` gives it; None where the supervisor was lost."""
    at: float = math.inf
    """Seconds since 1970."""
    message: str = ""
    """The program's own words for its failure."""

    @property
    def is_lost(self) -> bool:
        """Whether something else ended the program."""
        return self.status is None or (self.status < 0 and -self.status not in OWN_SIGNALS)


class Host:
    """Actor for another host than the first, in a bundle of the trial's resources."""

    _process: ScriptProcess | None = None
    _is_wanted = True
    _tree: Tree
    _keeps_files = True
    """Whether the program's files stay on this node."""

    def fetch(self, inputs: Sequence[Channel]) -> None:
        """Fetch the channels' data to this node."""
        fetch_folders(inputs)

    def prepare(self, tree: Tree, first: Tree, script: "Script") -> NodeAddress:
        """Make the folders, with the first host's checkpoints; return this node's address."""
        self._process, self._is_wanted, self._tree = None, True, tree
        storage = script.storage
        if storage is None:
            lay_out(tree, script, script.code)
            shutil.copytree(first.checkpoints, tree.checkpoints, dirs_exist_ok=True)
        else:
            self._tree, self._keeps_files = Tree(storage.local_path(tree.base)), False
            lay_out(self._tree, script, storage.code_folder(script.digest))
            storage.fetch(first.checkpoints, self._tree.checkpoints)
        return this_node_address()

    def run(self, job: Job) -> Iterator[list[str] | HostExit]:
        """Run the program: yield the lines that it prints, and at last its end."""
        job = replace(job, tree=self._tree)
        process = self._process = launch(job)
        if not self._is_wanted:
            process.end()
        last = LastWords()
        for lines in process.batches():
            for line in lines:
                last.read(line)
            yield lines
        yield HostExit(job.host, process.wait(), process.ended_at, failure_message(job.tree, last))
        if not self._keeps_files:
            shutil.rmtree(job.tree.base, ignore_errors=True)

    def end(self) -> None:
        """End the program, where it goes on."""
        self._is_wanted = False
        if self._process is not None:
            self._process.end()


def lay_out(tree: Tree, script: "Script", code: Path) -> None:
    """Make a host's folders, once nothing of an earlier start runs in them."""
    tree.base.mkdir(parents=True, exist_ok=True)
    wait_until_free(tree.lock)
    tree.make(code, fetch_folders(script.inputs))
    if script.stubs is not None:
        tree.link_stubs(script.stubs())


def launch(job: Job) -> ScriptProcess:
    """Start a host's program, in a mount namespace with `/opt/ml` where it names that."""
    job.write_config()
    command, tree = job.command(), job.tree
    if opt_ml.is_named(tree.code, [*command, *os.environ.values(), *job.variables.values()]):
        command = [sys.executable, "-I", opt_ml.__file__, str(tree.base), *command]
    variables, shares_log = build_environment(job, os.environ), len(job.hosts) > 1
    return ScriptProcess(command, variables, tree.code, tree.lock, shares_log=shares_log)


def failure_message(tree: Tree, last: LastWords) -> str:
    """Return a program's words for its failure: those of its file `failure`, or its last ones.

    Of a traceback in the file only the exception is given, and that only where nothing stands
    before it.
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
        written.read(line)
    return str(written)
