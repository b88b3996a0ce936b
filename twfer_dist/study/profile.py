"""Which movements the faces show: Action Units over all faces and by group, with no recogniser involved."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from twfer_dist.core.errors import UserError
from twfer_dist.core.intervals import as_dict, share
from twfer_dist.core.language import _, listed, ngettext, sentences
from twfer_dist.core.taxonomy import ACTION_UNIT_MOVEMENTS, ACTION_UNITS, MAX_INTENSITY
from twfer_dist.faces.finder import OURS
from twfer_dist.study import words
from twfer_dist.study.effects import mean_difference, superiority
from twfer_dist.study.figures import PRESENT
from twfer_dist.study.groups import LEVEL, SMALL, examine
from twfer_dist.study.measured import MeasuredFaces, Samples, by_figure
from twfer_dist.study.permutation import adjusted_p
from twfer_dist.study.repeatability import Repeatability


@dataclass(frozen=True)
class Profile:
    """The Action Units of a study's figures. Dictionaries are JSON-like, as `report.json` holds them.

    A figure shows a unit *clearly* where the low end of its interval reaches PRESENT, from which an intensity rounds to
    FACS's lowest grade (A, a trace): the chance that less is there is then about one in twenty. A unit that is measured
    badly has wide intervals, and is clear in few figures whatever its mean.
    """

    overall: dict[str, Any] | None  # see `_entry`; None without a measured face
    columns: list[dict[str, Any]]  # see `_column`; those that faces are compared by
    from_network: bool  # whether the network measured some of them, so that they have intervals
    level: float  # the p below which a unit differs between the groups of a column by more than chance
    repeatability: Repeatability | None
    doubtful: list[str]  # the units that are suspiciously high


def profile(
    faces: MeasuredFaces,
    repeatability: Repeatability | None = None,
    *,
    named: Sequence[str] = (),
    doubtful: Sequence[str] = (),
) -> Profile:
    """The units of all figures together and by each grouping column.

    named: the columns that a person named, which are then the only ones besides the corpus; UserError where no face
    has one. doubtful: units that the page warns about.
    """
    if not faces.figures:
        return Profile(None, [], False, LEVEL, repeatability, list(doubtful))
    if foreign := [name for name in named if name not in faces.columns]:
        known = ", ".join(name for name in faces.columns if name != "corpus")
        raise UserError(f"The faces have no column '{foreign[0]}' to group by: choose one of {known or 'none'}.")
    everything = by_figure(faces, np.zeros(len(faces.figure), np.int64))
    columns = [
        entry
        for name, values in faces.columns.items()
        if not named or name in named or name == "corpus"
        if (entry := _column(name, values, faces, name in named or name == "corpus", repeatability))
    ]
    level = LEVEL / max(1, sum(1 for column in columns if column["tests"]))
    for column in columns:
        for test in column["tests"]:
            test["differs"] = test["p"] is not None and test["p"] < level
    return Profile(
        _entry("all faces", everything), columns, OURS in faces.sources, level, repeatability, list(doubtful)
    )


def _column(
    name: str, values: pa.ChunkedArray, faces: MeasuredFaces, named: bool, repeatability: Repeatability | None
) -> dict[str, Any] | None:
    """column, ungrouped (faces without a value), values (see `_entry`), tests (see `_tests`); None for a column that
    faces are not compared by.
    """
    valid = pc.is_valid(values)
    with_value = len(np.unique(faces.figure[valid.to_numpy()]))
    found = examine(name, values.filter(valid), with_value, named=named)
    if not found.compared:
        return None
    group = pc.fill_null(pc.index_in(values, pa.array(found.names, pa.string())), -1).to_numpy().astype(np.int64)
    samples = by_figure(faces, group)
    of_group = [np.flatnonzero(samples.group == number) for number in range(len(found.names))]
    entries = [_entry(value, _rows(samples, rows)) for value, rows in zip(found.names, of_group, strict=True)]
    return {
        "column": name,
        "ungrouped": int((group < 0).sum()),
        "values": entries,
        "tests": _tests(entries, samples, adjusted_p(samples.values, samples.group), repeatability),
    }


def _rows(samples: Samples, rows: np.ndarray) -> Samples:
    return Samples(samples.group[rows], samples.faces[rows], samples.values[rows], samples.half_widths[rows])


def _entry(value: str, samples: Samples) -> dict[str, Any]:
    """value, faces, figures, small, and for each unit: unit, name, mean over the figures with its 95 % interval
    (Student's t; None with one figure), and `present`: the figures that show it clearly, with a 95 % interval.
    """
    figures = len(samples.values)
    means = samples.values.mean(0)
    half = np.full(len(means), np.nan)
    if figures > 1:
        half = stats.t.ppf(0.975, figures - 1) * samples.values.std(0, ddof=1) / np.sqrt(figures)
    low, high = (np.clip(end, 0, MAX_INTENSITY) for end in (means - half, means + half))
    clear = samples.values - samples.half_widths >= PRESENT
    return {
        "value": value,
        "faces": int(samples.faces.sum()),
        "figures": figures,
        "small": figures < SMALL,
        "units": [
            {
                "unit": unit,
                "name": name,
                "mean": _rounded(means[k]),
                "low": _rounded(low[k]),
                "high": _rounded(high[k]),
                "present": as_dict(share(clear[:, k], np.ones(figures, np.int64))),
            }
            for k, (unit, name) in enumerate(zip(ACTION_UNITS, ACTION_UNIT_MOVEMENTS, strict=True))
        ],
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _tests(
    entries: Sequence[dict[str, Any]], samples: Samples, p: np.ndarray, repeatability: Repeatability | None
) -> list[dict[str, Any]]:
    """For each unit: unit, name, p (adjusted for the 17 units; None where the unit does not vary), the groups with the
    highest and the lowest mean, their `difference`, the `limit` that light and view alone stay below, and `beyond`:
    whether the difference exceeds it (both None where the repeatability is not known); and `pairs`, see `_of_pairs`.
    """
    tests = []
    for k, unit in enumerate(ACTION_UNITS):
        highest = max(entries, key=lambda entry: entry["units"][k]["mean"])
        lowest = min(entries, key=lambda entry: entry["units"][k]["mean"])
        difference = highest["units"][k]["mean"] - lowest["units"][k]["mean"]
        limit = repeatability and repeatability.limit(unit, highest["figures"], lowest["figures"])
        tests.append(
            {
                "unit": unit,
                "name": ACTION_UNIT_MOVEMENTS[k],
                "p": _rounded(p[k]),
                "highest": highest["value"],
                "lowest": lowest["value"],
                "difference": round(difference, 4),
                "limit": limit and round(limit, 4),
                "beyond": limit and difference > limit,
                **_of_pairs(samples, k, entries.index(highest), entries.index(lowest)),
            }
        )
    return tests


def _of_pairs(samples: Samples, unit: int, highest: int, lowest: int) -> dict[str, Any]:
    """How far two groups differ in a unit: `difference_low` and `difference_high`, the interval of the difference of
    their means (None for a group of one), and `pairs`, in what share of pairs of their figures the first shows more of
    it (`effects.superiority`). Both intervals allow for any two of the groups having been compared.
    """
    groups = int(samples.group.max()) + 1
    comparisons = groups * (groups - 1) // 2
    one, other = (samples.values[samples.group == group, unit] for group in (highest, lowest))
    low, high = mean_difference(one, other, comparisons) or (None, None)
    found = {name: _short(value) for name, value in asdict(superiority(one, other, comparisons)).items()}
    return {"difference_low": _short(low), "difference_high": _short(high), "pairs": found}


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def standing_out(profile: Profile) -> list[dict[str, Any]]:
    """The units of all figures, those first that most figures show clearly; doubtful ones last."""
    units = profile.overall["units"] if profile.overall else []
    return sorted(units, key=lambda u: (u["unit"] in profile.doubtful, -u["present"]["k"], -u["mean"]))


# In words


def units_sentence(profile: Profile) -> str:
    """What the faces show in Action Units, and which groups differ, for the head of the page."""
    if not profile.overall:
        return _("No face was good enough to be measured, so nothing is known about the movements of the faces.")
    return sentences([*_movements(profile), *_differences(profile)])


def _movements(profile: Profile) -> Iterator[str]:
    shown = [unit for unit in standing_out(profile) if unit["present"]["k"]]
    certain = [unit for unit in shown if unit["unit"] not in profile.doubtful]
    if certain:
        first, *others = certain
        yield _(
            "The movement that is clear most often is {movement}: it is clearly present in {k:,} of {n:,} figures "
            "({percent}, 95 % interval {interval}).",
            movement=_named(first),
            k=first["present"]["k"],
            n=first["present"]["n"],
            percent=words.percent(first["present"]["share"]),
            interval=words.percents(first["present"]["low"], first["present"]["high"]),
        )
        then = [_named(unit, unit["present"]["k"]) for unit in others[:2]]
        if then:
            yield ngettext("Next is {movements}.", "Next are {movements}.", len(then), movements=listed(then))
    else:
        figures = words.figures((profile.overall or {})["figures"])
        yield _("No movement is clearly present in any of {figures}.", figures=figures)
    warned = listed(_named(unit) for unit in shown if unit["unit"] in profile.doubtful)
    if warned:
        yield ngettext(
            "{movements} may be measured too high on these faces, and is left out here.",
            "{movements} may be measured too high on these faces, and are left out here.",
            sum(unit["unit"] in profile.doubtful for unit in shown),
            movements=words.at_start(warned),
        )


def _named(unit: dict[str, Any], count: int | None = None) -> str:
    """What a unit does and what it is called, with how many figures clearly show it."""
    values = {"movement": _(unit["name"]), "unit": unit["unit"]}
    if count is None:
        return _("{movement} ({unit})", **values)
    return _("{movement} ({unit}, {n:,})", **values, n=count)


def _differences(profile: Profile) -> Iterator[str]:
    """The largest differences between groups that are more than chance, those beyond light and view first."""
    found = [
        (column["column"], test)
        for column in profile.columns
        for test in column["tests"]
        if test["differs"] and test["unit"] not in profile.doubtful
    ]
    if not profile.columns:
        return
    if not found:
        names = listed((_(column["column"]) for column in profile.columns), "or")
        yield _(
            "No movement differs by more than chance explains when figures are grouped by {columns}.", columns=names
        )
        return
    column, test = max(found, key=lambda pair: (bool(pair[1]["beyond"]), pair[1]["difference"]))
    yield _(
        "By {column}, {movement} differs by more than chance explains (p = {p:.3f}): on average it is "
        "{difference:.1f} of {most:g} higher in {highest} than in {lowest}{beside}.",
        column=_(column),
        movement=_named(test),
        p=test["p"],
        difference=test["difference"],
        most=MAX_INTENSITY,
        highest=words.group_name(column, test["highest"]),
        lowest=words.group_name(column, test["lowest"]),
        beside=_against_light(test),
    )
    if others := len(found) - 1:
        yield ngettext(
            "The tables below have {n:,} other difference.", "The tables below have {n:,} other differences.", others
        )


def _against_light(test: dict[str, Any]) -> str:
    if test["limit"] is None:
        return ""
    if test["beyond"]:
        return _(", more than other light and another view alone would make ({limit:.1f})", limit=test["limit"])
    return _(", which other light or another view alone could make (up to {limit:.1f})", limit=test["limit"])
