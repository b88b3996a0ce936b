"""Labels that people gave to faces: annotators' tables read and merged, and the merged labels as a table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pyarrow.compute as pc

from twfer_dist.annotation.comparison import Labelled
from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import PREDICTIONS, photo_id
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.corpus import names
from twfer_dist.corpus.columns import NAMES
from twfer_dist.corpus.files import Listing
from twfer_dist.corpus.manifest_rows import find_columns
from twfer_dist.corpus.raters import Row, find_annotators, votes_of
from twfer_dist.corpus.tables import read_table
from twfer_dist.corpus.votes import field_of, is_blank, parse_vote, words_of
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.spreadsheet import rows_to_csv

UNSURE, SKIPPED = "unsure", "skipped"
"""What the column `doubt` of a saved table says about a face; empty otherwise."""

PREFIX = "labels-"
"""Of the name of the file that an annotator saves; the annotator's name follows."""

SAVED_COLUMNS = ("face_id", "path", "figure_id", "annotator", "label", "doubt", "crop")
"""The columns of the table that the page saves; those that group the photographs follow."""

_FIRST = ("face_id", "path", "figure_id", "label", "votes", "rule", "crop")
_READ = {"face_id", "path", "figure_id", "label", "votes", "annotator", "doubt", "rule"}
_NO_PHOTOGRAPHS = Listing({}, 0, 0, {}, [])


def read_labels(uris: Sequence[str]) -> list[Labelled]:
    """The faces of all tables with the votes of all annotators, in the order of path and id.

    A table is what `twfer annotate` saves, or any table of photographs with votes that a corpus may have
    (`corpus.raters`); the labels of a table that names no annotator are one annotator's, who is called after the file.
    UserError, naming the file, where a table cannot be read, an annotator gave one face two answers, or annotators saw
    different crops of a face.
    """
    merged: dict[str, Labelled] = {}
    origin: dict[tuple[str, str], str] = {}
    for uri in uris:
        for face in _read_table(uri):
            for name in face.votes:
                first = origin.setdefault((face.image_id, name), uri)
                before = merged[face.image_id].votes[name] if first != uri else face.votes[name]
                if before != face.votes[name]:
                    raise UserError(
                        f"{uri}: {name} calls {face.path} {words_of(face.votes[name])} here but {words_of(before)} in "
                        f"{first}: leave one of the two files out, or give two people different names."
                    )
            known = merged.get(face.image_id)
            merged[face.image_id] = _joined(known, face, uri) if known else face
    faces = _by_largest_face(merged.values())
    if not any(face.votes for face in faces):
        raise UserError(f"{uris[0]} holds no labels: save the table on the page again once some faces are labelled.")
    return sorted(faces, key=lambda face: (face.path, face.image_id))


def _read_table(uri: str) -> list[Labelled]:
    try:
        table = read_table(uri, {*NAMES["path"], "face id"})
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{uri} does not exist: name a table that the page of `twfer annotate` saved.") from None
    columns = find_columns(table, _NO_PHOTOGRAPHS)
    rows = []
    for line, fields in table.rows:
        row = {ours: fields[column] for ours, column in columns.items()}
        rows.append(Row(row.get("face_id") or names.tidy(row["path"]), line, row))
    unsure = {(row.path, row.fields.get("annotator", "")) for row in rows if row.fields.get("doubt") == UNSURE}
    annotated = find_annotators(table.location, rows, columns)
    alone = not (annotated.merged or annotated.annotators or "votes" in columns)
    if alone and "label" not in columns:
        raise UserError(f"{uri} has no column of labels: name a table that the page of `twfer annotate` saved.")
    return [_labelled(row, annotated.annotators, unsure, _stem(uri) if alone else "", uri) for row in annotated.rows]


def _labelled(row: Row, columns: Sequence[str], unsure: set[tuple[str, str]], alone: str, uri: str) -> Labelled:
    """alone: the name of the only annotator, where the table gives none."""
    try:
        votes = votes_of(row, columns)
        if alone and (vote := parse_vote(row.fields["label"])):
            votes = {alone: vote}
    except ValueError as error:
        raise UserError(f"{uri}, line {row.line}: {error}; correct the field or leave it empty.") from None
    path = names.tidy(row.fields["path"])
    figure = row.fields.get("figure_id", "")
    properties = {name: value for name, value in row.fields.items() if name not in {*_READ, *columns}}
    return Labelled(
        image_id=row.path,
        path=path,
        figure=path if is_blank(figure) else figure,
        votes=votes,
        unsure=frozenset(name for image, name in unsure if image == row.path),
        properties=properties,
    )


def _stem(uri: str) -> str:
    return storage.name_of(uri).rpartition(".")[0].removeprefix(PREFIX) or "annotator"


def _joined(one: Labelled, other: Labelled, uri: str) -> Labelled:
    """One face of two tables."""
    crops = {face.properties["crop"] for face in (one, other) if face.properties.get("crop")}
    if len(crops) > 1:
        raise UserError(
            f"{uri}: the crop of {one.path} is not the one that the other annotators saw: label the faces on pages "
            "that were made from one output of faces."
        )
    return replace(
        one,
        votes={**one.votes, **other.votes},
        unsure=one.unsure | other.unsure,
        properties={**other.properties, **one.properties},
    )


def _by_largest_face(faces: Iterable[Labelled]) -> list[Labelled]:
    """The faces with those that a table names by path alone joined to the largest face of that photograph."""
    faces = list(faces)
    largest = {face.path: face for face in faces if face.image_id != face.path and _rank(face.image_id) == 0}
    moved = [face for face in faces if face.image_id == face.path and face.path in largest]
    joined = {face.path: _joined(largest[face.path], face, face.path) for face in moved}
    kept = [face for face in faces if face.path not in joined or _rank(face.image_id) != 0]
    return [face for face in kept if face not in moved] + list(joined.values())


def _rank(image_id: str) -> int:
    """The number of a face in its photograph by its id; 0 is the largest. -1 for a path."""
    end = image_id.rpartition("-")[2]
    return int(end) if end.isdigit() else -1


def labels_csv(faces: Sequence[Labelled]) -> bytes:
    """The merged labels as a table that is a manifest and a table of corrections.

    Columns: face_id (empty where the tables name photographs), path, figure_id, label (empty where the votes tie),
    votes (each annotator's), rule (what decided the label), crop (its digest, so that a changed crop is noticed), and
    what else the tables say about the faces.
    """
    others = list(dict.fromkeys(name for face in faces for name in face.properties if name not in _FIRST))
    rows = []
    for face in faces:
        label, rule = face.majority
        rows.append(
            {
                **{name: face.properties.get(name, "") for name in others},
                "face_id": face.image_id if face.image_id != face.path else "",
                "path": safe_path(face.path),
                "figure_id": face.figure,
                "label": EXPRESSIONS[label - 1] if label else "",
                "votes": field_of(face.votes),
                "rule": rule,
                "crop": face.properties.get("crop", ""),
            }
        )
    return rows_to_csv([*_FIRST, *others], rows)


def safe_path(path: str) -> str:
    """A path that no spreadsheet runs as a formula, and that means the same file."""
    return f"./{path}" if path.startswith(("=", "+", "-", "@")) else path


def read_answers(predictions: Sequence[Artifact], faces: Sequence[Labelled]) -> dict[str, dict[str, int]]:
    """The answers of each model, 1 to 7, by the `image_id` of those of `faces` that it answered.

    A face that is named by its path alone is the largest of its photograph.
    """
    answers: dict[str, dict[str, int]] = {}
    for output in predictions:
        table = output.scan(".", PREDICTIONS).to_table(
            columns=["image_id", "model", "corpus", "predicted"], filter=pc.is_valid(pc.field("predicted"))
        )
        ids = _ids(faces, pc.unique(table["corpus"]).to_pylist())
        for row in table.to_pylist():
            if row["image_id"] in ids:
                answers.setdefault(row["model"], {})[ids[row["image_id"]]] = row["predicted"]
    return answers


def _ids(faces: Sequence[Labelled], corpora: Sequence[str]) -> Mapping[str, str]:
    """The image_id of each face by the ids that it may have in a table of predictions."""
    ids = {face.image_id: face.image_id for face in faces}
    for corpus in corpora:
        ids |= {f"{photo_id(corpus, face.path)}-00": face.image_id for face in faces if face.image_id == face.path}
    return ids
