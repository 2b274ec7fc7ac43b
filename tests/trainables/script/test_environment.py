"""Environment of a script, compared with that of SageMaker's training toolkit."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from trainables.script import startup
from trainables.script.environment import build_environment
from trainables.script.job import Job, Network, host_names
from trainables.script.tree import Tree

HYPERPARAMETERS = {
    "lr": 7.1e-05,
    "batch-size": 64,
    "backend": "gloo",
    "nesterov": True,
    "layers": ["a", "b c", 3],
    "limits": {"low": 1, "high": None},
    "resume": None,
    "d": 0.5,
    "odd": "a 'b' $HOME; rm -rf \"x\"",
    "sagemaker_region": "here",
    "sagemaker_enable_x": "no",
    "default_user_module_name": "x",
    "_tuning_objective_metric": "mine",
}
OWN = {key: value for key, value in HYPERPARAMETERS.items() if key in list(HYPERPARAMETERS)[:9]}


def job(folder: Path, **changed: Any) -> Job:
    """A job whose every part differs from the others."""
    code, data = folder / "source", folder / "my data"
    code.mkdir()
    data.mkdir()
    (code / "train.py").touch()
    values: dict[str, Any] = {
        "name": "run-001",
        "tree": Tree(folder / "trial"),
        "entry_point": "train.py",
        "hyperparameters": HYPERPARAMETERS,
        "objective": "average test loss",
        "inputs": ("training", "eval-set"),
        "cpus": 2,
        "gpus": 1,
        "port": 4321,
    }
    made = Job(**{**values, **changed})
    made.tree.make(code, dict.fromkeys(made.inputs, str(data)))
    made.write_config()
    return made


def test_arguments_follow_the_toolkits_rules(tmp_path: Path) -> None:
    assert job(tmp_path).arguments() == [
        *("--backend", "gloo"),
        *("--batch-size", "64"),
        *("-d", "0.5"),
        *("--layers", "['a', 'b c', 3]"),
        *("--limits", "high=None,low=1"),
        *("--lr", "7.1e-05"),
        *("--nesterov", "True"),
        *("--odd", "a 'b' $HOME; rm -rf \"x\""),
        *("--resume", ""),
    ]


def test_arguments_may_be_switches_lists_and_json(tmp_path: Path) -> None:
    asked = {"amp": True, "bias": False, "layers": [64, "a b"], "limits": {"low": None}, "n": 1}
    styles = {"amp": "switch", "bias": "switch", "layers": "list", "limits": "json"}
    made = job(tmp_path, hyperparameters=asked, styles=styles)
    switches = ["--amp", "--layers", "64", "a b", "--limits", '{"low": null}', "-n", "1"]
    assert made.arguments() == switches
    assert json.loads(build_environment(made, {})["SM_USER_ARGS"]) == switches


def test_the_environment_is_the_containers(tmp_path: Path) -> None:
    made = job(tmp_path)
    base = str(tmp_path / "trial")
    inherited = {"HOME": str(tmp_path), "PATH": "/bin", "RAY_ADDRESS": "x", "SM_STALE": "y"}
    env = build_environment(made, inherited)
    texts = {key: value for key, value in env.items() if not value.startswith(("{", "["))}
    assert texts == {
        "HOME": str(tmp_path),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "CURRENT_HOST": "algo-1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "4321",
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_DEBUG": "WARN",
        "NCCL_IB_DISABLE": "1",
        "NCCL_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "2",
        "PATH": f"{Path(sys.executable).parent}:/bin",
        "PYTHONPATH": f"{base}/code:{base}/stubs",
        "PYTHONUNBUFFERED": "1",
        "SAGEMAKER_BASE_DIR": base,
        "SAGEMAKER_JOB_NAME": "run-001",
        "SAGEMAKER_REGION": "us-east-1",
        "TRAINING_JOB_ARN": "arn:aws:sagemaker:us-east-1:000000000000:training-job/run-001",
        "TRAINING_JOB_NAME": "run-001",
        "SM_CHANNEL_EVAL-SET": f"{base}/input/data/eval-set",
        "SM_CHANNEL_TRAINING": f"{base}/input/data/training",
        "SM_CURRENT_HOST": "algo-1",
        "SM_CURRENT_HOST_RANK": "0",
        "SM_CURRENT_INSTANCE_GROUP": "homogeneousCluster",
        "SM_CURRENT_INSTANCE_TYPE": "local",
        "SM_ENTRY_SCRIPT": "train.py",
        "SM_FRAMEWORK_MODULE": "sagemaker_pytorch_container.training:main",
        "SM_HOST_COUNT": "1",
        "SM_HP_BACKEND": "gloo",
        "SM_HP_BATCH-SIZE": "64",
        "SM_HP_BATCH_SIZE": "64",
        "SM_HP_D": "0.5",
        "SM_HP_LR": "7.1e-05",
        "SM_HP_NESTEROV": "true",
        "SM_HP_ODD": "a 'b' $HOME; rm -rf \"x\"",
        "SM_HP_RESUME": "",
        "SM_INPUT_CONFIG_DIR": f"{base}/input/config",
        "SM_INPUT_DATA_DIR": f"{base}/input/data",
        "SM_INPUT_DIR": f"{base}/input",
        "SM_IS_HETERO": "false",
        "SM_LOG_LEVEL": "20",
        "SM_MASTER_ADDR": "127.0.0.1",
        "SM_MASTER_PORT": "4321",
        "SM_MODEL_DIR": f"{base}/model",
        "SM_MODULE_DIR": f"{base}/code",
        "SM_MODULE_NAME": "train",
        "SM_NETWORK_INTERFACE_NAME": "lo",
        "SM_NUM_CPUS": "2",
        "SM_NUM_GPUS": "1",
        "SM_NUM_NEURONS": "0",
        "SM_OUTPUT_DATA_DIR": f"{base}/output/data",
        "SM_OUTPUT_DIR": f"{base}/output",
        "SM_OUTPUT_FAILURE": f"{base}/output/failure",
        "SM_OUTPUT_INTERMEDIATE_DIR": f"{base}/output/intermediate",
        "SM_SOURCE_DIR": f"{base}/code",
        "SM_USER_ENTRY_POINT": "train.py",
    }


def test_a_script_has_its_own_variables_but_not_in_place_of_the_containers(tmp_path: Path) -> None:
    own = {"WORD": "mine", "SM_CURRENT_HOST": "mine"}
    env = build_environment(job(tmp_path, variables=own), {"WORD": "the machine's"})
    assert (env["WORD"], env["SM_CURRENT_HOST"]) == ("mine", "algo-1")


def test_a_path_that_is_given_stays_as_it_is(tmp_path: Path) -> None:
    assert (
        build_environment(job(tmp_path, variables={"PATH": "/mine"}), {"PATH": "/bin"})["PATH"]
        == "/mine"
    )


@pytest.mark.parametrize(
    ("given", "region"),
    [
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({}, "eu-west-3"),
        ({"AWS_PROFILE": "mine"}, "eu-north-1"),
        ({"AWS_PROFILE": "absent"}, "us-east-1"),
        ({"AWS_CONFIG_FILE": "/absent"}, "us-east-1"),
        ({"AWS_CONFIG_FILE": __file__}, "us-east-1"),
    ],
)
def test_the_region_is_the_one_that_this_machine_is_set_to(
    tmp_path: Path, given: dict[str, str], region: str
) -> None:
    (tmp_path / ".aws").mkdir()
    config = "[default]\nregion = eu-west-3\n[profile mine]\nregion = eu-north-1\n"
    (tmp_path / ".aws/config").write_text(config)
    env = build_environment(job(tmp_path), {"HOME": str(tmp_path), **given})
    names = ("AWS_REGION", "AWS_DEFAULT_REGION", "SAGEMAKER_REGION")
    assert [env[name] for name in names] == [region] * 3
    assert env["TRAINING_JOB_ARN"].split(":")[3] == region


@pytest.mark.parametrize("home", [None, "", "/absent/home"])
def test_a_script_without_a_home_has_one_in_its_own_folder(
    tmp_path: Path, home: str | None
) -> None:
    made = job(tmp_path)
    env = build_environment(made, {} if home is None else {"HOME": home})
    assert env["HOME"] == str(tmp_path / "trial/home")
    assert Path(env["HOME"]).is_dir()


def test_a_home_that_cannot_be_written_is_left_but_for_what_is_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for a user who is not root
    made = job(tmp_path)
    env = build_environment(made, {"HOME": str(home)})
    assert (env["HOME"], env["XDG_CACHE_HOME"]) == (str(home), str(tmp_path / "trial/home"))
    assert (
        build_environment(made, {"HOME": str(home), "XDG_CACHE_HOME": "/x"})["XDG_CACHE_HOME"]
        == "/x"
    )


def test_a_file_is_a_channel_of_that_file(tmp_path: Path) -> None:
    made = job(tmp_path)
    (tmp_path / "points.csv").write_text("1,2")
    made.tree.make(tmp_path / "source", {"training": str(tmp_path / "points.csv")})
    (only,) = (made.tree.data / "training").iterdir()
    assert (only.name, only.read_text()) == ("points.csv", "1,2")


def test_what_is_no_text_is_compact_json_in_the_environment(tmp_path: Path) -> None:
    env = build_environment(job(tmp_path), {})
    group = {
        "hosts": ["algo-1"],
        "instance_group_name": "homogeneousCluster",
        "instance_type": "local",
    }
    channel = {
        "RecordWrapperType": "None",
        "S3DistributionType": "FullyReplicated",
        "TrainingInputMode": "File",
    }
    expected = {
        "SM_CHANNELS": ["eval-set", "training"],
        "SM_CURRENT_INSTANCE_GROUP_HOSTS": ["algo-1"],
        "SM_DISTRIBUTED_CONFIG": {},
        "SM_DISTRIBUTION_INSTANCE_GROUPS": [],
        "SM_FRAMEWORK_PARAMS": {
            "_tuning_objective_metric": "mine",
            "default_user_module_name": "x",
            "sagemaker_container_log_level": 20,
            "sagemaker_enable_x": "no",
            "sagemaker_job_name": "run-001",
            "sagemaker_program": "train.py",
            "sagemaker_region": "here",
            "sagemaker_submit_directory": str(tmp_path / "trial/code"),
        },
        "SM_HOSTS": ["algo-1"],
        "SM_HPS": OWN,
        "SM_HP_LAYERS": ["a", "b c", 3],
        "SM_HP_LIMITS": {"low": 1, "high": None},
        "SM_INPUT_DATA_CONFIG": {"eval-set": channel, "training": channel},
        "SM_INSTANCE_GROUPS": ["homogeneousCluster"],
        "SM_INSTANCE_GROUPS_DICT": {"homogeneousCluster": group},
        "SM_RESOURCE_CONFIG": {
            "current_group_name": "homogeneousCluster",
            "current_host": "algo-1",
            "current_instance_type": "local",
            "hosts": ["algo-1"],
            "instance_groups": [group],
            "network_interface_name": "lo",
        },
        "SM_USER_ARGS": job_arguments(env),
    }
    found = {key: value for key, value in env.items() if value.startswith(("{", "["))}
    training = json.loads(found.pop("SM_TRAINING_ENV"))
    assert found == {key: compact(value) for key, value in expected.items()}
    assert training["hyperparameters"] == OWN
    assert training["channel_input_dirs"]["training"] == env["SM_CHANNEL_TRAINING"]
    assert training["resource_config"] == expected["SM_RESOURCE_CONFIG"]
    assert training["is_master"] is True


@pytest.mark.parametrize("rank", [0, 1])
def test_each_of_two_hosts_is_told_which_it_is(tmp_path: Path, rank: int) -> None:
    alone = job(tmp_path)
    host, hosts = f"algo-{rank + 1}", ["algo-1", "algo-2"]
    tree = [alone.tree, alone.tree.of_host("algo-2")][rank]
    network = Network("10.0.0.7", f"eth{rank}")
    made = replace(alone, hosts=host_names(2), host=host, tree=tree, network=network)
    made.tree.make(tmp_path / "source", dict.fromkeys(made.inputs, str(tmp_path / "my data")))
    made.write_config()

    base = tmp_path / ("trial" if rank == 0 else "trial/hosts/algo-2")
    group = {
        "hosts": hosts,
        "instance_group_name": "homogeneousCluster",
        "instance_type": "local",
    }
    resources = {
        "current_group_name": "homogeneousCluster",
        "current_host": host,
        "current_instance_type": "local",
        "hosts": hosts,
        "instance_groups": [group],
        "network_interface_name": f"eth{rank}",
    }
    changed = {
        "CURRENT_HOST": host,
        "GLOO_SOCKET_IFNAME": f"eth{rank}",
        "MASTER_ADDR": "10.0.0.7",
        "NCCL_SOCKET_IFNAME": f"eth{rank}",
        "PYTHONPATH": f"{startup.PATH}:{base}/code:{base}/stubs",
        "SM_CURRENT_HOST": host,
        "SM_CURRENT_HOST_RANK": str(rank),
        "SM_CURRENT_INSTANCE_GROUP_HOSTS": compact(hosts),
        "SM_HOSTS": compact(hosts),
        "SM_HOST_COUNT": "2",
        "SM_INSTANCE_GROUPS_DICT": compact({"homogeneousCluster": group}),
        "SM_MASTER_ADDR": "10.0.0.7",
        "SM_NETWORK_INTERFACE_NAME": f"eth{rank}",
        "SM_RESOURCE_CONFIG": compact(resources),
    }
    before = {
        key: text.replace(str(tmp_path / "trial"), str(base))
        for key, text in build_environment(alone, {}).items()
    }
    found = build_environment(made, {})
    training = json.loads(found.pop("SM_TRAINING_ENV"))
    del before["SM_TRAINING_ENV"]
    assert found == {**before, **changed}
    assert (training["hosts"], training["current_host"]) == (hosts, host)
    assert training["is_master"] is (rank == 0)
    assert training["master_hostname"] == "algo-1"
    assert training["resource_config"] == resources
    assert made.command() == alone.command()
    assert json.loads((base / "input/config/resourceconfig.json").read_text()) == resources
    assert Path(found["SM_CHANNEL_TRAINING"]).resolve() == tmp_path / "my data"


def test_hosts_are_in_the_order_of_the_alphabet_as_on_sagemaker() -> None:
    assert host_names(11)[:4] == ("algo-1", "algo-10", "algo-11", "algo-2")


def compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def job_arguments(env: dict[str, str]) -> Any:
    return json.loads(env["SM_USER_ARGS"])


def test_the_files_are_the_platforms(tmp_path: Path) -> None:
    made = job(tmp_path, hyperparameters={"lr": 0.01, "backend": "gloo", "batch-size": 64})
    files = {path.name: json.loads(path.read_text()) for path in made.tree.config.iterdir()}
    names = ("checkpointconfig", "hyperparameters", "inputdataconfig", "resourceconfig")
    assert sorted(files) == [f"{name}.json" for name in names]
    assert files["checkpointconfig.json"] == {"LocalPath": str(tmp_path / "trial/checkpoints")}
    assert files["hyperparameters.json"] == {
        "_tuning_objective_metric": "average test loss",
        "backend": '"gloo"',
        "batch-size": "64",
        "lr": "0.01",
        "sagemaker_container_log_level": "20",
        "sagemaker_job_name": '"run-001"',
        "sagemaker_program": '"train.py"',
        "sagemaker_submit_directory": json.dumps(str(tmp_path / "trial/code")),
    }
    env = build_environment(made, {})
    assert files["inputdataconfig.json"] == json.loads(env["SM_INPUT_DATA_CONFIG"])
    assert files["resourceconfig.json"] == json.loads(env["SM_RESOURCE_CONFIG"])


@pytest.mark.parametrize(
    ("entry_point", "others", "first_line", "command"),
    [
        ("train.py", (), "", [sys.executable, "train.py"]),
        ("src/train.py", (), "", [sys.executable, "src/train.py"]),
        ("train.py", ("setup.py",), "", [sys.executable, "-m", "train"]),
        ("src/train.py", ("setup.py",), "", [sys.executable, "-m", "src.train"]),
        ("src", ("setup.py", "src/__main__.py"), None, [sys.executable, "-m", "src"]),
        ("train.sh", (), "echo", ["/bin/sh", "train.sh"]),
        ("train.sh", ("setup.py",), "echo", ["/bin/sh", "train.sh"]),
        ("train.sh", (), "#!/usr/bin/env bash", ["/usr/bin/env", "bash", "train.sh"]),
    ],
)
def test_each_kind_of_entry_point_has_its_command(
    tmp_path: Path,
    entry_point: str,
    others: tuple[str, ...],
    first_line: str | None,
    command: list[str],
) -> None:
    code = tmp_path / "trial/code"
    (code / "src").mkdir(parents=True)
    for name in (*others, *((entry_point,) if first_line is not None else ())):
        (code / name).write_text(f"{first_line}\n")
    made = Job("", Tree(tmp_path / "trial"), entry_point, {"lr": 1}, "", {}, 1, 0, 1)
    assert made.command() == [*command, "--lr", "1"]


def test_torchrun_starts_the_script_where_sagemaker_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "trial/code").mkdir(parents=True)
    asked = {"lr": 1, "sagemaker_torch_distributed_enabled": True}
    made = Job("", Tree(tmp_path / "trial"), "train.py", asked, "", {}, 1, 0, 7001, host_names(2))
    begin = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node"]
    meet = ["--master_addr", "127.0.0.1", "--master_port", "7001"]
    rest = ["--node_rank", "0", *meet, "train.py", "--lr", "1"]
    assert made.command() == [*begin, "1", *rest]
    assert replace(made, gpus=3).command() == [*begin, "3", *rest]
    assert replace(made, host="algo-2").command()[8] == "1"


def test_a_tree_is_made_afresh_but_for_its_checkpoints(tmp_path: Path) -> None:
    made = job(tmp_path)
    left = [made.tree.model / "model.pth", made.tree.output / "failure", made.tree.code / "new"]
    kept = made.tree.checkpoints / "epoch"
    for path in (*left, kept):
        path.write_text("left")
    (made.tree.data / "training/words.txt").write_text("data")

    made.tree.make(tmp_path / "source", dict.fromkeys(made.inputs, str(tmp_path / "my data")))

    assert not any(path.exists() for path in left)
    assert kept.read_text() == "left"
    assert (made.tree.data / "training/words.txt").read_text() == "data"
    assert (tmp_path / "my data/words.txt").exists()


def test_what_a_script_writes_beside_its_code_and_in_it_is_its_own(tmp_path: Path) -> None:
    made = job(tmp_path)
    (made.tree.code / "scratch").touch()
    before = (tmp_path / "source/train.py").read_text()
    with (made.tree.code / "train.py").open("a") as file:
        file.write("results")
    assert not (tmp_path / "source/scratch").exists()
    assert (tmp_path / "source/train.py").read_text() == before


def test_trials_share_what_is_too_large_to_be_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job(tmp_path)
    (tmp_path / "source/data.bin").write_text("123456789")
    for large, links in ((8, 2), (9, 1)):
        monkeypatch.setattr("trainables.script.tree.LARGE", large)
        made.tree.make(tmp_path / "source", {})
        assert (made.tree.code / "data.bin").stat().st_nlink == links
        assert (made.tree.code / "data.bin").read_text() == "123456789"


IMPORTS = """
import json, sys
import sagemaker_containers
from sagemaker_training import environment
from sagemaker_inference import content_types, decoder, encoder, errors
env = environment.Environment()
array = decoder.decode("[[1, 2]]", content_types.JSON)
body = encoder.encode(array, content_types.NPY)
assert decoder.decode(body, content_types.NPY).tolist() == [[1, 2]]
assert decoder.decode("1,2\\n3,4", content_types.CSV).tolist() == [[1, 2], [3, 4]]
assert encoder.encode([[1, 2]], content_types.CSV) == "1,2\\n"
assert encoder.encode(array, content_types.JSON) == "[[1, 2]]"
for act in (encoder.encode, decoder.decode):
    try:
        act("x", "text/html")
    except errors.UnsupportedFormatError as error:
        print(error)
print(errors.BaseInferenceToolkitError(418, "short and stout", "Teapot").status_code)
environment.write_failure_file("first")
environment.write_failure_file("second")
containers_env = sagemaker_containers.training_env()
assert containers_env == dict(env) and len(env) > 20
assert containers_env.hyperparameters == containers_env["hyperparameters"]
from sagemaker_containers.beta.framework import content_types, encoders, errors, worker
assert worker.Response(encoders.encode([[1]], "text/csv"), mimetype="text/csv")[1] == "text/csv"
assert errors.GenericInferenceToolkitError(400).message == "Invalid Request"
assert environment.read_hyperparameters() == env.hyperparameters
print(env.current_host, env.to_cmd_args()[:2], hasattr(env, "absent"))
"""


def test_a_script_that_imports_sagemakers_modules_finds_them(tmp_path: Path) -> None:
    made = job(tmp_path)
    made.tree.link_stubs(ROOT / "serve/handlers/stubs")
    env = build_environment(made, os.environ)
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTS], env=env, capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines() == [
        "Content type text/html is not supported by this framework.",
        "Content type text/html is not supported by this framework.",
        "418",
        "algo-1 ['--backend', 'gloo'] False",
    ]
    assert (made.tree.output / "failure").read_text() == "first"


def test_a_module_that_is_installed_is_not_stubbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site/sagemaker_training").mkdir(parents=True)
    (tmp_path / "site/sagemaker_training/__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    Tree(tmp_path).link_stubs(ROOT / "serve/handlers/stubs")
    placed = sorted(os.listdir(tmp_path / "stubs"))  # noqa: PTH208
    assert placed == ["sagemaker_containers", "sagemaker_inference"]


class EditableFinder(MetaPathFinder):
    """Finds a package without a folder on the path, as an editable install does."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, None) if fullname == "sagemaker_inference" else None


def test_a_module_that_is_installed_for_editing_is_not_stubbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, EditableFinder()])
    Tree(tmp_path).link_stubs(ROOT / "serve/handlers/stubs")
    placed = sorted(os.listdir(tmp_path / "stubs"))  # noqa: PTH208
    assert placed == ["sagemaker_containers", "sagemaker_training"]
