"""What a stage writes through: its tables, its files, and the end that checks, compacts and seals them."""

import contextlib
import json
import platform
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import twfer_dist
from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import OK
from twfer_dist.engine import artifact, reuse, storage
from twfer_dist.engine.artifact import WORK, Artifact, Manifest, OutputFile, Reused
from twfer_dist.engine.progress import Log, Progress
from twfer_dist.engine.ray_data import run_shards
from twfer_dist.engine.reuse import Reuse
from twfer_dist.engine.shards import ShardStore, Step, by_id
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking

TARGET_FILE_BYTES = 256 << 20


TARGET_ROW_GROUP_BYTES = 8 << 20


REUSED = "reused.json"  # in WORK: of which other output rows are kept


class StageOutput:
    """What a stage's `do` writes through; `finish` checks, compacts and seals it."""

    def __init__(
        self,
        job: StageSpec,
        out: str,
        directory: str,
        quiet: bool,
        before: Artifact | None = None,
        tracking: Tracking | None = None,
    ) -> None:
        self.job = job
        self.out = out  # where outputs of the stage lie
        self.directory = directory
        self.results: dict[str, Any] = {}
        self._quiet = quiet
        self._tracking = tracking
        self._before = before  # whose failed rows are done again, and no others
        self._reuse: Reuse | None = None  # what is kept of another output
        self._row_keys: pa.Table | None = None  # (id, digest of what decides the row)
        self._target = ShardStore(directory, tuple(job.tables.items()))
        self._revised: dict[str, Callable[[pa.Table], pa.Table]] = {}
        self._ids: pa.ChunkedArray | None = None  # of the whole plan
        self._rows_per_shard = self._shards = 0

    def progress(self, total: float, unit: str = "", log: Log | None = None) -> Progress:
        return Progress(self.job.stage, total, unit=unit, quiet=self._quiet, log=log)

    def write_file(self, name: str, data: bytes) -> None:
        """Write a file of the output that is not a table."""
        storage.write_bytes(storage.join(self.directory, name), data)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a table made on the driver, sorted by its id."""
        table = by_id(schema.conform(table, self.job.tables[name]))
        rows = max(1, TARGET_ROW_GROUP_BYTES * len(table) // max(table.nbytes, 1))
        storage.write_parquet(storage.join(self.directory, name, "part-00000.parquet"), table, row_group_size=rows)

    def map(
        self, plan: pa.Table, steps: Sequence[Step], *, rows_per_shard: int, reuse_key_columns: Sequence[str] = ()
    ) -> None:
        """Carry every row of `plan` through `steps` on Ray Data, in shards of `rows_per_shard` rows.

        The plan's first column is the id. It is sorted by id; the shards, and with them the groups of rows that a
        network sees together, depend on the plan and on what is kept alone. A row that ends the process which works on
        it gets status "killed". reuse_key_columns: the columns that, with the stage's version, configuration and
        models, decide what comes of a row; given, rows in which another output of the stage agrees are kept of it, and
        the others alone are done.
        """
        plan = by_id(plan)
        self._ids, self._rows_per_shard = plan.column(0), rows_per_shard
        if len(plan) != pc.count_distinct(self._ids).as_py():
            raise ValueError(f"the plan of stage {self.job.stage} holds an id twice")
        if reuse_key_columns:
            pieces = [
                reuse.digest_rows(batch) for batch in plan.select(reuse_key_columns).to_batches(max_chunksize=1024)
            ]
            self._row_keys = pa.table(
                {plan.column_names[0]: self._ids, "row_key": pa.chunked_array(pieces, reuse.DIGEST)}
            )
        self._reuse = self._choose_reuse()
        if self._reuse:
            plan = plan.filter(pc.invert(pc.is_in(self._ids, pa.array(sorted(self._reuse.keep), pa.string()))))
        self._shards = -(-len(plan) // rows_per_shard)
        if not self._shards:
            return
        self._target.lay_out(plan, rows_per_shard)
        done = self._target.done() & set(range(self._shards))
        missing = sorted(set(range(self._shards)) - done)
        missing_rows = sum(min(rows_per_shard, len(plan) - shard * rows_per_shard) for shard in missing)
        with self._logged(len(plan)) if missing else contextlib.nullcontext() as log:
            progress = self.progress(len(plan), log=log)
            progress.start(len(plan) - missing_rows, dead=self._target.without_result(done) if missing else 0)
            if missing:
                for rows, counts in run_shards(missing, steps, self._target):
                    progress.advance(rows, dead=sum(n for status, n in counts.items() if status != OK))
            progress.close()

    @contextlib.contextmanager
    def _logged(self, rows: int) -> Iterator[Log | None]:
        """Where the figures of the progress go."""
        if self._tracking is None:
            yield None
            return
        params = {**json.loads(storage.json_text(self.job.config)), "rows": rows}
        tags = {"stage": self.job.stage, "fingerprint": self.job.fingerprint}
        with self._tracking.start(
            f"{self.job.stage}-{self.job.fingerprint}", self.out, tags=tags, params=params
        ) as run:
            yield run.log_metrics

    def revise(self, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
        """Change a table that `map` made, once all of it is known; rows that were kept of another output are changed
        too.

        change: applied to each shard of the table; leaves the ids and their order as they are.
        """
        self._revised[name] = change

    def pieces(self, name: str) -> Iterator[pa.Table]:
        """The table that `map` made, as it was revised, shard by shard, in the order of the ids."""
        return map(self._revised[name], self._joined(name)) if name in self._revised else self._joined(name)

    def _joined(self, name: str) -> Iterator[pa.Table]:
        made = self._made(name)
        if self._reuse is None or self._ids is None:
            return made
        first_ids = self._ids.take(
            pa.array(range(self._rows_per_shard, len(self._ids), self._rows_per_shard), pa.int64())
        ).to_pylist()
        return self._reuse.joined(name, self.job.tables[name], [*first_ids, None], made)

    def _choose_reuse(self) -> Reuse | None:
        """What is kept of another output: chosen at the first start and written down, since the shards hang on it."""
        if self._before:
            return reuse.keep_permanent(self._before, *next(iter(self.job.tables.items())))
        if self._row_keys is None:
            return None
        candidates = sorted(
            reuse.reuse_candidates(self.job.fingerprint_payload, self.out, self._row_keys),
            key=lambda reuse_of: len(reuse_of.keep),
            reverse=True,
        )
        note = storage.join(self.directory, WORK, REUSED)
        if storage.exists(note):
            noted = json.loads(storage.read_bytes(note))
            if not noted:
                return None
            for reuse_of in candidates:
                if noted == {"build_id": reuse_of.before.build_id} and self._is_whole(reuse_of.before):
                    return reuse_of
            storage.delete_folder(
                storage.join(self.directory, WORK)
            )  # it is there no more: without it the shards are no whole
        best = next((reuse_of for reuse_of in candidates if self._is_whole(reuse_of.before)), None)
        storage.write_json(note, {"build_id": best.before.build_id} if best else {})
        return best

    def _is_whole(self, other: Artifact) -> bool:
        """Whether rows may be kept of an output, as far as its checksums tell; said where not."""
        if fault := other.fault():
            print(f"twfer: {fault}: no row of {other.uri} is kept.", file=sys.stderr, flush=True)
        return not fault

    def _made(self, name: str) -> Iterator[pa.Table]:
        for shard in range(self._shards):
            with storage.open_parquet(self._target.shard(name, shard)) as file:
                yield file.read()

    def finish(self, seconds: float, check: Callable[[], None]) -> Artifact:
        """Compact the shards, check that the ids are the plan's, write checksums, and the manifest last, once `check`
        raises nothing.
        """
        planned = None if self._ids is None else next(iter(self.job.tables))
        if planned is not None:
            for name, expected in self.job.tables.items():
                _compact(self.directory, name, expected, self.pieces(name), self._ids if name == planned else None)
        if self._row_keys is not None:
            storage.write_parquet(storage.join(self.directory, reuse.ROW_KEYS), self._row_keys)
        files: list[OutputFile] = []
        rows: dict[str, int] = {}
        counts: dict[str, Counter[str]] = {}
        for name, expected in self.job.tables.items():
            rows[name], counts[name] = 0, Counter[str]()
            folder = storage.join(self.directory, name)
            for file in _part_files(folder):
                storage.fsync(storage.join(folder, file))
                with storage.open_parquet(storage.join(folder, file)) as parquet:
                    found = parquet.metadata.num_rows
                    if "status" in expected.names:
                        for counted in pc.value_counts(parquet.read(columns=["status"])["status"]).to_pylist():
                            counts[name][counted["values"]] += counted["counts"]
                rows[name] += found
                relative = file if name == "." else f"{name}/{file}"
                files.append(OutputFile(relative, storage.sha256_file(storage.join(folder, file)), name, found))
        tables = {file.path for file in files}
        others = storage.list_files(self.directory, recursive=True)
        files += [
            OutputFile(name, storage.sha256_file(storage.join(self.directory, name)))
            for name in others
            if name not in tables and not name.startswith(WORK + "/") and not name.endswith(".tmp")
        ]
        manifest = Manifest(
            fingerprint=self.job.fingerprint,
            **self.job.fingerprint_payload,
            build_ids=self.job.build_ids,
            build_id=uuid.uuid4().hex[:12],
            digest=storage.digest([(file.path, file.sha256) for file in files if file.path != reuse.ROW_KEYS]),
            planned_table=planned,
            rows=rows,
            counts={name: dict(sorted(c.items())) for name, c in counts.items()},
            reused=Reused(self._reuse.before.name, len(self._reuse.keep)) if self._reuse else None,
            results=self.results,
            seconds=round(seconds, 1),
            versions={
                "twfer_dist": twfer_dist.__version__,
                "python": platform.python_version(),
                "pyarrow": pa.__version__,
            },
            files=tuple(files),
        )
        check()
        storage.write_json(storage.join(self.directory, artifact.MANIFEST), manifest.as_json())
        storage.delete_folder(storage.join(self.directory, WORK))
        return artifact.open_artifact(self.directory)


def _part_files(folder: str) -> list[str]:
    return [file for file in storage.list_files(folder) if file.startswith("part-") and file.endswith(".parquet")]


def _compact(
    directory: str, name: str, expected: pa.Schema, shards: Iterator[pa.Table], planned: pa.ChunkedArray | None
) -> None:
    """Join a table's shards, in order, into few files of about `TARGET_FILE_BYTES`. planned: the ids that it must hold,
    where known.
    """
    folder = storage.join(directory, name)
    for file in _part_files(folder):  # of a start that was interrupted here
        storage.delete_file(storage.join(folder, file))
    number, size, rows, last_id = 0, 0, 0, ""
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    waiting_bytes = 0
    with contextlib.ExitStack() as stack:

        def flush() -> None:
            nonlocal writer, waiting, waiting_bytes
            with storage.writing(folder):
                if writer is None:
                    fs, path = storage.resolve(storage.join(folder, f"part-{number:05d}.parquet"))
                    fs.create_dir(path.rsplit("/", 1)[0], recursive=True)
                    writer = pq.ParquetWriter(path, expected, filesystem=fs, compression="zstd")
                    stack.callback(close, writer)
                # In one chunk: pages end where chunks end, and these hang on what was kept.
                table = pa.concat_tables(waiting).combine_chunks() if waiting else expected.empty_table()
                writer.write_table(table, row_group_size=1 << 20)
            waiting, waiting_bytes = [], 0

        def close(writer: pq.ParquetWriter) -> None:
            with storage.writing(folder):
                writer.close()

        for shard, table in enumerate(shards):
            if not len(table):
                continue
            ids = table.column(0)
            if ids[0].as_py() <= last_id or (planned and not ids.equals(planned.slice(rows, len(ids)).cast(ids.type))):
                raise UserError(
                    f"shard {shard} of {folder} does not hold the ids of the plan: delete {directory}, and start again."
                )
            last_id = ids[-1].as_py()
            rows += len(table)
            waiting.append(table)
            waiting_bytes += _bytes(table)
            size += _bytes(table)
            if waiting_bytes >= TARGET_ROW_GROUP_BYTES:
                flush()
            if size >= TARGET_FILE_BYTES and writer is not None:
                close(writer)
                writer, number, size = None, number + 1, 0
        if waiting or (writer is None and number == 0):
            flush()
    if planned and rows != len(planned):
        raise UserError(
            f"{folder} holds {rows} rows of {len(planned)} that were planned: delete {directory}, and start again."
        )


def _bytes(table: pa.Table) -> int:
    """About how large a table is, by its values alone: what it takes in memory hangs on where it came from."""
    long = [column for column in table.columns if pa.types.is_binary(column.type) or pa.types.is_string(column.type)]
    return sum(pc.sum(pc.binary_length(column)).as_py() or 0 for column in long) + 16 * len(table) * (
        table.num_columns - len(long)
    )
