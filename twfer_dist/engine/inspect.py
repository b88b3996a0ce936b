"""Summary of an output, finished or not: rows by status, with examples of those that are not ok."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twfer_dist.core.errors import UserError
from twfer_dist.core.status import OK
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.artifact import WORK
from twfer_dist.engine.shards import PLAN, REST, ShardStore

EXAMPLES = 3  # of each status


def is_output(directory: str) -> bool:
    """Whether a path or URI is the output of a stage, finished or not."""
    directory = storage.absolute(directory)
    return any(storage.exists(storage.join(directory, name)) for name in (artifact.MANIFEST, WORK))


def inspect(directory: str) -> dict[str, Any]:
    """Of each table with a status in the output at `directory` (a path or URI): rows, counts by status, and for each
    status except ok the first ids with their errors. Of an unfinished output, the finished shards. UserError where
    there is no output.
    """
    directory = storage.absolute(directory)
    if not is_output(directory):
        raise UserError(
            f"{directory} is not an output of a stage: name one, such as a folder that `twfer status` lists."
        )
    if not _is_finished(directory):
        try:
            return _summary(directory, "unfinished", _unfinished_files(directory))
        except UserError:
            if not _is_finished(directory):  # else the run finished meanwhile, and deleted the shards
                raise
    return _summary(directory, "finished", _finished_files(directory))


def _is_finished(directory: str) -> bool:
    return storage.exists(storage.join(directory, artifact.MANIFEST))


def _summary(directory: str, state: str, files: Mapping[str, list[str]]) -> dict[str, Any]:
    tables = {name: table for name, paths in files.items() if (table := _summarise(directory, paths))}
    return {"output": directory, "state": state, "tables": tables}


def planned_rows(directory: str) -> int:
    """How many rows an unfinished output plans to compute."""
    return sum(part.num_rows for part in _planned(directory))


def finished_share(directory: str) -> float:
    """The share of an unfinished output's planned shards that are finished: 0 where it has none."""
    shards = {path.rpartition("/")[2] for paths in _unfinished_files(directory).values() for path in paths}
    planned = sum(part.num_row_groups for part in _planned(directory))
    return min(1.0, len(shards) / planned) if planned else 0.0


def _planned(directory: str) -> Iterator[pq.FileMetaData]:
    """Of each part of an unfinished output's plan; a row group is a shard."""
    store = ShardStore(storage.absolute(directory), ())
    files = {}
    for folder, file_of in ((PLAN, store.plan_file), (REST, store.rest_file)):  # what is not reused comes last
        for name in storage.list_files(storage.join(store.directory, WORK, folder)):
            if name.endswith(".parquet"):
                number = int(name.removesuffix(".parquet").rpartition("-")[2])
                files[number] = file_of(number)
    for uri in files.values():
        with storage.open_parquet(uri) as file:
            yield file.metadata


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


def _summarise(directory: str, files: list[str]) -> dict[str, Any] | None:
    """Rows, counts and examples of a table; None where it has no status."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[dict[str, str]]] = {}
    for table in _read(directory, files):
        if table is None:
            return None
        for counted in pc.value_counts(table["status"]).to_pylist():
            counts[counted["values"]] += counted["counts"]
        failed = table.filter(pc.not_equal(table["status"], OK))
        for status in failed["status"].unique().to_pylist():
            rows = failed.filter(pc.equal(failed["status"], status)).slice(0, EXAMPLES - len(examples.get(status, [])))
            ids = rows[0].to_pylist()
            errors = rows["error"].to_pylist() if "error" in rows.column_names else [""] * len(rows)
            examples.setdefault(status, []).extend({"id": i, "error": e} for i, e in zip(ids, errors, strict=True))
    return {"rows": counts.total(), "counts": dict(counts.most_common()), "examples": examples}


def _read(directory: str, files: list[str]) -> Iterator[pa.Table | None]:
    """Ids, statuses and errors, file by file; None and no more where the table has no status."""
    for file in files:
        with storage.open_parquet(storage.join(directory, file)) as parquet:
            names = parquet.schema_arrow.names
            if "status" not in names:
                yield None
                return
            yield parquet.read(columns=[names[0], *(name for name in ("status", "error") if name in names)])
