"""Serializers and deserializers by SageMaker's names, and their predictors."""

import io
import json
from typing import Any

import numpy as np
import pytest

from app.sagemaker import deserializers as read
from app.sagemaker import serializers as sent
from app.sagemaker.predictor import EndpointError, Predictor
from app.sagemaker.pytorch import PyTorchPredictor

ARRAY = np.arange(4.0).reshape(2, 2)


@pytest.mark.parametrize(
    ("serializer", "data", "body", "kind"),
    [
        (
            sent.JSONSerializer(),
            {"a": ARRAY},
            b'{"a": [[0.0, 1.0], [2.0, 3.0]]}',
            "application/json",
        ),
        (sent.CSVSerializer(), ARRAY, b"0.0,1.0\n2.0,3.0", "text/csv"),
        (sent.CSVSerializer(), "as it is", b"as it is", "text/csv"),
        (sent.JSONLinesSerializer(), [{"a": 1}, [2]], b'{"a": 1}\n[2]', "application/jsonlines"),
        (sent.JSONLinesSerializer(), "1\n2", b"1\n2", "application/jsonlines"),
        (sent.StringSerializer(), 1.5, b"1.5", "text/plain"),
        (sent.IdentitySerializer("image/png"), "a", b"a", "image/png"),
        (sent.DataSerializer(), b"a", b"a", "file-path/raw-bytes"),
        (sent.NumpySerializer(), io.BytesIO(b"npy"), b"npy", "application/x-npy"),
    ],
)
def test_data_is_sent(serializer: sent.Serializer, data: Any, body: bytes, kind: str) -> None:
    assert (serializer.serialize(data), serializer.CONTENT_TYPE) == (body, kind)


def test_arrays_arrive_as_they_were() -> None:
    body = sent.NumpySerializer(dtype="float32").serialize(ARRAY.tolist())
    array = read.NumpyDeserializer().deserialize(io.BytesIO(body), "application/x-npy")
    assert (array.dtype, array.tolist()) == (np.float32, ARRAY.tolist())


def test_what_json_cannot_say_is_named() -> None:
    with pytest.raises(TypeError, match=r"^set cannot be sent as JSON$"):
        sent.JSONSerializer().serialize({1})


@pytest.mark.parametrize(
    ("deserializer", "body", "kind", "value"),
    [
        (read.JSONDeserializer(), b"[1]", "application/json", [1]),
        (read.JSONLinesDeserializer(), b"1\n\n[2]\n", "application/jsonlines", [1, [2]]),
        (read.CSVDeserializer(), b"1,2\n3,4", "text/csv", [["1", "2"], ["3", "4"]]),
        (read.StringDeserializer(), "ä".encode(), "application/json", "ä"),
        (read.BytesDeserializer(), b"x", "a/b", b"x"),
    ],
)
def test_an_answer_is_read(
    deserializer: read.Deserializer, body: bytes, kind: str, value: Any
) -> None:
    assert deserializer.deserialize(io.BytesIO(body), kind) == value


def test_an_array_is_read_by_the_answers_type() -> None:
    numbers = read.NumpyDeserializer(dtype="float32")
    assert numbers.deserialize(io.BytesIO(b"1,2\n3,4"), "text/csv").tolist() == [[1, 2], [3, 4]]
    assert numbers.deserialize(io.BytesIO(b"[[1, 2]]"), "application/json").dtype == np.float32
    pickled = sent.NumpySerializer().serialize([1.0]).replace(b"<f8", b"|O8")
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        numbers.deserialize(io.BytesIO(pickled), "application/x-npy")


def test_a_stream_is_given_with_its_type() -> None:
    stream = io.BytesIO(b"x")
    assert read.StreamDeserializer().deserialize(stream, "a/b") == (stream, "a/b")


def test_ones_own_derive_from_simple_ones() -> None:
    class Upper(sent.SimpleBaseSerializer):
        def serialize(self, data: Any) -> str:
            return json.dumps(data).upper()

    assert Upper("text/plain").CONTENT_TYPE == "text/plain"
    assert Upper().serialize("a") == '"A"'
    bases: tuple[type, ...] = (sent.SimpleBaseSerializer, read.SimpleBaseDeserializer)
    for base in bases:
        with pytest.raises(TypeError, match="abstract method"):
            base()


def test_a_predictor_sends_bytes_and_pytorchs_arrays() -> None:
    plain, arrays = Predictor("one"), PyTorchPredictor("one")
    assert (plain.content_type, plain.accept) == ("application/octet-stream", ("*/*",))
    assert (arrays.content_type, arrays.accept) == ("application/x-npy", ("application/x-npy",))


def test_nothing_answers_where_nothing_is_served() -> None:
    with pytest.raises(EndpointError, match=r"^nothing answers at http://127\.0\.0\.1:9: "):
        PyTorchPredictor("gone", address="http://127.0.0.1:9").predict([[0.0]])
    with pytest.raises(EndpointError, match=r"^gone: this process serves no such endpoint; it ser"):
        Predictor("gone").predict(b"")
