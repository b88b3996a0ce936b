"""The recipes behind `twfer faces` and `twfer study`."""

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import yaml

from twfer_dist.core.errors import UserError
from twfer_dist.core.language import Language, _, listed, use_language
from twfer_dist.corpus.corpus import Corpus, open_corpus
from twfer_dist.corpus.tables import ENDINGS
from twfer_dist.engine import registry, storage
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
    stages = _faces_stages([corpus_name(corpus)], settings, corrections)
    given = {"name": "faces", "out": out, "corpora": {corpus_name(corpus): corpus}, "stages": stages}
    return parse_recipe(given, "twfer faces", text="")


def study_recipe(
    folders: Sequence[str],
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
    """The recipe that studies corpora, and compares them where there are several.

    folders: the paths or URIs of the corpora. settings: of the stage that finds the faces. groups: the columns to
    compare by. corrections: a table of what a person marked as wrong in the faces. model: an existing recogniser that
    reads them instead of the reader, see `find_recogniser`. method: "paper" also trains recognisers on the faces
    themselves, animated; their expressions are copied from the labelled faces of the corpus `references`, or from the
    prototypes. language: of the page. UserError where a folder is named twice.
    """
    corpora = _named(folders)
    name = "-".join(corpora)
    if out is None:
        _check_same_corpora(corpora, name)
    opened = [open_corpus(folder, own) for own, folder in corpora.items()] if groups or method == "paper" else []
    _check_groups(opened, groups)
    faces = "corrected" if corrections else "faces"
    stages = _faces_stages(list(corpora), settings, corrections)
    report = {"title": _title(corpora, language), "groups": list(groups), "language": language}
    roads = [_model_road(faces, model) if model else _reader_road(faces)]
    if method == "paper":
        if references:
            corpora, stages = _with_references(corpora, stages, references, settings)
        roads.append(paper_road(faces, opened, "references" if references else None))
    for road in roads:
        stages |= road.stages
    stages["report"] = {"kind": "report", "faces": [faces], **report_inputs(roads), **report}
    return _recipe({"name": name, "out": out or _default_out(name), "corpora": corpora, "stages": stages})


def _recipe(given: Mapping[str, Any]) -> Recipe:
    """The recipe, with its YAML."""
    return parse_recipe(given, "twfer study", text=yaml.safe_dump(given, sort_keys=False, allow_unicode=True))


def _title(corpora: Iterable[str], language: Language) -> str:
    with use_language(language):
        return _("Expressions in {name}", name=listed(corpora))


def _reader_road(faces: str) -> Road:
    """The faces are read by the included reader."""
    explain = {"kind": "explain-answers", "predictions": "read", "faces": [faces]}
    return Road({"read": {"kind": "read", "faces": [faces]}, "explain": explain}, ["read"], explanations=["explain"])


def _model_road(faces: str, model: str) -> Road:
    """The faces are read by an existing recogniser."""
    if not registry.is_registered(model):
        # The model as the user wrote it, so that folders of the same name give the same recipe on any machine.
        directory = storage.name_of(find_recogniser(model))
        model = model if storage.name_of(model) == directory else storage.join(model, directory)
        model = model if "/" in model else f"./{model}"
    read = {"kind": "predict", "inputs": [faces], "model": model}
    explain = {"kind": "explain-answers", "predictions": "read", "faces": [faces], "models": [model]}
    return Road({"read": read, "explain": explain}, ["read"], models=[model], explanations=["explain"])


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


def _faces_stages(corpora: Sequence[str], settings: Mapping[str, Any], corrections: str | None) -> dict[str, Any]:
    stages: dict[str, Any] = {"faces": {"kind": "faces", "corpora": list(corpora), **settings}}
    if corrections:
        stages["corrected"] = {"kind": "corrected", "faces": "faces", "corrections": corrections}
    return stages


def _default_out(name: str) -> str:
    return f"runs/study-{name}"


def _check_same_corpora(corpora: Mapping[str, str], name: str) -> None:
    """UserError where the default output folder holds the study of another corpus of the same name."""
    out = _default_out(name)
    before: Mapping[str, str] = {}
    with contextlib.suppress(FileNotFoundError, ValueError, AttributeError):
        index = json.loads(storage.read_bytes(storage.join(storage.absolute(out), INDEX)))
        before = index.get("corpora", {})
    for own, folder in corpora.items():
        asked = without_password(storage.absolute(folder))
        if before.get(own, asked) != asked:
            raise UserError(f"{out} holds the study of {before[own]}: choose another folder for this one with --out.")


def _check_groups(corpora: Sequence[Corpus], groups: Sequence[str]) -> None:
    """UserError where no corpus has a column that faces are to be compared by."""
    known = {column for corpus in corpora for row in corpus.table["groups"].to_pylist() for column, _ in row}
    for column in groups:
        if column not in known:
            folders = listed(corpus.root for corpus in corpora)
            verb, they = ("has", "it has") if len(corpora) == 1 else ("have", "they have")
            raise UserError(
                f"{folders} {verb} no column '{column}' to group by: {they} {', '.join(sorted(known)) or 'none'}."
            )


def _named(folders: Sequence[str]) -> dict[str, str]:
    """The corpora by name: that of the folder or table, after that of the folder around it where two are called alike.
    UserError where a folder is named twice.
    """
    paths = [storage.absolute(folder).rstrip("/") for folder in folders]
    if twice := next((folder for k, folder in enumerate(folders) if paths[k] in paths[:k]), None):
        raise UserError(f"{twice} is named twice: name each folder once.")
    own = [corpus_name(folder) for folder in folders]
    around = [corpus_name(path.rpartition("/")[0]) for path in paths]
    longer = [f"{outer}-{name}" if own.count(name) > 1 else name for name, outer in zip(own, around, strict=True)]
    names = [
        name if longer.count(name) == 1 else f"{name}-{longer[: k + 1].count(name)}" for k, name in enumerate(longer)
    ]
    return dict(zip(names, folders, strict=True))


def corpus_name(corpus: str) -> str:
    """A corpus is named after its folder or its manifest."""
    name = storage.name_of(storage.absolute(corpus))
    return name.rpartition(".")[0] if name.lower().endswith(ENDINGS) else name
