"""The codec: colours keep their order, sizes are bounded, and grey stays grey."""

import io

import numpy as np
import pytest
from PIL import Image

from twfer_dist.core import images

RED = np.full((20, 30, 3), (200, 40, 10), np.uint8)


def test_png_is_lossless_and_red_stays_red() -> None:
    data = images.encode_png(RED)
    assert (np.asarray(images.decode(data)) == RED).all()
    assert Image.open(io.BytesIO(data)).getpixel((0, 0)) == (200, 40, 10)


def test_jpeg_keeps_colours_and_follows_the_quality() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    assert np.abs(np.asarray(images.decode(images.encode_jpeg(RED))).astype(int) - RED).max() < 6
    assert len(images.encode_jpeg(noise, 30)) < len(images.encode_jpeg(noise)) == len(images.encode_jpeg(noise, 95))


def test_grey_images_are_encoded_as_grey() -> None:
    grey = images.to_grey(RED)
    assert grey.shape == (20, 30) and (images.to_rgb(grey)[..., 2] == grey).all()
    assert (np.asarray(images.decode_grey(images.encode_png(grey))) == grey).all()


def test_what_is_not_an_image_or_too_large_is_none() -> None:
    assert images.decode(b"text") is None and images.decode(b"text", 100) is None
    assert images.decode(images.encode_png(RED), 29) is None
    assert images.decode(images.encode_png(RED), 30) is not None


@pytest.mark.parametrize(("kind", "place"), [("AVIF", 81), ("DDS", 80)])
def test_a_damaged_header_of_any_format_is_none(kind: str, place: int) -> None:
    sink = io.BytesIO()
    Image.fromarray(RED).save(sink, kind)
    data = bytearray(sink.getvalue())
    data[place] = 0
    assert images.decode(bytes(data), 100) is None


@pytest.mark.parametrize("side", [8, 50])
def test_resize_square_gives_the_side(side: int) -> None:
    square = RED[:20, :20]
    assert (images.resize_square(square, side) == np.full((side, side, 3), RED[0, 0])).all()


def test_a_gif_has_every_frame_and_its_duration() -> None:
    gif = Image.open(io.BytesIO(images.encode_gif([RED, 255 - RED], [70, 300])))
    assert gif.n_frames == 2 and gif.info["duration"] == 70 and gif.info["loop"] == 0  # type: ignore[attr-defined]


def test_a_thumbnail_keeps_its_proportions() -> None:
    small = images.thumbnail(images.encode_png(RED), 15)
    assert small.size == (15, 10) and images.jpeg_uri(small).startswith("data:image/jpeg;base64,/9j/")
