"""The tables of a report on annotators and on similarity, as `tables` has all others."""

from collections.abc import Iterator, Sequence
from typing import Any

from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.corpus.agreement import Agreement
from twfer_dist.engine.described import SHARE, DescribedTable, interval, number, of_rows, text, whole
from twfer_dist.study.annotators import Annotators
from twfer_dist.study.similarity import SimilarityStudy

_CORPUS = text("corpus", "The corpus whose faces are labelled.")
_ANNOTATORS = (
    _CORPUS,
    text("who", "An annotator, `all annotators` together, or a model."),
    whole("faces", "Faces that the annotator labelled; empty for a model.", "faces"),
    number("labels", "Labels that the annotator gave to a face, on average.", decimals=2),
    whole("k", "Faces on which the others' majority label is named.", "faces"),
    whole("n", "Faces on which the others have a majority label.", "faces"),
    number("share", "k of n.", SHARE, ends=("low", "high")),
    *interval("share", SHARE),
    whole("majority_k", "Of a model: faces answered with the majority label of all annotators.", "faces"),
    whole("majority_n", "Faces with a majority label of all annotators.", "faces"),
)
_AGREEMENT = (
    _CORPUS,
    text("of", "An expression, all expressions, or two annotators."),
    whole("faces", "Faces that at least two of the annotators labelled.", "faces"),
    whole("label", "Faces with this label by majority.", "faces"),
    number(
        "alpha", "Krippendorff's alpha: 1 is full agreement, 0 what chance gives.", decimals=2, ends=("low", "high")
    ),
    *interval("alpha"),
)
_CONFUSION = (
    _CORPUS,
    text("one", "What one annotator names."),
    *(
        number(name, f"How often another annotator names {name} for the same face; several labels count in part.",
               decimals=1)
        for name in EXPRESSIONS
    ),
)  # fmt: skip
_SIMILARITIES = (
    text("output", "The output of the similarity stage."),
    text("network", "The network whose features are compared."),
    text("measure", "within (one group), between (two groups), same figure, or difference."),
    text("first", "The group."),
    text("second", "The other group; the same except in between and difference."),
    number("mean", "Mean cosine similarity of all pairs, -1 to 1.", ends=("low", "high")),
    *interval("mean"),
    whole("pairs", "Pairs of faces.", "pairs"),
    whole("faces", "Faces.", "faces"),
    whole("figures", "Different figures among them.", "figures"),
)

Rows = Iterator[dict[str, Any]]


def annotator_tables(annotators: Sequence[Annotators]) -> list[DescribedTable]:
    """The tables `annotators`, `annotator_agreement` and `annotator_confusion`."""
    figures = "Intervals treat figures, not faces, as the units."
    return [
        of_rows("annotators", "Each annotator and each model against the majority of the others", figures, _ANNOTATORS,
                _annotator_rows(annotators)),
        of_rows("annotator_agreement", "How far annotators agree",
                f"Krippendorff's alpha with MASI distance. {figures}", _AGREEMENT, _agreement_rows(annotators)),
        of_rows("annotator_confusion", "What two annotators name for the same face", "Cells count pairs of answers.",
                _CONFUSION, _confusion_rows(annotators)),
    ]  # fmt: skip


def similarity_table(similarity: Sequence[SimilarityStudy]) -> DescribedTable:
    """The table `similarities`."""
    note = "Intervals come from a bootstrap over figures."
    return of_rows("similarities", "How alike the faces are", note, _SIMILARITIES, _similarity_rows(similarity))


def _annotator_rows(annotators: Sequence[Annotators]) -> Rows:
    for one in annotators:
        found = one.found
        for a in found.annotators:
            yield {**a.rest, "corpus": one.corpus, "who": a.name, "faces": a.faces, "labels": a.labels}
        yield {**found.rest, "corpus": one.corpus, "who": "all annotators", "faces": found.faces}
        for m in found.models:
            majority = {"majority_k": m.majority.get("k"), "majority_n": m.majority.get("n")}
            yield {**m.rest, **majority, "corpus": one.corpus, "who": m.model}


def _agreement_rows(annotators: Sequence[Annotators]) -> Rows:
    for one in annotators:
        for e in one.found.expressions:
            yield {"corpus": one.corpus, "of": e["expression"], "label": e["label"], **_alpha(e["agreement"])}
        yield {"corpus": one.corpus, "of": "all expressions", **_alpha(one.found.agreement)}
        for pair in one.found.pairs:
            yield {"corpus": one.corpus, "of": f"{pair['first']} and {pair['second']}", **_alpha(pair["agreement"])}


def _alpha(agreement: Agreement | None) -> dict[str, Any]:
    if agreement is None:
        return {}
    return {"faces": agreement.images, "alpha": agreement.alpha, "low": agreement.low, "high": agreement.high}


def _confusion_rows(annotators: Sequence[Annotators]) -> Rows:
    for one in annotators:
        for name, row in zip(EXPRESSIONS, one.found.confusion, strict=True):
            yield {"corpus": one.corpus, "one": name, **dict(zip(EXPRESSIONS, row, strict=True))}


def _similarity_rows(similarity: Sequence[SimilarityStudy]) -> Rows:
    for study in similarity:
        for network in study.networks:
            for row in network.rows:
                yield {"output": study.output, "network": network.network, **vars(row)}
