"""The output of a stage while it is being written: tables, files and rows mapped on Ray Data, then its manifest."""

import contextlib
import json
import platform
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

import twfer_dist
from twfer_dist.core.conformity import conform
from twfer_dist.engine import artifact, compaction, reuse, row_keys, storage
from twfer_dist.engine.artifact import WORK, Artifact, Manifest, OutputFile, Reused
from twfer_dist.engine.compaction import Part
from twfer_dist.engine.map import MappedRows, compute_shards, count_kept, set_reused_aside, write_plan
from twfer_dist.engine.plan import Plan, in_memory, sort_by_id
from twfer_dist.engine.progress import Log, Progress, counted
from twfer_dist.engine.reuse import Reuse
from twfer_dist.engine.shards import ShardStore, Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.engine.usage import Usage, Used

_SHARDS_PER_PART = 64  # of a plan on the driver


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
        self._has_row_keys = False
        self._build_id = uuid.uuid4().hex[:12]
        self._revisions: dict[str, Callable[[pa.Table], pa.Table]] = {}

    @property
    def name(self) -> str:
        """`<stage>-<fingerprint>`."""
        return self.spec.name

    def progress(self, total: float, unit: str = "", log: Log | None = None) -> Progress:
        return Progress(self.spec.stage, total, unit=unit, quiet=self._quiet, log=log)

    def follow(self, doing: str, results: Iterable[Any], total: int) -> Iterator[Any]:
        """`progress.counted` for a part of the stage's work."""
        return counted(results, f"{self.spec.stage}, {doing}", total, quiet=self._quiet)

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
        self,
        plan: pa.Table | Plan,
        steps: Sequence[Step],
        *,
        rows_per_shard: int,
        reuse_key_columns: Sequence[str] = (),
    ) -> None:
        """Carry every row of `plan` through `steps` on Ray Data, in shards of `rows_per_shard` rows.

        The first column of a plan is the id; a plan that is a table on the driver is sorted by it. The shards, and so
        the groups of rows that a network sees together, depend only on the plan and the reused rows. A row that crashes
        its worker gets the status "killed". reuse_key_columns: the columns that decide a row, together with the stage's
        version, configuration and models; where given, rows that agree in them with another output of the stage are
        reused.
        """
        if isinstance(plan, pa.Table):
            plan = in_memory(plan, rows_per_shard * _SHARDS_PER_PART)
        tables = tuple(self.spec.tables.items())
        found = list(reuse.candidates(self.spec.fingerprint_payload, self.out, *tables[0])) if reuse_key_columns else []
        if self._before:
            reuse.forget_other_retry(self._before, self.directory)
        else:
            reuse.forget_lost_choice(found, self.directory)
        store = ShardStore(self.directory, tables, rows_per_shard)
        store.forget_other_layouts()
        store = write_plan(store, plan, reuse_key_columns, self.follow)
        if self._before:
            chosen: Reuse | None = reuse.keep_permanent(self._before, *tables[0])
            reuse.record(self.directory, self._before)
        else:
            chosen = reuse.choose(found, self.directory, partial(count_kept, store)) if reuse_key_columns else None
        if chosen:
            store = set_reused_aside(store, chosen)
        self._rows, self._has_row_keys = MappedRows(store, chosen), bool(reuse_key_columns)
        compute_shards(store, steps, self._row_progress)

    def revise(self, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
        """Change a mapped table, reused rows included, once all of it is known.

        change: applied by workers to the table piece by piece; keeps the ids and their order, and reads and changes
        texts alone.
        """
        self._revisions[name] = change

    def pieces(self, name: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        """These columns, the id first, of the mapped table as revised, piece by piece in the order of the ids."""
        if self._rows is None:
            raise ValueError(f"stage {self.spec.stage} has not mapped any rows")
        parts = range(len(self._rows.store.parts))
        pieces = (piece for part in parts for piece in self._rows.pieces(name, part, columns=columns))
        return map(self._revisions[name], pieces) if name in self._revisions else pieces

    def finish(self, usage: Usage, check: Callable[[], None]) -> Artifact:
        """Have workers join the shards, and write the manifest last, unless `check` raises. UserError where the ids are
        not those of the plan.
        """
        parts = compaction.compact(self._rows, self._revisions, self.follow) if self._rows else self._written_tables()
        keys = row_keys.write(self._rows.store) if self._rows and self._has_row_keys else []
        manifest = self._manifest(parts, keys, usage.end())
        check()
        storage.write_json(storage.join(self.directory, artifact.MANIFEST), manifest.as_json())
        storage.delete_folder(storage.join(self.directory, WORK))
        return artifact.open_artifact(self.directory)

    def preview(self) -> Manifest:
        """The manifest as it would be if the output had no more files to come, for a copy that travels."""
        return self._manifest(self._written_tables(), [], Used(0.0, None, None, None))

    def _manifest(self, parts: Sequence[Part], keys: Sequence[OutputFile], used: Used) -> Manifest:
        beside = [*(part.digests for part in parts if part.digests), *keys]
        tables = [part.file for part in parts]
        files = [*tables, *self._other_files({file.path for file in (*tables, *beside)})]
        counts = {name: Counter[str]() for name in self.spec.tables}
        for part in parts:
            counts[part.file.table or ""].update(part.counts)
        reused = self._rows and self._rows.reuse
        return Manifest(
            fingerprint=self.spec.fingerprint,
            **self.spec.fingerprint_payload,
            build_ids=self.spec.build_ids,
            build_id=self._build_id,
            digest=storage.digest([(file.path, file.sha256) for file in files]),
            planned_table=next(iter(self.spec.tables)) if self._rows else None,
            rows={name: sum(file.rows or 0 for file in tables if file.table == name) for name in self.spec.tables},
            counts={name: dict(sorted(statuses.items())) for name, statuses in counts.items()},
            reused=Reused(reused.before.name, self._rows.reused) if self._rows and reused else None,
            results=self.results,
            seconds=used.seconds,
            versions={
                "twfer_dist": twfer_dist.__version__,
                "python": platform.python_version(),
                "pyarrow": pa.__version__,
            },
            files=(*files, *beside),
            cpu_seconds=used.cpu_seconds,
            peak_bytes=used.peak_bytes(by_workers=self._rows is not None),
        )

    def _written_tables(self) -> list[Part]:
        """The files of tables that were made on the driver, flushed to disk."""
        parts = []
        for name, expected in self.spec.tables.items():
            folder = storage.join(self.directory, name)
            for file in storage.list_files(folder):
                if not (file.startswith("part-") and file.endswith(".parquet")):
                    continue
                uri = storage.join(folder, file)
                storage.fsync(uri)
                with storage.open_parquet(uri) as parquet:
                    columns = [expected.names[0], *(["status"] if "status" in expected.names else [])]
                    table = parquet.read(columns=columns)
                path = file if name == "." else f"{name}/{file}"
                first = table[0][0].as_py() if len(table) else None
                counts = Counter(table["status"].to_pylist()) if len(columns) > 1 else {}
                entry = OutputFile(path, storage.sha256_file(uri), name, len(table), first)
                parts.append(Part((), entry, None, counts, None))
        return parts

    def _other_files(self, parts: set[str]) -> Iterator[OutputFile]:
        for path in storage.list_files(self.directory, recursive=True):
            if path not in parts and not path.startswith(f"{WORK}/") and not path.endswith(".tmp"):
                yield OutputFile(path, storage.sha256_file(storage.join(self.directory, path)))

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
