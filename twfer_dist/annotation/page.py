"""An HTML page on which a person reviews the faces of a corpus, marks errors, and saves them as a table."""

from importlib import resources
from typing import Any

import jinja2
import numpy as np

from twfer_dist.annotation.corrections import FAULTS, crop_digest
from twfer_dist.core import images
from twfer_dist.core.errors import UserError
from twfer_dist.core.landmarks import apply_affine
from twfer_dist.core.schema import FACES, PHOTOGRAPHS
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.artifact import Artifact

MAX_FACES = 1000
"""Of one page: more would be slow to load and to review. Later pages start at `first`."""

AFTER = (
    "Then rerun the same twfer study or twfer faces command with --corrections corrections.csv added, or, in a recipe, "
    "name the table in a stage of kind corrected."
)
"""What to do with the table that the page saves."""

_SIDE = 144


def page(faces: Artifact, first: int = 0) -> str:
    """A self-contained HTML file: the faces from number `first` on, by id, with their points and statuses, and all
    photographs without a face. UserError where `faces` is not the output of a faces stage.
    """
    stage = faces.manifest.stage
    if stage not in ("faces", "corrected"):
        raise UserError(
            f"{faces.uri} is the output of stage '{stage}', which has no faces to show: name a faces stage."
        )
    ids = faces.table("faces", FACES, columns=["face_id"])["face_id"].to_pylist()
    shown = faces.table("faces", FACES, ids=ids[first : first + MAX_FACES]).to_pylist()
    columns = ["photo_id", "path", "corpus", "status", "error"]
    photographs = faces.table("photographs", PHOTOGRAPHS, columns=columns).to_pylist()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(resources.files("twfer_dist.annotation").joinpath("page.html.j2").read_text())
    return template.render(
        uri=faces.uri,
        counts=faces.manifest.counts,
        faces=[_shown(row) for row in shown],
        first=first,
        total=len(ids),
        without_face=[row for row in photographs if row["status"] != OK],
        side=_SIDE,
        faults=FAULTS,
        expressions=EXPRESSIONS,
        after=AFTER,
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A face as the template takes it: its crop as a data URI, its points in pixels of that."""
    crop = images.decode(row["image"])
    assert crop is not None  # of our own tables
    points = []
    if row["landmarks68"]:
        matrix = np.array(row["crop_matrix"], np.float32).reshape(2, 3)
        in_crop = apply_affine(np.array(row["landmarks68"], np.float32), matrix)
        points = ((in_crop + 0.5) * _SIDE / len(crop)).round(1).tolist()
    return {
        **{name: row[name] for name in ("face_id", "path", "corpus", "rank", "status", "error")},
        "label": EXPRESSIONS[row["label"] - 1] if row["label"] else "",
        "crop": crop_digest(row["image"]),
        "image": images.data_uri(images.encode_jpeg(images.resize_square(crop, _SIDE), 80)),
        "points": points,
    }
