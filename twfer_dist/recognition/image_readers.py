"""Which model reads which image, as workers plan it; without torch, which they need not load for that."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.schema import figures
from twfer_dist.engine.id_ranges import IdTable

FIGURE = ("corpus", "figure_id")
"""The columns that name the figure of an image."""


def count_figures(tables: Sequence[IdTable]) -> tuple[pa.Array, np.ndarray]:
    """The figures of all rows, each once, and how many rows each has."""
    counts = Counter[str]()
    for table in tables:
        for batch in table.output.scan(table.name, table.schema).to_batches(columns=list(FIGURE)):
            counted = pc.value_counts(figures(batch))
            counts.update(dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True)))
    return pa.array(list(counts), pa.string()), np.array(list(counts.values()))


def with_readers(rows: pa.Table, digests: pa.Array, named: pa.Array, readers: np.ndarray) -> pa.Table:
    """The rows with `reader` and `model`. readers: of the figures `named`; where there are none, the only model."""
    reader = pa.array(np.zeros(len(rows), np.int16))
    if len(named):
        reader = pa.array(readers).take(pc.index_in(figures(rows), named))
        rows = rows.drop_columns(list(FIGURE))
    return rows.append_column("reader", reader).append_column("model", digests.take(reader))
