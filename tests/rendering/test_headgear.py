"""Hair and headgear over the forehead."""

import dataclasses

import numpy as np
import pytest

from twfer_dist.rendering.dress import HEADGEAR, SKIN, Dress
from twfer_dist.rendering.figure import Workshop
from twfer_dist.rendering.headgear import headgear, knot
from twfer_dist.rendering.solids import Skull

DRESS = Dress("bald", "bare", "none", "blank", False)


@pytest.mark.parametrize("name", [name for name in HEADGEAR if name != "bald"])
def test_what_is_worn_comes_down_but_leaves_the_eyes(workshop: Workshop, name: str) -> None:
    skin = workshop.head.neutral_vertices
    lowest = []
    for low in (0, 22):
        dress = dataclasses.replace(DRESS, headgear=name, low=low)
        tied = knot(workshop.skull, skin, dress, np.random.default_rng(1))
        pieces = headgear(workshop.skull, skin, dress, tied, np.random.default_rng(1))
        points = np.concatenate([solid[np.unique(faces)] for (solid, faces), _ in pieces])
        assert all(kind != SKIN and len(faces) for (_, faces), kind in pieces)
        front = points[(np.abs(points[:, 0]) < 1.0) & (points[:, 2] > 5)]
        lowest.append(front[:, 1].min())
    assert lowest[1] <= lowest[0] and lowest[1] > 3.2  # the middle of the eyes is at 3.5


def test_hair_has_no_surface_behind_the_mouth(workshop: Workshop) -> None:
    skin = workshop.head.neutral_vertices
    points, faces = Skull(workshop.head).shell(skin, (27, 15, -3, -14, -48), 1.0, 10, 2.5)
    middle = points[faces].mean(1)
    assert len(faces) and not ((np.abs(middle[:, 0]) < 3) & (middle[:, 1] < 0) & (middle[:, 2] > 0)).any()
