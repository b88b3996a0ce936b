"""The recipes behind `twfer faces` and `twfer study`."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.corpus.tables import ENDINGS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import INDEX
from twfer_dist.engine.journal import without_password
from twfer_dist.recipe.recipe import Recipe, Stage
from twfer_dist.recipe.status import find_recogniser


def faces_recipe(corpus: str, settings: Mapping[str, Any], out: str, corrections: str | None) -> Recipe:
    """The recipe that finds the faces of one corpus. corrections: what a person marked as wrong in them, where there is
    such a table.
    """
    name = _name(corpus)
    stages = [Stage("faces", "faces", {"corpora": [name]}, settings)]
    if corrections:
        stages.append(_corrected(corrections))
    return Recipe("faces", storage.absolute(out), {name: corpus}, stages)


def _corrected(corrections: str) -> Stage:
    return Stage("corrected", "corrected", {"faces": ["faces"]}, {"corrections": storage.absolute(corrections)})


def study_recipe(
    corpus: str,
    model: str,
    settings: Mapping[str, Any],
    groups: Sequence[str],
    out: str | None,
    corrections: str | None,
) -> Recipe:
    """The recipe that answers for one corpus with a recogniser that is there already. `settings` are those of its
    faces, `groups` the columns to compare by, `corrections` the table of what a person marked as wrong in its faces.
    """
    name = _name(corpus)
    chosen = find_recogniser(model)
    place = out or f"runs/study-{name}"
    asked = without_password(storage.absolute(corpus))
    if out is None and (other := _corpora_of(place).get(name, asked)) != asked:
        raise UserError(f"{place} holds the study of {other}: name another place for this one with --out.")
    known = (
        {column for row in open_corpus(corpus).table["groups"].to_pylist() for column, _ in row} if groups else set()
    )
    if foreign := [column for column in groups if column not in known]:
        raise UserError(
            f"{corpus} is not grouped by '{foreign[0]}': its columns are {', '.join(sorted(known)) or 'none'}."
        )
    report = {"title": f"Expressions in {name}", "groups": list(groups)}
    read_from = "corrected" if corrections else "faces"
    stages = [
        Stage("faces", "faces", {"corpora": [name]}, settings),
        *([_corrected(corrections)] if corrections else []),
        Stage("read", "predict", {"inputs": [read_from], "model": [chosen]}, {}),
        Stage("report", "report", {"predictions": ["read"], "faces": [read_from], "models": [chosen]}, report),
    ]
    # As it was asked for, so that the same recipe comes from wherever the folder is called the same.
    said = model if storage.name_of(model) == storage.name_of(chosen) else storage.join(model, storage.name_of(chosen))
    named = {"model": said if "/" in said else f"./{said}"}
    text = {
        "name": name,
        "out": place,
        "corpora": {name: corpus},
        "stages": {
            "faces": {"kind": "faces", "corpora": [name], **settings},
            **(
                {"corrected": {"kind": "corrected", "faces": "faces", "corrections": corrections}}
                if corrections
                else {}
            ),
            "read": {"kind": "predict", "inputs": [read_from], **named},
            "report": {
                "kind": "report",
                "predictions": ["read"],
                "faces": [read_from],
                "models": list(named.values()),
                **report,
            },
        },
    }
    written = yaml.safe_dump(text, sort_keys=False, allow_unicode=True)
    return Recipe(name, storage.absolute(place), {name: corpus}, stages, text=without_password(written))


def _corpora_of(folder: str) -> dict[str, str]:
    """The corpora of the recipe that wrote into an output folder last, by name; none where that is not known."""
    with contextlib.suppress(FileNotFoundError, ValueError, AttributeError):
        return json.loads(storage.read_bytes(storage.join(storage.absolute(folder), INDEX))).get("corpora", {})
    return {}


def _name(corpus: str) -> str:
    """A corpus is named after its folder or its manifest."""
    name = storage.name_of(storage.absolute(corpus))
    return name.rpartition(".")[0] if name.lower().endswith(ENDINGS) else name
