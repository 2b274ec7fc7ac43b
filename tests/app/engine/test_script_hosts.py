"""Runs of scripts on several hosts, on a real Ray."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import tune
from serve.models.archive import read_handlers
from tests.support import SCRIPTS
from tests.support.experiments import write_hosts
from tests.support.serving import post, serving
from tests.support.waiting import until_one_ends

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

Tune = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Tune:
    """Runs the command with `--json` on a Ray, and gives what it printed."""

    def command(address: str, *arguments: object) -> dict[str, Any]:
        place = ("--runs", tmp_path / "runs", "--address", address, "--json", "--name", "r")
        tune.main([str(word) for word in (*arguments, *place)])
        return dict(json.loads(capfd.readouterr().out))

    return command


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes an experiment file for the hosts that meet."""

    def file(fixed: str = "", *, retries: int = 0) -> Path:
        return write_hosts(tmp_path / "hosts.toml", fixed, retries=retries)

    return file


def log(tmp_path: Path) -> list[str]:
    return (tmp_path / "runs/r/logs/001.log").read_text().splitlines()


def wait_for_the_end_of_all(trial: Path) -> None:
    """Wait until the programs of both hosts have ended."""
    for name in ("output/data/pid", "hosts/algo-2/output/data/pid"):
        until_one_ends([int((trial / name).read_text())])


@pytest.mark.nightly
def test_the_notebooks_kind_of_script_trains_on_two_hosts(
    ray_address: str, run: Tune, tmp_path: Path
) -> None:
    toml = tmp_path / "digits.toml"
    toml.write_text(
        write_hosts(toml, 'epochs = 2\nbackend = "gloo"')
        .read_text()
        .replace("meets.py", "digits.py")
        .replace("'loss=([0-9.]+)'", r"'Test set: Average loss: ([0-9\.]+)'")
    )
    channel = ("--input", f"training={tmp_path}")
    two = run(ray_address, toml, *channel, "--num-samples", 3, "--max-concurrent", 1)
    assert (two["status"], two["model"]) == ("completed", "model")
    assert [trial["epochs"] for trial in two["trials"]] == [2, 2, 2]
    manifest = read_handlers(tmp_path / "runs/r/model")
    assert (manifest.trial_id, manifest.entry_point) == (two["best"]["trial_id"], "digits.py")
    told = log(tmp_path)
    for rank, mark in enumerate(("", "algo-2: ")):
        assert f"{mark}Distributed training - True" in told
        assert any(
            line.startswith(f"{mark}Initialized the distributed environment: 'gloo'")
            and f"rank is {rank}." in line
            for line in told
        )
    # Both halves of each batch count: the hosts agree.
    ours = [line for line in told if line.startswith("Test set:")]
    assert ours == [line[8:] for line in told if line.startswith("algo-2: Test set:")]
    assert not any("began no process group" in line for line in told)
    with serving(str(tmp_path / "runs/r/model"), cwd=tmp_path) as server:
        points = json.dumps(np.eye(8)[:2].tolist()).encode()
        status, _, answer = post(server, points, "application/json", "application/json")
    assert status == 200
    assert np.shape(json.loads(answer)) == (2, 10)


def test_only_the_first_hosts_metric_and_model_count(
    ray_address: str, run: Tune, write: Write, tmp_path: Path
) -> None:
    (trial,) = run(ray_address, write())["trials"]
    assert [epoch["loss"] for epoch in trial["history"]] == [0.5]
    assert {"127.0.0.1: algo-2 came; loss=0.5", "algo-2: loss=0.25"} <= set(log(tmp_path))
    model = read_handlers(tmp_path / "runs/r/model")
    assert "algo-1" in model.sha256
    assert "algo-2" not in model.sha256


ALONE = """
import os
rank = int(os.environ["SM_CURRENT_HOST_RANK"])
print("f1=0.25 loss=0.5" if rank == {rank} else "f1=none")
open(os.environ["SM_MODEL_DIR"] + "/model", "w").close()
"""


@pytest.mark.parametrize("rank", [0, 1])
def test_the_log_names_hosts_that_train_alone_and_metrics_that_only_others_print(
    ray_address: str,
    run: Tune,
    write: Write,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    rank: int,
) -> None:
    toml = write()
    metrics = "[[script.metrics]]\nname = 'f1'\nregex = 'f1=([0-9.]+)'\n"
    toml.write_text(toml.read_text().replace(str(SCRIPTS / "meets.py"), "alone.py") + metrics)
    (tmp_path / "alone.py").write_text(ALONE.format(rank=rank))
    if rank == 0:
        run(ray_address, toml)
    else:
        only_two = (
            "never reported loss on the first host, whose lines are read: only algo-2 printed"
        )
        with pytest.raises(SystemExit, match=only_two):
            run(ray_address, toml)
        assert "f1: only algo-2 printed it; what the first host prints is read" in log(tmp_path)
        assert "alone.py begins no process group, so each of its 2 hosts" in capfd.readouterr().err
    alone = "alone.py began no process group of torch: unless its 2 hosts met otherwise, each"
    assert f"{alone} trained by itself" in log(tmp_path)


@pytest.mark.parametrize("at_once", [1, 3, 6])
def test_hosts_never_wait_for_another_trials(
    ray_address: str, run: Tune, write: Write, at_once: int
) -> None:
    result = run(ray_address, write(), "--num-samples", 6, "--max-concurrent", at_once)
    assert {trial["status"] for trial in result["trials"]} == {"completed"}


@pytest.mark.parametrize("host", ["algo-1", "algo-2"])
@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("dies", "was ended by SIGKILL (signal 9), perhaps for want of memory"),
        ("fails", "ended with status 3: the data is of last year"),
    ],
)
def test_a_failed_host_fails_the_trial_with_its_reason(
    ray_address: str, run: Tune, write: Write, tmp_path: Path, host: str, how: str, sentence: str
) -> None:
    told = rf"^error: the only trial failed: meets\.py on {host} {re.escape(sentence)}(;|$)"
    with pytest.raises(SystemExit, match=told):
        run(ray_address, write(f'{host} = "{how}"'))
    wait_for_the_end_of_all(tmp_path / "runs/r/trials/001")


def test_all_hosts_go_on_from_what_the_first_one_kept(
    ray_address: str, run: Tune, write: Write, tmp_path: Path
) -> None:
    (trial,) = run(ray_address, write('algo-2 = "dies once"', retries=1))["trials"]
    assert (trial["status"], trial["epochs"]) == ("completed", 2)
    told = log(tmp_path)
    for mark in ("", "algo-2: "):
        assert told.count(f"{mark}met before: True") == 1
