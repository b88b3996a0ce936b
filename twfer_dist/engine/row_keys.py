"""The row keys of an output: a digest of what decided each planned row, by which a later output knows what to reuse."""

from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa
import pyarrow.dataset as ds

from twfer_dist.engine import hashed_file, ray_tasks, storage
from twfer_dist.engine.artifact import Artifact, OutputFile
from twfer_dist.engine.digests import DIGEST
from twfer_dist.engine.id_ranges import IdRange, within
from twfer_dist.engine.shards import ROW_KEY, PlannedPart, ShardStore

_NAME = "_row_keys"  # readers of a directory as a data set skip names with a leading underscore
_PARTS_PER_FILE = 64


def write(store: ShardStore) -> list[OutputFile]:
    """Have workers write the row keys of a plan beside the tables: (id, row_key)."""
    groups = [store.parts[k : k + _PARTS_PER_FILE] for k in range(0, len(store.parts), _PARTS_PER_FILE)]
    return list(ray_tasks.run("write row keys", partial(_write, store=store), enumerate(groups)))


def _write(numbered: tuple[int, Sequence[PlannedPart]], store: ShardStore) -> OutputFile:
    number, parts = numbered
    name, key = f"{_NAME}-{number:05d}.parquet", store.tables[0][1].names[0]

    def row_groups() -> Iterator[pa.Table]:
        for part in parts:
            with storage.open_parquet(store.plan_file(part.number)) as file:
                yield file.read(columns=[file.schema_arrow.names[0], ROW_KEY]).rename_columns([key, ROW_KEY])

    schema = pa.schema([(key, pa.string()), (ROW_KEY, DIGEST)])
    with storage.writing(store.directory):
        sha256 = hashed_file.write_row_groups(storage.join(store.directory, name), schema, row_groups())
    return OutputFile(name, sha256)


def files(output: Artifact) -> list[str]:
    """The paths of the files with row keys in an output; empty where none of its rows can be reused."""
    return [file.path for file in output.manifest.files if file.path.startswith(_NAME)]


def read(output: Artifact, ids: IdRange) -> pa.Table:
    """(id, row_key) of the planned rows of an output in a range of ids."""
    fs, base = storage.resolve(output.uri)
    scanned = ds.dataset([f"{base}/{name}" for name in files(output)], filesystem=fs, format="parquet")
    return scanned.to_table(filter=within(scanned.schema.names[0], ids))
