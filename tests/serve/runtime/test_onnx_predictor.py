"""ONNX models: verified when loaded, the same outputs in any batch."""

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.models.artifact import ArtifactError, Golden, Manifest, TensorSpec, write
from serve.runtime.onnx_predictor import CHUNK, agree, difference, load
from tests.support import ROOT
from tests.support.tiny_model import TinyModel


@pytest.fixture
def tiny() -> TinyModel:
    return TinyModel.random()


def test_outputs_match_the_network(tiny: TinyModel, tmp_path: Path) -> None:
    predictor = load(tiny.write(tmp_path / "model"))
    pixels = np.random.default_rng(2).integers(0, 256, (5, 1, 28, 28)).astype(np.float32)
    outputs = predictor.predict(pixels)
    assert outputs.dtype == np.float32
    assert np.allclose(outputs, tiny.outputs(pixels), atol=1e-4)
    assert predictor.manifest.name == "tiny"


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_any_batch_gives_each_image_its_own_answer(
    tiny: TinyModel, tmp_path: Path, count: int
) -> None:
    predictor = load(tiny.write(tmp_path / "model"))
    pixels = np.random.default_rng(3).integers(0, 256, (count, 1, 28, 28)).astype(np.float32)
    alone = np.concatenate([predictor.predict(pixels[i : i + 1]) for i in range(count)])
    assert np.allclose(predictor.predict(pixels), alone, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"golden": Golden([[[[0.0] * 28] * 28]], [[0.5]])}, "golden: outputs have shape"),
        ({"golden": Golden([[1, 2]], [[0.5]])}, "golden: the inputs do not run"),
        ({"golden": Golden([["a"]], [[0.5]])}, "golden: the inputs do not run"),
        ({"inputs": (TensorSpec("image", "float32", (-1, 784)),)}, "its inputs are image"),
        ({"inputs": (TensorSpec("x", "float32", (-1, 1, 28, 28)),)}, "model.json says x float32"),
        ({"inputs": (TensorSpec("image", "uint8", (-1, 1, 28, 28)),)}, "says image uint8"),
        ({"inputs": (TensorSpec("image", "float32", (1, 1, 28, 28)),)}, "a free batch"),
        ({"outputs": (TensorSpec("log_probabilities", "float32", (-1, 9)),)}, "its outputs are"),
    ],
)
def test_a_manifest_of_another_signature_is_refused(
    tiny: TinyModel, tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    manifest: Manifest = replace(tiny.manifest(), **changes)
    write(tmp_path / "model", manifest, {"model.onnx": tiny.onnx()})
    with pytest.raises(ArtifactError, match=match):
        load(tmp_path / "model")


def test_other_outputs_than_the_golden_ones_are_refused(tiny: TinyModel, tmp_path: Path) -> None:
    other = replace(tiny, weights=(tiny.weights * 1.01).astype(np.float32))
    write(tmp_path / "model", tiny.manifest(), {"model.onnx": other.onnx()})
    with pytest.raises(ArtifactError, match=r"differ from the golden ones by .* more than 0\.0001"):
        load(tmp_path / "model")


def test_large_outputs_may_be_as_far_off_as_float32_is(tiny: TinyModel, tmp_path: Path) -> None:
    large = replace(tiny, weights=tiny.weights * np.float32(1e4))
    golden = np.asarray(large.manifest().golden.inputs, np.float32)
    outputs = load(large.write(tmp_path / "model")).predict(golden)
    assert difference(outputs, large.outputs(golden)) > 1e-4


def test_values_agree_within_both_tolerances_and_equal_infinities_do() -> None:
    def agreed(found: list[float], expected: list[float]) -> bool:
        return agree(np.array(found, np.float32), np.array(expected, np.float32), 1e-4)

    assert agreed([0.00009, 1000.09, -math.inf], [0.0, 1000.0, -math.inf])
    assert not agreed([0.0002], [0.0])
    assert not agreed([1000.2], [1000.0])
    assert not agreed([math.inf], [-math.inf])
    assert not agreed([0.0], [-math.inf])
    assert not agreed([math.nan], [math.nan])
    infinities = np.array([-math.inf, 2.0], np.float32)
    assert difference(infinities, infinities + np.float32(0.5)) == 0.5


@pytest.mark.parametrize("content", [b"", b"no network", b"\x80\x04K\x01."])
def test_a_file_that_is_not_onnx_is_refused(
    tiny: TinyModel, tmp_path: Path, content: bytes
) -> None:
    write(tmp_path / "model", tiny.manifest(), {"model.onnx": content})
    with pytest.raises(ArtifactError, match=r"model\.onnx: ONNX Runtime cannot load it"):
        load(tmp_path / "model")


LIGHT = """
import sys
from pathlib import Path
from serve.http.app import create_app
from serve.rollout.loaded_models import LoadedModels
folder = Path(sys.argv[1])
with LoadedModels() as models:
    models.load(folder)
    models.answer(folder)
    create_app(models.registry)
heavy = {name.partition('.')[0] for name in sys.modules} & {'torch', 'ray', 'app', 'trainables'}
sys.exit(f'loaded: {heavy}' if heavy else 0)
"""


def test_serving_loads_neither_torch_nor_ray(tiny: TinyModel, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIGHT, str(tiny.write(tmp_path / "model"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home/cache")}
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (child.returncode, child.stderr) == (0, "")
    # ONNX Runtime would keep a number of this device there.
    assert not (tmp_path / "home").exists()


def test_an_older_models_output_meaning_is_inferred_from_golden_values(
    tiny: TinyModel, tmp_path: Path
) -> None:
    assert tiny.manifest().outputs[0].meaning is None
    predictor = load(tiny.write(tmp_path / "model"))
    assert predictor.manifest.outputs[0].meaning == "log_probabilities"


def test_a_declared_output_meaning_is_kept(tiny: TinyModel, tmp_path: Path) -> None:
    (output,) = tiny.manifest().outputs
    said = replace(tiny.manifest(), outputs=(replace(output, meaning="values"),))
    write(tmp_path / "model", said, {"model.onnx": tiny.onnx()})
    assert load(tmp_path / "model").manifest.outputs[0].meaning == "values"
