"""The stub of SageMaker's inference toolkit: its names, bodies to arrays and back."""

import io
import json

import numpy as np
import pytest
import scipy.sparse

from serve.handlers.stubs.sagemaker_inference import content_types, decoder, encoder, errors

decode, encode = decoder.decode, encoder.encode
ROWS = np.array([[1.5, 2.0], [3.0, 4.0]])


def test_the_modules_have_the_names_that_scripts_import() -> None:
    assert content_types.JSON == "application/json"
    assert content_types.CSV in content_types.UTF8_TYPES
    assert decoder.decode("[1]", content_types.JSON).tolist() == [1]
    assert encoder.encode([1], content_types.JSON) == "[1]"
    assert {"application/json", "text/csv", "application/x-npy"} == encoder.SUPPORTED_CONTENT_TYPES
    chosen = errors.GenericInferenceToolkitError(418)
    assert (chosen.status_code, chosen.message, chosen.phrase) == (418, *2 * ["Invalid Request"])
    assert isinstance(chosen, errors.BaseInferenceToolkitError)


@pytest.mark.parametrize("kind", ["application/json", "text/csv", "application/x-npy"])
def test_encoding_and_decoding_are_inverse(kind: str) -> None:
    assert np.array_equal(decode(encode(ROWS, kind), kind), ROWS)


def test_csv_is_decoded_from_bytes_as_from_text() -> None:
    assert decode(b"1,2", content_types.CSV).tolist() == decode("1,2", content_types.CSV).tolist()


def test_a_sparse_matrix_is_decoded() -> None:
    file = io.BytesIO()
    scipy.sparse.save_npz(file, scipy.sparse.csr_matrix(ROWS))
    assert np.array_equal(decode(file.getvalue(), content_types.NPZ).toarray(), ROWS)


@pytest.mark.parametrize("use", [decode, encode])
def test_other_types_are_unsupported(use: object) -> None:
    assert callable(use)
    with pytest.raises(errors.UnsupportedFormatError, match="Content type a/b is not supported"):
        use(b"", "a/b")


def test_arrays_at_any_depth_become_lists() -> None:
    text = encode({"a": [np.float32(1.5), ROWS]}, content_types.JSON)
    assert json.loads(text) == {"a": [1.5, ROWS.tolist()]}
    with pytest.raises(TypeError, match="object has no form in JSON"):
        encode(object(), content_types.JSON)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_npy_is_read(version: tuple[int, int]) -> None:
    file = io.BytesIO()
    np.lib.format.write_array(file, ROWS, version)
    assert np.array_equal(decode(file.getvalue(), content_types.NPY), ROWS)


def npy(array: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (npy(np.array([{}], dtype=object)), "holds Python objects, which are never unpickled"),
        (npy(ROWS).replace(b"NUMPY\x01", b"NUMPY\x09"), r"NPY version 9\.0 is not read"),
        (npy(ROWS).replace(b"(2, 2)", b"(((((("), "its header cannot be read"),
        (npy(ROWS).replace(b"<f8", b"<f?"), "its header cannot be read"),
        (npy(ROWS)[:-1], "declares 32 bytes of numbers, but 31 follow it"),
    ],
)
def test_npy_that_is_not_sound_is_refused(content: bytes, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        decode(content, content_types.NPY)
