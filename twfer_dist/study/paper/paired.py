"""What animation is worth: a recogniser of animated warriors and one of people on the same photographs of warriors."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.intervals import as_dict, of_resamples, share
from twfer_dist.core.language import _
from twfer_dist.core.schema import figures
from twfer_dist.recognition.recogniser import name_of
from twfer_dist.study.inputs import NEW
from twfer_dist.study.paper.numbers import PEOPLE, PaperInputs, face_counts, reader_of
from twfer_dist.study.words import photographs

ANIMATED = ("arm_1", "arm_2", "resnet18_animated")
"""Recognisers of animated warriors, the one that is compared first."""

_RESAMPLES = 5000


@dataclass(frozen=True)
class Paired:
    """Two recognisers on the labelled photographs of warriors whose figures are in neither's training images. A
    photograph without an answer is not answered correctly.
    """

    people: str  # the model
    animated: str
    right_people: dict[str, Any]  # k, n, share, low, high, figures
    right_animated: dict[str, Any]
    difference: float  # of the two shares, that of the recogniser of animated warriors less the other
    low: float  # its 95 % interval (`intervals.of_resamples`)
    high: float


def same_photographs(inputs: PaperInputs) -> Paired | None:
    """The first recogniser of people and the first of animated warriors that read the warriors, paired by figure; None
    where there is none of one kind, or where they share fewer than two figures.
    """
    faces = (inputs.faces or {}).get("warriors")
    if faces is None:
        return None
    roles = [role for kind in (PEOPLE, ANIMATED) if (role := reader_of(faces, kind, inputs))]
    if len(roles) < 2:
        return None
    read = [_by_figure(face_counts(role, faces, inputs)) for role in roles]
    shared = sorted(name for name in read[0].keys() & read[1].keys() if read[0][name][1] == read[1][name][1])
    if len(shared) < 2:
        return None
    right_people, right_animated = (np.array([of_role[name][0] for name in shared]) for of_role in read)
    n = np.array([read[0][name][1] for name in shared])
    gained = right_animated - right_people
    weights = np.random.default_rng(0).multinomial(len(shared), np.full(len(shared), 1 / len(shared)), _RESAMPLES)
    value = float(gained.sum() / n.sum())
    low, high = of_resamples(value, (weights @ gained) / (weights @ n), len(shared))
    people, animated = (inputs.models[role] for role in roles)
    return Paired(
        name_of(people),
        name_of(animated),
        as_dict(share(right_people, n)),
        as_dict(share(right_animated, n)),
        round(value, 6),
        round(low, 6),
        round(high, 6),
    )


def in_words(paired: Paired | None) -> Iterator[str]:
    """The sentences that say so; none without a comparison."""
    if paired is None:
        return
    yield _(
        "On the {photographs} of figures that are new to both it is right on {many}, and the recogniser of people on "
        "{few}: a difference of {points:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}).",
        photographs=photographs(paired.right_people["n"]),
        many=f"{paired.right_animated['k']:,}",
        few=f"{paired.right_people['k']:,}",
        points=100 * paired.difference,
        low=100 * paired.low,
        high=100 * paired.high,
    )
    if paired.low > 0:
        yield _("So training on animated warriors helps to read warriors here.")
    elif paired.high < 0:
        yield _("So training on animated warriors does harm here.")
    else:
        yield _("That may be chance.")


def _by_figure(counts: pa.Table) -> dict[str, tuple[int, int]]:
    """Correct answers and photographs of each figure that is not in the training images."""
    rows = counts.filter(pc.and_(pc.is_valid(counts["label"]), pc.equal(counts["split"], NEW)))
    right = pc.fill_null(pc.equal(rows["label"], rows["predicted"]), False).to_numpy()
    found: dict[str, tuple[int, int]] = {}
    for name, hit, n in zip(figures(rows).to_pylist(), right, rows["n"].to_pylist(), strict=True):
        k, total = found.get(name, (0, 0))
        found[name] = (k + n * int(hit), total + n)
    return found
