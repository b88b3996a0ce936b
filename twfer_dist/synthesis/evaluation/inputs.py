"""What generators are evaluated on: scenes of rendered heads, and neutral faces of photographs."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow.compute as pc

from twfer_dist.core.errors import UserError
from twfer_dist.core.images import decode
from twfer_dist.core.schema import FACES, RENDERED
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import ACTION_UNITS, NEUTRAL
from twfer_dist.engine.artifact import Artifact
from twfer_dist.synthesis.pairs import Pairs, load_scenes

MIN_FIGURES = 20
"""The smallest gallery for the identity score: among fewer figures, guessing would do well."""

_SIDE = 128  # pixels of the faces of photographs


@dataclass(frozen=True)
class RenderedScenes:
    """Scenes of rendered heads, and the figure of each scene."""

    pairs: Pairs
    figures: list[str]


@dataclass(frozen=True)
class NeutralFaces:
    """One neutral or unlabelled face of each of N figures."""

    crops: np.ndarray  # uint8 (N, S, S, 3) RGB
    action_units: np.ndarray  # float32 (N, 17), 0 to 5
    figure_ids: np.ndarray  # str (N,): corpus and figure


def load_rendered(rendered: Artifact, figures: int) -> RenderedScenes:
    """The scenes of up to `figures` figures, evenly spaced.

    Raises UserError where the heads are not rendered as crops, or there are fewer than MIN_FIGURES figures.
    """
    if rendered.manifest.stage == "render" and (framing := rendered.manifest.config.get("framing")) != "crop":
        raise UserError(
            f"{rendered.uri} shows heads in the framing '{framing}', but a generator takes crops: render with "
            "framing crop."
        )
    widths = rendered.table(".", RENDERED, columns=["width"])["width"]
    pairs, names = load_scenes(rendered, int(pc.max(widths).as_py() or _SIDE))
    known = sorted(set(names))
    if len(known) < MIN_FIGURES:
        raise UserError(
            f"{rendered.uri} has scenes of {len(known)} figures, but the identity score needs at least {MIN_FIGURES}: "
            "render more."
        )
    chosen = {known[k] for k in np.linspace(0, len(known) - 1, min(figures, len(known))).round().astype(int)}
    kept = [k for k, name in enumerate(names) if name in chosen]
    return RenderedScenes(pairs.subset(kept), [names[k] for k in kept])


def load_neutral_faces(faces: Sequence[Artifact], figures: int) -> NeutralFaces:
    """The first neutral or unlabelled face of each of up to `figures` figures of each output.

    Raises UserError where an image cannot be decoded, or there are fewer than MIN_FIGURES figures in total.
    """
    parts = [_neutral_faces(artifact, figures) for artifact in faces]
    crops, units, figure_ids = (
        np.concatenate(arrays) for arrays in zip(*(vars(part).values() for part in parts), strict=True)
    )
    if len(crops) < MIN_FIGURES:
        raise UserError(
            f"{', '.join(artifact.uri for artifact in faces)} has neutral or unlabelled faces of {len(crops)} figures, "
            f"but the identity score needs at least {MIN_FIGURES}: add more faces."
        )
    return NeutralFaces(crops, units, figure_ids)


def _neutral_faces(faces: Artifact, figures: int) -> NeutralFaces:
    table = faces.table("faces", FACES, columns=["face_id", "corpus", "figure_id", "label", "status"])
    first: dict[tuple[str, str], str] = {}
    for row in table.to_pylist():
        if row["status"] == OK and row["label"] in (None, NEUTRAL):
            first.setdefault((row["corpus"], row["figure_id"]), row["face_id"])
    ids = sorted(first.values())[:figures]
    columns = ["face_id", "corpus", "figure_id", "action_units", "image"]
    rows = faces.table("faces", FACES, columns=columns, ids=ids).to_pylist()
    crops = np.zeros((len(rows), _SIDE, _SIDE, 3), np.uint8)
    for crop, row in zip(crops, rows, strict=True):
        image = decode(row["image"])
        if image is None:
            raise UserError(
                f"{faces.uri}: the image of {row['face_id']} cannot be decoded; delete the directory and run the stage "
                "again."
            )
        crop[:] = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    units = [row["action_units"] or [0.0] * len(ACTION_UNITS) for row in rows]
    return NeutralFaces(
        crops,
        np.array(units, np.float32).reshape(-1, len(ACTION_UNITS)),
        np.array([f"{row['corpus']}/{row['figure_id']}" for row in rows]),
    )
