"""The one codec of the package's own images: bytes to and from uint8 arrays, (H, W, 3) RGB or (H, W) grey.

Photographs that users bring are decoded in `faces.decode`, which bounds their size and keeps what is damaged out.
"""

import base64
import io
from collections.abc import Sequence

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image

JPEG_QUALITY = 95
"""Of stored crops and rendered photographs."""


def decode(data: bytes | pa.Buffer, max_side: int | None = None) -> np.ndarray | None:
    """The RGB image in `data`; None where `data` is not an image, or is larger than `max_side` pixels by its header."""
    if max_side is not None:
        try:
            with Image.open(io.BytesIO(data)) as header:
                if max(header.size) > max_side:
                    return None
        except Exception:  # a decoder may raise nearly anything on damaged bytes
            return None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def decode_grey(data: bytes) -> np.ndarray | None:
    """The image in `data` as grey values; None where `data` is not an image."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)


def encode_jpeg(image: np.ndarray, quality: int = JPEG_QUALITY) -> bytes:
    """An RGB or grey image as JPEG."""
    return cv2.imencode(".jpg", _opencv_order(image), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def encode_png(image: np.ndarray) -> bytes:
    """An RGB or grey image as PNG."""
    return cv2.imencode(".png", _opencv_order(image))[1].tobytes()


def encode_gif(images: Sequence[np.ndarray], durations_ms: Sequence[int]) -> bytes:
    """RGB images as an endless GIF of 128 colours a frame, each shown for its duration."""
    first, *rest = [Image.fromarray(image).quantize(128, dither=Image.Dither.NONE) for image in images]
    sink = io.BytesIO()
    first.save(sink, "GIF", save_all=True, append_images=rest, duration=list(durations_ms), loop=0)
    return sink.getvalue()


def to_grey(image: np.ndarray) -> np.ndarray:
    """An RGB image as grey values (H, W)."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def to_rgb(image: np.ndarray) -> np.ndarray:
    """A grey image as RGB (H, W, 3)."""
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)


def resize_square(image: np.ndarray, side: int) -> np.ndarray:
    """A square image at `side` pixels: areas are averaged when it shrinks, cubic interpolation when it grows."""
    interpolation = cv2.INTER_AREA if len(image) > side else cv2.INTER_CUBIC
    return cv2.resize(image, (side, side), interpolation=interpolation)


def thumbnail(data: bytes, side: int) -> Image.Image:
    """The image in `data` as a Pillow RGB image of at most `side` pixels in width and height."""
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def jpeg_uri(image: Image.Image) -> str:
    """A Pillow image as a data URI for an HTML page."""
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=88)
    return data_uri(sink.getvalue())


def data_uri(jpeg: bytes) -> str:
    """JPEG bytes as a data URI for an HTML page."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _opencv_order(image: np.ndarray) -> np.ndarray:
    """OpenCV's encoders take colours as BGR."""
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
