"""The contract between stages as code: plan, work on Ray Data, finish; fingerprints; resume.

A stage is a `Job`. `run` finds its finished output or makes it in `<out>/<stage>-<fingerprint>/`. A stage with many
rows calls `Work.map`: the plan is cut into parts, Ray Data carries each part through the steps, and each result is
renamed into place the moment it is whole. A part is one row of the Ray data set, so no setting of block sizes can
split or mix parts, and a killed run loses the parts in flight and nothing else.
"""

import contextlib
import functools
import json
import platform
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

import twfer_dist
from twfer_dist import claim, cluster, schema, storage
from twfer_dist.errors import Problem
from twfer_dist.progress import Progress
from twfer_dist.storage import Finished

TARGET_FILE_BYTES = 256 << 20
TARGET_ROW_GROUP_BYTES = 8 << 20
WORK = "_work"  # what an unfinished stage keeps to resume from; removed when it is finished


class HasDigest(Protocol):
    @property
    def digest(self) -> str: ...


@dataclass(frozen=True)
class Job:
    """A stage with all that decides its output. Workers, devices and places are not in it.

    `tables` names the output tables, the planned one first; "." is a table in the directory itself.
    """

    stage: str
    version: int
    inputs: Mapping[str, HasDigest]
    config: Any
    models: Mapping[str, str]
    tables: Mapping[str, pa.Schema]
    do: Callable[["Work"], None]

    @property
    def covers(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "version": self.version,
            "schema": schema.SCHEMA_VERSION,
            "inputs": {name: value.digest for name, value in self.inputs.items()},
            "config": self.config,
            "models": dict(self.models),
        }

    @property
    def fingerprint(self) -> str:
        return storage.digest(self.covers)

    @property
    def stamps(self) -> dict[str, str]:
        """Which making of each input this is: an input that was deleted and made again makes its dependents stale."""
        return {name: value.stamp for name, value in self.inputs.items() if isinstance(value, Finished)}


@dataclass(frozen=True)
class Step:
    """One step of a stage's work on a part, Table -> Table with at least one row.

    call: a function, or a class that is built once per actor with `kwargs` (a network is loaded once) and then called.
    The last step returns a Table, or {table name: Table} where the stage has several.
    """

    call: Callable[..., Any]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    cpus: float = 1
    gpus: float = 0
    actors: int | None = None  # of a class; as many as the cluster has CPUs where not given


def find(job: Job, out: str) -> Finished | None:
    """The finished output of `job` under `out`, if it is there and was made from the inputs as they are now."""
    directory = storage.join(out, f"{job.stage}-{job.fingerprint}")
    if not storage.exists(storage.join(directory, storage.MANIFEST)):
        return None
    finished = storage.open_finished(directory)
    return finished if finished.manifest["stamps"] == job.stamps else None


def run(job: Job, out: str, *, quiet: bool = False) -> Finished:
    """The finished output of `job` under `out`: found, resumed or made. Waits where another run is making it."""
    out = storage.absolute(out)
    if found := find(job, out):
        return found
    directory = storage.join(out, f"{job.stage}-{job.fingerprint}")
    with claim.hold(directory, quiet=quiet) as claimed:
        if found := find(job, out):
            return found
        if storage.exists(storage.join(directory, storage.MANIFEST)):
            _retire(directory)
        started = time.monotonic()
        work = Work(job, directory, quiet)
        job.do(work)
        claimed.check()
        return work.finish(time.monotonic() - started)


def _retire(directory: str) -> None:
    """Move a finished output aside whose inputs were made again: nothing is overwritten."""
    fs, path = storage.resolve(directory)
    aside = f"{path}.replaced-{storage.open_finished(directory).stamp}"
    if isinstance(fs, pafs.LocalFileSystem):
        fs.move(path, aside)
    else:  # object stores cannot move a directory
        pafs.copy_files(path, aside, source_filesystem=fs, destination_filesystem=fs)
        fs.delete_dir(path)


class Work:
    """What a stage's `do` writes through; `finish` checks, compacts and seals it."""

    def __init__(self, job: Job, directory: str, quiet: bool) -> None:
        self.job = job
        self.directory = directory
        self.results: dict[str, Any] = {}
        self._quiet = quiet
        self._parts: int | None = None

    def progress(self, total: float, unit: str = "") -> Progress:
        return Progress(self.job.stage, total, unit=unit, quiet=self._quiet)

    def write_file(self, name: str, data: bytes) -> None:
        """Write a file of the output that is not a table."""
        storage.write_bytes(storage.join(self.directory, name), data)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a table made on the driver, sorted by its id."""
        table = _sorted(schema.conform(table, self.job.tables[name]))
        rows = max(1, TARGET_ROW_GROUP_BYTES * len(table) // max(table.nbytes, 1))
        _write_parquet(storage.join(self.directory, name, "part-00000.parquet"), table, row_group_size=rows)

    def map(self, plan: pa.Table, steps: Sequence[Step], *, rows_per_part: int) -> None:
        """Carry every row of `plan` through `steps` on Ray Data, in parts of `rows_per_part` rows.

        The plan's first column is the id. It is sorted by id; the parts, and with them the groups of rows that a network
        sees together, depend on the plan alone.
        """
        plan = _sorted(plan)
        ids = plan.column(0)
        if len(ids) != pc.count_distinct(ids).as_py():
            raise ValueError(f"the plan of stage {self.job.stage} holds an id twice")
        self._parts = -(-len(plan) // rows_per_part)
        if not self._parts:
            return
        plan_uri = storage.join(self.directory, WORK, "plan.parquet")
        _write_parquet(plan_uri, plan, row_group_size=rows_per_part)
        missing = sorted(set(range(self._parts)) - self._done())
        progress = self.progress(len(plan))
        done_rows = sum(min(rows_per_part, len(plan) - k * rows_per_part) for k in set(range(self._parts)) - set(missing))
        progress.start(done_rows)
        if missing:
            target = _Target(self.directory, plan_uri, tuple(self.job.tables.items()))
            for rows, counts in _through_ray(missing, steps, target):
                progress.advance(rows, dead=sum(n for status, n in counts.items() if status != schema.OK))
        progress.close()

    def parts(self, name: str) -> Iterator[pa.Table]:
        """The table that `map` made, part by part, in the order of the ids."""
        for part in range(self._parts or 0):
            with _parquet(storage.join(self.directory, WORK, name, f"part-{part:06d}.parquet")) as file:
                yield file.read()

    def _done(self) -> set[int]:
        """The parts that are whole: the planned table's file is written last."""
        planned = next(iter(self.job.tables))
        files = storage.list_files(storage.join(self.directory, WORK, planned))
        return {int(f[5:-8]) for f in files if f.startswith("part-") and f.endswith(".parquet")}

    def finish(self, seconds: float) -> Finished:
        """Compact the parts, check that the ids are the plan's, write checksums, and the manifest last."""
        if self._parts is not None:
            for name, expected in self.job.tables.items():
                _compact(self.directory, name, expected, self.parts(name))
        files: list[dict[str, Any]] = []
        rows: dict[str, int] = {}
        counts: dict[str, Counter[str]] = {}
        for name, expected in self.job.tables.items():
            rows[name], counts[name] = 0, Counter[str]()
            folder = storage.join(self.directory, name)
            for file in storage.list_files(folder):
                if not (file.startswith("part-") and file.endswith(".parquet")):
                    continue
                fs, path = storage.resolve(storage.join(folder, file))
                parquet = pq.ParquetFile(fs.open_input_file(path))
                rows[name] += parquet.metadata.num_rows
                if "status" in expected.names:
                    counts[name].update(parquet.read(columns=["status"])["status"].to_pylist())
                relative = file if name == "." else f"{name}/{file}"
                files.append({"path": relative, "table": name, "rows": parquet.metadata.num_rows})
        tables = {f["path"] for f in files}
        others = storage.list_files(self.directory, recursive=True)
        files += [{"path": f} for f in others if f not in tables and not f.startswith(WORK + "/") and not f.endswith(".tmp")]
        for entry in files:
            entry["sha256"] = storage.sha256_file(storage.join(self.directory, entry["path"]))
        manifest = {
            "fingerprint": self.job.fingerprint,
            **self.job.covers,
            "stamps": self.job.stamps,
            "stamp": uuid.uuid4().hex[:12],
            "digest": storage.digest([(f["path"], f["sha256"]) for f in files]),
            "rows": rows,
            "counts": {name: dict(sorted(c.items())) for name, c in counts.items()},
            "results": self.results,
            "seconds": round(seconds, 1),
            "versions": {"twfer_dist": twfer_dist.__version__, "python": platform.python_version(), "pyarrow": pa.__version__},
            "files": files,
        }
        storage.write_json(storage.join(self.directory, storage.MANIFEST), manifest)
        fs, path = storage.resolve(storage.join(self.directory, WORK))
        if fs.get_file_info(path).type == pafs.FileType.Directory:
            fs.delete_dir(path)
        return storage.open_finished(self.directory)


@dataclass(frozen=True)
class _Target:
    """Where and how the last step's tables are written; travels to the workers."""

    directory: str
    plan: str
    tables: tuple[tuple[str, pa.Schema], ...]

    def read(self, part: int) -> pa.Table:
        with _parquet(self.plan) as file:
            return file.read_row_group(part)

    def write(self, part: int, result: pa.Table | Mapping[str, pa.Table]) -> tuple[int, dict[str, int]]:
        """Write a part's tables, the planned one last; its rows and their counts by status."""
        planned = self.tables[0][0]
        tables = result if isinstance(result, Mapping) else {planned: result}
        ready = {name: _sorted(schema.conform(tables[name], expected)) for name, expected in self.tables}
        if ready[planned].column(0).to_pylist() != self.read(part).column(0).to_pylist():
            raise ValueError(f"part {part} of {self.directory} does not hold exactly the planned ids")
        for name in reversed(ready):
            _write_parquet(storage.join(self.directory, WORK, name, f"part-{part:06d}.parquet"), ready[name])
        statuses = ready[planned]["status"].to_pylist() if "status" in ready[planned].column_names else []
        return len(ready[planned]), dict(Counter(statuses))


def _through_ray(parts: Sequence[int], steps: Sequence[Step], target: _Target) -> Iterator[tuple[int, dict[str, int]]]:
    """Run the parts through the steps; rows and counts of each part as it is done, in any order."""
    cluster.start()
    import ray

    dataset: Any = ray.data.from_items([{"part": part} for part in parts], override_num_blocks=len(parts))
    for number, step in enumerate(steps):
        place = {"first": number == 0, "last": number == len(steps) - 1, "target": target}
        shared: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow", "num_cpus": step.cpus, "num_gpus": step.gpus or None}
        if isinstance(step.call, type):
            dataset = dataset.map_batches(
                _Actor,
                fn_constructor_kwargs={"build": step.call, "kwargs": dict(step.kwargs), "place": place},
                compute=ray.data.ActorPoolStrategy(size=min(len(parts), step.actors or cluster.slots(step.cpus, step.gpus))),
                **shared,
            )
        else:
            dataset = dataset.map_batches(_run_part, fn_kwargs={"call": step.call, "kwargs": dict(step.kwargs), **place}, **shared)
    for row in dataset.iter_rows():
        if row["problem"] is not None:
            raise Problem(row["problem"])
        yield row["rows"], json.loads(row["counts"])


_TRAVELLING = pa.schema(
    [("part", pa.int64()), ("table", pa.large_binary()), ("rows", pa.int64()), ("counts", pa.string()), ("problem", pa.string())]
)


def _row(part: int, **values: Any) -> pa.Table:
    return pa.Table.from_pylist([{"part": part, **values}], schema=_TRAVELLING)


def _run_part(batch: pa.Table, *, call: Callable, kwargs: Mapping[str, Any], first: bool, last: bool, target: _Target) -> pa.Table:
    """One step on one part. Between steps a part travels as one Arrow IPC message in one row.

    A Problem travels as its sentence, since Ray would wrap it in a page of its own frames.
    """
    part = batch["part"][0].as_py()
    if not first and batch["problem"][0].is_valid:
        return batch
    table = target.read(part) if first else pa.ipc.open_stream(batch["table"][0].as_buffer()).read_all()
    try:
        result = call(table, **kwargs)
    except Problem as problem:
        return _row(part, problem=str(problem))
    if last:
        rows, counts = target.write(part, result)
        return _row(part, rows=rows, counts=json.dumps(counts))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, result.schema) as writer:
        writer.write_table(result)
    return _row(part, table=sink.getvalue().to_pybytes())


class _Actor:
    """An actor of a step's pool: builds the step's class once.

    A Problem of its constructor is raised at the first call: Ray would retry the constructor for ever.
    """

    def __init__(self, build: type, kwargs: Mapping[str, Any], place: Mapping[str, Any]) -> None:
        self._place = place
        try:
            self._call: Callable = build(**kwargs)
        except Problem as problem:
            self._call = functools.partial(_raise, problem)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return _run_part(batch, call=self._call, kwargs={}, **self._place)


def _raise(problem: Problem, table: pa.Table) -> pa.Table:
    raise problem


def _compact(directory: str, name: str, expected: pa.Schema, parts: Iterator[pa.Table]) -> None:
    """Join a table's parts, in order, into few files of about `TARGET_FILE_BYTES`."""
    number, size, last_id = 0, 0, ""
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    with contextlib.ExitStack() as stack:

        def flush() -> None:
            nonlocal writer, waiting
            if writer is None:
                fs, path = storage.resolve(storage.join(directory, name, f"part-{number:05d}.parquet"))
                fs.create_dir(path.rsplit("/", 1)[0], recursive=True)
                writer = pq.ParquetWriter(path, expected, filesystem=fs, compression="zstd")
                stack.callback(writer.close)
            writer.write_table(pa.concat_tables(waiting) if waiting else expected.empty_table(), row_group_size=1 << 20)
            waiting = []

        for part, table in enumerate(parts):
            if not len(table):
                continue
            ids = table.column(0)
            if ids[0].as_py() <= last_id:
                raise ValueError(f"table {name} of {directory} is not in the order of its ids at part {part}")
            last_id = ids[-1].as_py()
            waiting.append(table)
            size += table.nbytes
            if sum(t.nbytes for t in waiting) >= TARGET_ROW_GROUP_BYTES:
                flush()
            if size >= TARGET_FILE_BYTES and writer is not None:
                writer.close()
                writer, number, size = None, number + 1, 0
        if waiting or (writer is None and number == 0):
            flush()


@contextlib.contextmanager
def _parquet(uri: str) -> Iterator[pq.ParquetFile]:
    fs, path = storage.resolve(uri)
    with fs.open_input_file(path) as source, pq.ParquetFile(source) as file:
        yield file


def _write_parquet(uri: str, table: pa.Table, row_group_size: int | None = None) -> None:
    """Write a Parquet file so that it is there whole or not at all."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=row_group_size, compression="zstd")
    storage.write_bytes(uri, sink.getvalue())


def _sorted(table: pa.Table) -> pa.Table:
    return table.sort_by(table.column_names[0])
