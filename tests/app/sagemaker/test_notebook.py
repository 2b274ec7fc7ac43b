"""The notebook, from its data to a digit on its pad, executed as Jupyter would."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from app.cluster.connection import ADDRESS
from tests.support import ROOT

NOTEBOOK = ROOT / "trainables/mnist.ipynb"
SHORT = "EPOCHS, IMAGES, JOBS, AT_ONCE = 2, 3_000, 2, 1"
DRAW = """
import base64
import io

ink = test.images[np.flatnonzero(test.labels == 1)[0]]
paper = Image.fromarray(255 - ink).resize((280, 280), Image.Resampling.BICUBIC)
png = io.BytesIO()
paper.save(png, "PNG")
drawing = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
update = {"method": "update", "state": {"drawing": drawing}, "buffer_paths": []}
pad.comm.handle_msg({"content": {"data": update}, "buffers": []})
"""
"""Message of the pad's front end for an upright one."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The notebook's folder with its script, beside which its runs are kept."""
    folder = tmp_path / "trainables"
    folder.mkdir()
    shutil.copy(ROOT / "trainables/mnist_script.py", folder)
    return folder


@pytest.fixture
def notebook() -> Any:
    """The notebook made short, with a digit drawn where a person would draw one."""
    read: Any = nbformat.read(NOTEBOOK, as_version=4)
    tagged = {tag: cell for cell in read.cells for tag in cell.metadata.get("tags", ())}
    tagged["parameters"].source = SHORT
    read.cells.insert(read.cells.index(tagged["drawn"]), nbformat.v4.new_code_cell(DRAW))
    return read


def printed(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.text for output in outputs if output.output_type == "stream")


@pytest.mark.nightly
@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:(nbclient|jupyter_client|zmq).*")
def test_it_goes_from_its_data_to_a_digit_on_its_pad(
    notebook: Any, place: Path, ray_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADDRESS, ray_address)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(place / ".ipython"))
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(place)}}
    ).execute()
    told = printed(notebook)
    assert "It is a 1, " in told
    read, true = (line.split()[1:] for line in told.splitlines() if line[:5] in ("read:", "true:"))
    assert sum(a == b for a, b in zip(read, true, strict=True)) >= 8
    (result,) = (json.loads(path.read_text()) for path in (place.parent / "runs").glob("*/r*.json"))
    assert (result["status"], len(result["trials"])) == ("completed", 2)


def test_it_is_kept_without_what_it_prints() -> None:
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
