"""Effect sizes, reliability and the checks of explanations as described tables."""

from collections.abc import Iterable, Iterator
from typing import Any

from twfer_dist.engine.described import SHARE, DescribedTable, interval, number, of_rows, text, whole
from twfer_dist.study.explanations import Explained
from twfer_dist.study.profile import Profile
from twfer_dist.study.reliability import Reliability
from twfer_dist.study.report_data import Answers, Study

_COLUMN = (
    text("model", "The model that answered."),
    text("column", "The column of the manifest that groups the faces."),
)
_ASSOCIATIONS = (
    *_COLUMN,
    number("association", "Cramér's V of group and answer, corrected for its bias: 0 alike, 1 fully dependent.",
           ends=("low", "high")),
    *interval("association"),
    text("size", "The size of the effect by Cohen's (1988) convention."),
)  # fmt: skip
_PAIRS = (
    *_COLUMN,
    text("group", "The first group."),
    text("other", "The group that it is compared with."),
    text("expression", "The expression."),
    whole("answered", "Faces of the first group answered with it.", "faces"),
    whole("of", "Faces of the first group with an answer.", "faces"),
    whole("other_answered", "Faces of the other group answered with it.", "faces"),
    whole("other_of", "Faces of the other group with an answer.", "faces"),
    number("difference", "Share in the first group less share in the other.", SHARE, ends=("low", "high")),
    *interval("difference", SHARE),
)
_MOVEMENTS = (
    text("column", "The column of the manifest that groups the faces."),
    text("unit", "The Action Unit of FACS."),
    text("highest", "The group with the highest mean."),
    text("lowest", "The group with the lowest mean."),
    number("difference", "Between these means.", "0 to 5", decimals=2, ends=("difference_low", "difference_high")),
    *interval("difference", "0 to 5", ("difference_low", "difference_high")),
    number("pairs", "Share of pairs of figures, one of each group, in which the first shows more; ties count half.",
           SHARE, ends=("pairs_low", "pairs_high")),
    *interval("pairs", SHARE, ("pairs_low", "pairs_high")),
    text("size", "The size of the effect by Vargha and Delaney's (2000) convention."),
)  # fmt: skip
_RELIABILITY = (
    text("images", "Which images were answered: a data set, or labelled photographs."),
    text("model", "The model that answered."),
    text("split", "Part of the data set, or whether the figures were seen in training."),
    number("confidence_from", "The lowest probability of the bin; empty for all answers together."),
    number("confidence_to", "The highest probability of the bin; empty for all answers together."),
    number("confidence", "The mean probability that the model gave its answers."),
    whole("k", "Answers that are correct.", "images"),
    whole("n", "Answers.", "images"),
    number("share", "Share of answers that are correct.", SHARE, ends=("low", "high")),
    *interval("share", SHARE),
    whole("figures", "Different figures among them.", "figures"),
    number("error", "Expected calibration error, of all answers.", ends=("error_low", "error_high")),
    *interval("error", "", ("error_low", "error_high")),
    number("error_by_chance", "Its expectation for a perfectly calibrated model with as few answers."),
    number("error_by_chance_95", "What that stays below in 95 of 100 samples."),
)
_CHECKS = (
    text("model", "The model whose answers are explained."),
    text("check", "Part of the map where the face moved, or strongest unit truly raised."),
    whole("n", "Rendered faces.", "faces"),
    whole("figures", "Different figures among them.", "figures"),
    number("value", "Mean part of the map, or share of the faces.", SHARE, ends=("low", "high")),
    *interval("value", SHARE),
    number("by_area", "Part of the picture that moved.", SHARE),
    number("by_random_weights", "Part of the map of a network with random weights.", SHARE),
    number("by_chance", "Mean part of the units that was raised.", SHARE),
)

Rows = Iterator[dict[str, Any]]


def trust_tables(study: Study) -> list[DescribedTable]:
    """How large differences are, and how far answers and explanations can be trusted."""
    return [
        of_rows("associations", "How strongly the answers depend on the group",
                "Faces of one figure count as the fewer independent faces that they are worth.", _ASSOCIATIONS,
                _association_rows(study.readings)),
        of_rows("differences", "Differences of answers between groups",
                "The intervals of a model's table of one column hold together in 95 of 100 samples.", _PAIRS,
                _pair_rows(study.readings)),
        of_rows("movement_effects", "How large the differences of movements are",
                "The groups with the highest and the lowest mean; intervals allow for their having been chosen.",
                _MOVEMENTS, _movement_rows(study.profile)),
        of_rows("reliability", "Whether models are right as often as they say",
                "Bins of about equally many answers, then all answers of the model.", _RELIABILITY,
                _reliability_rows(study.reliability)),
        of_rows("explanation_checks", "Whether explanations hold where the truth is known",
                "Means of maps are means over figures with Student's interval; shares have Wilson's.", _CHECKS,
                _check_rows(study.explained)),
    ]  # fmt: skip


def _association_rows(readings: Iterable[Answers]) -> Rows:
    for effect in (effect for reading in readings for effect in reading.effects):
        if found := effect.association:
            numbers = {"association": found.value, "low": found.low, "high": found.high, "size": found.size}
            yield {"model": effect.model, "column": effect.column, **numbers}


def _pair_rows(readings: Iterable[Answers]) -> Rows:
    for effect in (effect for reading in readings for effect in reading.effects):
        for pair in effect.pairs:
            for entry in pair.expressions:
                yield {
                    "model": effect.model,
                    "column": effect.column,
                    "group": pair.first,
                    "other": pair.second,
                    **{"expression": entry.expression, "answered": entry.first_k, "of": entry.first_n},
                    **{"other_answered": entry.second_k, "other_of": entry.second_n},
                    **{"difference": entry.difference, "low": entry.low, "high": entry.high},
                }


def _movement_rows(profile: Profile) -> Rows:
    for column in profile.columns:
        for test in column["tests"]:
            pairs = test["pairs"]
            numbers = {"pairs": pairs["value"], "pairs_low": pairs["low"], "pairs_high": pairs["high"]}
            yield {**test, **numbers, "size": pairs["size"], "column": column["column"]}


def _reliability_rows(found: Iterable[Reliability]) -> Rows:
    """One row for each bin, then one for all answers, which has the calibration error."""
    for r in found:
        base = {"images": r.images, "model": r.model, "split": r.split}
        for b in r.bins:
            edges = {"confidence_from": b.low, "confidence_to": b.high, "confidence": b.confidence}
            yield {**base, **edges, **b.right}
        errors = {"error": r.error, "error_low": r.low, "error_high": r.high}
        chance = {"error_by_chance": r.by_chance, "error_by_chance_95": r.by_chance_95}
        yield {**base, "confidence": r.confidence, **r.right, **errors, **chance}


def _check_rows(found: Iterable[Explained]) -> Rows:
    for entry in found:
        if entry.maps:
            inside = {"value": entry.maps.inside.value, "low": entry.maps.inside.low, "high": entry.maps.inside.high}
            compared = {"by_area": entry.maps.area, "by_random_weights": entry.maps.random}
            base = {"model": entry.model, "check": "part of the map where the face moved"}
            yield {**base, "n": entry.maps.faces, "figures": entry.maps.figures, **inside, **compared}
        if entry.units:
            raised = entry.units.raised
            base = {"model": entry.model, "check": "strongest unit truly raised"}
            yield {**base, **raised, "value": raised["share"], "by_chance": entry.units.by_chance}
