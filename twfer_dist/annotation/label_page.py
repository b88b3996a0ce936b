"""The page on which people label faces: one HTML file that works from a disk, without a server."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.annotation.corrections import crop_digest
from twfer_dist.annotation.labels import PREFIX, SAVED_COLUMNS, SKIPPED, UNSURE, safe_path
from twfer_dist.annotation.pictures import Pictures, picture_side
from twfer_dist.core.errors import UserError
from twfer_dist.core.language import Language, _, current_language, listed, mark, speak, use_language
from twfer_dist.core.prototypes import PROTOTYPES
from twfer_dist.core.schema import FACES, PHOTOGRAPHS, figures
from twfer_dist.core.status import LOW_QUALITY, OK
from twfer_dist.core.taxonomy import ACTION_UNIT_MOVEMENTS, ACTION_UNITS, EXPRESSIONS
from twfer_dist.corpus.votes import LABELS_PER_ANNOTATOR
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.faces.credits import read_credits

MOST_FACES = 5000
"""Of one page: more would make it larger than browsers open with ease."""

DEFINITIONS = {
    "surprise": mark("The face opens at something unexpected."),
    "fear": mark("The face draws back from a danger."),
    "disgust": mark("The face shuts itself against something repulsive."),
    "happiness": mark("A smile that the cheeks take part in."),
    "sadness": mark("The inner ends of the brows rise, the corners of the mouth sink."),
    "anger": mark("A hard stare under lowered brows, lips pressed."),
    "neutral": mark("The face at rest."),
}
"""What each expression is, in a sentence; its movements are those of `core.prototypes`."""

_LEAST_SHOWN = 1.0  # intensity of a movement that the page names
_READ_AT_ONCE = 200  # crops
_TEMPLATES = ("label_page.html.j2", "label_page.css.j2", "label_page.js.j2")
_COLUMNS = ["face_id", "photo_id", "path", "corpus", "figure_id", "split", "groups", "box", "detector", "crop_matrix"]


@dataclass(frozen=True)
class LabelPage:
    html: str
    faces: int
    figures: int
    refused: int  # faces without a picture, or that a person rejected: not on the page
    more: int  # faces that a sample left out


def label_page(
    faces: Artifact, roots: Mapping[str, str], *, at_most: int | None = None, language: Language = "en"
) -> LabelPage:
    """The page with the faces of an output of faces, those included that did not pass the gate: people see more.

    roots: the folder of each corpus whose photographs may be read again, for sharper crops and the whole photograph
    beside them; without it the page has the stored crops alone. at_most: a sample of the faces, drawn by figure: one of
    every figure before a second of any. UserError where there is no face to label, or there are more than MOST_FACES.
    """
    if faces.manifest.stage not in ("faces", "corrected"):
        raise UserError(
            f"{faces.uri} is the output of stage '{faces.manifest.stage}', which has no faces to label: name a folder "
            "of photographs, or the output of a faces stage."
        )
    found = faces.table("faces", FACES, columns=[*_COLUMNS, "status"])
    usable = found.filter(pc.is_in(found["status"], pa.array([OK, LOW_QUALITY])))
    if not len(usable):
        raise UserError(f"{faces.uri} holds no face: there is nothing to label.")
    chosen = usable.take(pa.array(sample(figures(usable).to_pylist(), at_most)))
    if len(chosen) > MOST_FACES:
        raise UserError(
            f"{faces.uri} holds {len(chosen):,} faces, and a page takes {MOST_FACES:,}: add --at-most {MOST_FACES} for "
            "a sample by figure."
        )
    with use_language(language):
        html = _render(faces, chosen, roots)
    left_out = len(found) - len(usable), len(usable) - len(chosen)
    return LabelPage(html, len(chosen), len(set(figures(chosen).to_pylist())), *left_out)


def sample(figure: Sequence[str], at_most: int | None) -> list[int]:
    """The numbers of at most so many rows, ascending: one row of every figure before a second of any, in an order
    that a hash of the figure's name and the row's place in it decide.
    """
    rows = defaultdict(list)
    for number, name in enumerate(figure):
        rows[name].append(number)
    ranked = sorted(
        (place, hashlib.sha256(f"{name}\0{place}".encode()).digest(), number)
        for name, numbers in rows.items()
        for place, number in enumerate(numbers)
    )
    return sorted(number for *_, number in ranked[:at_most])


def _render(faces: Artifact, chosen: pa.Table, roots: Mapping[str, str]) -> str:
    pictures = Pictures(faces, roots, picture_side(len(chosen)), len(chosen))
    shown = list(_shown(faces, chosen, pictures))
    extra = list(dict.fromkeys(name for face in shown for name in face["extra"]))
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    speak(environment)
    facts = {
        "build": storage.digest([[face["id"], face["crop"]] for face in shown]),
        "faces": [{key: value for key, value in face.items() if key != "image"} for face in shown],
        "columns": [*SAVED_COLUMNS, *extra],
        "expressions": EXPRESSIONS,
        "unsure": UNSURE,
        "skipped": SKIPPED,
        "prefix": PREFIX,
        "most": LABELS_PER_ANNOTATOR,
    }
    return environment.get_template(_TEMPLATES[0]).render(
        facts=facts,
        crops=[face["image"] for face in shown],
        photographs=pictures.photographs,
        expressions=[{"name": name, "definition": DEFINITIONS[name], "moves": movements(name)} for name in EXPRESSIONS],
        most=LABELS_PER_ANNOTATOR,
        credits=_credits(faces, chosen),
        lang={"zh": "zh-Hans"}.get(current_language(), current_language()),
    )


def _credits(faces: Artifact, chosen: pa.Table) -> list[tuple[str, int]]:
    """The credit lines of the photographs on the page, and how many each is of, the largest first."""
    known = read_credits(faces)
    lines = Counter(known[photo].line for photo in set(chosen["photo_id"].to_pylist()) & known.keys())
    return sorted(lines.items(), key=lambda item: (-item[1], item[0]))


def movements(expression: str) -> str:
    """The movements of an expression in words, from the brows to the jaw; empty for the neutral face."""
    units = PROTOTYPES[expression]
    words = dict(zip(ACTION_UNITS, ACTION_UNIT_MOVEMENTS, strict=True))
    return listed(_(words[unit]) for unit in ACTION_UNITS if units.get(unit, 0) >= _LEAST_SHOWN)


def _shown(faces: Artifact, chosen: pa.Table, pictures: Pictures) -> Iterator[dict[str, Any]]:
    """The faces as the page takes them, in the order of their ids."""
    sizes = faces.scan("photographs", PHOTOGRAPHS).to_table(columns=["photo_id", "width", "height"])
    size = {row["photo_id"]: (row["width"], row["height"]) for row in sizes.to_pylist()}
    for start in range(0, len(chosen), _READ_AT_ONCE):
        rows = chosen.slice(start, _READ_AT_ONCE).to_pylist()
        stored = faces.table("faces", FACES, columns=["face_id", "image"], ids=[row["face_id"] for row in rows])
        for row, image in zip(rows, stored["image"].to_pylist(), strict=True):
            yield _face(row, image, pictures, size[row["photo_id"]])


def _face(row: Mapping[str, Any], stored: bytes, pictures: Pictures, size: tuple[int, int]) -> dict[str, Any]:
    crop, photograph, frame = pictures.of(row, stored, size)
    extra = dict(row["groups"] or ())
    return {
        "id": row["face_id"],
        "path": safe_path(row["path"]),
        "figure": row["figure_id"] or "",
        "crop": crop_digest(stored),
        "extra": extra | ({"split": row["split"]} if row["split"] else {}),
        "photograph": photograph,
        "frame": frame,
        "image": crop,
    }


def _template(name: str) -> str:
    return resources.files("twfer_dist.annotation").joinpath(name).read_text(encoding="utf-8")
