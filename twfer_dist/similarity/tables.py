"""The tables of this room, as `core.schema` declares all others."""

import pyarrow as pa

from twfer_dist.core.schema import FACE_COLUMNS, Column, stamped

_SHARED = {column.name: column for column in FACE_COLUMNS}

EMBEDDING_COLUMNS = (
    Column("image_id", pa.string(), "The `face_id` or `image_id` of the input row."),
    _SHARED["corpus"],
    _SHARED["figure_id"],
    Column("path", pa.string(), "Path of the photograph relative to the corpus; null where the input has no paths."),
    _SHARED["label"],
    _SHARED["split"],
    _SHARED["groups"],
    Column("network", pa.string(), "The network that embedded the face: its name and the start of its sha256."),
    Column(
        "embedding",
        pa.list_(pa.float32()),
        "The face's features, divided by their length (so of length 1): the product of two is their cosine similarity; "
        "null where the face has no result.",
    ),
    Column("image", pa.binary(), "The crop at 96 x 96 pixels (JPEG); null where it cannot be decoded."),
    _SHARED["status"],
    _SHARED["error"],
)

SIMILARITY_COLUMNS = (
    Column("comparison", pa.string(), "`<network>/<measure>/<first>/<second>`."),
    Column("network", pa.string(), "The network whose features are compared."),
    Column(
        "measure",
        pa.string(),
        "`within` (pairs of different figures of one group), `between` (pairs of different figures of two groups), "
        "`same figure` (pairs of pictures of one figure), or `difference` (within `first` minus between the two).",
    ),
    Column("first", pa.string(), "The group: a corpus, or a value of the column that was asked for."),
    Column("second", pa.string(), "The other group; equal to `first` except in `between` and `difference`."),
    Column("mean", pa.float64(), "Mean cosine similarity of all pairs, -1 to 1, or a difference of two such means."),
    Column("low", pa.float64(), "Lower end of its 95 % interval (bootstrap over figures); null for too few figures."),
    Column("high", pa.float64(), "Upper end of its 95 % interval."),
    Column("pairs", pa.int64(), "Number of pairs; of the pairs between the groups for a difference."),
    Column("faces", pa.int64(), "Number of faces of `first` and, where it differs, `second`."),
    Column("figures", pa.int64(), "Number of figures that these faces show."),
)

NEAR_DUPLICATE_COLUMNS = (
    Column("pair", pa.string(), "`<first_id> <second_id>`."),
    Column("first_id", pa.string(), "The face whose corpus and id come first in the alphabet."),
    Column("second_id", pa.string(), "The other face."),
    Column("first_corpus", pa.string(), "Corpus of the first face."),
    Column("second_corpus", pa.string(), "Corpus of the second face."),
    Column("first_path", pa.string(), "Path of the first face's photograph; null where the input has no paths."),
    Column("second_path", pa.string(), "Path of the second face's photograph."),
    Column("first_figure", pa.string(), "`figure_id` of the first face."),
    Column("second_figure", pa.string(), "`figure_id` of the second face."),
    Column("first_split", pa.string(), "Part of the data set that the first face is in; null without parts."),
    Column("second_split", pa.string(), "Part of the data set that the second face is in."),
    Column("similarity", pa.float32(), "Cosine similarity of the features, -1 to 1."),
    Column("content", pa.float32(), "Correlation of the fine structure of the two crops, -1 to 1."),
    Column("first_image", pa.binary(), "The first crop at 96 x 96 pixels (JPEG)."),
    Column("second_image", pa.binary(), "The second crop at 96 x 96 pixels (JPEG)."),
)

EMBEDDINGS = stamped(*EMBEDDING_COLUMNS)
SIMILARITIES = stamped(*SIMILARITY_COLUMNS)
NEAR_DUPLICATES = stamped(*NEAR_DUPLICATE_COLUMNS)
