"""Copies of one photograph under several names count as one figure: equal files, and files that were resized,
re-encoded or slightly retouched.

Near-equal photographs are found by their thumbnails: grey, normalised in mean and contrast. True copies (half the
size, JPEG of quality 60, grey, 10 % brighter) measured distances of 0.00 to 0.04 at full contrast, up to 0.05 at low
contrast; the nearest photographs of different figures 0.22 (portraits), 0.35 (rendered figures), 0.45 (museum
photographs). Of 3,750 web faces all eight pairs below 0.16 are one photograph that was found twice. One head in two
expressions under one light may be as close as a copy; both then share the figure, correctly. Crops, mirror images and
strong retouching are not found, nor copies in the corpora of another faces stage. Time grows with the number of
photographs, not with its square: 100,000 take about fifteen seconds.
"""

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.spatial import cKDTree

from twfer_dist.core import images, schema

FILE, COLUMNS = "copies.csv", ["corpus", "path", "copy_of_corpus", "copy_of", "kind"]
SIDE = 16  # pixels of a thumbnail
MAX_DISTANCE, ROUNDING = 0.04, 0.5
"""The largest distance of two copies: MAX_DISTANCE between unit vectors of the thumbnails' grey values less their
mean, plus ROUNDING of a grey level in units of their standard deviation.
"""

MIN_CONTRAST = 6.0
"""The standard deviation of a thumbnail's grey values below which only equal files are copies."""

MAX_LOG_ASPECT = 0.03  # largest difference of the logarithms of two copies' width over height: sizes are rounded

KINDS = ("equal", "near-equal")

_WAVES = sorted(((i, j) for i in range(6) for j in range(6) if i + j), key=lambda ij: (ij[0] ** 2 + ij[1] ** 2, ij))[
    :16
]
_NEIGHBOURS = 12  # candidates per thumbnail: enough to chain any number of copies without comparing all pairs
_CHUNK = 1 << 13


def thumbnail(photograph: np.ndarray) -> bytes:
    """SIDE x SIDE grey pixels, row by row, of an upright RGB photograph."""
    small = cv2.resize(photograph, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return images.to_grey(small).tobytes()


def find(photographs: pa.Table) -> pa.Table:
    """The copies among PHOTOGRAPHS rows (photo_id, corpus, path, figure_id, content_sha256, width, height, thumbnail).

    A row for each photograph that is a copy of another one before it by corpus and path: photo_id, corpus, path,
    copy_of_corpus, copy_of (a path), kind (of KINDS). Near-equal photographs that share a figure anyway are left out.
    """
    rows = photographs.sort_by([("corpus", "ascending"), ("path", "ascending")])
    content = rows["content_sha256"].combine_chunks()
    codes = content.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    # Equal files that could not be read (empty ones, say) are no copies: they would join unrelated figures.
    equal_to = np.where(pc.is_valid(rows["thumbnail"]).to_numpy(), first[inverse], np.arange(len(rows)))
    groups = _DisjointSets(len(rows))
    for one, other in zip(*_near(rows, np.flatnonzero(equal_to == np.arange(len(rows)))), strict=True):
        groups.join(int(one), int(other))
    for row, original in enumerate(equal_to.tolist()):
        groups.join(original, row)
    originals = np.array([groups.first(row) for row in range(len(rows))], np.int64)
    copies = np.flatnonzero(originals != np.arange(len(rows)))
    equal = pc.equal(content.take(pa.array(copies)), content.take(pa.array(originals[copies])))
    return pa.table(
        {
            **{name: rows[name].take(pa.array(copies)) for name in ("photo_id", "corpus", "path")},
            "copy_of_corpus": rows["corpus"].take(pa.array(originals[copies])),
            "copy_of": rows["path"].take(pa.array(originals[copies])),
            "kind": pc.if_else(equal, *KINDS),
        }
    )


def _near(rows: pa.Table, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (earlier, later) of near-equal photographs of different figures among the rows at `indices`.

    Candidates are the nearest neighbours in a few low frequencies, whose distance is a lower bound of the full one.
    """
    indices = indices[pc.is_valid(rows["thumbnail"]).to_numpy()[indices]]
    none = np.zeros(0, np.int64), np.zeros(0, np.int64)
    if len(indices) < 2:
        return none
    taken = rows.take(pa.array(indices))
    grey = np.frombuffer(b"".join(taken["thumbnail"].to_pylist()), np.uint8).reshape(-1, SIDE * SIDE).astype(np.float32)
    grey -= grey.mean(1, keepdims=True)
    contrast = grey.std(1)
    clear = contrast >= MIN_CONTRAST
    indices, taken, grey, contrast = indices[clear], taken.filter(pa.array(clear)), grey[clear], contrast[clear]
    if len(indices) < 2:
        return none
    grey /= np.linalg.norm(grey, axis=1, keepdims=True)
    aspect = np.log(taken["width"].to_numpy() / taken["height"].to_numpy())
    figures = schema.figures(taken).dictionary_encode().indices.to_numpy()
    low = grey @ _waves()
    tree = cKDTree(low)
    bound, neighbours = np.hypot(MAX_DISTANCE, ROUNDING / MIN_CONTRAST), min(_NEIGHBOURS, len(low))
    pairs = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(low), _CHUNK):
        _, near = tree.query(low[start : start + _CHUNK], k=neighbours, distance_upper_bound=bound)
        one, column = np.nonzero(near < len(low))
        other = near[one, column]
        one = one + start
        alike = (one != other) & (np.abs(aspect[one] - aspect[other]) <= MAX_LOG_ASPECT)
        alike &= figures[one] != figures[other]
        one, other = one[alike], other[alike]
        allowed = MAX_DISTANCE**2 + (ROUNDING / np.maximum(contrast[one], contrast[other])) ** 2
        close = ((grey[one] - grey[other]) ** 2).sum(1) <= allowed
        pairs.append(np.sort(np.stack([one[close], other[close]], 1), axis=1))
    unique = indices[np.unique(np.concatenate(pairs), axis=0)]
    return unique[:, 0], unique[:, 1]


def _waves() -> np.ndarray:
    """float32 (SIDE * SIDE, 16): orthonormal cosine waves of low frequency."""
    x = (np.arange(SIDE) + 0.5) * np.pi / SIDE
    waves = [np.outer(np.cos(i * x), np.cos(j * x)).ravel() for i, j in _WAVES]
    return np.stack([wave / np.linalg.norm(wave) for wave in waves], 1).astype(np.float32)


class _DisjointSets:
    """A partition of 0, 1, ..., each set known by its first member."""

    def __init__(self, number: int) -> None:
        self._parent = list(range(number))

    def first(self, item: int) -> int:
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, one: int, other: int) -> None:
        one, other = sorted((self.first(one), self.first(other)))
        self._parent[other] = one


def figure_ids(photographs: pa.Table, copies: pa.Table) -> pa.Table:
    """photo_id and figure_id of each photograph, where a copy joins its own figure with that of its original.

    The joined figure is named after the first photograph by corpus and path; a figure that spans corpora has the
    prefix `schema.SEVERAL_CORPORA`.
    """
    rows = photographs.select(["photo_id", "corpus", "path", "figure_id"]).sort_by(
        [("corpus", "ascending"), ("path", "ascending")]
    )
    if not len(copies):
        return rows.select(["photo_id", "figure_id"])
    _, first, figure = np.unique(
        schema.figures(rows).to_numpy(zero_copy_only=False), return_index=True, return_inverse=True
    )
    row_of = {key: k for k, key in enumerate(zip(rows["corpus"].to_pylist(), rows["path"].to_pylist(), strict=True))}
    by_first = np.argsort(np.argsort(first))  # numbers the figures in the order of their first rows
    groups = _DisjointSets(len(first))
    for row in copies.to_pylist():
        ends = row_of[row["corpus"], row["path"]], row_of[row["copy_of_corpus"], row["copy_of"]]
        groups.join(*(int(by_first[figure[end]]) for end in ends))
    first = np.sort(first)
    joined = np.array([groups.first(k) for k in range(len(first))])[by_first[figure]]
    corpus, figure_id = rows["corpus"].to_numpy(zero_copy_only=False), rows["figure_id"].to_numpy(zero_copy_only=False)
    abroad = np.unique(joined[corpus != corpus[first[joined]]])
    name = figure_id[first[joined]]
    several = np.isin(joined, abroad)
    name[several] = [schema.SEVERAL_CORPORA + f"{corpus[k]}/{figure_id[k]}" for k in first[joined[several]]]
    return pa.table({"photo_id": rows["photo_id"], "figure_id": pa.array(name, pa.string())})


def with_figure_ids(faces: pa.Table, photographs: pa.Table) -> pa.Table:
    """FACES rows with the figure_id of their photographs (columns photo_id, figure_id)."""
    index = pc.index_in(faces["photo_id"], photographs["photo_id"].combine_chunks())
    return faces.set_column(
        faces.column_names.index("figure_id"), schema.FACES.field("figure_id"), photographs["figure_id"].take(index)
    )


def count(copies: pa.Table) -> dict[str, int]:
    """photographs: how many have copies or are some; pictures: how many different ones these are; copies of each
    kind.
    """
    originals = len(copies.group_by(["copy_of_corpus", "copy_of"]).aggregate([]))
    kinds = {kind: pc.sum(pc.equal(copies["kind"], kind)).as_py() or 0 for kind in KINDS}
    return {"photographs": originals + len(copies), "pictures": originals, **kinds}


def summary(counts: dict[str, int]) -> list[str]:
    """One line where there are copies."""
    if not counts["photographs"]:
        return []
    near = counts["near-equal"]
    changed = f", {near:,} of them resized, re-encoded or slightly changed" if near else ""
    pictures = "1 picture" if counts["pictures"] == 1 else f"{counts['pictures']:,} pictures"
    names = f"{counts['photographs']:,} photographs are {pictures} under several names{changed}"
    return [f"{names}: they count as {counts['pictures']:,}; {FILE} lists the copies."]
