"""What a person marked as wrong on the page of `faces.page`: the faces with these marks, and all others as they
were.
"""

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
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Settings
from twfer_dist.engine.kind import Input, InputFile, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.spreadsheet import group_names
from twfer_dist.faces.handout import write_handout

VERSION = 2
FAULTS = ("wrong crop", "wrong points")
ROWS_PER_SHARD = 256


@dataclass(frozen=True)
class CorrectedConfig(Settings):
    """Nothing is set: the table of corrections decides."""


@dataclass(frozen=True)
class Correction:
    """fault: one of FAULTS, or empty. label: 1 to 7, or None where the face keeps its own. crop: `crop_digest` of what
    the person saw, empty where that is not known.
    """

    fault: str
    label: int | None
    crop: str


def crop_digest(image: bytes) -> str:
    """8 hex digits that stand for a crop."""
    return storage.sha256(image)[:8]


def read_corrections(place: str) -> dict[str, Correction]:
    """The corrections of a CSV table by face_id: columns face_id, fault and label, and crop where there is one; others
    are for the reader.

    Problem where the file is missing, and, with the line, where a column is missing, a face is named twice, or a fault
    or a label is unknown.
    """
    try:
        table = read_table(place, {"face id"})
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(
            f"{place} is not there: name the table that the page of `twfer inspect --html` saves."
        ) from None
    if missing := [name for name in ("face_id", "fault", "label") if name not in table.columns]:
        raise UserError(
            f"{place}, line {table.line}: there is no column '{missing[0]}': save the table with the page of `twfer "
            "inspect --html`."
        )
    found: dict[str, Correction] = {}
    for line, row in table.rows:
        face_id, fault = row["face_id"], row["fault"]
        if face_id in found:
            raise UserError(f"{place}, line {line}: {face_id} is there already: remove one of its lines.")
        if fault and fault not in FAULTS:
            raise UserError(
                f"{place}, line {line}: '{fault}' is no fault: say {' or '.join(FAULTS)}, or leave it empty."
            )
        try:
            found[face_id] = Correction(fault, parse_label(row["label"]) if row["label"] else None, row.get("crop", ""))
        except ValueError as error:
            raise UserError(f"{place}, line {line}: {error}; correct the field or leave it empty.") from None
    return found


def corrected_job(faces: Artifact, config: CorrectedConfig, place: str) -> StageSpec:
    """The output of a faces stage, with the corrections of the CSV table at `place`; nothing is found or measured anew.

    A face with a fault gets the status "rejected", one with another label gets it. Tables and results as those of the
    faces stage. Problem where the table names a face that is not there, or whose crop is another than the person saw.
    """
    corrections = read_corrections(place)
    known = set(faces.table("faces", FACES, columns=["face_id"])["face_id"].to_pylist())
    if strange := sorted(corrections.keys() - known):
        raise UserError(
            f"{place}: {strange[0]} is no face of {faces.uri}: delete its line, or save the table anew with the "
            "page of that output."
        )
    for row in faces.table("faces", FACES, columns=["face_id", "image"], ids=corrections).to_pylist():
        if (seen := corrections[row["face_id"]].crop) not in ("", crop_digest(row["image"])):
            raise UserError(
                f"{place}: the crop of {row['face_id']} is another one in {faces.uri} than when it was marked "
                f"({seen}): look at it on the "
                "page of that output and mark it anew, or delete its line."
            )

    def do(work: StageOutput) -> None:
        photographs = faces.table("photographs", PHOTOGRAPHS, columns=["photo_id", "groups"])
        work.map(
            photographs.select(["photo_id"]),
            [Step(carry, {"faces": faces, "corrections": corrections})],
            rows_per_shard=ROWS_PER_SHARD,
        )
        write_handout(work, group_names(photographs["groups"]))
        rejected = sum(bool(c.fault) for c in corrections.values())
        labelled = sum(c.label is not None for c in corrections.values())
        work.results = {**faces.results, "summary": [f"{rejected} faces rejected, {labelled} labels corrected"]}

    models = {"corrections": storage.sha256(storage.read_bytes(place))}
    return StageSpec(
        "corrected", VERSION, {"faces": faces}, config, models, {"photographs": PHOTOGRAPHS, "faces": FACES}, do
    )


def carry(plan: pa.Table, *, faces: Artifact, corrections: Mapping[str, Correction]) -> dict[str, pa.Table]:
    """The photographs of a part and their faces, the corrected ones corrected."""
    photographs = faces.table("photographs", PHOTOGRAPHS, ids=plan["photo_id"].to_pylist())
    of_part = pc.field("photo_id").isin(plan["photo_id"].combine_chunks())
    rows = faces.scan("faces", FACES).to_table(filter=of_part).to_pylist()
    corrected = [_corrected(row, corrections[row["face_id"]]) if row["face_id"] in corrections else row for row in rows]
    return {"photographs": photographs, "faces": pa.Table.from_pylist(corrected, schema=FACES)}


def _corrected(row: dict[str, Any], correction: Correction) -> dict[str, Any]:
    label = correction.label if correction.label is not None else row["label"]
    status = (
        {"status": REJECTED, "error": f"{row['path']}: a person marked it: {correction.fault}"}
        if correction.fault
        else {}
    )
    return {**row, "label": label, **status}


KIND = StageKind(
    "corrected",
    config=CorrectedConfig,
    inputs=(Input("faces", ("faces", "corrected")),),
    files=(InputFile("corrections", "name the table that the page of `twfer inspect --html` saves"),),
    build=lambda request: corrected_job(request.one("faces"), request.config, request.files["corrections"]),
)
