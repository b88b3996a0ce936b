"""Described tables as files: CSV, Parquet, Markdown and LaTeX for each, and one workbook of all."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twfer_dist.engine import storage
from twfer_dist.engine.described import DescribedTable
from twfer_dist.engine.printed import PRINTED_ROWS, latex, markdown
from twfer_dist.engine.spreadsheet import open_csv
from twfer_dist.engine.workbook import SHEET_ROWS, Workbook

WORKBOOK = "tables.xlsx"


def write_tables(folder: str, tables: Iterable[DescribedTable], about: Sequence[tuple[str, str]]) -> None:
    """Write each table to `<name>.csv`, `.parquet`, `.md` and `.tex` in `folder`, and all to tables.xlsx.

    CSV and Parquet hold every row, the workbook the first SHEET_ROWS and print the first PRINTED_ROWS; each says how
    many there are. A table without rows is a header in CSV and Parquet, and a line in the workbook. Tables are read
    once, a part at a time. about: see `Workbook`.
    """
    book = Workbook(about)
    for table in tables:
        head, total = _write_data(folder, table)
        book.add(table, head, total)
        if not total:
            continue
        printed = head[:PRINTED_ROWS]
        storage.write_bytes(storage.join(folder, f"{table.name}.md"), markdown(table, printed, total).encode())
        storage.write_bytes(storage.join(folder, f"{table.name}.tex"), latex(table, printed, total).encode())
    storage.write_bytes(storage.join(folder, WORKBOOK), book.as_bytes())


def _write_data(folder: str, table: DescribedTable) -> tuple[list[dict[str, Any]], int]:
    """Write the CSV and the Parquet file; the first SHEET_ROWS rows, and how many there are."""
    head: list[dict[str, Any]] = []
    total, schema = 0, table.schema
    csv, parquet_file = (storage.join(folder, f"{table.name}.{ending}") for ending in ("csv", "parquet"))
    with open_csv(csv, schema) as write_csv, _open_parquet(parquet_file, schema) as parquet:
        for part in table.parts:
            rows = part.cast(schema)
            write_csv(rows)
            parquet.write_table(rows)
            head += rows.slice(0, SHEET_ROWS - len(head)).to_pylist()
            total += len(rows)
    return head, total


@contextlib.contextmanager
def _open_parquet(uri: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    fs, path = storage.resolve(uri)
    with storage.writing(uri):
        fs.create_dir(path.rsplit("/", 1)[0], recursive=True)
        with fs.open_output_stream(path) as sink, pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            yield writer
    storage.fsync(uri)
