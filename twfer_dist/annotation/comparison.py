"""What several annotators made of the same faces: majority and ties, agreement, confusion, and models beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from twfer_dist.core.intervals import as_dict, share_of
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.corpus.agreement import Agreement, agreement
from twfer_dist.corpus.votes import Vote, label_from_votes

MOST_PAIRS = 45
"""Of annotators, compared two by two; with more than ten annotators there are no such numbers."""

_NAMED, _NOT_NAMED = frozenset([1]), frozenset([2])


@dataclass(frozen=True)
class Labelled:
    """A face (or a photograph) and what each annotator called it."""

    image_id: str
    path: str
    figure: str
    votes: Mapping[str, Vote]
    unsure: frozenset[str] = frozenset()  # annotators who marked their own answer as unsure
    properties: Mapping[str, str] = field(default_factory=dict)  # what its tables say about it besides

    @property
    def majority(self) -> tuple[int | None, str]:
        """The label that the votes give, and the rule that gave it: see `label_from_votes`."""
        return label_from_votes(self.votes.values())


@dataclass(frozen=True)
class Annotator:
    name: str
    faces: int  # that they labelled
    labels: float  # that they gave to a face, on average: 1 to 3
    unsure: int  # faces that they marked so
    rest: dict[str, Any]  # `as_dict` of the Share of faces on which they name the majority label of the others


@dataclass(frozen=True)
class ModelBeside:
    """A model's answers beside the annotators'. Each is the `as_dict` of a Share."""

    model: str
    majority: dict[str, Any]  # of the faces with a label by majority: those that the model answers so
    rest: dict[str, Any]  # of the same majorities that annotators are compared with (`Comparison.rest`)


@dataclass(frozen=True)
class Comparison:
    """Several annotators on the same faces. Lists and dictionaries are JSON-like."""

    faces: int  # with at least one vote
    figures: int
    several: int  # faces with at least two votes
    agreement: Agreement | None  # None with too few votes
    labels: dict[str, int]  # faces by what decided their label: "one vote", "majority", "tie decided", "tie"
    tied: list[dict[str, str]]  # path and rule of the faces whose annotators tie, those without a label first
    annotators: list[Annotator]
    rest: dict[str, Any]  # Share: annotators name the majority label of the others, all annotators together
    expressions: list[dict[str, Any]]  # of each: label (faces), named (faces, by anyone), agreement on it
    confusion: list[list[float]]  # [7][7]: see `confusion_of`
    pairs: list[dict[str, Any]]  # of annotators: first, second, agreement
    models: list[ModelBeside]


def compare(faces: Sequence[Labelled], answers: Mapping[str, Mapping[str, int]] | None = None) -> Comparison:
    """Compare the annotators of `faces` with each other and with models.

    answers: of each model, the label 1 to 7 by image_id. An annotator agrees with a label where it is among the one to
    three that they named; a model answers with one. A comparison with the rest leaves the annotator's own votes out,
    and the faces on which the others tie. Shares have intervals over figures (`share_of`).
    """
    faces = [face for face in faces if face.votes]
    names = sorted({name for face in faces for name in face.votes})
    rest = _Rest(faces)
    decided = [_decided(face) for face in faces]
    tied = sorted((face.majority[0] is not None, face.path, face.majority[1]) for face in faces if _is_tie(face))
    return Comparison(
        faces=len(faces),
        figures=len({face.figure for face in faces}),
        several=sum(len(face.votes) > 1 for face in faces),
        agreement=_agreement(faces),
        labels={how: decided.count(how) for how in ("one vote", "majority", "tie decided", "tie")},
        tied=[{"path": path, "rule": rule.removeprefix("tie: ")} for _, path, rule in tied],
        annotators=[_annotator(name, faces, rest) for name in names],
        rest=rest.share(rest.hits),
        expressions=[_expression(label, faces) for label in range(1, len(EXPRESSIONS) + 1)],
        confusion=confusion_of(faces).round(3).tolist(),
        pairs=_pairs(names, faces),
        models=[_beside(model, of_model, faces, rest) for model, of_model in (answers or {}).items()],
    )


def confusion_of(faces: Sequence[Labelled]) -> np.ndarray:
    """How votes of different annotators on one face meet: (7, 7), symmetric; row: one vote's label, column: another's.

    A vote with k labels counts as 1/k of each. A face with m votes adds m in all, each of its pairs of votes the same,
    so that a row's sum is the number of votes for that label (Krippendorff's coincidence matrix).
    """
    table = np.zeros((len(EXPRESSIONS), len(EXPRESSIONS)))
    for face in faces:
        if len(face.votes) > 1:
            weights = np.zeros((len(face.votes), len(EXPRESSIONS)))
            for row, vote in zip(weights, face.votes.values(), strict=True):
                row[[label - 1 for label in vote]] = 1 / len(vote)
            total = weights.sum(0)
            table += (np.outer(total, total) - weights.T @ weights) / (len(face.votes) - 1)
    return table


class _Rest:
    """The majority label of the others, for each vote: `votes` holds (face, annotator, label of the others)."""

    def __init__(self, faces: Sequence[Labelled]) -> None:
        self.votes = [
            (face, name, label)
            for face in faces
            for name in face.votes
            if (label := label_from_votes([vote for other, vote in face.votes.items() if other != name])[0])
        ]
        self.hits = [label in face.votes[name] for face, name, label in self.votes]

    def share(self, hits: Sequence[bool], keep: Sequence[bool] | None = None) -> dict[str, Any]:
        """The share of `hits`, one for each vote, among those to keep."""
        kept = keep or [True] * len(hits)
        chosen = [(hit, face.figure) for hit, (face, *_), k in zip(hits, self.votes, kept, strict=True) if k]
        return _share(chosen)


def _share(hits: Sequence[tuple[bool, str]]) -> dict[str, Any]:
    """hits: each with its figure."""
    return as_dict(share_of(np.array([hit for hit, _ in hits], bool), [figure for _, figure in hits]))


def _agreement(faces: Sequence[Labelled]) -> Agreement | None:
    return agreement([list(face.votes.values()) for face in faces], [face.figure for face in faces])


def _is_tie(face: Labelled) -> bool:
    return face.majority[1].startswith("tie")


def _decided(face: Labelled) -> str:
    label, rule = face.majority
    if rule == "majority":
        return "one vote" if len(face.votes) == 1 else "majority"
    return "tie decided" if label else "tie"


def _annotator(name: str, faces: Sequence[Labelled], rest: _Rest) -> Annotator:
    votes = [face.votes[name] for face in faces if name in face.votes]
    return Annotator(
        name=name,
        faces=len(votes),
        labels=round(sum(map(len, votes)) / len(votes), 2),
        unsure=sum(name in face.unsure for face in faces),
        rest=rest.share(rest.hits, [one == name for _, one, _ in rest.votes]),
    )


def _expression(label: int, faces: Sequence[Labelled]) -> dict[str, Any]:
    """How far annotators agree on whether a face shows one expression."""
    named = [[_NAMED if label in vote else _NOT_NAMED for vote in face.votes.values()] for face in faces]
    return {
        "expression": EXPRESSIONS[label - 1],
        "label": sum(face.majority[0] == label for face in faces),
        "named": sum(_NAMED in cast for cast in named),
        "agreement": agreement(named, [face.figure for face in faces]),
    }


def _pairs(names: Sequence[str], faces: Sequence[Labelled]) -> list[dict[str, Any]]:
    couples = list(combinations(names, 2))
    if len(couples) > MOST_PAIRS or len(names) < 3:
        return []
    found = []
    for first, second in couples:
        both = [face for face in faces if first in face.votes and second in face.votes]
        votes = [[face.votes[first], face.votes[second]] for face in both]
        found.append({"first": first, "second": second, "agreement": agreement(votes, [face.figure for face in both])})
    return found


def _beside(model: str, answers: Mapping[str, int], faces: Sequence[Labelled], rest: _Rest) -> ModelBeside:
    answered = [(answers[face.image_id], face) for face in faces if face.image_id in answers]
    hits = [(answer == label, face.figure) for answer, face in answered if (label := face.majority[0])]
    keep = [face.image_id in answers for face, *_ in rest.votes]
    equal = [answers.get(face.image_id) == label for face, _, label in rest.votes]
    return ModelBeside(model, _share(hits), rest.share(equal, keep))


def most_confused(confusion: Sequence[Sequence[float]]) -> tuple[str, str, float] | None:
    """The two expressions that annotators exchange most often, with the share of the first's votes that meet the
    second; the first is the one with fewer votes. None where annotators never differ.
    """
    table = np.array(confusion)
    np.fill_diagonal(table, 0)
    if not table.any():
        return None
    totals = np.array(confusion).sum(1)
    one, other = sorted(np.unravel_index(table.argmax(), table.shape), key=lambda k: (totals[k], k))
    return EXPRESSIONS[one], EXPRESSIONS[other], float(table[one, other] / totals[one])
