"""The Arrow schemas of the stages' tables, and the check of a table that is read back.

Ids: `photo_id` is a hash of the corpus name and the path in it, `face_id` is `<photo_id>-<rank>`, `image_id` is
`<face_id>-<expression>-<reference>-<level>`: related ids sort next to each other. Images are encoded bytes (JPEG or
PNG) with their width and height. Labels are 1 to 7, Action Units 0 to 5. `status` is one of `core.status`.
"""

import hashlib
from collections.abc import Set

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.errors import UserError

SCHEMA_VERSION = 4
"""Raised with any change of a schema below. It is part of every fingerprint and of every file's metadata."""

_UNITS = pa.list_(pa.float32())  # 17 or null; of variable size, since Parquet cannot read back a null in a fixed one
_GROUPS = pa.map_(pa.string(), pa.string())


def stamped(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    """A schema that carries SCHEMA_VERSION."""
    return pa.schema(list(fields), metadata={b"twfer_schema": str(SCHEMA_VERSION).encode()})


CORPUS = stamped(
    ("photo_id", pa.string()),
    ("corpus", pa.string()),
    ("path", pa.string()),  # relative to the corpus, with forward slashes
    ("figure_id", pa.string()),  # what an image shows: a figure or a photograph; in FACES shared by all copies
    ("label", pa.int8()),  # 1 to 7, null where unknown
    ("label_rule", pa.string()),  # "given", "majority", "tie: ..." or "none"
    ("split", pa.string()),  # "train", "validation" or "test" where the corpus has a split, else null
    ("groups", _GROUPS),  # the grouping columns of the manifest: posture, material, ...
    ("action_units", _UNITS),  # from an OpenFace-shaped CSV, else null
)

PHOTOGRAPHS = stamped(
    *((f.name, f.type) for f in CORPUS),
    ("status", pa.string()),
    ("error", pa.string()),
    ("content_sha256", pa.string()),  # empty where the file is missing
    ("width", pa.int32()),  # of the upright photograph; null where it could not be read
    ("height", pa.int32()),
    ("faces", pa.int16()),  # how many were found
    ("note", pa.string()),  # remarks on how the file was read, in sentences; mostly empty
    ("thumbnail", pa.binary()),  # 16 x 16 grey pixels, row by row, to find copies; null where it could not be read
)

FACES = stamped(
    ("face_id", pa.string()),
    ("photo_id", pa.string()),
    ("rank", pa.int16()),  # 0 is the largest face of the photograph
    ("corpus", pa.string()),
    ("path", pa.string()),
    ("figure_id", pa.string()),
    ("label", pa.int8()),
    ("split", pa.string()),
    ("groups", _GROUPS),
    ("action_units", _UNITS),
    ("action_units_from", pa.string()),  # "openface" or "network"; null without Action Units
    ("action_units_half_width_90", _UNITS),  # half of each 90 % interval; null where they are not the network's
    ("detector", pa.string()),
    ("score", pa.float32()),
    ("box", pa.list_(pa.float32())),  # x, y, width, height in pixels of the upright photograph, as detected
    ("landmarks68", pa.list_(pa.list_(pa.float32()))),  # 68 x 2: the iBUG points in pixels of the upright photograph
    ("landmarks_predicted_nme", pa.float32()),  # expected mean error of the points, in interocular distances
    ("pose", pa.list_(pa.float32())),  # yaw (to the subject's left), pitch (up), roll in degrees
    ("sharpness", pa.float32()),  # of the face as photographed, see measurement.analyzer
    ("crop_matrix", pa.list_(pa.float32())),  # 2x3, row by row: upright photograph -> crop
    ("image", pa.binary()),  # the square crop
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("status", pa.string()),
    ("error", pa.string()),
    ("note", pa.string()),  # remarks on how the face was found and measured, in sentences; mostly empty
)

RENDERED = stamped(
    ("image_id", pa.string()),  # <figure>-<scene>-<number>
    ("figure_id", pa.string()),  # one identity
    ("scene", pa.string()),  # images of a scene share figure, material, light and camera, and differ in Action Units
    ("label", pa.int8()),  # the rendered expression; null for free Action Units
    ("intensity", pa.float32()),  # 0 to 1 of the expression's prototype; null for free Action Units
    ("votes", pa.string()),  # of simulated annotators; empty without them
    ("groups", _GROUPS),  # material, posture, ...
    ("action_units", pa.list_(pa.float32(), 17)),
    ("landmarks68", pa.list_(pa.float32(), 136)),  # x, y of the 68 iBUG points in pixels of the image
    ("pose", pa.list_(pa.float32(), 3)),  # yaw, pitch, roll in degrees
    ("image", pa.binary()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("status", pa.string()),
    ("error", pa.string()),
)

ANIMATED = stamped(
    ("image_id", pa.string()),
    ("face_id", pa.string()),
    ("corpus", pa.string()),
    ("figure_id", pa.string()),
    ("label", pa.int8()),  # the requested expression
    ("level", pa.int16()),  # 1 .. levels
    ("intensity", pa.float32()),  # 0 (the figure's own Action Units) to 1 (the reference's)
    ("reference_id", pa.string()),  # the face whose Action Units are copied
    ("groups", _GROUPS),
    ("action_units", _UNITS),  # requested
    ("image", pa.binary()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("status", pa.string()),
    ("error", pa.string()),
)

DATASET = stamped(
    ("image_id", pa.string()),
    ("split", pa.string()),  # "train", "validation" or "test"
    ("label", pa.int8()),
    ("figure_id", pa.string()),
    ("corpus", pa.string()),
    ("origin", pa.string()),  # "photograph" or "animated"
    ("intensity", pa.float32()),  # null for photographs
    ("action_units", _UNITS),
    ("groups", _GROUPS),
    ("image", pa.binary()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("status", pa.string()),
    ("error", pa.string()),
)

PREDICTIONS = stamped(
    ("image_id", pa.string()),  # a face_id for faces of photographs
    ("model", pa.string()),
    ("figure_id", pa.string()),
    ("corpus", pa.string()),
    ("split", pa.string()),
    ("label", pa.int8()),  # the true one, null where unknown
    ("groups", _GROUPS),
    ("probabilities", pa.list_(pa.float32())),
    ("predicted", pa.int8()),  # 1 to 7; null where the image could not be read
    ("confidence", pa.float32()),  # calibrated probability of `predicted`
    ("status", pa.string()),  # "ok", "low_confidence" or the status of the face
    ("error", pa.string()),
)


SEVERAL_CORPORA = "copies in several corpora: "
"""The prefix of `figure_id` where copies of one photograph are in several corpora."""


def figures(rows: pa.Table | pa.RecordBatch) -> pa.Array:
    """A name for the figure of each row that is unique over corpora, which may use one figure_id for different
    figures.
    """
    corpus, figure_id = (pc.fill_null(rows[name], "") for name in ("corpus", "figure_id"))
    named = pc.binary_join_element_wise(corpus, figure_id, "\0")
    named = pc.if_else(pc.starts_with(figure_id, SEVERAL_CORPORA), figure_id, named)
    return named.combine_chunks() if isinstance(named, pa.ChunkedArray) else named


def photo_id(corpus: str, path: str) -> str:
    """The id of the photograph at `path` (forward slashes) of the corpus named `corpus`: 16 hex digits."""
    return hashlib.sha256(f"{corpus}\0{path}".encode()).hexdigest()[:16]


def descends(row_id: str, ids: Set[str]) -> bool:
    """Whether `row_id` is one of `ids` or descends from one: `<id>-...`."""
    parts = row_id.split("-")
    return any("-".join(parts[:count]) in ids for count in range(1, len(parts) + 1))


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` in the column order and types of `schema`. A missing or unexpected column is a bug: KeyError."""
    names, expected = set(table.column_names), set(schema.names)
    if names != expected:
        raise KeyError(
            f"columns differ from the schema: missing {sorted(expected - names)}, unexpected {sorted(names - expected)}"
        )
    return table.select(schema.names).cast(schema)


def check(actual: pa.Schema, expected: pa.Schema, uri: str) -> None:
    """Raise UserError where the schema of the file at `uri` is not `expected`, naming column and versions."""
    version = (actual.metadata or {}).get(b"twfer_schema", b"none").decode()
    if version != str(SCHEMA_VERSION):
        raise UserError(
            f"{uri} has schema version {version} and this program reads version {SCHEMA_VERSION}: "
            "rerun the stage that made it, or use the version of twfer_dist that wrote it."
        )
    for field in expected:
        index = actual.get_field_index(field.name)
        if index < 0:
            raise UserError(
                f"{uri} has no column '{field.name}', so it is not a table of this stage: name another directory."
            )
        if actual.field(index).type != field.type:
            raise UserError(
                f"{uri}: column '{field.name}' is {actual.field(index).type}, expected {field.type}: rerun the stage "
                "that made it."
            )
