"""How Action Units change on the Yale Face Database (Belhumeur, Hespanha, Kriegman 1997), each subject relative to the
subject's normal face.

    twfer faces yalefaces/ --out runs/yale
    python jobs/measure_yale.py runs/yale/faces-0123456789ab

Photographs are named <subject>_<condition>.png. A unit changes where it differs by `CHANGED` or more.
"""

import sys
from collections.abc import Callable
from pathlib import PurePosixPath

import numpy as np

from twfer_dist.core.schema import FACES
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine import artifact, storage

CHANGED = 0.5

Change = dict[str, float]


def rises(*units: str) -> Callable[[Change], bool]:
    return lambda change: max(change[unit] for unit in units) >= CHANGED


def rises_in_mouth_and_brows(change: Change) -> bool:
    return rises("AU25", "AU26")(change) and rises("AU01", "AU02")(change)


def is_constant(change: Change) -> bool:
    return max(map(abs, change.values())) < CHANGED


RULES: tuple[tuple[str, str, Callable[[Change], bool]], ...] = (
    ("happy raises AU12", "happy", rises("AU12")),
    ("surprised raises AU25 or AU26", "surprised", rises("AU25", "AU26")),
    ("surprised raises AU01 or AU02", "surprised", rises("AU01", "AU02")),
    ("surprised raises both", "surprised", rises_in_mouth_and_brows),
    ("sleepy raises AU45", "sleepy", rises("AU45")),
    ("centerlight changes nothing", "centerlight", is_constant),
)


def main(output: str) -> None:
    measured = {}
    for row in artifact.open_artifact(storage.absolute(output)).table("faces", FACES).to_pylist():
        if row["rank"] == 0:
            subject, condition = PurePosixPath(row["path"]).stem.split("_")
            measured[subject, condition] = np.array(row["action_units"])
    changes: dict[str, list[Change]] = {}
    for (subject, condition), units in sorted(measured.items()):
        if condition != "normal" and (subject, "normal") in measured:
            change = units - measured[subject, "normal"]
            changes.setdefault(condition, []).append(dict(zip(ACTION_UNITS, map(float, change), strict=True)))
    for name, condition, holds in RULES:
        print(f"{name:<32} {sum(map(holds, changes[condition]))} of {len(changes[condition])}")
    for condition, of_condition in changes.items():
        means = {unit: float(np.mean([change[unit] for change in of_condition])) for unit in ACTION_UNITS}
        largest = sorted(means, key=lambda unit: -abs(means[unit]))[:5]
        print(f"{condition:<14} largest mean changes: {', '.join(f'{unit} {means[unit]:+.2f}' for unit in largest)}")


if __name__ == "__main__":
    main(sys.argv[1])
