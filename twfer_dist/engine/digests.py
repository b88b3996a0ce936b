"""Digests of rows: what tells whether a row, or the image in it, has changed.

An image is digested once, by the worker that writes it. Its digest and length travel beside it in shards, and in a
small file beside each finished part, so that later stages plan without reading an image.
"""

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

DIGEST = pa.binary(16)
IMAGE = "image"
IMAGE_BYTES, IMAGE_DIGEST = "image_bytes", "image_digest"
_FIELDS = (pa.field(IMAGE_BYTES, pa.int32()), pa.field(IMAGE_DIGEST, DIGEST))


def digest_fields(expected: pa.Schema) -> tuple[pa.Field, ...]:
    """The columns that stand beside the images of a table: length and digest; none where it has no images."""
    return _FIELDS if IMAGE in expected.names else ()


def with_image_digests(table: pa.Table) -> pa.Table:
    """The table with `digest_fields` of its images; null where there is no image."""
    if IMAGE not in table.column_names:
        return table
    images = table[IMAGE]
    digests = [None if data is None else _digest(data) for data in images.to_pylist()]
    return table.append_column(_FIELDS[0], pc.binary_length(images).cast(pa.int32())).append_column(
        _FIELDS[1], pa.array(digests, DIGEST)
    )


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def digest_ids(rows: pa.Table) -> bytes:
    """A digest of the first column, in its order."""
    return _digest("\n".join(rows.column(0).to_pylist()).encode())


def digest_rows(rows: pa.RecordBatch | pa.Table) -> pa.Array:
    """A digest of 16 bytes of the values of each row."""
    digests = []
    for values in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        state = hashlib.blake2b(digest_size=16)
        for value in values:
            data = value if isinstance(value, bytes) else repr(value).encode()
            state.update(len(data).to_bytes(8, "little") + data)
        digests.append(state.digest())
    return pa.array(digests, DIGEST)
