"""The one decoder of image files: whatever a file holds, one rule for all data sets."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import benchmark
from benchmark.errors import InputError

GREY = np.arange(30, dtype=np.uint8).reshape(5, 6) * 8
RGB = np.dstack([GREY, GREY[::-1], GREY[:, ::-1]])


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (saved(Image.fromarray(RGB), "PNG"), RGB),
        (saved(Image.fromarray(GREY), "PNG"), np.dstack([GREY] * 3)),
        (saved(Image.fromarray(np.dstack([RGB, GREY])), "PNG"), RGB),  # alpha is dropped
        (saved(Image.fromarray(GREY).convert("P"), "PNG", transparency=3), np.dstack([GREY] * 3)),
        (saved(Image.fromarray(RGB), "TIFF"), RGB),
        (saved(Image.fromarray(RGB).convert("CMYK"), "TIFF"), RGB),
        (
            saved(Image.fromarray(GREY), "GIF", save_all=True, append_images=[Image.fromarray(GREY[::-1])]),
            np.dstack([GREY] * 3),
        ),
        (saved(Image.fromarray(GREY > 100), "PNG"), np.dstack([(GREY > 100) * np.uint8(255)] * 3)),
    ],
    ids=["rgb", "grey", "alpha", "palette", "tiff", "cmyk", "animation", "bits"],
)
def test_every_kind_of_image_becomes_rgb_of_8_bits(content: bytes, expected: np.ndarray, tmp_path: Path) -> None:
    found = benchmark.read_image(content, where="here")
    assert found.mode == "RGB"
    assert np.array_equal(np.asarray(found), expected)
    (tmp_path / "called.txt").write_bytes(content)
    assert np.array_equal(np.asarray(benchmark.read_image(tmp_path / "called.txt")), expected)
    assert benchmark.read_image(content, where="here", color="grey").mode == "L"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (saved(Image.fromarray(GREY.astype(np.uint16) * 200), "PNG"), "here: .*more than 8 bits per channel"),
        (saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "here: Pillow mode F, more than 8 bits"),
        (b"<html>404</html>", r"here: damaged image file: not an image of a known format \(JPEG, PNG"),
        (b"", "here: damaged image file"),
        (saved(Image.fromarray(RGB), "PNG")[:60], "here: damaged image file"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        benchmark.read_image(content, where="here")


@pytest.mark.filterwarnings("ignore")
@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF89a", b"P6 3 3 255 ", b"II*\0", b"P"]),
    st.binary(max_size=200),
)
def test_any_bytes_give_an_image_or_one_message(start: bytes, rest: bytes) -> None:
    try:
        assert benchmark.read_image(start + rest, where="here").mode == "RGB"
    except InputError as error:
        assert str(error).startswith("here")  # noqa: PT017
