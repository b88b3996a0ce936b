"""What is known about rendered faces."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from twfer_dist.core.errors import UserError
from twfer_dist.core.images import encode_png
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.explanation.maps import GRID
from twfer_dist.explanation.truth import moved, read_rendered

DEMO = Path(__file__).resolve().parents[2] / "twfer_dist" / "demo"


def row(photograph: np.ndarray, x: float, y: float) -> dict[str, Any]:
    """A crop of 112 pixels from a photograph, whose corner is at x, y."""
    matrix = np.array([[1, 0, -x], [0, 1, -y]], np.float32)
    return {"image": encode_png(cv2.warpAffine(photograph, matrix, (112, 112))), "crop_matrix": matrix.ravel()}


def test_what_moved_is_found_between_crops_cut_differently() -> None:
    calm = cv2.GaussianBlur(np.random.default_rng(0).integers(90, 255, (200, 200, 3)).astype(np.uint8), (0, 0), 3)
    changed = calm.copy()
    changed[100:128, 72:128] -= 50  # a mouth
    found = moved(row(changed, 44, 44), row(calm, 41, 47))
    assert found is not None and found.shape == (GRID, GRID)
    inside = found[14:21, 7:21]
    assert inside.mean() > 0.8 and found.sum() - inside.sum() < 0.15 * found.sum()


def test_a_crop_that_cannot_be_decoded_tells_nothing() -> None:
    good = row(np.zeros((200, 200, 3), np.uint8), 0, 0)
    assert moved(good | {"image": b"broken"}, good) is None


def test_the_demo_corpus_says_what_was_rendered() -> None:
    corpus = open_corpus(str(DEMO / "tw58"), "tw58")
    rendered = read_rendered([corpus])
    faces = [{"corpus": "tw58", "path": path} for path in corpus.table["path"].to_pylist()]
    assert rendered.corpora == {"tw58"} and len(rendered.at_rest(faces)) == 58
    surprise = rendered.of({"corpus": "tw58", "path": "photographs/expressions58-00000-0-00.jpg"})
    assert surprise is not None and surprise[ACTION_UNITS.index("AU02")] == pytest.approx(3.81)
    assert rendered.of({"corpus": "elsewhere", "path": faces[0]["path"]}) is None


def test_photographs_have_no_truth() -> None:
    with pytest.raises(UserError, match="it is not known what stone shows: under 'truth', name corpora"):
        read_rendered([open_corpus(str(DEMO / "terracottas"), "stone")])
