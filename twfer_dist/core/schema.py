"""The Arrow schemas of the stages' tables.

Ids: `photo_id` is a hash of the corpus name and the path in it, `face_id` is `<photo_id>-<rank>`, `image_id` is
`<face_id>-<expression>-<reference>-<level>`: related ids sort next to each other. Images are encoded bytes (JPEG or
PNG) with their width and height. Labels are 1 to 7, Action Units 0 to 5. `status` is one of `core.status`.

Each column is described here and nowhere else; `make docs` prints the descriptions as docs/data-dictionary.md. They are
not part of a schema: no file holds them.
"""

import hashlib
from collections.abc import Set
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

SCHEMA_VERSION = 4
"""Raised with any change of a schema below. It is part of every fingerprint and of every file's metadata."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, its type, and what a value means."""

    name: str
    type: pa.DataType
    description: str


_UNITS = pa.list_(pa.float32())  # 17 or null; of variable size, since Parquet cannot read back a null in a fixed one

_CORPUS = Column("corpus", pa.string(), "Name of the corpus.")
_FIGURE_ID = Column(
    "figure_id",
    pa.string(),
    "The figure that the image shows or descends from; images of one figure count as one sample and stay on one side "
    "of a split. In tables made from faces, all copies of a picture have the same figure.",
)
_LABEL = Column("label", pa.int8(), "Expression, 1 to 7; null where unknown.")
_SPLIT = Column("split", pa.string(), "`train`, `validation` or `test`; null where the corpus has no split.")
_GROUPS = Column("groups", pa.map_(pa.string(), pa.string()), "Grouping columns of the manifest: posture, material ...")
_ACTION_UNITS = Column("action_units", _UNITS, "17 intensities, 0 to 5; null where unknown.")
_HALF_WIDTH = Column(
    "action_units_half_width_90",
    _UNITS,
    "Half the width of each unit's 90 % interval; null where the network did not measure the units.",
)
_POSE = Column("pose", pa.list_(pa.float32()), "Yaw (to the subject's left), pitch (up) and roll in degrees.")
_IMAGE = Column("image", pa.binary(), "The image, encoded (JPEG or PNG); null where there is none.")
_WIDTH = Column("width", pa.int32(), "Width of the image in pixels.")
_HEIGHT = Column("height", pa.int32(), "Height of the image in pixels.")
_STATUS = Column("status", pa.string(), "`ok`, or why the row has no result: see Statuses.")
_ERROR = Column("error", pa.string(), "One sentence that explains the status; empty where it is `ok`.")


def stamped(*columns: Column | tuple[str, pa.DataType]) -> pa.Schema:
    """A schema that carries SCHEMA_VERSION."""
    fields = [(column.name, column.type) if isinstance(column, Column) else column for column in columns]
    return pa.schema(fields, metadata={b"twfer_schema": str(SCHEMA_VERSION).encode()})


CORPUS_COLUMNS = (
    Column("photo_id", pa.string(), "Hash of the corpus name and the path: 16 hex digits."),
    _CORPUS,
    Column("path", pa.string(), "Path of the file relative to the corpus, with forward slashes."),
    _FIGURE_ID,
    _LABEL,
    Column(
        "label_rule",
        pa.string(),
        "Where the label comes from: `given`, `majority` (of the votes), `tie: ...` (equally many votes) or `none`.",
    ),
    _SPLIT,
    _GROUPS,
    Column("action_units", _UNITS, "17 intensities, 0 to 5, from `openface.csv`; null where there are none."),
)

PHOTOGRAPH_COLUMNS = (
    *CORPUS_COLUMNS,
    _STATUS,
    _ERROR,
    Column("content_sha256", pa.string(), "sha256 of the file; empty where the file is missing."),
    Column("width", pa.int32(), "Width of the upright photograph in pixels; null where it could not be read."),
    Column("height", pa.int32(), "Height of the upright photograph in pixels; null where it could not be read."),
    Column("faces", pa.int16(), "Number of faces found."),
    Column("note", pa.string(), "Remarks on how the file was read, in sentences; mostly empty."),
    Column(
        "thumbnail",
        pa.binary(),
        "16 x 16 grey pixels, row by row, by which copies are found; null where the photograph could not be read.",
    ),
)

FACE_COLUMNS = (
    Column("face_id", pa.string(), "`<photo_id>-<rank>`."),
    Column("photo_id", pa.string(), "The photograph that the face was found in."),
    Column("rank", pa.int16(), "0 is the largest face of the photograph."),
    _CORPUS,
    Column("path", pa.string(), "Path of the photograph relative to the corpus."),
    _FIGURE_ID,
    Column(
        "label", pa.int8(), "Expression, 1 to 7; null where unknown. A photograph's label goes to its largest face."
    ),
    _SPLIT,
    _GROUPS,
    _ACTION_UNITS,
    Column("action_units_from", pa.string(), "`openface` or `network`; null where there are no Action Units."),
    _HALF_WIDTH,
    Column("detector", pa.string(), "Name, version and digest of the detector; `aligned` where nothing was detected."),
    Column("score", pa.float32(), "Score of the detector; null for aligned crops."),
    Column(
        "box",
        pa.list_(pa.float32()),
        "x, y, width and height of the detected face, in pixels of the upright photograph.",
    ),
    Column(
        "landmarks68",
        pa.list_(pa.list_(pa.float32())),
        "68 points (iBUG's), x and y in pixels of the upright photograph; null where the face was not measured.",
    ),
    Column(
        "landmarks_predicted_nme",
        pa.float32(),
        "Predicted mean error of the points, as a share of the distance between the outer corners of the eyes.",
    ),
    _POSE,
    Column(
        "sharpness",
        pa.float32(),
        "Standard deviation of the aligned crop's Laplacian, divided by that of its grey values.",
    ),
    Column("crop_matrix", pa.list_(pa.float32()), "2 x 3 matrix, row by row, from the upright photograph to the crop."),
    Column("image", pa.binary(), "The square crop (JPEG)."),
    _WIDTH,
    _HEIGHT,
    _STATUS,
    _ERROR,
    Column("note", pa.string(), "Remarks on how the face was found and measured, in sentences; mostly empty."),
)

_HEAD = (
    Column("image_id", pa.string(), "`<figure>-<scene>-<number>`."),
    Column("figure_id", pa.string(), "The figure: one identity of the head model."),
)
_PERFORMED = (
    Column("label", pa.int8(), "The expression that was rendered, 1 to 7; null for free Action Units."),
    Column("intensity", pa.float32(), "Share of the expression's prototype, 0 to 1; null for free Action Units."),
)

RENDERED_COLUMNS = (
    *_HEAD,
    Column(
        "scene",
        pa.string(),
        "Images of one scene differ in Action Units alone: same figure, material, light and camera.",
    ),
    *_PERFORMED,
    Column("votes", pa.string(), "Votes of simulated annotators; empty where there are none."),
    _GROUPS,
    Column("action_units", pa.list_(pa.float32(), 17), "The 17 intensities that were rendered, 0 to 5."),
    Column("landmarks68", pa.list_(pa.float32(), 136), "x and y of the 68 points (iBUG's) in pixels of the image."),
    Column("pose", pa.list_(pa.float32(), 3), "Yaw, pitch and roll in degrees."),
    _IMAGE,
    _WIDTH,
    _HEIGHT,
    _STATUS,
    _ERROR,
)

MEASURED_COLUMNS = (
    *_HEAD,
    *_PERFORMED,
    Column("action_units_rendered", _UNITS, "The 17 intensities that were rendered, 0 to 5."),
    Column("action_units", _UNITS, "The 17 intensities that were measured; null where no face was found."),
    _HALF_WIDTH,
    _POSE,
    _STATUS,
    _ERROR,
)

ANIMATED_COLUMNS = (
    Column("image_id", pa.string(), "`<face_id>-<expression>-<reference number>-<level>`."),
    Column("face_id", pa.string(), "The face that was animated."),
    _CORPUS,
    _FIGURE_ID,
    Column("label", pa.int8(), "The expression that was requested, 1 to 7."),
    Column("level", pa.int16(), "Step towards the reference: 1 to `levels`."),
    Column("intensity", pa.float32(), "From 0 (the face's own Action Units) to 1 (the reference's)."),
    Column("reference_id", pa.string(), "The face whose Action Units are copied, or `prototype-<expression>`."),
    _GROUPS,
    Column("action_units", _UNITS, "The 17 intensities that were requested, 0 to 5."),
    _IMAGE,
    _WIDTH,
    _HEIGHT,
    _STATUS,
    _ERROR,
)

DATASET_COLUMNS = (
    Column("image_id", pa.string(), "The `face_id` of a photograph's face, or the `image_id` of an animated one."),
    Column("split", pa.string(), "`train`, `validation` or `test`."),
    _LABEL,
    _FIGURE_ID,
    _CORPUS,
    Column("origin", pa.string(), "`photograph` or `animated`."),
    Column("intensity", pa.float32(), "Intensity of an animated image, 0 to 1; null for photographs."),
    _ACTION_UNITS,
    _GROUPS,
    _IMAGE,
    _WIDTH,
    _HEIGHT,
    _STATUS,
    _ERROR,
)

PREDICTION_COLUMNS = (
    Column("image_id", pa.string(), "The `image_id` or `face_id` of the input row."),
    Column("model", pa.string(), "Name of the recogniser: its network and the start of the training's fingerprint."),
    _FIGURE_ID,
    _CORPUS,
    _SPLIT,
    Column("label", pa.int8(), "The true expression, 1 to 7; null where unknown."),
    _GROUPS,
    Column("probabilities", pa.list_(pa.float32()), "Calibrated, of the seven expressions; null without an image."),
    Column("predicted", pa.int8(), "The most probable expression, 1 to 7; null where no image could be read."),
    Column("confidence", pa.float32(), "Calibrated probability of `predicted`."),
    Column("status", pa.string(), "`ok`, `low_confidence`, `out_of_distribution`, or the status of the input row."),
    _ERROR,
)

READING_COLUMNS = (
    Column("face_id", pa.string(), "The face that was read; its prediction has the same id in `image_id`."),
    Column(
        "intensities",
        pa.list_(pa.float32()),
        "How strongly each of the seven expressions is shown, 0 to 1; null where the face was not read.",
    ),
    Column("reason", pa.string(), "The Action Units that decided the answer, in words; empty where there is none."),
    Column(
        "relative_probabilities",
        pa.list_(pa.float32()),
        "Probabilities of the seven expressions once the corpus's median face is taken for neutral; null where there "
        "is no such reading.",
    ),
    Column("relative_predicted", pa.int8(), "The most probable expression of the relative reading, 1 to 7; or null."),
)


CORPUS = stamped(*CORPUS_COLUMNS)
PHOTOGRAPHS = stamped(*PHOTOGRAPH_COLUMNS)
FACES = stamped(*FACE_COLUMNS)
RENDERED = stamped(*RENDERED_COLUMNS)
MEASURED = stamped(*MEASURED_COLUMNS)
ANIMATED = stamped(*ANIMATED_COLUMNS)
DATASET = stamped(*DATASET_COLUMNS)
PREDICTIONS = stamped(*PREDICTION_COLUMNS)
READINGS = stamped(*READING_COLUMNS)


SEVERAL_CORPORA = "copies in several corpora: "
"""The prefix of `figure_id` where copies of one photograph are in several corpora."""


def figures(rows: pa.Table | pa.RecordBatch) -> pa.Array:
    """A name for the figure of each row that is unique over corpora, which may use one figure_id for different
    figures.
    """
    corpus, figure_id = (pc.fill_null(rows[name], "") for name in ("corpus", "figure_id"))
    named = pc.binary_join_element_wise(corpus, figure_id, pa.scalar("\0", figure_id.type))
    named = pc.if_else(pc.starts_with(figure_id, SEVERAL_CORPORA), figure_id, named)
    return named.combine_chunks() if isinstance(named, pa.ChunkedArray) else named


def photo_id(corpus: str, path: str) -> str:
    """The id of the photograph at `path` (forward slashes) of the corpus named `corpus`: 16 hex digits."""
    return hashlib.sha256(f"{corpus}\0{path}".encode()).hexdigest()[:16]


def descends(row_id: str, ids: Set[str]) -> bool:
    """Whether `row_id` is one of `ids` or descends from one: `<id>-...`."""
    parts = row_id.split("-")
    return any("-".join(parts[:count]) in ids for count in range(1, len(parts) + 1))
