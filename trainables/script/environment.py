"""Environment variables of a script, as SageMaker's training toolkit sets them."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.script import startup
from trainables.script.aws import arn, region_of
from trainables.script.job import GROUP, INSTANCE, LOG_LEVEL, Job

FRAMEWORK_MODULE = "sagemaker_pytorch_container.training:main"


def build_environment(job: Job, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return all environment variables of a job's script.

    Args:
        job: The job, whose folders are made.
        inherited: The variables of the process that starts it.
    """
    plain = {k: v for k, v in inherited.items() if not k.startswith(("RAY_", "SM_"))}
    path = [str(job.tree.code), inherited.get("PYTHONPATH", ""), str(job.tree.stubs)]
    if len(job.hosts) > 1:
        path.insert(0, str(startup.PATH))
    # `pip` and `python` are those of the environment that trains, whatever the user has first.
    programs = [str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]
    region = region_of({**plain, **job.variables})
    return {
        **plain,
        "PATH": os.pathsep.join(programs),
        **_home(job, plain),
        **job.variables,
        **{f"SM_{name.upper()}": _encode(value) for name, value in _sm_variables(job).items()},
        "SAGEMAKER_BASE_DIR": str(job.tree.base),
        "SAGEMAKER_JOB_NAME": job.name,
        "SAGEMAKER_REGION": region,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "TRAINING_JOB_NAME": job.name,
        "TRAINING_JOB_ARN": arn("sagemaker", f"training-job/{job.name}", region),
        "CURRENT_HOST": job.host,
        "MASTER_ADDR": job.network.address,
        "MASTER_PORT": str(job.port),
        "GLOO_SOCKET_IFNAME": job.network.interface,
        "NCCL_SOCKET_IFNAME": job.network.interface,
        "NCCL_IB_DISABLE": "1",
        "NCCL_DEBUG": "WARN",
        "OMP_NUM_THREADS": str(job.cpus),
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTHONUNBUFFERED": "1",  # metrics count as they are printed
    }


def _home(job: Job, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return a folder for libraries' caches, where the home folder is missing or read-only."""
    home = inherited.get("HOME", "")
    if os.access(home, os.W_OK):
        return {}
    if home.strip("/") and Path(home).is_dir():  # it may have settings to be read
        return {} if "XDG_CACHE_HOME" in inherited else {"XDG_CACHE_HOME": str(job.tree.home)}
    return {"HOME": str(job.tree.home)}


def _sm_variables(job: Job) -> dict[str, Any]:
    """Return every `SM_` variable by the lower-case rest of its name."""
    tree, training = job.tree, _training_env(job)
    same = (
        "hosts current_host current_instance_type current_instance_group"
        " current_instance_group_hosts instance_groups instance_groups_dict"
        " distribution_instance_groups is_hetero network_interface_name user_entry_point"
        " framework_module resource_config input_data_config input_dir input_config_dir"
        " output_dir output_data_dir output_intermediate_dir model_dir module_dir module_name"
        " log_level num_cpus num_gpus num_neurons"
    )
    # A parameter's name as the toolkit spells it, dashes and all, and as SDK v3 does.
    own = job.script_hyperparameters
    spelled = {**{key.replace("-", "_"): value for key, value in own.items()}, **own}
    return {
        **{name: training[name] for name in same.split()},
        "hps": own,
        "user_args": job.arguments(),
        "framework_params": job.toolkit_hyperparameters,
        "channels": sorted(job.inputs),
        "training_env": training,
        **{f"channel_{name}": path for name, path in job.channels.items()},
        **{f"hp_{key}": value for key, value in spelled.items()},
        "input_data_dir": str(tree.data),
        "output_failure": str(tree.output / "failure"),
        "source_dir": str(tree.code),
        "entry_script": job.entry_point,
        "master_addr": job.network.address,
        "master_port": job.port,
        "host_count": len(job.hosts),
        "current_host_rank": job.hosts.index(job.host),
        "distributed_config": {},
    }


def _training_env(job: Job) -> dict[str, Any]:
    """Return the content of `SM_TRAINING_ENV`, which has most of the others in one."""
    tree, resources = job.tree, job.resource_config
    return {
        "additional_framework_parameters": job.toolkit_hyperparameters,
        "channel_input_dirs": job.channels,
        "current_host": job.host,
        "current_instance_group": GROUP,
        "current_instance_group_hosts": list(job.hosts),
        "current_instance_type": INSTANCE,
        "distribution_hosts": [],
        "distribution_instance_groups": [],
        "framework_module": FRAMEWORK_MODULE,
        "hosts": list(job.hosts),
        "hyperparameters": job.script_hyperparameters,
        "input_config_dir": str(tree.config),
        "input_data_config": job.input_data_config,
        "input_dir": str(tree.base / "input"),
        "instance_groups": [GROUP],
        "instance_groups_dict": {GROUP: resources["instance_groups"][0]},
        "is_hetero": False,
        "is_master": job.host == job.hosts[0],
        "job_name": job.name,
        "log_level": LOG_LEVEL,
        "master_hostname": job.hosts[0],
        "model_dir": str(tree.model),
        "module_dir": str(tree.code),
        "module_name": job.entry_point.removesuffix(".py"),
        "network_interface_name": job.network.interface,
        "num_cpus": job.cpus,
        "num_gpus": job.gpus,
        "num_neurons": 0,
        "output_data_dir": str(tree.output / "data"),
        "output_dir": str(tree.output),
        "output_intermediate_dir": str(tree.output / "intermediate"),
        "resource_config": resources,
        "user_entry_point": job.entry_point,
    }


def _encode(value: Any) -> str:
    """Encode a value as a variable's text: a string as it is, all else as compact JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, sort_keys=True, separators=(",", ":"))
