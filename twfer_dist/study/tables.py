"""The numbers of a report as CSV, for spreadsheets and other programs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS
from twfer_dist.engine.spreadsheet import rows_to_csv
from twfer_dist.study.explanations import Explained
from twfer_dist.study.profile import Profile
from twfer_dist.study.reliability import Reliability
from twfer_dist.study.report_data import Answers, Study

_INTERVAL = ("low", "high")
_NUMBERS = ("k", "n", "value", *_INTERVAL)
_SCORES = ("images", "model", "split", "of", *_NUMBERS)
_RELIABILITY = ("images", "model", "split", "confidence_from", "confidence_to", "confidence", "k", "n", "share",
    *_INTERVAL, "figures", "error", "error_low", "error_high", "error_by_chance", "error_by_chance_95")  # fmt: skip
_EXPLAINED = ("model", "check", "n", "figures", "value", *_INTERVAL, "by_area", "by_random_weights", "by_chance")
_CONFUSION = ("images", "model", "split", "truth", *EXPRESSIONS)
_GROUPS = ("column", "group", "faces", "figures", "expression", "answered", "of", "share", *_INTERVAL, "labelled",
    "labels")  # fmt: skip
_EFFECTS = ("model", "column", "association", "association_low", "association_high", "size", "group", "other",
    "expression", "answered", "of", "other_answered", "other_of", "difference", *_INTERVAL)  # fmt: skip
_UNITS = ("column", "group", "faces", "figures", "unit", "name", "mean", *_INTERVAL, "present", "of", "share",
    "share_low", "share_high", "p", "differs", "highest", "lowest", "difference", "difference_low",
    "difference_high", "limit")  # fmt: skip
_TEST = ("p", "differs", "highest", "lowest", "difference", "difference_low", "difference_high", "limit")

Rows = Iterator[dict[str, Any]]


def csv_files(study: Study) -> dict[str, bytes]:
    """The CSV files of a report by name."""
    return {
        "accuracy.csv": rows_to_csv(_SCORES, _score_rows(study.accuracy)),
        "validity.csv": rows_to_csv(_SCORES, _score_rows(_validity_entries(study.validity))),
        "reliability.csv": rows_to_csv(_RELIABILITY, _reliability_rows(study.reliability)),
        "explanations.csv": rows_to_csv(_EXPLAINED, _explained_rows(study.explained)),
        "confusion.csv": rows_to_csv(_CONFUSION, _confusion_rows(study.accuracy)),
        "groups.csv": rows_to_csv(_GROUPS, _group_rows(study.groups)),
        "effects.csv": rows_to_csv(_EFFECTS, _effect_rows([study, study.second] if study.second else [study])),
        "units_by_group.csv": rows_to_csv(_UNITS, _unit_rows(study.profile)),
    }


def _score_rows(entries: Iterable[Mapping[str, Any]]) -> Rows:
    """One row for each expression, one for the accuracy and one for the balanced accuracy."""
    for entry in entries:
        for score in entry["scores"]:
            base = {"images": entry["images"], "model": score["model"], "split": score["split"]}
            for e in score["expressions"]:
                yield {**base, "of": e["expression"], **_numbers(e, "share")}
            yield {**base, "of": "accuracy", **_numbers(score["accuracy"], "share")}
            yield {**base, "of": "balanced accuracy", **_numbers(score["balanced_accuracy"], "value")}


def _validity_entries(tests: Iterable[Mapping[str, Any]]) -> Rows:
    for test in tests:
        for s in test["scores"]:
            yield {"images": f"{s['asked_about']} faces, model trained on {s['trained_on']} faces", "scores": [s]}


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


def _explained_rows(found: Iterable[Explained]) -> Rows:
    """One row for each check of explanations on rendered faces."""
    for entry in found:
        if entry.maps:
            inside = {"value": entry.maps.inside.value, "low": entry.maps.inside.low, "high": entry.maps.inside.high}
            compared = {"by_area": entry.maps.area, "by_random_weights": entry.maps.random}
            base = {"model": entry.model, "check": "map inside what moved"}
            yield {**base, "n": entry.maps.faces, "figures": entry.maps.figures, **inside, **compared}
        if entry.units:
            raised = entry.units.raised
            numbers = {name: raised[name] for name in ("n", "figures", *_INTERVAL)} | {"value": raised["share"]}
            base = {"model": entry.model, "check": "strongest unit truly raised"}
            yield {**base, **numbers, "by_chance": entry.units.by_chance}


def _confusion_rows(entries: Iterable[Mapping[str, Any]]) -> Rows:
    for entry in entries:
        for c in entry["confusion"]:
            base = {"images": entry["images"], "model": c["model"], "split": c["split"]}
            for truth, row in zip(EXPRESSIONS, c["matrix"], strict=True):
                yield {**base, "truth": truth, **dict(zip(EXPRESSIONS, row, strict=True))}


def _group_rows(groups: Sequence[Mapping[str, Any]]) -> Rows:
    for column in groups:
        for group in column["values"]:
            for e in group["expressions"]:
                yield {
                    "column": column["column"],
                    "group": group["value"],
                    "faces": group["faces"],
                    "figures": group["figures"],
                    "expression": e["expression"],
                    "answered": e["k"],
                    "of": e["n"],
                    "share": e["corrected"],
                    "low": e["low"],
                    "high": e["high"],
                    "labelled": e["labelled"].get("k"),
                    "labels": e["labelled"].get("n"),
                }


def _effect_rows(answers: Iterable[Study | Answers]) -> Rows:
    """One row for each pair of groups and expression; the column's association is in each of its rows."""
    for effect in (effect for answer in answers for effect in answer.effects):
        found = effect.association
        values = (found.value, found.low, found.high, found.size) if found else (None,) * 4
        association = dict(zip(("association", "association_low", "association_high", "size"), values, strict=True))
        for pair in effect.pairs:
            for entry in pair.expressions:
                yield {
                    "model": effect.model,
                    "column": effect.column,
                    **association,
                    "group": pair.first,
                    "other": pair.second,
                    "expression": entry.expression,
                    **{"answered": entry.first_k, "of": entry.first_n},
                    **{"other_answered": entry.second_k, "other_of": entry.second_n},
                    **{"difference": entry.difference, "low": entry.low, "high": entry.high},
                }


def _unit_rows(profile: Profile) -> Rows:
    """One row for each unit of all faces, then of each group; the test of a column's unit is in each of its rows."""
    if not profile.overall:
        return
    everything: dict[str, Any] = {"column": "", "values": [profile.overall], "tests": [{}] * len(ACTION_UNITS)}
    for column in (everything, *profile.columns):
        for group in column["values"]:
            for unit, test in zip(group["units"], column["tests"], strict=True):
                present = unit["present"]
                yield {
                    "column": column["column"],
                    "group": group["value"],
                    "faces": group["faces"],
                    "figures": group["figures"],
                    **{key: unit[key] for key in ("unit", "name", "mean", *_INTERVAL)},
                    "present": present["k"],
                    "of": present["n"],
                    **{"share": present["share"], "share_low": present["low"], "share_high": present["high"]},
                    **{key: test.get(key) for key in _TEST},
                }


def _numbers(score: Mapping[str, Any], value: str) -> dict[str, Any]:
    return {name: score.get(value if name == "value" else name) for name in _NUMBERS}
