"""Copies of one picture under several names count as one figure: equal files, and files that were resized, re-encoded
or retouched.

Near-equal pictures are found by their thumbnails: grey, brought to one mean and one contrast. True copies (half the
size, JPEG of quality 60, grey, 10 % brighter) measured distances of 0.00 to 0.04 where the contrast is full, to 0.05
where it is low; the nearest photographs of different figures 0.22 (portraits), 0.35 (rendered figures), 0.45 (museum
photographs). Of 3,750 web faces all eight pairs below 0.16 are one photograph that was found twice. One head in two
expressions under one light may be as near as a copy: these become one figure, which they are. Crops, mirror images and
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
FAR, ROUNDING = 0.04, 0.5
"""How far apart two copies may be: FAR between unit vectors of the thumbnails' grey values less their mean, and beside
it, as a share of their standard deviation, ROUNDING of a grey level.
"""

LEAST_CONTRAST = 6.0
"""The standard deviation of a thumbnail's grey values below which only an equal file is a copy."""

SHAPE = 0.03  # the largest difference of the logarithms of two copies' width over height: pixels are whole

KINDS = ("equal", "near-equal")

_WAVES = sorted(((i, j) for i in range(6) for j in range(6) if i + j), key=lambda ij: (ij[0] ** 2 + ij[1] ** 2, ij))[
    :16
]
_NEIGHBOURS = 12  # candidates of one thumbnail: enough to chain up any number of copies, and never a square of pairs
_CHUNK = 1 << 13


def thumbnail(picture: np.ndarray) -> bytes:
    """SIDE x SIDE grey pixels, row by row, of an upright RGB picture."""
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return images.to_grey(small).tobytes()


def find(photographs: pa.Table) -> pa.Table:
    """The copies among PHOTOGRAPHS rows (photo_id, corpus, path, figure, content_sha256, width, height, thumbnail).

    A row for each photograph that is a copy of another one which comes before it by corpus and path: photo_id, corpus,
    path, copy_of_corpus, copy_of (a path), kind of KINDS. Near-equal photographs that are given one figure anyway are
    left out.
    """
    rows = photographs.sort_by([("corpus", "ascending"), ("path", "ascending")])
    content = rows["content_sha256"].combine_chunks()
    codes = content.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    # Files that show no picture (empty, say, or cut off at one place) are no copies, and join no figures.
    same = np.where(pc.is_valid(rows["thumbnail"]).to_numpy(), first[inverse], np.arange(len(rows)))
    group = _Groups(len(rows))
    for one, other in zip(*_near(rows, np.flatnonzero(same == np.arange(len(rows)))), strict=True):
        group.join(int(one), int(other))
    for place, original in enumerate(same.tolist()):
        group.join(original, place)
    original = np.array([group.first(place) for place in range(len(rows))], np.int64)
    copy = np.flatnonzero(original != np.arange(len(rows)))
    equal = pc.equal(content.take(pa.array(copy)), content.take(pa.array(original[copy])))
    return pa.table(
        {
            **{name: rows[name].take(pa.array(copy)) for name in ("photo_id", "corpus", "path")},
            "copy_of_corpus": rows["corpus"].take(pa.array(original[copy])),
            "copy_of": rows["path"].take(pa.array(original[copy])),
            "kind": pc.if_else(equal, *KINDS),
        }
    )


def _near(rows: pa.Table, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (one before the other) of near-equal pictures of two figures among the rows at `places`.

    The nearest of each in a few low frequencies, which are never further apart than the whole, are compared whole.
    """
    places = places[pc.is_valid(rows["thumbnail"]).to_numpy()[places]]
    none = np.zeros(0, np.int64), np.zeros(0, np.int64)
    if len(places) < 2:
        return none
    taken = rows.take(pa.array(places))
    grey = np.frombuffer(b"".join(taken["thumbnail"].to_pylist()), np.uint8).reshape(-1, SIDE * SIDE).astype(np.float32)
    grey -= grey.mean(1, keepdims=True)
    contrast = grey.std(1)
    clear = contrast >= LEAST_CONTRAST
    places, taken, grey, contrast = places[clear], taken.filter(pa.array(clear)), grey[clear], contrast[clear]
    if len(places) < 2:
        return none
    grey /= np.linalg.norm(grey, axis=1, keepdims=True)
    shape = np.log(taken["width"].to_numpy() / taken["height"].to_numpy())
    figure_id = schema.figures(taken).dictionary_encode().indices.to_numpy()
    low = grey @ _waves()
    tree = cKDTree(low)
    pairs = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(low), _CHUNK):
        _, near = tree.query(
            low[start : start + _CHUNK],
            k=min(_NEIGHBOURS, len(low)),
            distance_upper_bound=np.hypot(FAR, ROUNDING / LEAST_CONTRAST),
        )
        one, column = np.nonzero(near < len(low))
        other = near[one, column]
        one = one + start
        alike = (one != other) & (np.abs(shape[one] - shape[other]) <= SHAPE) & (figure_id[one] != figure_id[other])
        one, other = one[alike], other[alike]
        close = ((grey[one] - grey[other]) ** 2).sum(1) <= FAR**2 + (
            ROUNDING / np.maximum(contrast[one], contrast[other])
        ) ** 2
        pairs.append(np.sort(np.stack([one[close], other[close]], 1), axis=1))
    found = places[np.unique(np.concatenate(pairs), axis=0)]
    return found[:, 0], found[:, 1]


def _waves() -> np.ndarray:
    """float32 (SIDE * SIDE, 16): orthonormal cosine waves of low frequency."""
    x = (np.arange(SIDE) + 0.5) * np.pi / SIDE
    waves = [np.outer(np.cos(i * x), np.cos(j * x)).ravel() for i, j in _WAVES]
    return np.stack([wave / np.linalg.norm(wave) for wave in waves], 1).astype(np.float32)


class _Groups:
    """Things 0, 1, ... in groups, each known by its first."""

    def __init__(self, number: int) -> None:
        self._before = list(range(number))

    def first(self, thing: int) -> int:
        while self._before[thing] != thing:
            self._before[thing] = self._before[self._before[thing]]
            thing = self._before[thing]
        return thing

    def join(self, one: int, other: int) -> None:
        one, other = sorted((self.first(one), self.first(other)))
        self._before[other] = one


def figure_ids(photographs: pa.Table, copies: pa.Table) -> pa.Table:
    """photo_id and figure of each photograph, where a copy joins its own figure and that of its original.

    The joined figure is called after the first photograph by corpus and path; where it reaches over corpora, so that
    `schema.figures` takes it for one.
    """
    rows = photographs.select(["photo_id", "corpus", "path", "figure_id"]).sort_by(
        [("corpus", "ascending"), ("path", "ascending")]
    )
    if not len(copies):
        return rows.select(["photo_id", "figure_id"])
    _, first, figure = np.unique(
        schema.figures(rows).to_numpy(zero_copy_only=False), return_index=True, return_inverse=True
    )
    place = {key: k for k, key in enumerate(zip(rows["corpus"].to_pylist(), rows["path"].to_pylist(), strict=True))}
    by_first = np.argsort(np.argsort(first))  # a number for each figure in the order in which they come
    group = _Groups(len(first))
    for row in copies.to_pylist():
        ends = place[row["corpus"], row["path"]], place[row["copy_of_corpus"], row["copy_of"]]
        group.join(*(int(by_first[figure[end]]) for end in ends))
    first = np.sort(first)
    joined = np.array([group.first(k) for k in range(len(first))])[by_first[figure]]
    corpus, figure_id = rows["corpus"].to_numpy(zero_copy_only=False), rows["figure_id"].to_numpy(zero_copy_only=False)
    own = corpus == corpus[first[joined]]
    abroad = np.unique(joined[~own])
    name = figure_id[first[joined]]
    several = np.isin(joined, abroad)
    name[several] = [schema.SEVERAL_CORPORA + f"{corpus[k]}/{figure_id[k]}" for k in first[joined[several]]]
    return pa.table({"photo_id": rows["photo_id"], "figure_id": pa.array(name, pa.string())})


def recount(faces: pa.Table, of: pa.Table) -> pa.Table:
    """FACES rows with the figures `of` their photographs (photo_id, figure)."""
    place = pc.index_in(faces["photo_id"], of["photo_id"].combine_chunks())
    return faces.set_column(
        faces.column_names.index("figure_id"), schema.FACES.field("figure_id"), of["figure_id"].take(place)
    )


def summary(copies: pa.Table) -> dict[str, int]:
    """photographs that have copies or are some, the pictures that these are, and the copies of each kind."""
    originals = len(copies.group_by(["copy_of_corpus", "copy_of"]).aggregate([]))
    kinds = {kind: pc.sum(pc.equal(copies["kind"], kind)).as_py() or 0 for kind in KINDS}
    return {"photographs": originals + len(copies), "pictures": originals, **kinds}


def say(found: dict[str, int]) -> list[str]:
    """A line where there are copies."""
    if not found["photographs"]:
        return []
    changed = (
        f", {found['near-equal']:,} of them resized, re-encoded or slightly changed" if found["near-equal"] else ""
    )
    pictures = "1 picture" if found["pictures"] == 1 else f"{found['pictures']:,} pictures"
    names = f"{found['photographs']:,} photographs are {pictures} under several names{changed}"
    return [f"{names}: they count as {found['pictures']:,}; {FILE} lists the copies."]
