"""Outputs of faces with Action Units of known size, for the tests of the study."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from study_tables import Row, face_picture, output

from twfer_dist.core.schema import FACES, PHOTOGRAPHS
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.faces.finder import OURS
from twfer_dist.measurement.analyzer import SHIPPED, open_analyzer


def units(**values: float) -> list[float]:
    """17 intensities: those that are named, and 0."""
    return [float(values.get(name, 0)) for name in ACTION_UNITS]


def face(
    figure: str,
    values: Sequence[float],
    *,
    half_width: float | Sequence[float] | None = 0.2,
    groups: Mapping[str, str] | None = None,
    status: str = OK,
    corpus: str = "warriors",
) -> Row:
    """A face of a figure. half_width: of the 90 % interval, of all units or of each; None for units of OpenFace."""
    if isinstance(half_width, float):
        half_width = [half_width] * 17
    return {
        "figure_id": figure,
        "corpus": corpus,
        "action_units": list(values),
        "action_units_half_width_90": half_width,
        "action_units_from": "openface" if half_width is None else OURS,
        "groups": list((groups or {}).items()),
        "status": status,
    }


def faces_output(out: Path | str, rows: Sequence[Row], network: str | None = None) -> Artifact:
    """An output of faces, one photograph for each, measured by the network that ships or by another."""
    image = face_picture(0, 1)
    whole = [
        {"face_id": f"{k:04d}-00", "photo_id": f"{k:04d}", "path": f"{k}.jpg", "rank": 0, "image": image, **row}
        for k, row in enumerate(rows)
    ]
    photographs = [
        {key: row[key] for key in ("photo_id", "corpus", "path")} | {"status": OK, "faces": 1} for row in whole
    ]
    tables = {"photographs": (PHOTOGRAPHS, photographs), "faces": (FACES, whole)}
    return output(str(out), "faces", tables, detector="drawn", network=network or open_analyzer(SHIPPED).sha256)
