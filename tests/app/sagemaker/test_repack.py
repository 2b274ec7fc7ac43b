"""Models that are deployed with handlers of another file than they were exported with."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import sagemaker
from app.run.store import StoreError
from app.sagemaker import endpoint
from app.sagemaker.deserializers import JSONDeserializer
from app.sagemaker.pytorch import PyTorchModel
from app.sagemaker.pytorch.repack import repack
from app.sagemaker.serializers import JSONSerializer
from serve.models.archive import read_handlers
from tests.support.scripted import write_model

HANDLERS = """
import json, os
from pathlib import Path
{first}
def model_fn(model_dir):
    return Path(model_dir, "word").read_text()

def transform_fn(model, body, content_type, accept):
    return json.dumps([model, {said}, json.loads(body)]), "application/json"
"""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[sagemaker.Session]:
    """Keeps what it makes in a folder of its own, and leaves no endpoint."""
    yield sagemaker.Session(runs=tmp_path / "runs")
    endpoint.stop("mine")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model as it is exported, whose handlers answer what they were sent."""
    return write_model(tmp_path / "exported/model", files={"word": b"weights"})


def asked(deployed: Any) -> Any:
    """Give the endpoint's answer to 1."""
    deployed.serializer, deployed.deserializer = JSONSerializer(), JSONDeserializer()
    return deployed.predict(1)


def test_a_model_is_served_by_the_handlers_that_are_named(
    session: sagemaker.Session, model: Path, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "words.py").write_text("WORD = 'mine'")
    (code / "inference.py").write_text(HANDLERS.format(first="import words", said="words.WORD"))
    named = PyTorchModel(
        str(model), entry_point="inference.py", source_dir=str(code), sagemaker_session=session
    )
    assert asked(named.deploy(endpoint_name="mine")) == ["weights", "mine", 1]
    repacked = read_handlers(session.runs / ".models/mine")
    assert set(repacked.sha256) == {"word", "code/inference.py", "code/words.py"}
    assert (repacked.trial_id, repacked.epoch) == ("t1", 3)
    assert read_handlers(model).entry_point == "train.py"


def test_an_archive_is_served_by_its_own_code_with_the_variables_given(
    session: sagemaker.Session, tmp_path: Path
) -> None:
    (tmp_path / "word").write_text("archived")
    (tmp_path / "inference.py").write_text(HANDLERS.format(first="", said="os.environ['WORD']"))
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "word", "word")
        archive.add(tmp_path / "inference.py", "code/inference.py")
    uri = (tmp_path / "model.tar.gz").as_uri()
    own = PyTorchModel(uri, env={"WORD": "hello"}, sagemaker_session=session)
    assert asked(own.deploy(endpoint_name="mine")) == ["archived", "hello", 1]


def test_an_entry_point_alone_is_put_beside_the_models_own_code(
    session: sagemaker.Session, tmp_path: Path
) -> None:
    saved = tmp_path / "saved"
    (saved / "code/lib").mkdir(parents=True)
    (saved / "code/lib/words.py").write_text("WORD = 'the archive\\'s'")
    (saved / "code/inference.py").write_text("import absent")
    (saved / "word").write_text("weights")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(saved, ".")
    mine = tmp_path / "mine.py"
    mine.write_text(HANDLERS.format(first="from lib import words", said="words.WORD"))
    named = PyTorchModel(
        str(tmp_path / "model.tar.gz"), entry_point=str(mine), sagemaker_session=session
    )
    assert asked(named.deploy(endpoint_name="mine")) == ["weights", "the archive's", 1]
    repacked = read_handlers(session.runs / ".models/mine")
    own = {"code/lib/words.py", "code/inference.py"}
    assert set(repacked.sha256) == {"word", "code/mine.py", *own}


def test_an_entry_point_may_be_in_the_models_own_code(model: Path, tmp_path: Path) -> None:
    folder = repack(model, "train.py", None, tmp_path / "new")
    repacked = read_handlers(folder)
    assert (repacked.entry_point, set(repacked.sha256)) == ("train.py", {"word", "code/train.py"})


def test_a_source_dir_takes_the_place_of_the_models_own_code(model: Path, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/inference.py").touch()
    folder = repack(model, "inference.py", str(tmp_path / "code"), tmp_path / "new")
    assert set(read_handlers(folder).sha256) == {"word", "code/inference.py"}


def test_what_cannot_be_served_so_is_one_sentence(
    session: sagemaker.Session, model: Path, tmp_path: Path
) -> None:
    def error(folder: object, **more: Any) -> str:
        with pytest.raises(StoreError) as raised:
            PyTorchModel(str(folder), sagemaker_session=session, **more).deploy(endpoint_name="x")
        return str(raised.value)

    onnx = tmp_path / "onnx"
    onnx.mkdir()
    (onnx / "model.json").write_text(
        json.dumps({"format": "onnx", "name": "a", "version": "", "sha256": {}})
    )
    (tmp_path / "bad.tar.gz").touch()
    assert "put them below source_dir" in error(model, dependencies=["lib"])
    assert error(tmp_path / "absent", entry_point="a.py").endswith(f"no model at {tmp_path}/absent")
    assert error(tmp_path / "bad.tar.gz").startswith(f"{tmp_path}/bad.tar.gz: cannot be served: ")
    there_is_none = f"there is no a.py in {tmp_path}"
    assert error(model, entry_point="a.py", source_dir=str(tmp_path)).endswith(there_is_none)
    assert "No such file or directory: 'a.py'" in error(model, entry_point="a.py")
    assert "cannot be served by a.py: " in error(onnx, entry_point="a.py")
    (onnx / "model.json").write_text("{")
    said = error(onnx, entry_point="a.py")
    assert f"{onnx}/model.json" in said
    assert "/tuneport-" not in said
    assert not (session.runs / ".models").exists()


def test_a_model_that_has_a_file_of_our_descriptions_name_is_given_other_handlers(
    session: sagemaker.Session, tmp_path: Path
) -> None:
    files = {"word": b"weights", "model.json": b"its own"}
    model = write_model(tmp_path / "exported/model", files=files)
    said = "Path(model_dir, 'model.json').read_text()"
    (tmp_path / "other.py").write_text(
        HANDLERS.format(first="model_dir = os.environ['SM_MODEL_DIR']", said=said)
    )
    named = PyTorchModel(
        str(model), entry_point=str(tmp_path / "other.py"), sagemaker_session=session
    )
    assert asked(named.deploy(endpoint_name="mine")) == ["weights", "its own", 1]


def test_instances_and_server_workers_are_workers_of_an_endpoint(
    session: sagemaker.Session, model: Path
) -> None:
    several = PyTorchModel(str(model), model_server_workers=2, sagemaker_session=session)
    deployed = several.deploy(initial_instance_count=2, endpoint_name="mine")
    process: Any = endpoint.find("mine")._command._process
    assert process.args[-1] == "--workers=4"
    assert asked(deployed) == 1
