"""Crops to pixels before the generator, and pixels to JPEG after it, on CPU workers.

A module of its own, because it imports no torch: a worker that decodes has a third of the memory of one that animates.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from twfer_dist.core import images
from twfer_dist.core.schema import FACES
from twfer_dist.core.status import OK, UNREADABLE
from twfer_dist.engine.artifact import Artifact


def decode(rows: pa.Table, faces: Sequence[Artifact], size: int) -> pa.Table:
    """Add `pixels` (RGB bytes of the crop at `size`; null where it is unreadable), `status` and `error`."""
    crops: dict[tuple[int, str], bytes | None] = {}
    keys = list(zip(rows["input"].to_pylist(), rows["face_id"].to_pylist(), strict=True))
    for number in sorted({number for number, _ in keys}):
        ids = {face_id for k, face_id in keys if k == number}
        found = faces[number].table("faces", FACES, columns=["face_id", "image"], ids=ids)
        crops |= {
            (number, face_id): _pixels(data, size)
            for face_id, data in zip(found["face_id"].to_pylist(), found["image"].to_pylist(), strict=True)
        }
    pixels = [crops[key] for key in keys]
    return (
        rows.drop_columns(["input", "content", "precision"])
        .append_column("pixels", pa.array(pixels, pa.large_binary()))
        .append_column("status", pa.array([OK if p else UNREADABLE for p in pixels]))
        .append_column(
            "error", pa.array(["" if p else "the face's crop is not an image that can be decoded" for p in pixels])
        )
    )


def _pixels(data: bytes | None, size: int) -> bytes | None:
    image = images.decode(data) if data else None
    if image is None:
        return None
    return images.resize_square(image, size).tobytes()


def encode(rows: pa.Table, size: int, quality: int) -> pa.Table:
    """Rows of ANIMATED: `pixels` as JPEG."""
    encoded = [_jpeg(p, size, quality) if p else None for p in rows["pixels"].to_pylist()]
    sides = pa.array([size if image else None for image in encoded], pa.int32())
    return (
        rows.drop_columns(["pixels", "own"])
        .append_column("image", pa.array(encoded, pa.binary()))
        .append_column("width", sides)
        .append_column("height", sides)
    )


def _jpeg(pixels: bytes, size: int, quality: int) -> bytes:
    return images.encode_jpeg(np.frombuffer(pixels, np.uint8).reshape(size, size, 3), quality)
