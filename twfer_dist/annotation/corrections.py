"""The stage that applies a person's corrections, as saved by the annotation page, to an output of faces."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import FACES, PHOTOGRAPHS
from twfer_dist.core.status import REJECTED
from twfer_dist.corpus.tables import read_table
from twfer_dist.corpus.votes import parse_label
from twfer_dist.corpus.votes_table import FILE as VOTES
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Settings
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.spreadsheet import group_names
from twfer_dist.engine.workload import Workload
from twfer_dist.faces.credits import read_credits, write_credits
from twfer_dist.faces.handout import write_handout

VERSION = 2
FAULTS = ("wrong crop", "wrong points")
ROWS_PER_SHARD = 256


@dataclass(frozen=True)
class CorrectedConfig(Settings):
    """No settings: the table of corrections decides."""


@dataclass(frozen=True)
class Correction:
    """fault: one of FAULTS, or empty. label: 1 to 7, or None to keep the face's own. crop: `crop_digest` of what the
    person saw, empty where unknown.
    """

    fault: str
    label: int | None
    crop: str


def crop_digest(image: bytes) -> str:
    """8 hex digits that identify a crop."""
    return storage.sha256(image)[:8]


_SAVE_AGAIN = "save the table with the page of `twfer inspect --html`"


def read_corrections(uri: str) -> dict[str, Correction]:
    """The corrections of a CSV table by face_id: columns face_id, label, perhaps fault and crop; others are ignored.

    UserError where the file is missing, and, with the line, where a column is missing, a face is named twice, or a
    fault or a label is unknown.
    """
    try:
        table = read_table(uri, {"face id"})
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{uri} does not exist: {_SAVE_AGAIN}.") from None
    if missing := [name for name in ("face_id", "label") if name not in table.columns]:
        raise UserError(f"{uri}, line {table.line}: column '{missing[0]}' is missing: {_SAVE_AGAIN}.")
    corrections: dict[str, Correction] = {}
    for line, row in table.rows:
        face_id, fault = row["face_id"], row.get("fault", "")
        if face_id in corrections:
            raise UserError(f"{uri}, line {line}: {face_id} appears twice: remove one of its lines.")
        if fault and fault not in FAULTS:
            raise UserError(
                f"{uri}, line {line}: '{fault}' is not a known fault: use {' or '.join(FAULTS)}, or leave it empty."
            )
        try:
            label = parse_label(row["label"]) if row["label"] else None
        except ValueError as error:
            raise UserError(f"{uri}, line {line}: {error}; correct the field or leave it empty.") from None
        corrections[face_id] = Correction(fault, label, row.get("crop", ""))
    return corrections


def corrected_spec(faces: Artifact, config: CorrectedConfig, uri: str) -> StageSpec:
    """The stage that applies the corrections of the CSV table at `uri` to the output `faces`; nothing is detected or
    measured again.

    A face with a fault gets the status "rejected", one with a new label gets that. Tables and results are those of the
    faces stage. UserError where the table names an unknown face, or one whose crop is not the one that the person saw.
    """
    corrections = read_corrections(uri)
    _check(corrections, faces, uri)

    def do(output: StageOutput) -> None:
        photographs = faces.table("photographs", PHOTOGRAPHS, columns=["photo_id", "groups"])
        step = Step(apply_corrections, {"faces": faces, "corrections": corrections})
        output.map(photographs.select(["photo_id"]), [step], rows_per_shard=ROWS_PER_SHARD)
        write_handout(output, group_names(photographs["groups"]))
        write_credits(output, read_credits(faces))
        if any(file.path == VOTES for file in faces.manifest.files):
            output.write_file(VOTES, storage.read_bytes(faces.path(VOTES)))
        rejected = sum(bool(c.fault) for c in corrections.values())
        labelled = sum(c.label is not None for c in corrections.values())
        output.results = {**faces.results, "summary": [f"faces rejected: {rejected}, labels corrected: {labelled}"]}

    models = {"corrections": storage.sha256(storage.read_bytes(uri))}
    tables = {"photographs": PHOTOGRAPHS, "faces": FACES}
    return StageSpec("corrected", VERSION, {"faces": faces}, config, models, tables, do)


def _check(corrections: Mapping[str, Correction], faces: Artifact, uri: str) -> None:
    known = set(faces.table("faces", FACES, columns=["face_id"])["face_id"].to_pylist())
    if unknown := sorted(corrections.keys() - known):
        raise UserError(
            f"{uri}: {faces.uri} has no face {unknown[0]}: delete its line, or save the table again with the page of "
            "that output."
        )
    for row in faces.table("faces", FACES, columns=["face_id", "image"], ids=corrections).to_pylist():
        if (seen := corrections[row["face_id"]].crop) not in ("", crop_digest(row["image"])):
            raise UserError(
                f"{uri}: the crop of {row['face_id']} in {faces.uri} has changed since it was marked ({seen}): review "
                "it on the page of that output, or delete its line."
            )


def apply_corrections(plan: pa.Table, *, faces: Artifact, corrections: Mapping[str, Correction]) -> dict[str, pa.Table]:
    """The photographs of a shard and their faces, with the corrections applied."""
    photographs = faces.table("photographs", PHOTOGRAPHS, ids=plan["photo_id"].to_pylist())
    of_shard = pc.field("photo_id").isin(plan["photo_id"].combine_chunks())
    rows = faces.scan("faces", FACES).to_table(filter=of_shard).to_pylist()
    corrected = [_corrected(row, corrections[row["face_id"]]) if row["face_id"] in corrections else row for row in rows]
    return {"photographs": photographs, "faces": pa.Table.from_pylist(corrected, schema=FACES)}


def _corrected(row: dict[str, Any], correction: Correction) -> dict[str, Any]:
    label = row["label"] if correction.label is None else correction.label
    status = {}
    if correction.fault:
        status = {"status": REJECTED, "error": f"{row['path']}: marked by a person: {correction.fault}"}
    return {**row, "label": label, **status}


def _workload(request: Request) -> Workload:
    faces = request.one("faces")
    return Workload("corrected", faces.rows, "faces", faces)


KIND = StageKind(
    "corrected",
    makes="the same tables with a person's corrections applied",
    config=CorrectedConfig,
    inputs=(Input("faces", ("faces", "corrected")),),
    files=(
        InputFile(
            "corrections", "the table of corrections", "name the table that the page of `twfer inspect --html` saves"
        ),
    ),
    build=lambda request: corrected_spec(request.one("faces"), request.config, request.files["corrections"]),
    workload=_workload,
)
