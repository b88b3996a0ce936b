"""What is known about rendered faces: which Action Units were raised, and where in the picture it made a difference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from twfer_dist.core.errors import UserError
from twfer_dist.core.images import decode
from twfer_dist.corpus.corpus import Corpus
from twfer_dist.corpus.openface import read_openface
from twfer_dist.engine import storage
from twfer_dist.explanation.maps import to_grid

UNITS = "action_units.csv"
"""The table of rendered intensities in the folder of a corpus that `twfer corpus clay` made."""

CHANGED = 10
"""Grey levels, of 255, by which a pixel must differ in some colour: JPEG's noise stays below it."""


@dataclass(frozen=True)
class Rendered:
    """The intensities (17,), 0 to 5, that were rendered, by corpus and path of the photograph."""

    units: Mapping[tuple[str, str], np.ndarray]

    @property
    def corpora(self) -> set[str]:
        return {corpus for corpus, _ in self.units}

    def of(self, face: Mapping[str, Any]) -> np.ndarray | None:
        """The units of a face (columns corpus and path); None where they are not known."""
        return self.units.get((face["corpus"], face["path"]))

    def at_rest(self, faces: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
        """The faces with no unit raised, by corpus and scene."""
        return {scene_of(face): face for face in faces if (units := self.of(face)) is not None and not units.any()}


def scene_of(face: Mapping[str, Any]) -> tuple[str, str]:
    """The corpus and the scene that a rendered face belongs to. Images of one scene differ in Action Units alone: their
    files are called `<figure>-<scene>-<number>`.
    """
    return face["corpus"], face["path"].rpartition("-")[0]


def read_rendered(corpora: Sequence[Corpus]) -> Rendered:
    """The rendered Action Units of corpora. UserError where a corpus has no table of them."""
    units: dict[tuple[str, str], np.ndarray] = {}
    for corpus in corpora:
        uri = storage.join(corpus.root, UNITS)
        if not storage.is_file(uri):
            raise UserError(
                f"{uri} does not exist, so it is not known what {corpus.name} shows: under 'truth', name corpora that "
                "`twfer corpus clay` made."
            )
        table = read_openface(uri, corpus.table["path"].to_pylist())
        units |= {(corpus.name, path): np.array(values, np.float32) for path, values in table.items() if values}
    return Rendered(units)


def moved(face: Mapping[str, Any], at_rest: Mapping[str, Any]) -> np.ndarray | None:
    """Where a face differs from the same figure at rest in the same scene: the share of each place of its crop, float32
    (GRID, GRID). None where a crop cannot be decoded.

    face, at_rest: rows with image and crop_matrix (FACES). Each crop was cut by its own landmarks, so the picture at
    rest is brought into the crop of the face first.
    """
    one, other = decode(face["image"]), decode(at_rest["image"])
    if one is None or other is None:
        return None
    own, others = (np.vstack([np.reshape(row["crop_matrix"], (2, 3)), [0, 0, 1]]) for row in (face, at_rest))
    matrix, size = (own @ np.linalg.inv(others))[:2], (one.shape[1], one.shape[0])
    warped = cv2.warpAffine(other, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    # Where the other crop ends, its pixels are made up, and smoothing carries them further.
    inside = cv2.GaussianBlur(cv2.warpAffine(np.ones(other.shape[:2], np.float32), matrix, size), (0, 0), 1.0) > 0.999
    smooth = [cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0) for image in (one, warped)]
    return to_grid((np.abs(smooth[0] - smooth[1]).max(2) > CHANGED) & inside)
