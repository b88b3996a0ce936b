"""What lies in an output, finished or not: counts by status, with examples of those that are not ok."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.errors import UserError
from twfer_dist.core.status import OK
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.artifact import WORK

EXAMPLES = 3  # of each status


def is_output(directory: str) -> bool:
    """Whether a path or URI is an output of a stage, finished or not."""
    directory = storage.absolute(directory)
    return any(storage.exists(storage.join(directory, name)) for name in (artifact.MANIFEST, WORK))


def inspect(directory: str) -> dict[str, Any]:
    """Of each table of the output at `directory` (a path or URI) that has a status: rows, counts by status, and of each
    status that is not ok the first ids with their errors. Of an unfinished stage, what is done so far. Problem where
    there is no output.
    """
    directory = storage.absolute(directory)
    if not is_output(directory):
        raise UserError(
            f"{directory} is not an output of a stage: name one, such as a folder that `twfer status` lists."
        )
    finished = storage.exists(storage.join(directory, artifact.MANIFEST))
    found = _finished_files(directory) if finished else _unfinished_files(directory)
    tables = {name: table for name, files in found.items() if (table := _table(directory, files))}
    return {"output": directory, "state": "finished" if finished else "unfinished", "tables": tables}


def _finished_files(directory: str) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for entry in artifact.open_artifact(directory).manifest.files:
        if entry.table is not None:
            files.setdefault(entry.table, []).append(entry.path)
    return files


def _unfinished_files(directory: str) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for path in storage.list_files(storage.join(directory, WORK), recursive=True):
        table, _, name = path.rpartition("/")
        if name.startswith("shard-") and name.endswith(".parquet"):
            files.setdefault(table or ".", []).append(f"{WORK}/{path}")
    return files


def _table(directory: str, files: list[str]) -> dict[str, Any] | None:
    """Rows, counts and examples of a table; None where it has no status."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[dict[str, str]]] = {}
    for table in _read(directory, files):
        if table is None:
            return None
        for counted in pc.value_counts(table["status"]).to_pylist():
            counts[counted["values"]] += counted["counts"]
        odd = table.filter(pc.not_equal(table["status"], OK))
        for status in odd["status"].unique().to_pylist():
            rows = odd.filter(pc.equal(odd["status"], status)).slice(0, EXAMPLES - len(examples.get(status, [])))
            ids, errors = (
                rows[0].to_pylist(),
                rows["error"].to_pylist() if "error" in rows.column_names else [""] * len(rows),
            )
            examples.setdefault(status, []).extend({"id": i, "error": e} for i, e in zip(ids, errors, strict=True))
    return {"rows": counts.total(), "counts": dict(counts.most_common()), "examples": examples}


def _read(directory: str, files: list[str]) -> Iterator[pa.Table | None]:
    """Ids, statuses and errors file by file; None for a file of a table that has no status."""
    for file in files:
        with storage.open_parquet(storage.join(directory, file)) as parquet:
            names = parquet.schema_arrow.names
            if "status" not in names:
                yield None
                return
            yield parquet.read(columns=[names[0], *(name for name in ("status", "error") if name in names)])
