"""What the animation looks like: for each figure a strip and a GIF, and, where wanted, its photographs with the
animated face in them.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import cv2
import numpy as np
import pyarrow.compute as pc

from twfer_dist.core import images
from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import ANIMATED, FACES
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.corpus.corpus import Corpus
from twfer_dist.corpus.formats import ending_of
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Range, Settings
from twfer_dist.engine.kind import Input, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.storage import absolute
from twfer_dist.faces.decode import DecodeError, decode, on_grey, read

VERSION = 3

FRAME_MS, REST_MS = 90, 700  # of a GIF: while the face moves, and at its strongest and calmest
_LONGEST_NAME = 120  # bytes: file systems allow 255, and an ending and an expression follow
_FEATHER = 0.08  # of the crop's side: over this width from its edge a change fades away
_MOST_PIXELS = 100_000_000


@dataclass(frozen=True)
class StripsConfig(Settings):
    """How many figures are shown, and how large."""

    figures: Annotated[int, Range(1, 10_000)] = 12
    side: Annotated[int, Range(16, 2048)] = 112  # pixels of a strip's cells and of a GIF


def strips_job(
    animated: Sequence[Artifact], faces: Sequence[Artifact], config: StripsConfig, *, corpora: Sequence[Corpus] = ()
) -> StageSpec:
    """Pictures of the first figures of `animated` (by id, one face of a figure): `<name>.png`, a row for each
    expression from the face itself to the strongest, and `<name>.gif`, which goes through all of them; and of all
    figures together `sheet.jpg`, a row for each: the face itself, and every expression at its strongest.

    faces: what was animated. corpora: where given, their photographs with the strongest of each expression put back
    into them, as `<name>-<expression>.jpg`. A name is that of the photograph (see `file_names`). Problem where nothing
    is animated.
    """
    by_name = {corpus.name: corpus for corpus in corpora}

    def do(work: StageOutput) -> None:
        shown = _figures(animated, faces, config.figures)
        if not shown:
            raise UserError(
                f"No animated face of {', '.join(a.uri for a in animated) or 'no stage'} is ok: nothing can be shown."
            )
        progress = work.progress(len(shown), " figures")
        progress.start(0)
        lines = []
        for name, (face, rows) in zip(file_names([face for face, _ in shown]), shown, strict=True):
            source = _pixels(face["image"], config.side)
            frames = {
                label: [_pixels(row["image"], config.side) for row in rows if row["label"] == label]
                for label in _labels(rows)
            }
            work.write_file(f"{name}.png", images.encode_png(strip(source, frames)))
            work.write_file(f"{name}.gif", gif(source, frames))
            lines.append(np.concatenate([source, *(images[-1] for images in frames.values())], axis=1))
            if corpus := by_name.get(face["corpus"]):
                photograph = _photograph(corpus, face["path"])
                strongest = {row["label"]: row for row in rows}
                for label, row in strongest.items():
                    pasted = paste(photograph, face, _pixels(row["image"], row["width"]))
                    work.write_file(f"{name}-{EXPRESSIONS[label - 1]}.jpg", images.encode_jpeg(pasted))
            progress.advance(1)
        progress.close()
        work.write_file("sheet.jpg", images.encode_jpeg(sheet(lines)))
        work.results["summary"] = [
            f"{len(shown)} figures: a strip (.png) and a GIF of each{', and their photographs' if corpora else ''}"
        ]

    inputs: dict[str, Any] = {f"animated_{k}": one for k, one in enumerate(animated)} | {
        f"faces_{k}": one for k, one in enumerate(faces)
    }
    return StageSpec(
        "strips", VERSION, inputs | {c.name: c for c in corpora}, config, {"opencv": cv2.__version__}, {}, do
    )


def _figures(animated: Sequence[Artifact], faces: Sequence[Artifact], limit: int) -> list[tuple[dict, list[dict]]]:
    """The first faces by id, each of another figure, and their animated rows from one reference of each expression,
    weak to strong.
    """
    first: dict[tuple[str, str], tuple[str, int]] = {}
    for number, one in enumerate(animated):
        for batch in one.scan(".", ANIMATED).to_batches(
            columns=["face_id", "corpus", "figure_id"], filter=pc.field("status") == OK
        ):
            for row in batch.to_pylist():
                first.setdefault((row["corpus"], row["figure_id"]), (row["face_id"], number))
            if len(first) >= limit:
                break
    found = []
    for face_id, number in sorted(first.values())[:limit]:
        rows = (
            animated[number]
            .scan(".", ANIMATED)
            .to_table(filter=(pc.field("face_id") == face_id) & (pc.field("status") == OK))
            .to_pylist()
        )
        reference = {row["label"]: row["reference_id"] for row in reversed(rows)}
        kept = sorted(
            (r for r in rows if r["reference_id"] == reference[r["label"]]), key=lambda r: (r["label"], r["level"])
        )
        own = [row for f in faces for row in f.table("faces", FACES, ids=[face_id]).to_pylist()]
        if not own:
            raise UserError(
                f"The face {face_id} is in none of the given faces: name the output that was animated under 'faces'."
            )
        found.append((own[0], kept))
    return found


def file_names(faces: Sequence[Mapping[str, Any]]) -> list[str]:
    """A file name without an ending for each face (rows of FACES): the path of its photograph, its folders joined by
    "-", without what a file system or a shell would take for something else; the number of the face where it is not the
    largest; and a part of its id where two would be alike to a file system that ignores case.
    """
    names = []
    for face in faces:
        path = unicodedata.normalize("NFC", face["path"][: len(face["path"]) - len(ending_of(face["path"]))])
        words = re.sub(r"[^\w.]+", "-", path).strip("-.")
        short = words.encode()[-_LONGEST_NAME:].decode(errors="ignore").strip("-.") or "face"
        names.append(f"{short}-face-{face['rank'] + 1}" if face["rank"] else short)
    count = Counter(name.casefold() for name in names)
    return [
        name if count[name.casefold()] == 1 else f"{name}-{face['face_id'][:8]}"
        for name, face in zip(names, faces, strict=True)
    ]


def _photograph(corpus: Corpus, path: str) -> np.ndarray:
    try:
        return on_grey(decode(read(absolute(corpus.root), path, _MOST_PIXELS), _MOST_PIXELS).pixels)
    except DecodeError as refused:
        raise UserError(
            f"{corpus.name}, {path}: {refused} Its face was found there before: put the photograph back."
        ) from None


def _labels(rows: Sequence[Mapping]) -> list[int]:
    return sorted({row["label"] for row in rows})


def strip(source: np.ndarray, frames: Mapping[int, Sequence[np.ndarray]]) -> np.ndarray:
    """uint8 (H, W, 3) RGB: a row for each expression (label 1 to 7), its name, the figure, and its frames from weak to
    strong.

    figure and frames: uint8 (side, side, 3).
    """
    side = len(source)
    longest = max(map(len, frames.values()))
    lines = []
    for label, graded in frames.items():
        name = np.full((side, side, 3), 255, np.uint8)
        cv2.putText(
            name,
            EXPRESSIONS[label - 1],
            (4, side // 2),
            cv2.FONT_HERSHEY_SIMPLEX,
            side / 230,
            (40, 40, 40),
            1,
            cv2.LINE_AA,
        )
        blank = [np.full_like(source, 255)] * (longest - len(graded))
        lines.append(np.concatenate([name, source, *graded, *blank], axis=1))
    return np.concatenate(lines)


def sheet(lines: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of pictures, uint8 (side, width, 3) RGB each, one under another; in two columns where there are many."""
    widest = max(line.shape[1] for line in lines)
    even = [
        cv2.copyMakeBorder(line, 0, 0, 0, widest - line.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255))
        for line in lines
    ]
    if len(even) < 8:
        return np.concatenate(even)
    even += [np.full_like(even[0], 255)] * (len(even) % 2)
    gap = np.full((len(even) // 2 * len(even[0]), 8, 3), 255, np.uint8)
    return np.concatenate([np.concatenate(even[: len(even) // 2]), gap, np.concatenate(even[len(even) // 2 :])], axis=1)


def gif(source: np.ndarray, frames: Mapping[int, Sequence[np.ndarray]]) -> bytes:
    """A GIF without end: the face goes to each expression and back."""
    pictures, times = [source], [REST_MS]
    for graded in frames.values():
        pictures += [*graded, *reversed(graded[:-1]), source]
        times += [FRAME_MS] * (len(graded) - 1) + [REST_MS] + [FRAME_MS] * (len(graded) - 1) + [REST_MS]
    return images.encode_gif(pictures, times)


def paste(photograph: np.ndarray, face: Mapping[str, Any], animated: np.ndarray) -> np.ndarray:
    """The photograph (uint8 RGB) with its face animated.

    face: a row of FACES. animated: its crop uint8 (S, S, 3) after the animation. What is carried back is the
    *difference* of the crops, fading towards their edge: no seam can show, and where nothing changed the photograph's
    own pixels stay as they are.
    """
    side = len(animated)
    change = animated.astype(np.float32) - _pixels(face["image"], side)
    place = np.arange(side, dtype=np.float32) + 0.5
    fade = np.clip(np.minimum(place, side - place) / (_FEATHER * side), 0, 1)
    change *= (fade[:, None] * fade[None, :])[..., None]
    matrix = np.array(face["crop_matrix"], np.float32).reshape(2, 3) * (side / face["width"])
    matrix[:, 2] += 0.5 * side / face["width"] - 0.5  # a pixel's middle is at its whole number
    height, width = photograph.shape[:2]
    corners = (np.array([(x, y) for x in (-1, side) for y in (-1, side)]) - matrix[:, 2]) @ np.linalg.inv(
        matrix[:, :2]
    ).T
    x0, y0 = np.floor(corners.min(0)).astype(int).clip(0, (width - 1, height - 1))
    x1, y1 = (np.ceil(corners.max(0)).astype(int) + 1).clip((x0 + 1, y0 + 1), (width, height))
    matrix[:, 2] += matrix[:, :2] @ (x0, y0)
    carried = cv2.warpAffine(
        change, matrix, (int(x1 - x0), int(y1 - y0)), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    pasted = photograph.copy()
    pasted[y0:y1, x0:x1] = np.clip(photograph[y0:y1, x0:x1] + carried + 0.5, 0, 255).astype(np.uint8)
    return pasted


def _pixels(data: bytes, side: int) -> np.ndarray:
    image = images.decode(data)
    assert image is not None  # of our own tables
    return images.resize_square(image, side)


KIND = StageKind(
    "strips",
    config=StripsConfig,
    inputs=(
        Input("animated", ("animate",), several=True),
        Input("faces", ("faces", "corrected"), several=True),
        Input("corpora", several=True, optional=True),
    ),
    build=lambda request: strips_job(
        request.all("animated"), request.all("faces"), request.config, corpora=request.all("corpora")
    ),
)
