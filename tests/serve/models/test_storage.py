"""Models behind a URI: found, fetched, verified and served."""

from pathlib import Path

import pytest

from serve.models import artifact
from serve.models.manifest import ArtifactError
from serve.models.storage import find_model, open_model
from tests.support.object_store import ObjectStore
from tests.support.serving import serving
from tests.support.tiny_model import TinyModel


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder on this machine."""
    folder = tmp_path_factory.mktemp("model")
    TinyModel.random().write(folder / "model")
    return folder / "model"


@pytest.fixture
def place(s3: ObjectStore, model: Path, request: pytest.FixtureRequest) -> str:
    """A place for runs in a bucket, as a path there: `one` has a model, `two` has none."""
    path = f"models/{request.node.name.partition('[')[0].replace('_', '-')}"
    for file in model.iterdir():
        s3.write(f"{path}/one/model/{file.name}", file.read_bytes())
    for run in ("one", "two"):
        s3.write(f"{path}/{run}/experiment.json", b"{}")
    return path


@pytest.mark.parametrize("below", ["/one/model", "/one"])
def test_a_model_is_found_by_its_uri_and_by_its_runs(
    s3: ObjectStore, place: str, model: Path, below: str
) -> None:
    with open_model(find_model(s3.uri(place + below), "runs")) as folder:
        assert artifact.read(folder) == artifact.read(model)
    assert not folder.exists()


@pytest.mark.parametrize("run", ["one", None])
def test_a_model_is_found_by_a_runs_name_and_the_newest_by_none(
    s3: ObjectStore, place: str, model: Path, run: str | None
) -> None:
    with open_model(find_model(run, s3.uri(place))) as folder:
        assert artifact.read(folder) == artifact.read(model)


def test_a_folder_on_this_machine_comes_before_a_place_elsewhere(model: Path) -> None:
    with open_model(find_model(str(model), "s3://bucket/runs")) as folder:
        assert folder == model


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        ("two", r"^model: there is no model of a run 'two' at s3://models/"),
        ("", r"^model: there is no model of a run '' at s3://models/"),
    ],
)
def test_a_run_without_a_model_is_one_sentence(
    s3: ObjectStore, place: str, run: str, sentence: str
) -> None:
    with pytest.raises(ArtifactError, match=sentence), open_model(find_model(run, s3.uri(place))):
        pass


@pytest.mark.parametrize("model", ["s3://models/none", None])
def test_nothing_at_a_uri_is_one_sentence(s3: ObjectStore, model: str | None) -> None:
    query = s3.uri("models/none").partition("?")[2]
    words = (f"{model}?{query}", "runs") if model else (None, s3.uri("models/none"))
    told = r"^model: there is no model at s3://models/none\?"
    with pytest.raises(ArtifactError, match=told), open_model(find_model(*words)):
        pass


def test_a_name_that_leads_out_of_the_folder_is_refused(s3: ObjectStore, place: str) -> None:
    s3.put(f"{place}/one/model/%2e%2e/%2e%2e/outside", b"")
    with (
        pytest.raises(ArtifactError, match=r"has a file called '.*\.\./outside'"),
        open_model(find_model("one", s3.uri(place))),
    ):
        pass


def test_a_model_is_served_from_a_bucket(s3: ObjectStore, place: str, tmp_path: Path) -> None:
    with serving(s3.uri(f"{place}/one/model"), cwd=tmp_path) as server:
        assert server.ask("GET", "/ping")[0] == 200
    assert list(tmp_path.iterdir()) == []


def test_a_changed_byte_in_a_bucket_is_never_served(s3: ObjectStore, place: str) -> None:
    content = bytearray(s3.read(f"{place}/one/model/model.onnx"))
    content[-1] ^= 1
    s3.write(f"{place}/one/model/model.onnx", bytes(content))
    with (
        open_model(find_model("one", s3.uri(place))) as folder,
        pytest.raises(ArtifactError, match=r"model\.onnx: its sha256 is"),
    ):
        artifact.read(folder)
