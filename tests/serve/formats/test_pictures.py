"""Pictures of each type are decoded, those that would cost too much before anything is."""

import io
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serve.errors import BadRequestError, RequestError, UnprocessableError
from serve.formats.drawing import read_picture
from serve.formats.pictures import LARGEST_SIDE, MAX_SCANS, decode_picture
from tests.support.fake_model import png

TYPES = ["PNG", "JPEG", "WebP"]


def seven() -> NDArray[np.uint8]:
    """A seven of thick lines, dark on white."""
    paper = np.full((120, 90), 255, dtype=np.uint8)
    paper[10:20, 15:75] = 0
    for row in range(90):
        start = 63 - row * 30 // 90
        paper[15 + row, start : start + 12] = 0
    return paper


def saved(kind: str, *frames: NDArray[np.uint8], mode: str = "RGB", **settings: Any) -> bytes:
    first, *others = (Image.fromarray(frame).convert(mode) for frame in frames)
    file = io.BytesIO()
    if others:
        settings |= {"save_all": True, "append_images": others}
    first.save(file, kind, **settings)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def header(width: int, height: int) -> bytes:
    return chunk(
        b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    )


@pytest.mark.parametrize("kind", TYPES)
def test_a_drawing_of_any_type_is_read(kind: str) -> None:
    expected = read_picture(png(seven()))
    assert np.abs(read_picture(saved(kind, seven(), quality=95)) - expected).mean() < 3


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_colour_mode_of_jpeg_is_read(mode: str, progressive: bool) -> None:
    body = saved("JPEG", seven(), mode=mode, quality=95, progressive=progressive)
    assert np.abs(read_picture(body) - read_picture(png(seven()))).mean() < 3


def test_a_grey_jpeg_of_28_by_28_is_taken_as_pixels() -> None:
    pixels = np.zeros((28, 28), np.uint8)
    pixels[4:24, 10:18] = 200
    body = saved("JPEG", pixels, mode="L", quality=100)
    assert np.abs(read_picture(body) - pixels).max() < 8


def test_a_photograph_that_is_to_be_turned_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    body = saved("JPEG", np.rot90(seven()), quality=95, exif=exif)
    assert np.abs(read_picture(body) - read_picture(png(seven()))).mean() < 3


@pytest.mark.parametrize("kind", ["PNG", "WebP"])
def test_of_several_frames_the_first_is_read(kind: str) -> None:
    other = np.full_like(seven(), 100)
    other[50:60] = 0
    body = saved(kind, seven(), other, lossless=True)
    assert np.array_equal(read_picture(body), read_picture(png(seven())))


@pytest.mark.parametrize("kind", TYPES)
def test_a_side_beyond_the_largest_is_refused_with_its_size(kind: str) -> None:
    body = saved(kind, np.zeros((2, LARGEST_SIDE + 1), np.uint8))
    with pytest.raises(UnprocessableError, match="the image is 1025 by 2; send one of 1 to 1024"):
        decode_picture(body)


@pytest.mark.parametrize("side", [5000, 16_000])
def test_a_huge_webp_is_not_decoded(side: int) -> None:
    body = bytearray(saved("WebP", seven(), 255 - seven()))
    body[24:30] = (side - 1).to_bytes(3, "little") * 2  # the canvas of all frames
    with pytest.raises(UnprocessableError, match="send one of 1 to 1024 pixels a side"):
        decode_picture(bytes(body))


def test_a_png_with_two_headers_is_refused() -> None:
    pixels = chunk(b"IDAT", zlib.compress(bytes(29 * 28)))
    end = chunk(b"IEND", b"")
    for headers in (header(28, 28) + header(8000, 8000), header(28, 28) * 2):
        for body in (headers + pixels + end, header(28, 28) + pixels + headers + end):
            with pytest.raises(UnprocessableError, match="two headers"):
                decode_picture(b"\x89PNG\r\n\x1a\n" + body)


def test_texts_and_profiles_of_a_png_are_not_decompressed() -> None:
    bomb = zlib.compress(bytes(60_000_000))
    whole = png(seven())
    extra = b"".join(chunk(kind, b"a\0\0" + bomb) for kind in (b"zTXt", b"iCCP", b"eXIf"))
    body = whole[:33] + extra + whole[33:]
    assert np.array_equal(read_picture(body), read_picture(whole))


def test_a_jpeg_of_many_scans_is_refused() -> None:
    whole = saved("JPEG", seven(), progressive=True)
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    with pytest.raises(UnprocessableError, match="more than 64 scans; save it anew"):
        decode_picture(whole[:-2] + scan * MAX_SCANS + whole[-2:])


@pytest.mark.parametrize("kind", TYPES)
def test_a_picture_cut_anywhere_or_damaged_is_refused_or_read(kind: str) -> None:
    whole = saved(kind, seven())
    for end in range(0, len(whole) - 12, 97):
        with pytest.raises(BadRequestError, match="the body is"):
            decode_picture(whole[:end])
    for place in range(0, len(whole), 53):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        try:
            decode_picture(bytes(damaged))
        except RequestError:
            continue
