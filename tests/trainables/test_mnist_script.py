"""The training script that users copy, run as a program would run it."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support import ROOT
from trainables import data
from trainables.script.trainable import free_port

SCRIPT = str(ROOT / "trainables/mnist_script.py")
FEW = ["--images", "2000", "--epochs", "1", "--lr", "0.05", "--log-interval", "20"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data.lay_out(tmp_path_factory.mktemp("mnist"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_it_prints_what_is_searched_for_and_leaves_what_it_loads(
    folder: Path, tmp_path: Path, one_thread: None, caplog: pytest.LogCaptureFixture
) -> None:
    from trainables import mnist_script  # Imports torchvision, which takes seconds.

    caplog.set_level(logging.INFO)
    place = ["--data-dir", str(folder), "--model-dir", str(tmp_path)]
    mnist_script.main([*FEW, *place])
    epoch, tested = caplog.messages
    assert epoch.startswith("Train Epoch: 1 [1280/2000] Loss: ")
    loss = float(tested.split("Average loss: ")[1].split(",")[0])
    assert loss < 2.3  # what a guess is worth
    model = mnist_script.model_fn(str(tmp_path)).eval()
    _, test = data.load()
    with torch.no_grad():
        answer = model(torch.tensor(test.images[:500, None]))
    assert answer.shape == (500, 10)
    assert answer.exp().sum(dim=1).allclose(torch.ones(500))
    right = (answer.argmax(dim=1).numpy() == test.labels[:500]).mean()
    assert right > 0.2


@pytest.mark.nightly
def test_two_hosts_take_half_of_the_images_each(folder: Path, tmp_path: Path) -> None:
    hosts = '["algo-1", "algo-2"]'
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    environment |= {"SM_HOSTS": hosts, "OMP_NUM_THREADS": "1"}
    place = ["--data-dir", str(folder), "--model-dir", str(tmp_path)]
    command = [sys.executable, SCRIPT, *FEW, *place]
    running = [
        subprocess.Popen(
            command,
            env={**environment, "SM_CURRENT_HOST": host},
            stdout=subprocess.PIPE,
            text=True,
        )
        for host in ("algo-1", "algo-2")
    ]
    first, second = (process.communicate()[0] for process in running)
    assert [process.returncode for process in running] == [0, 0]
    assert first.count("Test set: Average loss") == 1
    assert "Test set" not in second
    assert (tmp_path / "model.pth").is_file()
