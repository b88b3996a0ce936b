"""The finished output of a stage: a directory and its manifest.

The output of a stage is a directory `<out>/<stage>-<fingerprint>/`. It is finished if and only if it holds
`_manifest.json`, which is written last.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from twfer_dist.core.conformity import check_schema
from twfer_dist.core.errors import UserError
from twfer_dist.engine.storage import join, name_of, read_bytes, resolve

MANIFEST = "_manifest.json"
WORK = "_work"  # the folder of an unfinished output with what it resumes from; deleted when the output is finished
LEASE_SUFFIX = ".lease"  # of the file beside an output that a run holds while it writes, see `lease`
INDEX = "stages.json"  # the file beside the outputs of a recipe that maps stages to directories


@dataclasses.dataclass(frozen=True)
class OutputFile:
    """A file of an output; one of a table has `table` and `rows`, and `first` where it has rows."""

    path: str  # relative to the output
    sha256: str
    table: str | None = None
    rows: int | None = None
    first: str | None = None  # the first id; files written by earlier versions lack it

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Reused:
    """How many rows were taken from another output of the stage."""

    output: str  # the name of its directory
    rows: int

    def as_json(self) -> dict[str, Any]:
        return {"from": self.output, "rows": self.rows}


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What an output is, what it was made from and what it holds: the file `_manifest.json`."""

    fingerprint: str
    stage: str
    version: int  # of the stage
    schema: int  # SCHEMA_VERSION of the tables
    inputs: Mapping[str, str]  # digest of each input
    config: Any  # the stage's settings, as plain JSON once read back
    models: Mapping[str, str]  # version or sha256 of each model that the stage uses
    build_ids: Mapping[str, str]  # of the inputs that are outputs of stages
    build_id: str
    digest: str
    planned_table: str | None  # the table with one row for each planned id
    rows: Mapping[str, int]  # of each table
    counts: Mapping[str, Mapping[str, int]]  # of each table, rows by status
    reused: Reused | None
    results: dict[str, Any]
    seconds: float  # of all its starts
    versions: Mapping[str, str]  # of the software
    files: tuple[OutputFile, ...]
    # of all its starts (see `usage`); None on a cluster, and in outputs of earlier versions
    cpu_seconds: float | None = None
    peak_bytes: int | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Manifest":
        """The manifest in a parsed file. KeyError for a missing key; unknown keys are ignored."""
        known = {f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values or f.default is MISSING}
        reused = known["reused"]
        known["reused"] = Reused(reused["from"], reused["rows"]) if reused else None
        known["files"] = tuple(
            OutputFile(file["path"], file["sha256"], *(file.get(key) for key in ("table", "rows", "first")))
            for file in known["files"]
        )
        return cls(**known)

    def as_json(self) -> dict[str, Any]:
        """The contents of the file, with the same keys."""
        reused = self.reused and self.reused.as_json()
        return vars(self) | {"reused": reused, "files": [file.as_json() for file in self.files]}


@dataclasses.dataclass(frozen=True)
class Artifact:
    """The finished output of a stage: a directory and its manifest."""

    uri: str
    manifest: Manifest

    @property
    def name(self) -> str:
        """The name of the directory: `<stage>-<fingerprint>`."""
        return name_of(self.uri)

    @property
    def digest(self) -> str:
        """Identifies the content (the sha256 of every file)."""
        return self.manifest.digest

    @property
    def build_id(self) -> str:
        """Identifies this build of the content: another one after the directory was deleted and made again."""
        return self.manifest.build_id

    @property
    def results(self) -> dict[str, Any]:
        """What the stage recorded besides its tables: scores, counts, settings that it reached."""
        return self.manifest.results

    def path(self, name: str) -> str:
        """The URI of a file in the directory."""
        return join(self.uri, name)

    def files(self, table: str, low: str = "", high: str | None = None) -> list[OutputFile]:
        """The files of a table ("." is the one in the directory itself) that may hold ids from `low` to `high`.
        UserError where the output does not hold the table.
        """
        files = [file for file in self.manifest.files if file.table == table]
        if not files:
            raise UserError(
                f"{self.uri} holds no table '{table}': it is the output of stage '{self.manifest.stage}'; name "
                "another directory."
            )
        if any(file.first is None for file in files):
            return files
        ends = [*(file.first for file in files[1:]), None]
        chosen = [
            file
            for file, end in zip(files, ends, strict=True)
            if (high is None or (file.first or "") <= high) and (end is None or low < end)
        ]
        return chosen or files[:1]

    def scan(self, table: str, expected: pa.Schema, low: str = "", high: str | None = None) -> ds.Dataset:
        """A table as an Arrow dataset, of its `files` alone. UserError where the output does not hold it or its schema
        is not `expected`.
        """
        names = [file.path for file in self.files(table, low, high)]
        fs, base = resolve(self.uri)
        with self.readable(table):
            scanned = ds.dataset([f"{base}/{name}" for name in names], filesystem=fs, format="parquet")
        check_schema(scanned.schema, expected, join(self.uri, names[0]))
        return scanned

    def table(
        self, table: str, expected: pa.Schema, *, columns: Sequence[str] | None = None, ids: Iterable[str] | None = None
    ) -> pa.Table:
        """Rows of a table, sorted by id (the schema's first column); only those with `ids` where given.

        The files are sorted by id, so that reading a few ids reads a few row groups.
        """
        key = expected.names[0]
        if ids is None:
            scanned = self.scan(table, expected)
            with self.readable(table):
                return scanned.to_table(columns=columns)
        wanted = pa.array(sorted(ids), pa.string())
        if not len(wanted):
            return self.scan(table, expected).schema.empty_table().select(columns or expected.names)
        low, high = wanted[0].as_py(), wanted[-1].as_py()
        scanned = self.scan(table, expected, low, high)
        between = (pc.field(key) >= low) & (pc.field(key) <= high)
        with self.readable(table):
            return scanned.to_table(columns=columns, filter=between & pc.field(key).isin(wanted))

    @contextlib.contextmanager
    def readable(self, table: str) -> Iterator[None]:
        """Turn a failure to read a table into a UserError that names the output."""
        try:
            yield
        except (OSError, pa.ArrowInvalid) as error:
            words = " ".join(str(error).split())
            raise UserError(
                f"{self.uri}: a file of table '{table}' is missing or damaged ({words}): delete the directory and run "
                "again."
            ) from error


def is_in_output(files: Iterable[str], folders: Iterable[str]) -> bool:
    """Whether a directory with these files and folders is the output of a stage, finished or not."""
    return MANIFEST in files or WORK in folders


class OutdatedError(UserError):
    """Another version of the program wrote an output."""


def open_artifact(uri: str) -> Artifact:
    """The finished output at `uri`. UserError where there is none, OutdatedError where another version wrote it."""
    path = join(uri, MANIFEST)
    try:
        return Artifact(uri, Manifest.from_json(json.loads(read_bytes(path))))
    except FileNotFoundError:
        raise UserError(
            f"{uri} is not a finished output, as it has no {MANIFEST}: run the stage that makes it to completion."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON ({error}): delete the directory and run the stage again.") from None
    except KeyError as error:
        raise OutdatedError(
            f"{path} was written by another version of twfer_dist, as it lacks {error}: delete the directory and run "
            "the stage again, or use the version that wrote it."
        ) from None
    except TypeError:
        raise UserError(f"{path} is not a manifest: delete the directory and run the stage again.") from None
