"""What generators are evaluated on: scenes of rendered heads, and neutral faces of photographs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow.compute as pc
import torch

from twfer_dist.core.errors import UserError
from twfer_dist.core.images import decode
from twfer_dist.core.schema import FACES, RENDERED
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import ACTION_UNITS, NEUTRAL
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import package_path
from twfer_dist.faces import detector_models
from twfer_dist.faces.finder import FaceFinder, FacesConfig
from twfer_dist.measurement.analyzer import SHIPPED
from twfer_dist.synthesis.pairs import Pairs, load_scenes

TEST = package_path("package:weights/generator-test")
"""Scenes of 30 rendered figures that ship with the package and that no training has seen (jobs/generator.yaml)."""

SCULPTURE = package_path("package:demo/terracottas")
"""Twelve photographs of real terracottas that ship with the package; no network of this project was trained on them."""

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

    Raises UserError where the heads are not rendered as crops, or no scene has two images.
    """
    if rendered.manifest.stage == "render" and (framing := rendered.manifest.config.get("framing")) != "crop":
        raise UserError(
            f"{rendered.uri} shows heads in the framing '{framing}', but a generator takes crops: render with "
            "framing crop."
        )
    widths = rendered.table(".", RENDERED, columns=["width"])["width"]
    pairs, names = load_scenes(rendered, int(pc.max(widths).as_py() or _SIDE))
    known = sorted(set(names))
    if not known:
        raise UserError(f"{rendered.uri} has no scene with two images: render heads with plan changes.")
    chosen = {known[k] for k in np.linspace(0, len(known) - 1, min(figures, len(known))).round().astype(int)}
    kept = [k for k, name in enumerate(names) if name in chosen]
    return RenderedScenes(pairs.subset(kept), [names[k] for k in kept])


def load_neutral_faces(faces: Sequence[Artifact], figures: int) -> NeutralFaces:
    """The first neutral or unlabelled face of each of up to `figures` figures of each output.

    Raises UserError where an image cannot be decoded, or there is no such face.
    """
    rows: list[dict[str, Any]] = []
    for artifact in faces:
        columns = ["face_id", "corpus", "figure_id", "label", "status"]
        ids = _first_neutral(artifact.table("faces", FACES, columns=columns).to_pylist())[:figures]
        columns = ["face_id", "corpus", "figure_id", "action_units", "image"]
        rows += artifact.table("faces", FACES, columns=columns, ids=ids).to_pylist()
    named = ", ".join(artifact.uri for artifact in faces)
    if not rows:
        raise UserError(f"{named} has no neutral or unlabelled face that passed the quality gate: add faces.")
    return _neutral_faces(rows, named)


def find_sculpture(figures: int) -> NeutralFaces:
    """The faces of up to `figures` photographs of SCULPTURE, found and measured as the faces stage does."""
    corpus = open_corpus(SCULPTURE)
    threads = torch.get_num_threads(), cv2.getNumThreads()
    try:
        finder = FaceFinder({corpus.name: corpus.root}, FacesConfig(), detector_models.choose(), SHIPPED)
        rows = finder(corpus.table)["faces"].to_pylist()
    finally:  # the finder is a worker and takes one thread of its process
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
    chosen = set(_first_neutral(rows)[:figures])
    return _neutral_faces([row for row in rows if row["face_id"] in chosen], SCULPTURE)


def _first_neutral(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The id of the first neutral or unlabelled face of each figure, sorted."""
    first: dict[tuple[str, str], str] = {}
    for row in rows:
        if row["status"] == OK and row["label"] in (None, NEUTRAL):
            first.setdefault((row["corpus"], row["figure_id"]), row["face_id"])
    return sorted(first.values())


def _neutral_faces(rows: Sequence[Mapping[str, Any]], source: str) -> NeutralFaces:
    crops = np.zeros((len(rows), _SIDE, _SIDE, 3), np.uint8)
    for crop, row in zip(crops, rows, strict=True):
        image = decode(row["image"])
        if image is None:
            raise UserError(
                f"{source}: the image of {row['face_id']} cannot be decoded; delete the directory and run the stage "
                "again."
            )
        crop[:] = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    units = [row["action_units"] or [0.0] * len(ACTION_UNITS) for row in rows]
    return NeutralFaces(
        crops,
        np.array(units, np.float32).reshape(-1, len(ACTION_UNITS)),
        np.array([f"{row['corpus']}/{row['figure_id']}" for row in rows]),
    )
