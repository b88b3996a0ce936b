"""The output of a stage while it is being written: tables, files and rows mapped on Ray Data, then its manifest."""

import contextlib
import json
import platform
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import twfer_dist
from twfer_dist.core.conformity import conform
from twfer_dist.engine import artifact, compaction, reuse, storage
from twfer_dist.engine.artifact import WORK, Artifact, Manifest, OutputFile, Reused
from twfer_dist.engine.map import MappedRows, compute_shards
from twfer_dist.engine.progress import Log, Progress
from twfer_dist.engine.reuse import Reuse
from twfer_dist.engine.shards import ShardStore, Step, sort_by_id
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking


class StageOutput:
    """What a stage's `do` writes to; `finish` checks, compacts and seals it.

    before: a finished output whose rows with a transient status are retried, and no others.
    """

    def __init__(
        self,
        spec: StageSpec,
        out: str,
        directory: str,
        quiet: bool,
        before: Artifact | None = None,
        tracking: Tracking | None = None,
    ) -> None:
        self.spec = spec
        self.out = out  # the folder of all outputs
        self.directory = directory
        self.results: dict[str, Any] = {}
        self._quiet, self._before, self._tracking = quiet, before, tracking
        self._rows: MappedRows | None = None
        self._build_id = uuid.uuid4().hex[:12]
        self._revisions: dict[str, Callable[[pa.Table], pa.Table]] = {}

    @property
    def name(self) -> str:
        """`<stage>-<fingerprint>`."""
        return self.spec.name

    def progress(self, total: float, unit: str = "", log: Log | None = None) -> Progress:
        return Progress(self.spec.stage, total, unit=unit, quiet=self._quiet, log=log)

    def scratch(self, name: str = ".") -> str:
        """The URI of a file or folder that lives until the output is finished, such as a checkpoint to resume from."""
        return storage.join(self.directory, WORK, name)

    def write_file(self, name: str, data: bytes) -> None:
        """Write a file of the output that is not a table."""
        storage.write_bytes(storage.join(self.directory, name), data)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a table made on the driver, sorted by its id."""
        table = sort_by_id(conform(table, self.spec.tables[name]))
        rows = max(1, compaction.TARGET_ROW_GROUP_BYTES * len(table) // max(table.nbytes, 1))
        storage.write_parquet(storage.join(self.directory, name, "part-00000.parquet"), table, row_group_size=rows)

    def map(
        self, plan: pa.Table, steps: Sequence[Step], *, rows_per_shard: int, reuse_key_columns: Sequence[str] = ()
    ) -> None:
        """Carry every row of `plan` through `steps` on Ray Data, in shards of `rows_per_shard` rows.

        The plan's first column is the id, and the plan is sorted by it. The shards, and so the groups of rows that a
        network sees together, depend only on the plan and the reused rows. A row that crashes its worker gets the
        status "killed". reuse_key_columns: the columns that decide a row, together with the stage's version,
        configuration and models; where given, rows that agree in them with another output of the stage are reused.
        """
        plan = sort_by_id(plan)
        ids = plan.column(0)
        if len(plan) != pc.count_distinct(ids).as_py():
            raise ValueError(f"the plan of stage {self.spec.stage} holds an id twice")
        keys = reuse.row_keys(plan, reuse_key_columns) if reuse_key_columns else None
        reused = self._choose_reuse(keys)
        if reused:
            plan = plan.filter(pc.invert(pc.is_in(ids, pa.array(sorted(reused.keep), pa.string()))))
        store = ShardStore(self.directory, tuple(self.spec.tables.items()))
        self._rows = MappedRows(store, ids, rows_per_shard, -(-len(plan) // rows_per_shard), keys, reused)
        if len(plan):
            compute_shards(store, plan, steps, rows_per_shard, self._row_progress)

    def revise(self, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
        """Change a mapped table, reused rows included, once all of it is known.

        change: applied to the table piece by piece; keeps the ids and their order.
        """
        self._revisions[name] = change

    def pieces(self, name: str) -> Iterator[pa.Table]:
        """The mapped table, as revised, piece by piece in the order of the ids."""
        if self._rows is None:
            raise ValueError(f"stage {self.spec.stage} has not mapped any rows")
        tables = self._rows.tables(name)
        return map(self._revisions[name], tables) if name in self._revisions else tables

    def finish(self, seconds: float, check: Callable[[], None]) -> Artifact:
        """Compact the shards, compute checksums and write the manifest last, unless `check` raises. UserError where the
        ids are not those of the plan.
        """
        planned = next(iter(self.spec.tables)) if self._rows else None
        if self._rows:
            for name, expected in self.spec.tables.items():
                ids = self._rows.ids if name == planned else None
                compaction.compact(self.directory, name, expected, self.pieces(name), ids)
            if self._rows.row_keys is not None:
                storage.write_parquet(storage.join(self.directory, reuse.ROW_KEYS), self._rows.row_keys)
        manifest = self._manifest(planned, seconds)
        check()
        storage.write_json(storage.join(self.directory, artifact.MANIFEST), manifest.as_json())
        storage.delete_folder(storage.join(self.directory, WORK))
        return artifact.open_artifact(self.directory)

    def preview(self) -> Manifest:
        """The manifest as it would be if the output had no more files to come, for a copy that travels."""
        return self._manifest(None, 0)

    def _manifest(self, planned: str | None, seconds: float) -> Manifest:
        parts, counts = self._part_files()
        files = [*parts, *self._other_files({part.path for part in parts})]
        reused = self._rows.reuse if self._rows else None
        return Manifest(
            fingerprint=self.spec.fingerprint,
            **self.spec.fingerprint_payload,
            build_ids=self.spec.build_ids,
            build_id=self._build_id,
            digest=storage.digest([(file.path, file.sha256) for file in files if file.path != reuse.ROW_KEYS]),
            planned_table=planned,
            rows={name: sum(part.rows or 0 for part in parts if part.table == name) for name in self.spec.tables},
            counts=counts,
            reused=Reused(reused.before.name, len(reused.keep)) if reused else None,
            results=self.results,
            seconds=round(seconds, 1),
            versions={
                "twfer_dist": twfer_dist.__version__,
                "python": platform.python_version(),
                "pyarrow": pa.__version__,
            },
            files=tuple(files),
        )

    def _part_files(self) -> tuple[list[OutputFile], dict[str, dict[str, int]]]:
        """The files of all tables, flushed to disk, and each table's rows by status."""
        files = []
        counts: dict[str, dict[str, int]] = {}
        for name, expected in self.spec.tables.items():
            statuses: Counter[str] = Counter()
            for file in compaction.part_files(storage.join(self.directory, name)):
                path = file if name == "." else f"{name}/{file}"
                uri = storage.join(self.directory, path)
                storage.fsync(uri)
                with storage.open_parquet(uri) as parquet:
                    rows = parquet.metadata.num_rows
                    if "status" in expected.names:
                        for counted in pc.value_counts(parquet.read(columns=["status"])["status"]).to_pylist():
                            statuses[counted["values"]] += counted["counts"]
                files.append(OutputFile(path, storage.sha256_file(uri), name, rows))
            counts[name] = dict(sorted(statuses.items()))
        return files, counts

    def _other_files(self, parts: set[str]) -> Iterator[OutputFile]:
        for path in storage.list_files(self.directory, recursive=True):
            if path not in parts and not path.startswith(f"{WORK}/") and not path.endswith(".tmp"):
                yield OutputFile(path, storage.sha256_file(storage.join(self.directory, path)))

    def _choose_reuse(self, keys: pa.Table | None) -> Reuse | None:
        if self._before:
            return reuse.keep_permanent(self._before, *next(iter(self.spec.tables.items())))
        if keys is None:
            return None
        return reuse.choose_reuse(self.spec.fingerprint_payload, self.out, self.directory, keys)

    @contextlib.contextmanager
    def _row_progress(self, rows: int) -> Iterator[Progress]:
        """The progress of `map`, at the terminal and, where the stage is tracked, in an MLflow run."""
        with contextlib.ExitStack() as stack:
            log: Log | None = None
            if self._tracking:
                params = {**json.loads(storage.json_text(self.spec.config)), "rows": rows}
                tags = {"stage": self.spec.stage, "fingerprint": self.spec.fingerprint}
                log = stack.enter_context(
                    self._tracking.start(self.name, self.out, tags=tags, params=params)
                ).log_metrics
            progress = self.progress(rows, log=log)
            yield progress
            progress.close()
