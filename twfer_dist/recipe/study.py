"""The recipes behind `twfer faces` and `twfer study`."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import yaml

from twfer_dist.core.errors import UserError
from twfer_dist.core.language import Language, _, use_language
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.corpus.tables import ENDINGS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import INDEX
from twfer_dist.engine.journal import without_password
from twfer_dist.recipe.load import parse_recipe
from twfer_dist.recipe.paper import paper_road
from twfer_dist.recipe.recipe import Recipe
from twfer_dist.recipe.road import Road, report_inputs
from twfer_dist.recipe.status import find_recogniser

Method = Literal["reader", "paper"]


def faces_recipe(corpus: str, settings: Mapping[str, Any], out: str, corrections: str | None) -> Recipe:
    """The recipe that finds the faces of one corpus. corrections: a table of what a person marked as wrong in them."""
    stages = _faces_stages(corpus_name(corpus), settings, corrections)
    given = {"name": "faces", "out": out, "corpora": {corpus_name(corpus): corpus}, "stages": stages}
    return parse_recipe(given, "twfer faces", text="")


def study_recipe(
    corpus: str,
    settings: Mapping[str, Any],
    groups: Sequence[str],
    out: str | None,
    corrections: str | None,
    *,
    model: str | None = None,
    method: Method = "reader",
    references: str | None = None,
    language: Language = "en",
) -> Recipe:
    """The recipe that studies one corpus.

    settings: of the stage that finds the faces. groups: the columns to compare by. corrections: a table of what a
    person marked as wrong in the faces. model: an existing recogniser that reads them instead of the reader, see
    `find_recogniser`. method: "paper" also trains recognisers on the corpus's own faces, animated; their expressions
    are copied from the labelled faces of the corpus `references`, or from the prototypes. language: of the page.
    """
    name = corpus_name(corpus)
    if out is None:
        _check_same_corpus(corpus, name)
    _check_groups(corpus, groups)
    faces = "corrected" if corrections else "faces"
    corpora, stages = {name: corpus}, _faces_stages(name, settings, corrections)
    roads = [_model_road(faces, model) if model else _reader_road(faces)]
    if method == "paper":
        if references:
            corpora, stages = _with_references(corpora, stages, references, settings)
        roads.append(paper_road(faces, open_corpus(corpus, name), "references" if references else None))
    for road in roads:
        stages |= road.stages
    with use_language(language):
        report = {"title": _("Expressions in {name}", name=name), "groups": list(groups), "language": language}
    stages["report"] = {"kind": "report", "faces": [faces], **report_inputs(roads), **report}
    given = {"name": name, "out": out or _default_out(name), "corpora": corpora, "stages": stages}
    text = yaml.safe_dump(given, sort_keys=False, allow_unicode=True)
    return parse_recipe(given, "twfer study", text=text)


def _reader_road(faces: str) -> Road:
    """The faces are read by the included reader."""
    return Road({"read": {"kind": "read", "faces": [faces]}}, ["read"])


def _model_road(faces: str, model: str) -> Road:
    """The faces are read by an existing recogniser."""
    # The model as the user wrote it, so that folders of the same name give the same recipe on any machine.
    directory = storage.name_of(find_recogniser(model))
    model = model if storage.name_of(model) == directory else storage.join(model, directory)
    model = model if "/" in model else f"./{model}"
    return Road({"read": {"kind": "predict", "inputs": [faces], "model": model}}, ["read"], models=[model])


def _with_references(
    corpora: Mapping[str, str], stages: Mapping[str, Any], references: str, settings: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, Any]]:
    """The corpora and the stages, with the faces that expressions are copied from. UserError where none has a label."""
    opened = open_corpus(references)
    if not opened.notes["labelled"]:
        raise UserError(
            f"{references} has no labelled photographs to copy expressions from: name a corpus with labels, or leave "
            "out --references, and the prototypes are used."
        )
    aligned = settings.get("aligned", False) or opened.notes["layout"] == "rafdb-aligned"
    own = {**settings, "aligned": aligned, "keep": "largest"}
    name = "references" if "references" not in corpora else "references of references"
    faces = {"kind": "faces", "corpora": [name], **own}
    return {**corpora, name: references}, {**stages, "references": faces}


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


def corpus_name(corpus: str) -> str:
    """A corpus is named after its folder or its manifest."""
    name = storage.name_of(storage.absolute(corpus))
    return name.rpartition(".")[0] if name.lower().endswith(ENDINGS) else name
