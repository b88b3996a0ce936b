"""How Action Units move on the Yale Face Database (Belhumeur, Hespanha, Kriegman 1997), each subject relative to
their normal face.

    twfer faces yalefaces/ --out runs/yale
    python jobs/measure/measure_yale.py runs/yale/faces-0123456789ab

Photographs are named <subject>_<condition>.png. A unit moves where it changes by `MOVED` or more.
"""

import sys
from collections.abc import Callable
from pathlib import PurePosixPath

import numpy as np

from twfer_dist.core.schema import FACES
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine import artifact, storage

MOVED = 0.5

Change = dict[str, float]


def rises(*units: str) -> Callable[[Change], bool]:
    return lambda change: max(change[unit] for unit in units) >= MOVED


RULES: tuple[tuple[str, str, Callable[[Change], bool]], ...] = (
    ("happy raises AU12", "happy", rises("AU12")),
    ("surprised raises AU25 or AU26", "surprised", rises("AU25", "AU26")),
    ("surprised raises AU01 or AU02", "surprised", rises("AU01", "AU02")),
    (
        "surprised raises both",
        "surprised",
        lambda change: rises("AU25", "AU26")(change) and rises("AU01", "AU02")(change),
    ),
    ("sleepy raises AU45", "sleepy", rises("AU45")),
    ("centerlight moves nothing", "centerlight", lambda change: max(map(abs, change.values())) < MOVED),
)


def main(output: str) -> None:
    table = artifact.open_artifact(storage.absolute(output)).table("faces", FACES)
    found = {}
    for row in table.to_pylist():
        if row["rank"] == 0:
            subject, condition = PurePosixPath(row["path"]).stem.split("_")
            found[subject, condition] = np.array(row["action_units"])
    changes: dict[str, list[Change]] = {}
    for (subject, condition), units in sorted(found.items()):
        if condition != "normal" and (subject, "normal") in found:
            change = units - found[subject, "normal"]
            changes.setdefault(condition, []).append(dict(zip(ACTION_UNITS, map(float, change), strict=True)))
    for words, condition, holds in RULES:
        print(f"{words:<32} {sum(map(holds, changes[condition]))} of {len(changes[condition])}")
    for condition, several in changes.items():
        means = {unit: np.mean([change[unit] for change in several]) for unit in ACTION_UNITS}
        moved = sorted(means, key=lambda unit: -abs(means[unit]))[:5]
        print(f"{condition:<14} moves most, on average: {', '.join(f'{unit} {means[unit]:+.2f}' for unit in moved)}")


if __name__ == "__main__":
    main(sys.argv[1])
