"""Commands and manifests of docs/cluster.md, read as their programs read them."""

import re
import shlex
from typing import Any

import pytest
import yaml

from app import tune
from tests.support import ROOT

PAGE = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
SECRET = re.compile(r"kubectl create secret generic (\S+) --from-literal=(\w+)=")


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def job() -> dict[str, Any]:
    manifests = (manifest for text in blocks("yaml") for manifest in yaml.safe_load_all(text))
    (found,) = (manifest for manifest in manifests if manifest.get("kind") == "RayJob")
    return dict(found["spec"])


def test_kuberay_is_given_the_token_of_a_secret_that_is_made_before(job: dict[str, Any]) -> None:
    made = [match.groups() for text in blocks("sh") for match in SECRET.finditer(text)]
    options = job["rayClusterSpec"]["authOptions"]
    # KubeRay reads this key alone.
    assert made == [(options["secretName"], "auth_token")]
    assert options["mode"] == "token"


def test_the_jobs_command_is_one_that_the_program_takes(job: dict[str, Any]) -> None:
    python, flag, module, *arguments = shlex.split(job["entrypoint"])
    assert (python, flag, module) == ("python", "-m", "app.tune")
    assert tune.parser().parse_args(arguments).runs == "/runs"
    assert yaml.safe_load(job["runtimeEnvYAML"])["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "60"}


def test_all_pods_mount_the_place_of_the_runs(job: dict[str, Any]) -> None:
    cluster = job["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (mount,) = pod["containers"][0]["volumeMounts"]
        assert mount["mountPath"] == "/runs"
        assert [volume["name"] for volume in pod["volumes"]] == [mount["name"]]


def test_its_ray_is_the_one_that_is_pinned(job: dict[str, Any]) -> None:
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"\nray=={job['rayClusterSpec']['rayVersion']}\n" in pinned
