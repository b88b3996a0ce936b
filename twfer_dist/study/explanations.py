"""What the models' answers rest on: pictures and words for a sample of faces, and a check where the truth is known."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image
from scipy import stats

from twfer_dist.core.images import jpeg_uri, thumbnail
from twfer_dist.core.intervals import as_dict, share_of
from twfer_dist.core.schema import FACES, figures
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import ACTION_UNIT_MOVEMENTS, ACTION_UNITS, EXPRESSIONS, NEUTRAL
from twfer_dist.engine.artifact import Artifact
from twfer_dist.explanation.tables import EXPLANATIONS
from twfer_dist.reading.reader import NAME as READER
from twfer_dist.study.figures import FACE_PIXELS, PRESENT
from twfer_dist.study.inputs import output_name

SHOWN = 12
"""Faces on the page, at most."""

NAMED = 3
"""Action Units that are named for an answer, and against it, at most."""

LEAST = 0.02
"""The contribution, of a probability, from which an Action Unit is named."""

_FOR, _AGAINST = (214, 84, 30), (46, 96, 190)  # the colours of a map
_STRONGEST = 0.75  # the opacity of the strongest place

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Mean:
    """A mean over faces with its 95 % interval (Student's t over figures); low and high are None with one figure."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class MapCheck:
    """The maps of one recogniser on rendered faces, where it is known which places of the picture changed."""

    faces: int
    figures: int
    inside: Mean  # the part of the map, of what speaks for the answer, that lies where the face moved
    area: float  # the part of the picture that moved: what a map without any sense would have
    random: float  # the part that a map of a network with random weights has there
    above_area: Mean  # inside less area, face by face
    above_random: Mean
    similarity: float  # Spearman's correlation of the map with that of random weights, place by place, mean over faces

    @property
    def passed(self) -> bool:
        """Whether the maps lie where the face moved more than both senseless ones."""
        return all(mean.low is not None and mean.low > 0 for mean in (self.above_area, self.above_random))


@dataclass(frozen=True)
class UnitCheck:
    """The reader's contributions on rendered faces that it did not call neutral: whether the Action Unit that moved the
    answer most was truly raised.
    """

    raised: dict[str, Any]  # `as_dict` of the share of faces in which it was
    by_chance: float  # the mean part of the 17 units that was raised

    @property
    def passed(self) -> bool:
        return bool(self.raised["low"] > self.by_chance)


@dataclass(frozen=True)
class Explained:
    """The explained answers of one model."""

    output: str
    model: str
    faces: int
    maps: MapCheck | None  # None for the reader, and without rendered faces
    units: UnitCheck | None  # None for a recogniser, and without rendered faces


@dataclass(frozen=True)
class Answer:
    """One model's answer to a face, with what it rests on."""

    model: str
    expression: str
    map: str | None  # the face under its map, a JPEG as a data URI; None for the reader
    support: list[dict[str, Any]]  # the units that speak for the answer, the strongest first: unit, name, part
    against: list[dict[str, Any]]
    at_rest: float | None  # the probability of the answer for a face at rest; None for a recogniser


@dataclass(frozen=True)
class ExplainedFace:
    face_id: str
    path: str
    image: str  # a JPEG as a data URI
    answers: list[Answer]

    def as_json(self) -> dict[str, Any]:
        """The face without its pictures."""
        answers = [{key: value for key, value in asdict(answer).items() if key != "map"} for answer in self.answers]
        return {"face_id": self.face_id, "path": self.path, "answers": answers}


def explained(outputs: Sequence[Artifact]) -> list[Explained]:
    """The check of each output of the stage `explain-answers`, recognisers first."""
    found = []
    for output in outputs:
        table = output.table(".", EXPLANATIONS)
        rows, named = table.to_pylist(), np.array(figures(table).to_pylist())
        kept = [k for k, row in enumerate(rows) if row["status"] == OK]
        rows, named = [rows[k] for k in kept], named[kept]
        if rows:
            checks = (check_maps(rows, named), check_units(rows, named))
            found.append(Explained(output_name(output), rows[0]["model"], len(rows), *checks))
    return sorted(found, key=lambda entry: (entry.model == READER, entry.model))


def check_maps(rows: Sequence[Row], named: np.ndarray) -> MapCheck | None:
    """The check of those rows (EXPLANATIONS) whose moved places are known; None without any. named: their figures."""
    kept = [k for k, row in enumerate(rows) if row["moved"] is not None and any(row["moved"])]
    if not kept:
        return None
    maps, random, moved = (np.array([rows[k][name] for k in kept]) for name in ("map", "random_map", "moved"))
    area, inside, by_random = moved.mean(1), _inside(maps, moved), _inside(random, moved)
    alike = [stats.spearmanr(one, other).statistic for one, other in zip(maps, random, strict=True)]
    of_figures = named[kept]
    return MapCheck(
        faces=len(kept),
        figures=len(set(of_figures)),
        inside=_mean(inside, of_figures),
        area=round(float(area.mean()), 4),
        random=round(float(by_random.mean()), 4),
        above_area=_mean(inside - area, of_figures),
        above_random=_mean(inside - by_random, of_figures),
        similarity=round(float(np.nanmean(alike)), 4),
    )


def _inside(maps: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """(N,): which part of what speaks for the answer lies in the places that moved. maps, moved: (N, places)."""
    support = np.maximum(maps, 0)
    return (support * moved).sum(1) / np.maximum(support.sum(1), 1e-12)


def _mean(values: np.ndarray, named: np.ndarray) -> Mean:
    """The mean of the figures' means."""
    _, figure = np.unique(named, return_inverse=True)
    means = np.bincount(figure, values) / np.bincount(figure)
    value, n = float(means.mean()), len(means)
    if n < 2:
        return Mean(round(value, 4), None, None)
    half = float(stats.t.ppf(0.975, n - 1) * means.std(ddof=1) / np.sqrt(n))
    return Mean(round(value, 4), round(value - half, 4), round(value + half, 4))


def check_units(rows: Sequence[Row], named: np.ndarray) -> UnitCheck | None:
    """The check of the rows whose rendered units are known, and whose answer is another than neutral; None without any.
    A unit is raised from PRESENT on.
    """
    kept = [
        k
        for k, row in enumerate(rows)
        if row["contributions"] is not None and row["rendered"] is not None and row["explained"] != NEUTRAL
        if any(row["rendered"])
    ]
    if not kept:
        return None
    raised = np.array([rows[k]["rendered"] for k in kept]) >= PRESENT
    strongest = np.array([rows[k]["contributions"] for k in kept]).argmax(1)
    hits = raised[np.arange(len(kept)), strongest]
    return UnitCheck(as_dict(share_of(hits, named[kept])), round(float(raised.mean()), 4))


# The faces on the page


def explained_faces(outputs: Sequence[Artifact], faces: Sequence[Artifact], limit: int = SHOWN) -> list[ExplainedFace]:
    """The first shown faces by id, with the answers of every model that is explained."""
    rows: dict[str, list[Row]] = {}
    for output in outputs:
        for row in output.table(".", EXPLANATIONS).to_pylist():
            if row["shown"] and row["status"] == OK:
                rows.setdefault(row["image_id"], []).append(row)
    ids = sorted(rows)[:limit]
    tables = [output.table("faces", FACES, columns=["face_id", "path", "image"], ids=ids) for output in faces]
    pictures = {row["face_id"]: row for table in tables for row in table.to_pylist()}
    shown = []
    for face_id in (face_id for face_id in ids if face_id in pictures):
        face = pictures[face_id]
        picture = thumbnail(face["image"], FACE_PIXELS)
        of_models = sorted(rows[face_id], key=lambda row: (row["model"] == READER, row["model"]))
        answers = [_answer(row, picture) for row in of_models]
        shown.append(ExplainedFace(face_id, face["path"], jpeg_uri(picture), answers))
    return shown


def _answer(row: Row, picture: Image.Image) -> Answer:
    parts = row["contributions"] or []
    units = [
        {"unit": unit, "name": name, "part": round(part, 4)}
        for unit, name, part in zip(ACTION_UNITS, ACTION_UNIT_MOVEMENTS, parts, strict=False)
        if abs(part) >= LEAST
    ]
    units.sort(key=lambda unit: -abs(unit["part"]))
    return Answer(
        model=row["model"],
        expression=EXPRESSIONS[row["explained"] - 1],
        map=None if row["map"] is None else jpeg_uri(overlay(picture, np.array(row["map"], np.float32))),
        support=[unit for unit in units if unit["part"] > 0][:NAMED],
        against=[unit for unit in units if unit["part"] < 0][:NAMED],
        at_rest=row["at_rest"],
    )


def overlay(picture: Image.Image, values: np.ndarray) -> Image.Image:
    """A face in grey under its map: orange where the place speaks for the answer, blue where it speaks against it; the
    strongest place is the most opaque. values: (places,), square.
    """
    side = int(np.sqrt(len(values)))
    size = (picture.width, picture.height)
    smooth = cv2.resize(values.reshape(side, side), size, interpolation=cv2.INTER_CUBIC)
    strength = np.clip(smooth / max(float(np.abs(smooth).max()), 1e-12), -1, 1)[..., None]
    grey = np.repeat(np.asarray(picture.convert("L"), np.float32)[..., None], 3, 2)
    colour = np.where(strength > 0, np.array(_FOR, np.float32), np.array(_AGAINST, np.float32))
    opacity = _STRONGEST * np.abs(strength)
    return Image.fromarray((grey * (1 - opacity) + colour * opacity).astype(np.uint8))
