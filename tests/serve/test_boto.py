"""SageMaker's own clients with the endpoint's address in a variable; skipped if not installed."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.tiny_model import TinyModel
from tests.support.wire import Served, serving

boto3 = pytest.importorskip("boto3")
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28)).astype(np.uint8)
JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(TinyModel.random().write(tmp_path_factory.mktemp("boto") / "model")) as served:
        yield served


@pytest.fixture
def client(served: Served, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", f"http://127.0.0.1:{served.port}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x"), ("REGION", "x")):
        monkeypatch.setenv(f"AWS_{name}", value)
    return boto3.client("sagemaker-runtime", region_name="us-east-1")


def npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def csv(array: np.ndarray[Any, Any]) -> bytes:
    return "\n".join(",".join(map(str, row.ravel())) for row in array).encode()


BODIES: dict[str, Callable[[np.ndarray[Any, Any]], bytes]] = {
    JSON: lambda images: json.dumps(images.tolist()).encode(),
    CSV: csv,
    NPY: npy,
}
READ: dict[str, Callable[[bytes], Any]] = {
    JSON: json.loads,
    CSV: lambda body: [[float(cell) for cell in line.split(b",")] for line in body.splitlines()],
    NPY: lambda body: np.load(io.BytesIO(body), allow_pickle=False),
}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("accept", READ)
def test_every_format_is_answered_in_every_format(client: Any, kind: str, accept: str) -> None:
    reply = client.invoke_endpoint(
        EndpointName="tiny", Body=BODIES[kind](IMAGES), ContentType=kind, Accept=accept,
        CustomAttributes="trace=7",
    )  # fmt: skip
    assert reply["ContentType"] == accept
    assert reply["InvokedProductionVariant"] == "AllTraffic"
    assert reply["CustomAttributes"] == "trace=7"
    found = np.asarray(READ[accept](reply["Body"].read()), np.float32)
    assert np.allclose(found, TinyModel.random().outputs(IMAGES.astype(np.float32)), atol=1e-4)


def test_a_refusal_of_the_model_is_a_model_error(client: Any) -> None:
    with pytest.raises(client.exceptions.ModelError) as caught:
        client.invoke_endpoint(EndpointName="tiny", Body=b"[[1, 2]]", ContentType=JSON)
    assert caught.value.response["OriginalStatusCode"] == 422
    assert "has shape (1, 2)" in caught.value.response["OriginalMessage"]


def test_an_unknown_endpoint_is_a_client_error(client: Any) -> None:
    with pytest.raises(client.exceptions.ClientError) as caught:
        client.invoke_endpoint(EndpointName="another", Body=b"[[0]]", ContentType=JSON)
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    assert "another" in caught.value.response["Error"]["Message"]


@pytest.mark.parametrize("kind", [JSON, CSV, NPY])
def test_the_sdks_predictor_predicts(client: Any, kind: str) -> None:
    predictor = pytest.importorskip("sagemaker.predictor")
    forms = {
        JSON: (pytest.importorskip("sagemaker.serializers").JSONSerializer, "JSONDeserializer"),
        CSV: (pytest.importorskip("sagemaker.serializers").CSVSerializer, "CSVDeserializer"),
        NPY: (pytest.importorskip("sagemaker.serializers").NumpySerializer, "NumpyDeserializer"),
    }
    serializer, name = forms[kind]
    deserializer = getattr(pytest.importorskip("sagemaker.deserializers"), name)
    session = pytest.importorskip("sagemaker").Session(
        boto_session=boto3.Session(region_name="us-east-1")
    )
    client_predictor = predictor.Predictor(
        "tiny", sagemaker_session=session, serializer=serializer(), deserializer=deserializer()
    )
    images = IMAGES.reshape(3, 784) if kind == CSV else IMAGES
    found = np.asarray(client_predictor.predict(images), np.float32)
    assert np.allclose(found, TinyModel.random().outputs(IMAGES.astype(np.float32)), atol=1e-4)
