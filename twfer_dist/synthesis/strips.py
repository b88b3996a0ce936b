"""The stage that shows the animation: a strip and a GIF for each figure and, where wanted, its photographs with the
animated face pasted back.
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

from twfer_dist.core.errors import UserError
from twfer_dist.core.images import encode_jpeg, encode_png
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
from twfer_dist.synthesis import pictures

VERSION = 3

_LONGEST_NAME = 120  # bytes: file systems allow 255, and an expression and a suffix follow
_MOST_PIXELS = 100_000_000


@dataclass(frozen=True)
class StripsConfig(Settings):
    """How many figures are shown, and how large."""

    figures: Annotated[int, Range(1, 10_000)] = 12  # that are shown, at most
    side: Annotated[int, Range(16, 2048)] = 112  # pixels of a strip's cells and of a GIF


@dataclass(frozen=True)
class _AnimatedFace:
    """A row of FACES, and its rows of ANIMATED from one reference of each expression, by label and level."""

    face: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]

    def strongest(self) -> dict[int, Mapping[str, Any]]:
        """The row of the highest level, by label."""
        return {row["label"]: row for row in self.rows}


def strips_spec(
    animated: Sequence[Artifact], faces: Sequence[Artifact], config: StripsConfig, *, corpora: Sequence[Corpus] = ()
) -> StageSpec:
    """Pictures of the first figures of `animated`, by id, with one face for each figure.

    For each figure `<name>.png`, a row for each expression from the face itself to the strongest level, and
    `<name>.gif`, which goes through all of them; for all figures `sheet.jpg`, a row each: the face itself and every
    expression at its strongest. faces: what was animated. corpora: if given, their photographs with the strongest level
    of each expression pasted back, as `<name>-<expression>.jpg`. See `file_names`. Raises UserError where nothing is
    animated.
    """
    by_name = {corpus.name: corpus for corpus in corpora}

    def do(output: StageOutput) -> None:
        shown = _first_faces(animated, faces, config.figures)
        if not shown:
            outputs = ", ".join(artifact.uri for artifact in animated) or "No stage"
            raise UserError(f"{outputs} holds no animated face with status ok to show: animate faces first.")
        progress = output.progress(len(shown), " figures")
        progress.start(0)
        rows = []
        for name, one in zip(file_names([one.face for one in shown]), shown, strict=True):
            rows.append(_write_strip(output, name, one, config.side))
            if corpus := by_name.get(one.face["corpus"]):
                _write_photographs(output, name, one, corpus)
            progress.advance(1)
        progress.close()
        output.write_file("sheet.jpg", encode_jpeg(pictures.sheet(rows)))
        pasted = ", and its photographs with the animated face" if corpora else ""
        output.results["summary"] = [f"{len(shown)} figures: a strip (.png) and a GIF for each{pasted}"]

    inputs: dict[str, Any] = {f"animated_{k}": one for k, one in enumerate(animated)}
    inputs |= {f"faces_{k}": one for k, one in enumerate(faces)} | by_name
    return StageSpec("strips", VERSION, inputs, config, {"opencv": cv2.__version__}, {}, do)


def _write_strip(output: StageOutput, name: str, one: _AnimatedFace, side: int) -> np.ndarray:
    """Write the strip and the GIF; the face's row of the sheet."""
    source = pictures.decode(one.face["image"], side)
    frames = {
        label: [pictures.decode(row["image"], side) for row in one.rows if row["label"] == label]
        for label in one.strongest()
    }
    output.write_file(f"{name}.png", encode_png(pictures.strip(source, frames)))
    output.write_file(f"{name}.gif", pictures.gif(source, frames))
    return np.concatenate([source, *(images[-1] for images in frames.values())], axis=1)


def _write_photographs(output: StageOutput, name: str, one: _AnimatedFace, corpus: Corpus) -> None:
    path = one.face["path"]
    try:
        photograph = on_grey(decode(read(absolute(corpus.root), path, _MOST_PIXELS), _MOST_PIXELS).pixels)
    except DecodeError as error:
        raise UserError(
            f"{corpus.name}, {path}: {error} The faces stage read it before: put the photograph back."
        ) from None
    for label, row in one.strongest().items():
        pasted = pictures.paste(photograph, one.face, pictures.decode(row["image"], row["width"]))
        output.write_file(f"{name}-{EXPRESSIONS[label - 1]}.jpg", encode_jpeg(pasted))


def _first_faces(animated: Sequence[Artifact], faces: Sequence[Artifact], limit: int) -> list[_AnimatedFace]:
    """The first faces by id, each of another figure."""
    first: dict[tuple[str, str], tuple[str, int]] = {}
    for index, artifact in enumerate(animated):
        for batch in artifact.scan(".", ANIMATED).to_batches(
            columns=["face_id", "corpus", "figure_id"], filter=pc.field("status") == OK
        ):
            for row in batch.to_pylist():
                first.setdefault((row["corpus"], row["figure_id"]), (row["face_id"], index))
            if len(first) >= limit:
                break
    shown = []
    for face_id, index in sorted(first.values())[:limit]:
        face = [row for f in faces for row in f.table("faces", FACES, ids=[face_id]).to_pylist()]
        if not face:
            raise UserError(
                f"The face {face_id} is in none of the given faces: name the output that was animated under 'faces'."
            )
        shown.append(_AnimatedFace(face[0], _one_reference_each(animated[index], face_id)))
    return shown


def _one_reference_each(animated: Artifact, face_id: str) -> list[dict[str, Any]]:
    """A face's rows with status ok from the first reference of each expression, by label and level."""
    wanted = (pc.field("face_id") == face_id) & (pc.field("status") == OK)
    rows = animated.scan(".", ANIMATED).to_table(filter=wanted).to_pylist()
    reference = {row["label"]: row["reference_id"] for row in reversed(rows)}
    kept = (row for row in rows if row["reference_id"] == reference[row["label"]])
    return sorted(kept, key=lambda row: (row["label"], row["level"]))


def file_names(faces: Sequence[Mapping[str, Any]]) -> list[str]:
    """A file name without suffix for each face (a row of FACES).

    It is the path of the photograph, with folders joined by "-" and without characters that a file system or a shell
    would interpret; then the face's number unless it is the largest; and a part of its id where two names would be
    equal on a file system that ignores case.
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


KIND = StageKind(
    "strips",
    makes="pictures of the animation: strips, GIFs, photographs",
    config=StripsConfig,
    inputs=(
        Input("animated", ("animate",), several=True),
        Input("faces", ("faces", "corrected"), several=True),
        Input("corpora", several=True, optional=True),
    ),
    build=lambda request: strips_spec(
        request.all("animated"), request.all("faces"), request.config, corpora=request.all("corpora")
    ),
)
