"""The numbers behind "The paper's tables": recognisers scored as in Tables 1 to 6, and the expressions of groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.errors import UserError
from twfer_dist.core.intervals import as_dict, share, simultaneous
from twfer_dist.core.schema import FACES
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.recognition.recogniser import NAMES, name_of
from twfer_dist.study import correction, groups, metrics
from twfer_dist.study.inputs import NEW, SEEN, ReportInputs, dataset_images, output_name, seen_or_new
from twfer_dist.study.metrics import GROUP, figure_codes
from twfer_dist.study.paper.figures import PaperFigures
from twfer_dist.study.provenance import split_counts

TABLES = {"resnet18_people": 1, "arm_people": 2, "resnet18_animated": 4, "arm_1": 5, "arm_2": 6}
"""The paper's table of each recogniser. Table 3 has a recogniser of people on warriors, Table 7 the validity test."""

PEOPLE = ("arm_people", "resnet18_people")
READERS = ("arm_1", "arm_2", "resnet18_animated", *PEOPLE)
"""Whose answers are shown for a group of figures: the first that read it."""

POSTURE = "posture"


@dataclass(frozen=True)
class PaperInputs:
    """The finished outputs that the tables are made from. Any of them may be absent."""

    models: Mapping[str, Artifact]  # trainings by role: TABLES' keys and "finetuned"
    datasets: Sequence[Artifact] = ()
    predictions: Sequence[Artifact] = ()
    faces: Mapping[str, Artifact] | None = None  # warriors, postures, han, american
    validity: Artifact | None = None
    similarity: Sequence[Artifact] = ()

    @property
    def photographed(self) -> list[Artifact]:
        """The faces of all figures, each output once."""
        return list({faces.digest: faces for faces in (self.faces or {}).values()}.values())

    def answers(self, model: Artifact, images: Artifact) -> list[Artifact]:
        """The predictions of one recogniser for the images of one output."""
        wanted = {model.digest, images.digest}
        return [p for p in self.predictions if wanted <= set(p.manifest.inputs.values())]

    def dataset_of(self, role: str) -> Artifact:
        """The data set that a recogniser was trained on. UserError where it is not among `datasets`."""
        digest = self.models[role].manifest.inputs["dataset"]
        for dataset in self.datasets:
            if dataset.digest == digest:
                return dataset
        raise UserError(f"The data set of '{role}', {self.models[role].uri}, is not among 'datasets': name it there.")


@dataclass(frozen=True)
class ScoreTable:
    """A recogniser on the images of its own data set, as in Tables 1, 2, 4, 5 and 6."""

    number: int | None  # of the paper's table; None for the fine-tuned recogniser
    role: str
    model: str
    network: str
    size: int  # pixels
    epochs: int
    dataset: str
    parts: dict[str, dict[str, int]]  # see provenance.split_counts
    scores: list[dict[str, Any]]  # see metrics.scores: one for each part
    paper: dict[str, dict[str, float | None]]  # the paper's figures by part and row
    confusion: list[list[int]]  # of the test images, or of the last part
    by_intensity: list[dict[str, Any]]  # see metrics.by_intensity: of the same images; empty for photographs


@dataclass(frozen=True)
class WarriorScores:
    """A recogniser on the labelled photographs of warriors, those of figures in its training images apart."""

    role: str
    model: str
    network: str
    scores: list[dict[str, Any]]  # see metrics.scores; the splits are NEW and SEEN
    confusion: dict[str, list[list[int]]]  # by split


@dataclass(frozen=True)
class Shares:
    """The expressions of a group of faces as one recogniser answers."""

    group: str  # warriors, han, american, or a posture
    role: str
    model: str
    faces: int
    answered: int
    figures: int
    expressions: list[dict[str, Any]]  # expression, answered, labelled (k, n, share, low, high), corrected, paper
    corrected_by: str | None  # see correction.Correction.by
    seen: int  # of the figures, how many are in the recogniser's training images


def score_tables(inputs: PaperInputs, figures: PaperFigures) -> list[ScoreTable]:
    """The tables of all recognisers that are given, in the paper's order; the fine-tuned one last."""
    order = [role for role in (*TABLES, "finetuned") if role in inputs.models]
    return [_score_table(role, inputs, figures) for role in order]


def _score_table(role: str, inputs: PaperInputs, figures: PaperFigures) -> ScoreTable:
    model, dataset = inputs.models[role], inputs.dataset_of(role)
    answers, images = inputs.answers(model, dataset), dataset_images(dataset)
    counts = _of(model, answers, images)
    if not len(counts):
        raise UserError(
            f"'predictions' hold no answers of '{role}' to its own data set {dataset.uri}: predict that data set with "
            "it, and name the prediction."
        )
    evaluations = metrics.evaluate(counts)
    number, config = TABLES.get(role), model.manifest.config
    parts = [e.split for e in evaluations]
    last = images.filter(pc.equal(images["split"], parts[-1]))
    return ScoreTable(
        number=number,
        role=role,
        model=name_of(model),
        network=NAMES[config["network"]],
        size=config["size"],
        epochs=config["epochs"],
        dataset=output_name(dataset),
        parts=split_counts(dataset)["splits"],
        scores=metrics.scores(evaluations),
        paper={part: figures.column(number, part) for part in parts} if number else {},
        confusion=evaluations[-1].confusion.tolist(),
        by_intensity=metrics.by_intensity(name_of(model), answers, last),
    )


def warrior_scores(inputs: PaperInputs) -> list[WarriorScores]:
    """Every recogniser that read labelled photographs of warriors, recognisers of people first."""
    faces = (inputs.faces or {}).get("warriors")
    scores = []
    for role in (*PEOPLE, "resnet18_animated", "arm_1", "arm_2"):
        if faces is None or role not in inputs.models:
            continue
        counts = face_counts(role, faces, inputs)
        evaluations = metrics.evaluate(counts)
        if evaluations:
            confusion = {e.split: e.confusion.tolist() for e in evaluations}
            model = inputs.models[role]
            network = NAMES[model.manifest.config["network"]]
            scores.append(WarriorScores(role, name_of(model), network, metrics.scores(evaluations), confusion))
    return scores


def reader_of(faces: Artifact, roles: Sequence[str], inputs: PaperInputs) -> str | None:
    """The first of these recognisers that read the faces."""
    return next((role for role in roles if role in inputs.models and inputs.answers(inputs.models[role], faces)), None)


def face_counts(role: str, faces: Artifact, inputs: PaperInputs) -> pa.Table:
    """The count table of a recogniser's answers to faces; split: whether the figure is in its training images."""
    rows = faces.scan("faces", FACES).to_table(columns=["face_id", "corpus", "figure_id"]).sort_by("face_id")
    split = seen_or_new(rows, ReportInputs(datasets=[inputs.dataset_of(role)]))
    images = pa.table({"image_id": rows["face_id"], "split": split})
    return _of(inputs.models[role], inputs.answers(inputs.models[role], faces), images)


def _of(model: Artifact, predictions: Sequence[Artifact], images: pa.Table) -> pa.Table:
    """The count table of one recogniser's answers to images."""
    counts = metrics.count(predictions, images)
    return counts.filter(pc.equal(counts["model"], name_of(model)))


def group_shares(inputs: PaperInputs, figures: PaperFigures) -> tuple[list[Shares], dict[str, Any] | None]:
    """The expressions of the warriors, of each posture, of the Han figures and of the American works, as far as a
    recogniser read them; and whether postures differ by more than chance (`groups.difference`).
    """
    found: list[Shares] = []
    test = None
    for name, faces in (inputs.faces or {}).items():
        role = reader_of(faces, READERS, inputs)
        if role is None:
            continue
        counts = face_counts(role, faces, inputs)
        if name == "postures" and GROUP + POSTURE in counts.column_names:
            values = counts[GROUP + POSTURE]
            named = groups.examine(POSTURE, values.drop_null(), len(counts), named=True).names
            found += [_shares(p, role, counts.filter(pc.equal(values, p)), inputs, figures) for p in named]
            grouped = pc.is_valid(values)
            test = groups.difference(counts.filter(grouped), values.filter(grouped))
        else:
            found.append(_shares(name, role, counts, inputs, figures))
    return found, test


def _shares(group: str, role: str, counts: pa.Table, inputs: PaperInputs, figures: PaperFigures) -> Shares:
    model = inputs.models[role]
    chosen, confusion = correction.choose(counts, model.results.get("held_out"))
    overall = groups.overall(counts, confusion)
    answered = _by_figure(counts.filter(pc.is_valid(counts["predicted"])))
    paper = figures.shares.get(group, {})
    z = simultaneous(len(EXPRESSIONS))
    expressions = [
        {
            "expression": name,
            "answered": as_dict(share(answered[:, c], answered.sum(1), z)),
            "labelled": overall["expressions"][c]["labelled"],
            "corrected": {key: overall["expressions"][c][key] for key in ("corrected", "low", "high")},
            "paper": paper.get(name),
        }
        for c, name in enumerate(EXPRESSIONS)
    ]
    seen = figure_codes(counts.filter(pc.equal(counts["split"], SEEN)))[1]
    sizes = {key: overall[key] for key in ("faces", "answered", "figures")}
    return Shares(group, role, name_of(model), **sizes, expressions=expressions, corrected_by=chosen.by, seen=seen)


def _by_figure(rows: pa.Table) -> np.ndarray:
    """[figures, 7]: the answers of each figure's faces."""
    figure, count = figure_codes(rows)
    answers = np.zeros((count, len(EXPRESSIONS)), np.int64)
    np.add.at(answers, (figure, rows["predicted"].to_numpy().astype(np.int64) - 1), rows["n"].to_numpy())
    return answers


def new_figures(scores: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The score on figures that are not in the training images; None where all are."""
    return next((score for score in scores if score["split"] == NEW), None)
