"""Small drawn faces in the tables of the synthesis room: heads whose mouth, brows and eyes follow Action Units."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.schema import FACES, RENDERED
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS, NEUTRAL
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage

SIDE = 96


def drawn(figure: int, units: np.ndarray) -> np.ndarray:
    """A face uint8 (96, 96, 3) in the colour of a figure, with `units` (17, 0 to 5)."""
    rng = np.random.default_rng(figure)
    image = np.full((SIDE, SIDE, 3), 40, np.uint8)
    strength = dict(zip(ACTION_UNITS, units / 5, strict=True))
    centre = SIDE // 2
    cv2.ellipse(image, (centre, centre), (35, 39), 0, 0, 360, rng.integers(90, 160, 3).tolist(), -1)
    for side in (-1, 1):
        cv2.circle(image, (centre + side * 16, centre - 9), int(3 + 4 * strength["AU05"]), (20, 20, 20), -1)
        brow = centre - 19 - int(6 * strength["AU01"])
        inner, outer = (centre + side * 9, brow + int(5 * strength["AU04"])), (centre + side * 24, brow)
        cv2.line(image, inner, outer, (30, 30, 30), 2)
    mouth = int(12 + 7 * strength["AU12"]), 2 + int(9 * strength["AU26"])
    cv2.ellipse(image, (centre, centre + 19), mouth, 0, 0, 360, (60, 30, 30), -1)
    return image


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def artifact(out: str, stage: str, name: str, table: pa.Table, schema: pa.Schema) -> Artifact:
    """`table` as the output of a stage."""
    job = StageSpec(
        stage, 1, {}, {"rows": len(table)}, {}, {name: schema}, lambda output: output.write_table(name, table)
    )
    return run_stage(job, out)


def rendered(out: str, figures: int = 4, images: int = 6) -> Artifact:
    """One scene with `images` images of each of `figures` figures; the first is neutral, the rest have free Action
    Units.
    """
    turn = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = np.stack([SIDE / 2 + 35 * np.cos(turn), SIDE / 2 + 39 * np.sin(turn)], axis=1).astype(np.float32)
    rows = []
    for figure in range(figures):
        rng = np.random.default_rng(figure)
        for k in range(images):
            units = (rng.random(17) * 5 * (k > 0)).astype(np.float32)
            rows.append(
                {
                    "image_id": f"figure{figure:03d}-scene-{k:02d}",
                    "figure_id": f"figure{figure:03d}",
                    "scene": f"figure{figure:03d}-scene",
                    "label": None if k else NEUTRAL,
                    "action_units": units.tolist(),
                    "landmarks68": points.ravel().tolist(),
                    "image": png(drawn(figure, units)),
                    "status": OK,
                }
            )
    return artifact(out, "rendered", ".", pa.Table.from_pylist(rows, schema=RENDERED), RENDERED)


def face_rows(
    figures: int = 3, *, corpus: str = "drawn", expressions: bool = True, units: bool = True
) -> list[dict[str, Any]]:
    """FACES rows: each figure neutral and, if `expressions`, with the other six; figure 1's neutral crop is broken, and
    one photograph shows no face.
    """
    rows: list[dict[str, Any]] = []
    for figure in range(figures):
        for label, expression in enumerate(EXPRESSIONS, start=1):
            if label != NEUTRAL and not expressions:
                continue
            shown = prototype(expression) * (0.6 + 0.1 * figure)
            rows.append(
                {
                    "face_id": f"{corpus}{figure}{expression}-0",
                    "photo_id": f"{corpus}{figure}{expression}",
                    "rank": 0,
                    "corpus": corpus,
                    "path": f"{figure}/{expression}.png",
                    "figure_id": f"{corpus}-figure{figure}",
                    "label": label,
                    "groups": [("posture", "civil")],
                    "action_units": shown.tolist() if units else None,
                    "image": b"not an image" if figure == 1 and label == NEUTRAL else png(drawn(figure, shown)),
                    "width": SIDE,
                    "height": SIDE,
                    "status": OK,
                }
            )
    face_id, photo_id = f"{corpus}-none-0", f"{corpus}-none"
    no_face = {"face_id": face_id, "photo_id": photo_id, "corpus": corpus, "label": NEUTRAL, "status": "no_face"}
    return [*rows, no_face]


def faces(
    out: str, figures: int = 3, *, corpus: str = "drawn", expressions: bool = True, units: bool = True
) -> Artifact:
    """`face_rows` as the output of the faces stage."""
    rows = face_rows(figures, corpus=corpus, expressions=expressions, units=units)
    return artifact(out, "faces", "faces", pa.Table.from_pylist(rows, schema=FACES), FACES)


def animated_rows(face: Mapping[str, Any], references: int = 2, levels: int = 2) -> list[dict[str, Any]]:
    """ANIMATED rows of a FACES row: a uniform picture for each expression, reference and level."""
    return [
        {
            "image_id": f"{face['face_id']}-{expression}-{reference}-{level}",
            **{name: face[name] for name in ("face_id", "corpus", "figure_id", "groups")},
            "label": label,
            "level": level,
            "intensity": level / levels,
            "reference_id": f"reference-{reference}",
            "action_units": [0.0] * len(ACTION_UNITS),
            "image": png(np.full((64, 64, 3), 20 * label + 10 * level + reference, np.uint8)),
            "width": 64,
            "height": 64,
            "status": OK,
        }
        for label, expression in enumerate(EXPRESSIONS, start=1)
        for reference in range(1, references + 1)
        for level in range(1, levels + 1)
    ]
