"""What a training script finds around it: SageMaker's folders, files, variables and arguments.

Its tree lies below the trial's own folder, where SageMaker has `/opt/ml`.
"""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Collection, Mapping
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from trainables.script import startup

INSTANCE = "local"
REGION = "us-east-1"
"""The region that a script is told where nobody has configured another: no part of AWS is asked."""
ACCOUNT = "000000000000"
GROUP = "homogeneousCluster"
FRAMEWORK_MODULE = "sagemaker_pytorch_container.training:main"
LOG_LEVEL = 20
CHANNEL = {
    "TrainingInputMode": "File",
    "S3DistributionType": "FullyReplicated",
    "RecordWrapperType": "None",
}
TORCHRUN = "sagemaker_torch_distributed_enabled"
"""The hyperparameter by which SageMaker is told to start a script's processes by `torchrun`."""
HELD_BACK = ("_tuning_objective_metric", "default_user_module_name")
"""Hyperparameters that no script gets as arguments, beside all that begin with `sagemaker_`."""
SETUP = "setup.py"
MET = "input/.met"
"""A file that `startup/sitecustomize.py` makes when a script begins a group of processes."""
LARGE = 2**24
"""Bytes of a file beyond which trials share it."""


def host_names(count: int) -> tuple[str, ...]:
    """The names of a trial's hosts in SageMaker's order, which is that of the alphabet."""
    return tuple(sorted(f"algo-{number}" for number in range(1, count + 1)))


def arn(service: str, resource: str, region: str = REGION) -> str:
    """A name of AWS's form for what is here, such as `training-job/run-001`."""
    return f"arn:aws:{service}:{region}:{ACCOUNT}:{resource}"


def region_of(environment: Mapping[str, str]) -> str:
    """The region that AWS's own tools would take, or the one that is told where they have none."""
    named = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    return named or _configured_region(environment) or REGION


def _configured_region(environment: Mapping[str, str]) -> str | None:
    home = environment.get("HOME", "/")
    file = environment.get("AWS_CONFIG_FILE") or os.path.join(home, ".aws/config")  # noqa: PTH118
    profile = environment.get("AWS_PROFILE", "default")
    found = ConfigParser(interpolation=None, strict=False)
    with suppress(OSError, ConfigParserError, UnicodeDecodeError):
        found.read(file, encoding="utf-8")
    section = profile if profile == "default" else f"profile {profile}"
    return found.get(section, "region", fallback=None)


@dataclass(frozen=True)
class Tree:
    """The folders of one host of a trial."""

    base: Path

    @property
    def code(self) -> Path:
        """The script and its neighbours; the working directory."""
        return self.base / "code"

    @property
    def config(self) -> Path:
        """The JSON files."""
        return self.base / "input/config"

    @property
    def data(self) -> Path:
        """The channels."""
        return self.base / "input/data"

    @property
    def model(self) -> Path:
        """What the script saves of its model."""
        return self.base / "model"

    @property
    def output(self) -> Path:
        """Output, and the `failure` file."""
        return self.base / "output"

    @property
    def checkpoints(self) -> Path:
        """What the script goes on from; kept however often it is started."""
        return self.base / "checkpoints"

    @property
    def stubs(self) -> Path:
        """Stubs of SageMaker's modules that are not installed here."""
        return self.base / "stubs"

    @property
    def met(self) -> Path:
        """Made by a script's first process group, where it has several hosts."""
        return self.base / MET

    @property
    def home(self) -> Path:
        """Takes the place of a home folder where this user has none to write in."""
        return self.base / "home"

    @property
    def lock(self) -> Path:
        """Held for as long as anything of the script runs."""
        return self.base / "lock"

    def of(self, host: str) -> "Tree":
        """The folders of a further host of the trial whose first host's these are."""
        return Tree(self.base / "hosts" / host)

    def make(self, code: Path, inputs: Mapping[str, str]) -> None:
        """Lay the tree out afresh, but for the checkpoints."""
        for stale in (self.code, self.base / "input", self.model, self.output):
            shutil.rmtree(stale, ignore_errors=True)
        for folder in (self.config, self.data, self.model, self.checkpoints, self.home):
            folder.mkdir(parents=True, exist_ok=True)
        for name in ("data", "intermediate"):
            (self.output / name).mkdir(parents=True)
        # A script may write beside its code, and in files that came with it.
        shutil.copytree(code, self.code, symlinks=True, copy_function=_copy)
        for name, path in inputs.items():
            channel = self.data / name
            if Path(path).is_file():  # a channel of one file, as an object in S3 is
                channel.mkdir()
                channel /= Path(path).name
            channel.symlink_to(path)

    def link_stubs(self, source: Path) -> None:
        """Link those packages of a folder whose names nothing that is installed has."""
        shutil.rmtree(self.stubs, ignore_errors=True)
        self.stubs.mkdir(parents=True)
        for init in source.glob("*/__init__.py"):
            if PathFinder.find_spec(init.parent.name) is None:
                (self.stubs / init.parent.name).symlink_to(init.parent)


def _copy(source: str, target: str) -> str:
    """Copy a file; link to one that is too large to be code, which a script only reads."""
    if Path(source).stat().st_size > LARGE:
        with suppress(OSError):  # a file system without links
            os.link(source, target)
            return target
    return str(shutil.copy2(source, target))


@dataclass(frozen=True)
class Network:
    """Where the hosts of a trial find each other: by itself, on one machine and no other."""

    address: str = "127.0.0.1"
    """The first host's; `algo-1` is a name that nothing here resolves."""
    interface: str = "lo"
    """What the host that is told of it reaches the others by."""


@dataclass(frozen=True)
class Job:
    """What a trial's script is told, on one of its hosts."""

    name: str
    """The trial's, as a job's name."""
    tree: Tree
    entry_point: str
    """The script, seen from the folder of the code."""
    hyperparameters: Mapping[str, Any]
    objective: str
    inputs: Collection[str]
    """The names of the channels."""
    cpus: int
    gpus: int
    port: int
    """Where the processes of a trial may find each other; no other trial's."""
    hosts: tuple[str, ...] = host_names(1)
    host: str = host_names(1)[0]
    """The one of the hosts that is told."""
    network: Network = Network()
    styles: Mapping[str, str] = field(default_factory=dict)
    """Names of `STYLES`, by hyperparameter, for those that are no `value`."""
    given: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that are the script's own, on whichever machine it runs."""

    @property
    def channels(self) -> dict[str, str]:
        """Where the script finds each channel."""
        return {name: str(self.tree.data / name) for name in sorted(self.inputs)}

    @property
    def user(self) -> dict[str, Any]:
        """The hyperparameters that are the script's own."""
        return {key: v for key, v in self.hyperparameters.items() if not is_held_back(key)}

    @property
    def framework(self) -> dict[str, Any]:
        """What SageMaker's own tools are told beside them."""
        held_back = {key: v for key, v in self.hyperparameters.items() if is_held_back(key)}
        return {
            "sagemaker_container_log_level": LOG_LEVEL,
            "sagemaker_job_name": self.name,
            "sagemaker_program": self.entry_point,
            "sagemaker_submit_directory": str(self.tree.code),
            **held_back,
        }

    def write_config(self) -> None:
        """Write the files of `input/config`."""
        encoded = {key: json.dumps(v) for key, v in {**self.user, **self.framework}.items()}
        # As the platform adds it: no JSON.
        encoded["_tuning_objective_metric"] = self.objective
        files = {
            "hyperparameters": encoded,
            "inputdataconfig": self._input_data_config(),
            "resourceconfig": self._resource_config(),
            "checkpointconfig": {"LocalPath": str(self.tree.checkpoints)},
        }
        for name, content in files.items():
            text = json.dumps(content, indent=2) + "\n"
            (self.tree.config / f"{name}.json").write_text(text, encoding="utf-8")

    def arguments(self) -> list[str]:
        """The hyperparameters as the script's arguments, by the training toolkit's rules."""
        words = ((self.styles.get(key, VALUE), key, self.user[key]) for key in sorted(self.user))
        return [text for style, key, value in words for text in STYLES[style](flag(key), value)]

    def command(self) -> list[str]:
        """The script's command: a Python program, a package, or a shell script."""
        if not self.entry_point.endswith(".sh"):
            python = [
                sys.executable,
                *(self._torchrun() if self.hyperparameters.get(TORCHRUN) else ()),
            ]
            if (self.tree.code / SETUP).exists():
                return [*python, "-m", _module(self.entry_point), *self.arguments()]
            if self.entry_point.endswith(".py"):
                return [*python, self.entry_point, *self.arguments()]
        shell = _shell(self.tree.code / self.entry_point)
        return [*shell, self.entry_point, *self.arguments()]

    def _torchrun(self) -> list[str]:
        """What starts a process for each GPU of the host, or one, and tells it its rank."""
        asked = {
            "nnodes": len(self.hosts),
            "nproc_per_node": self.gpus or 1,
            "node_rank": self.hosts.index(self.host),
            "master_addr": self.network.address,
            "master_port": self.port,
        }
        words = [text for name, value in asked.items() for text in (f"--{name}", str(value))]
        return ["-m", "torch.distributed.run", *words]

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of the script, over what this process has."""
        plain = {k: v for k, v in inherited.items() if not k.startswith(("RAY_", "SM_"))}
        path = [str(self.tree.code), inherited.get("PYTHONPATH", ""), str(self.tree.stubs)]
        if len(self.hosts) > 1:
            path.insert(0, str(startup.PATH))
        # `pip` and `python` are those of the environment that trains, whatever the user has first.
        programs = [str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]
        region = region_of({**plain, **self.given})
        return {
            **plain,
            "PATH": os.pathsep.join(programs),
            **self._home(plain),
            **self.given,
            **{f"SM_{name.upper()}": _text(value) for name, value in self._variables().items()},
            "SAGEMAKER_BASE_DIR": str(self.tree.base),
            "SAGEMAKER_JOB_NAME": self.name,
            "SAGEMAKER_REGION": region,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "TRAINING_JOB_NAME": self.name,
            "TRAINING_JOB_ARN": arn("sagemaker", f"training-job/{self.name}", region),
            "CURRENT_HOST": self.host,
            "MASTER_ADDR": self.network.address,
            "MASTER_PORT": str(self.port),
            "GLOO_SOCKET_IFNAME": self.network.interface,
            "NCCL_SOCKET_IFNAME": self.network.interface,
            "NCCL_IB_DISABLE": "1",
            "NCCL_DEBUG": "WARN",
            "OMP_NUM_THREADS": str(self.cpus),
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "PYTHONUNBUFFERED": "1",  # values count as they are printed
        }

    def _home(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """A place for what libraries keep, where there is no home folder, or none to write in."""
        home = inherited.get("HOME", "")
        if os.access(home, os.W_OK):
            return {}
        if home.strip("/") and Path(home).is_dir():  # which may have settings to be read
            return {} if "XDG_CACHE_HOME" in inherited else {"XDG_CACHE_HOME": str(self.tree.home)}
        return {"HOME": str(self.tree.home)}

    def _variables(self) -> dict[str, Any]:
        """Every `SM_` variable by the lower-case rest of its name."""
        tree, training = self.tree, self._training_env()
        same = (
            "hosts current_host current_instance_type current_instance_group"
            " current_instance_group_hosts instance_groups instance_groups_dict"
            " distribution_instance_groups is_hetero network_interface_name user_entry_point"
            " framework_module resource_config input_data_config input_dir input_config_dir"
            " output_dir output_data_dir output_intermediate_dir model_dir module_dir module_name"
            " log_level num_cpus num_gpus num_neurons"
        )
        # A parameter's name as the toolkit spells it, dashes and all, and as SDK v3 does.
        spelled = {**{key.replace("-", "_"): v for key, v in self.user.items()}, **self.user}
        return {
            **{name: training[name] for name in same.split()},
            "hps": self.user,
            "user_args": self.arguments(),
            "framework_params": self.framework,
            "channels": sorted(self.inputs),
            "training_env": training,
            **{f"channel_{name}": path for name, path in self.channels.items()},
            **{f"hp_{key}": value for key, value in spelled.items()},
            "input_data_dir": str(tree.data),
            "output_failure": str(tree.output / "failure"),
            "source_dir": str(tree.code),
            "entry_script": self.entry_point,
            "master_addr": self.network.address,
            "master_port": self.port,
            "host_count": len(self.hosts),
            "current_host_rank": self.hosts.index(self.host),
            "distributed_config": {},
        }

    def _training_env(self) -> dict[str, Any]:
        """Everything in one, as `SM_TRAINING_ENV` has it."""
        tree, resources = self.tree, self._resource_config()
        return {
            "additional_framework_parameters": self.framework,
            "channel_input_dirs": self.channels,
            "current_host": self.host,
            "current_instance_group": GROUP,
            "current_instance_group_hosts": list(self.hosts),
            "current_instance_type": INSTANCE,
            "distribution_hosts": [],
            "distribution_instance_groups": [],
            "framework_module": FRAMEWORK_MODULE,
            "hosts": list(self.hosts),
            "hyperparameters": self.user,
            "input_config_dir": str(tree.config),
            "input_data_config": self._input_data_config(),
            "input_dir": str(tree.base / "input"),
            "instance_groups": [GROUP],
            "instance_groups_dict": {GROUP: resources["instance_groups"][0]},
            "is_hetero": False,
            "is_master": self.host == self.hosts[0],
            "job_name": self.name,
            "log_level": LOG_LEVEL,
            "master_hostname": self.hosts[0],
            "model_dir": str(tree.model),
            "module_dir": str(tree.code),
            "module_name": self.entry_point.removesuffix(".py"),
            "network_interface_name": self.network.interface,
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            "num_neurons": 0,
            "output_data_dir": str(tree.output / "data"),
            "output_dir": str(tree.output),
            "output_intermediate_dir": str(tree.output / "intermediate"),
            "resource_config": resources,
            "user_entry_point": self.entry_point,
        }

    def _input_data_config(self) -> dict[str, Any]:
        return dict.fromkeys(sorted(self.inputs), CHANNEL)

    def _resource_config(self) -> dict[str, Any]:
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


def is_held_back(key: str) -> bool:
    """Whether a hyperparameter is for SageMaker's own tools and not for the script."""
    return key.startswith("sagemaker_") or key in HELD_BACK


def flag(key: str) -> str:
    """The word by which a hyperparameter is given as an argument."""
    return f"--{key}" if len(key) > 1 else f"-{key}"


def _argument(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}={value[key]}" for key in sorted(value))
    return "" if value is None else str(value)


VALUE = "value"
STYLES: Mapping[str, Callable[[str, Any], list[str]]] = {
    VALUE: lambda flag, value: [flag, _argument(value)],
    "switch": lambda flag, value: [flag] if value else [],
    "list": lambda flag, value: [flag, *map(_argument, value)],
    "json": lambda flag, value: [flag, json.dumps(value)],
}
"""How a hyperparameter is given as arguments; as a value it is by the toolkit's rules."""
TYPES: Mapping[str, type] = {"switch": bool, "list": list}
"""What the values must be that a style is for."""


def _text(value: Any) -> str:
    """A value as a variable's text: strings as they are, all else as compact JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, sort_keys=True, separators=(",", ":"))


def _module(entry_point: str) -> str:
    return entry_point.removesuffix(".py").strip("/").replace("/", ".")


def _shell(path: Path) -> list[str]:
    """What runs a shell script: what its first line says, or `/bin/sh`."""
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    return shlex.split(first[2:]) if first.startswith("#!") else ["/bin/sh"]
