"""A training job on one host, as its script sees it: command, arguments, configuration files."""

import json
import shlex
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.script.arguments import STYLES, TORCHRUN, VALUE, flag, is_for_toolkit
from trainables.script.tree import Tree

INSTANCE = "local"
GROUP = "homogeneousCluster"
LOG_LEVEL = 20
CHANNEL = {
    "TrainingInputMode": "File",
    "S3DistributionType": "FullyReplicated",
    "RecordWrapperType": "None",
}
SETUP = "setup.py"


def host_names(count: int) -> tuple[str, ...]:
    """Return the names of a trial's hosts in SageMaker's order, that of the alphabet."""
    return tuple(sorted(f"algo-{number}" for number in range(1, count + 1)))


@dataclass(frozen=True)
class Network:
    """The rendezvous of a trial's hosts; by default that of one host."""

    address: str = "127.0.0.1"
    """Address of the first host; nothing here resolves `algo-1`."""
    interface: str = "lo"
    """Interface by which this host reaches the others."""


@dataclass(frozen=True)
class Job:
    """A training job, on one of its hosts."""

    name: str
    tree: Tree
    entry_point: str
    """Path of the script in the folder of its code."""
    hyperparameters: Mapping[str, Any]
    objective: str
    inputs: Collection[str]
    """Names of the channels."""
    cpus: int
    gpus: int
    port: int
    """Port of the rendezvous, this trial's alone."""
    hosts: tuple[str, ...] = host_names(1)
    host: str = host_names(1)[0]
    """Name of this host."""
    network: Network = Network()
    styles: Mapping[str, str] = field(default_factory=dict)
    """Names of `STYLES` by hyperparameter, where not `value`."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the script's own."""

    @property
    def channels(self) -> dict[str, str]:
        """Folders of the channels, by name."""
        return {name: str(self.tree.data / name) for name in sorted(self.inputs)}

    @property
    def script_hyperparameters(self) -> dict[str, Any]:
        """Hyperparameters for the script."""
        return {key: v for key, v in self.hyperparameters.items() if not is_for_toolkit(key)}

    @property
    def toolkit_hyperparameters(self) -> dict[str, Any]:
        """Hyperparameters for SageMaker's toolkit, with those that the platform adds."""
        given = {key: v for key, v in self.hyperparameters.items() if is_for_toolkit(key)}
        return {
            "sagemaker_container_log_level": LOG_LEVEL,
            "sagemaker_job_name": self.name,
            "sagemaker_program": self.entry_point,
            "sagemaker_submit_directory": str(self.tree.code),
            **given,
        }

    @property
    def input_data_config(self) -> dict[str, Any]:
        """Content of `inputdataconfig.json`."""
        return dict.fromkeys(sorted(self.inputs), CHANNEL)

    @property
    def resource_config(self) -> dict[str, Any]:
        """Content of `resourceconfig.json`."""
        hosts = list(self.hosts)
        group = {"instance_group_name": GROUP, "instance_type": INSTANCE, "hosts": hosts}
        return {
            "current_host": self.host,
            "current_instance_type": INSTANCE,
            "current_group_name": GROUP,
            "hosts": hosts,
            "instance_groups": [group],
            "network_interface_name": self.network.interface,
        }

    def write_config(self) -> None:
        """Write the files of `input/config`."""
        hyperparameters = {**self.script_hyperparameters, **self.toolkit_hyperparameters}
        encoded = {key: json.dumps(value) for key, value in hyperparameters.items()}
        # As the platform adds it: no JSON.
        encoded["_tuning_objective_metric"] = self.objective
        files = {
            "hyperparameters": encoded,
            "inputdataconfig": self.input_data_config,
            "resourceconfig": self.resource_config,
            "checkpointconfig": {"LocalPath": str(self.tree.checkpoints)},
        }
        for name, content in files.items():
            text = json.dumps(content, indent=2) + "\n"
            (self.tree.config / f"{name}.json").write_text(text, encoding="utf-8")

    def arguments(self) -> list[str]:
        """Return the hyperparameters as arguments of the script."""
        hyperparameters = self.script_hyperparameters
        return [
            argument
            for key in sorted(hyperparameters)
            for argument in STYLES[self.styles.get(key, VALUE)](flag(key), hyperparameters[key])
        ]

    def command(self) -> list[str]:
        """Return the command that runs the script: a Python file, a package or a shell script."""
        if not self.entry_point.endswith(".sh"):
            python = [
                sys.executable,
                *(self._torchrun() if self.hyperparameters.get(TORCHRUN) else ()),
            ]
            if (self.tree.code / SETUP).exists():
                return [*python, "-m", _module_name(self.entry_point), *self.arguments()]
            if self.entry_point.endswith(".py"):
                return [*python, self.entry_point, *self.arguments()]
        shell = _interpreter(self.tree.code / self.entry_point)
        return [*shell, self.entry_point, *self.arguments()]

    def _torchrun(self) -> list[str]:
        """Arguments that start a process for each GPU of the host, or one without GPUs."""
        options = {
            "nnodes": len(self.hosts),
            "nproc_per_node": self.gpus or 1,
            "node_rank": self.hosts.index(self.host),
            "master_addr": self.network.address,
            "master_port": self.port,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return ["-m", "torch.distributed.run", *words]


def _module_name(entry_point: str) -> str:
    return entry_point.removesuffix(".py").strip("/").replace("/", ".")


def _interpreter(path: Path) -> list[str]:
    """Return the interpreter in a shell script's first line, or `/bin/sh`."""
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    return shlex.split(first[2:]) if first.startswith("#!") else ["/bin/sh"]
