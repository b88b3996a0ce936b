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
from twfer_dist.recipe.load import parse_recipe
from twfer_dist.recipe.recipe import Recipe
from twfer_dist.recipe.status import find_recogniser


def faces_recipe(corpus: str, settings: Mapping[str, Any], out: str, corrections: str | None) -> Recipe:
    """The recipe that finds the faces of one corpus. corrections: a table of what a person marked as wrong in them."""
    stages = _faces_stages(_name(corpus), settings, corrections)
    given = {"name": "faces", "out": out, "corpora": {_name(corpus): corpus}, "stages": stages}
    return parse_recipe(given, "twfer faces", text="")


def study_recipe(
    corpus: str,
    model: str,
    settings: Mapping[str, Any],
    groups: Sequence[str],
    out: str | None,
    corrections: str | None,
) -> Recipe:
    """The recipe that studies one corpus with an existing recogniser.

    model: see `find_recogniser`. settings: of the stage that finds the faces. groups: the columns to compare by.
    corrections: a table of what a person marked as wrong in the faces.
    """
    name = _name(corpus)
    if out is None:
        _check_same_corpus(corpus, name)
    _check_groups(corpus, groups)
    # The model as the user wrote it, so that folders of the same name give the same recipe on any machine.
    directory = storage.name_of(find_recogniser(model))
    model = model if storage.name_of(model) == directory else storage.join(model, directory)
    model = model if "/" in model else f"./{model}"
    faces = "corrected" if corrections else "faces"
    report = {"title": f"Expressions in {name}", "groups": list(groups)}
    stages = {
        **_faces_stages(name, settings, corrections),
        "read": {"kind": "predict", "inputs": [faces], "model": model},
        "report": {"kind": "report", "predictions": ["read"], "faces": [faces], "models": [model], **report},
    }
    given = {"name": name, "out": out or _default_out(name), "corpora": {name: corpus}, "stages": stages}
    text = yaml.safe_dump(given, sort_keys=False, allow_unicode=True)
    return parse_recipe(given, "twfer study", text=text)


def _faces_stages(corpus: str, settings: Mapping[str, Any], corrections: str | None) -> dict[str, Any]:
    stages: dict[str, Any] = {"faces": {"kind": "faces", "corpora": [corpus], **settings}}
    if corrections:
        stages["corrected"] = {"kind": "corrected", "faces": "faces", "corrections": corrections}
    return stages


def _default_out(name: str) -> str:
    return f"runs/study-{name}"


def _check_same_corpus(corpus: str, name: str) -> None:
    """UserError where the default output folder holds the study of another corpus of the same name."""
    out, asked = _default_out(name), without_password(storage.absolute(corpus))
    before = asked
    with contextlib.suppress(FileNotFoundError, ValueError, AttributeError):
        index = json.loads(storage.read_bytes(storage.join(storage.absolute(out), INDEX)))
        before = index.get("corpora", {}).get(name, asked)
    if before != asked:
        raise UserError(f"{out} holds the study of {before}: choose another folder for this one with --out.")


def _check_groups(corpus: str, groups: Sequence[str]) -> None:
    if not groups:
        return
    known = {column for row in open_corpus(corpus).table["groups"].to_pylist() for column, _ in row}
    for column in groups:
        if column not in known:
            raise UserError(
                f"{corpus} has no column '{column}' to group by: it has {', '.join(sorted(known)) or 'none'}."
            )


def _name(corpus: str) -> str:
    """A corpus is named after its folder or its manifest."""
    name = storage.name_of(storage.absolute(corpus))
    return name.rpartition(".")[0] if name.lower().endswith(ENDINGS) else name
