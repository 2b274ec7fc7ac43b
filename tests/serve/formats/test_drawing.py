"""A drawing becomes what MNIST looks like, whatever its size, place and polarity."""

import gzip
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serve.errors import BadRequestError, RequestError, UnprocessableError
from serve.formats.drawing import prepare, read_picture
from tests.support import ROOT

TEST_IMAGES = ROOT / "trainables/data/t10k-images-idx3-ubyte.gz"


def png(array: NDArray[np.generic], mode: str | None = None) -> bytes:
    picture = Image.fromarray(array)
    file = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(file, "PNG")
    return file.getvalue()


def seven(side: int = 200, *, top: int = 40, left: int = 60) -> NDArray[np.uint8]:
    """A seven of thick lines, 100 high and 60 wide, dark on white."""
    paper = np.full((side, side), 255, dtype=np.uint8)
    paper[top : top + 12, left : left + 60] = 0
    for row in range(100):
        start = left + 48 - row * 30 // 100
        paper[top + row, start : start + 12] = 0
    return paper


def digits(count: int) -> NDArray[np.uint8]:
    data = gzip.decompress(TEST_IMAGES.read_bytes())
    return np.frombuffer(data, np.uint8, count * 784, 16).reshape(-1, 28, 28)


def test_a_grey_image_of_28_by_28_is_taken_as_pixels() -> None:
    pixels = np.arange(784, dtype=np.uint16).reshape(28, 28).astype(np.uint8)
    assert np.array_equal(read_picture(png(pixels)), pixels)


def test_a_drawing_looks_like_mnist() -> None:
    pixels = read_picture(png(seven()))
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    assert pixels.shape == (28, 28)
    assert pixels.max() == 255
    assert rows[-1] - rows[0] + 1 == 20
    assert columns[-1] - columns[0] + 1 == pytest.approx(12, abs=1)
    for axis in (0, 1):
        barycentre = pixels.sum(axis=1 - axis) @ np.arange(28) / pixels.sum()
        assert barycentre == pytest.approx(14, abs=0.51)


@pytest.mark.parametrize(
    "other",
    [
        seven(top=3, left=3),
        seven(500, top=300, left=200),
        255 - seven(),
        np.kron(seven(), np.ones((2, 2), dtype=np.uint8)),
        255 - (255 - seven()) // 2,
    ],
    ids=["moved", "on larger paper", "light on dark", "twice as large", "grey ink"],
)
def test_place_size_and_polarity_change_nothing(other: NDArray[np.uint8]) -> None:
    assert np.abs(read_picture(png(other)) - read_picture(png(seven()))).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_every_colour_mode_of_png_is_read(mode: str) -> None:
    assert np.array_equal(read_picture(png(seven(), mode)), read_picture(png(seven())))


def test_sixteen_bits_and_transparency_are_read() -> None:
    expected = read_picture(png(seven()))
    assert np.array_equal(read_picture(png(seven().astype(np.uint16) * 257)), expected)
    transparent = np.zeros((200, 200, 4), dtype=np.uint8)
    transparent[..., 3] = 255 - seven()
    assert np.array_equal(read_picture(png(transparent)), expected)


def test_an_mnist_image_enlarged_comes_back() -> None:
    enlarged = np.kron(digits(200), np.ones((10, 10), dtype=np.uint8))
    back = np.stack([read_picture(png(np.pad(image, 15))) for image in enlarged])
    differences = np.abs(back - digits(200)).mean(axis=(1, 2))
    assert np.median(differences) < 3


@pytest.mark.parametrize("side", [1, 5, 28, 29, 280])
@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_blank_drawing_is_refused(side: int, shade: int) -> None:
    blank = np.full((side, side, 3), shade, dtype=np.uint8)
    with pytest.raises(UnprocessableError, match="nothing drawn"):
        read_picture(png(blank))


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (40, 3)])
def test_a_dot_or_a_line_is_centred_whatever_its_size(size: tuple[int, int]) -> None:
    grey = np.ones((60, 60))
    grey[10 : 10 + size[0], 5 : 5 + size[1]] = 0
    pixels = prepare(grey)
    assert pixels.max() == 255
    assert pixels.shape == (28, 28)


def test_an_image_that_claims_to_be_huge_is_not_decoded() -> None:
    body = bytearray(png(seven()))
    body[16:24] = (13_000).to_bytes(4, "big") * 2
    with pytest.raises(UnprocessableError, match="13000 by 13000; send one of 1 to 1024"):
        read_picture(bytes(body))


def test_a_body_that_is_no_picture_is_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(seven()).save(file, "GIF")
    for body in (b"", b"seven", file.getvalue(), b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(BadRequestError, match="the body is"):
            read_picture(body)


@pytest.mark.parametrize("ink", ["black", "white", "grey", "red", "lightgrey"])
def test_ink_of_any_colour_on_transparent_paper_is_read(ink: str) -> None:
    drawing = Image.new("RGBA", (200, 200), ink)
    drawing.putalpha(Image.fromarray(255 - seven()))
    file = io.BytesIO()
    drawing.save(file, "PNG")
    assert np.abs(read_picture(file.getvalue()) - read_picture(png(seven()))).max() <= 3


def test_nothing_on_transparent_paper_is_blank() -> None:
    with pytest.raises(UnprocessableError, match="nothing drawn"):
        read_picture(png(np.zeros((50, 50, 4), np.uint8)))


def test_a_png_cut_anywhere_or_damaged_is_refused_or_read() -> None:
    whole = png(seven())
    for end in range(0, len(whole) - 11, 7):
        with pytest.raises(BadRequestError, match="the body is"):
            read_picture(whole[:end])
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        try:
            read_picture(bytes(damaged))
        except RequestError:
            continue
