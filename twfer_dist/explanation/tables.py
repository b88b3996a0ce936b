"""The Arrow schema of explained answers."""

import pyarrow as pa

from twfer_dist.core.schema import Column, stamped

EXPLANATION_COLUMNS = (
    Column("image_id", pa.string(), "The face whose answer is explained; its prediction has the same id."),
    Column("model", pa.string(), "The model that answered, as in its predictions."),
    Column("corpus", pa.string(), "Name of the corpus."),
    Column("figure_id", pa.string(), "The figure that the face shows."),
    Column("explained", pa.int8(), "The answer that is explained, 1 to 7."),
    Column("shown", pa.bool_(), "Whether the face is one of the sample to be shown, rather than of the check alone."),
    Column(
        "map",
        pa.list_(pa.float32()),
        "28 x 28 values, row by row: how much each place of the crop speaks for the answer (above 0) or against it; "
        "null for the reader.",
    ),
    Column("random_map", pa.list_(pa.float32()), "The same of a network with random weights; null for the reader."),
    Column(
        "moved",
        pa.list_(pa.float32()),
        "28 x 28 shares, row by row: how much of each place differs from the same figure at rest in the same scene; "
        "null where that is not known.",
    ),
    Column(
        "contributions",
        pa.list_(pa.float32()),
        "What each of the 17 Action Units adds to the probability of the answer; null for a recogniser.",
    ),
    Column("at_rest", pa.float32(), "The probability of the answer for a face at rest; null for a recogniser."),
    Column(
        "rendered",
        pa.list_(pa.float32()),
        "The 17 intensities that were rendered, 0 to 5; null where that is not known.",
    ),
    Column("status", pa.string(), "`ok`, or why the row has no result: see Statuses."),
    Column("error", pa.string(), "One sentence that explains the status; empty where it is `ok`."),
)

EXPLANATIONS = stamped(*EXPLANATION_COLUMNS)
