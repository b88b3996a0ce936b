"""Crops to pixels before the generator, and pixels to JPEG after it, on CPU workers.

A separate module without torch: a worker that only decodes needs a third of the memory of one that animates.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from twfer_dist.core import images
from twfer_dist.core.schema import FACES
from twfer_dist.core.status import OK, UNREADABLE
from twfer_dist.engine.artifact import Artifact


def decode(rows: pa.Table, faces: Sequence[Artifact], size: int) -> pa.Table:
    """Add `pixels` (RGB bytes of the crop at `size`; null where it cannot be decoded), `status` and `error`."""
    crops: dict[tuple[int, str], bytes | None] = {}
    keys = list(zip(rows["input"].to_pylist(), rows["face_id"].to_pylist(), strict=True))
    for index in sorted({index for index, _ in keys}):
        ids = {face_id for k, face_id in keys if k == index}
        table = faces[index].table("faces", FACES, columns=["face_id", "image"], ids=ids)
        crops |= {
            (index, face_id): _decode(data, size)
            for face_id, data in zip(table["face_id"].to_pylist(), table["image"].to_pylist(), strict=True)
        }
    pixels = [crops[key] for key in keys]
    return (
        rows.drop_columns(["input", "face_digest", "way_digest", "precision"])
        .append_column("pixels", pa.array(pixels, pa.large_binary()))
        .append_column("status", pa.array([OK if p else UNREADABLE for p in pixels]))
        .append_column("error", pa.array(["" if p else "the crop of the face cannot be decoded" for p in pixels]))
    )


def _decode(data: bytes | None, size: int) -> bytes | None:
    image = images.decode(data) if data else None
    return None if image is None else images.resize_square(image, size).tobytes()


def encode(rows: pa.Table, size: int, quality: int) -> pa.Table:
    """Rows of ANIMATED: `pixels` encoded as JPEG."""
    encoded = [_encode(p, size, quality) if p else None for p in rows["pixels"].to_pylist()]
    sides = pa.array([size if image else None for image in encoded], pa.int32())
    return (
        rows.drop_columns(["pixels", "own"])
        .append_column("image", pa.array(encoded, pa.binary()))
        .append_column("width", sides)
        .append_column("height", sides)
    )


def _encode(pixels: bytes, size: int, quality: int) -> bytes:
    return images.encode_jpeg(np.frombuffer(pixels, np.uint8).reshape(size, size, 3), quality)
