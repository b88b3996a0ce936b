"""Moustaches and beards: they stand off the skin, move with it, and change nothing else."""

import dataclasses

import numpy as np
import pytest

from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.rendering import plan, scenes
from twfer_dist.rendering.dress import BEARD, Dress
from twfer_dist.rendering.eyes import EYES
from twfer_dist.rendering.facial_hair import BEARDS, CARVINGS, MOUSTACHES, carved, stubble
from twfer_dist.rendering.facs import shape_weights
from twfer_dist.rendering.figure import Figure, Workshop
from twfer_dist.rendering.plan import ClayConfig
from twfer_dist.rendering.render import draw, project
from twfer_dist.rendering.wardrobe import drawn

NO_FOLDS = np.zeros(17, np.float32)
BARE = Dress("bald", "bare", "none", "blank", False)


def _figure(workshop: Workshop, dress: Dress) -> Figure:
    return workshop.figure(dress, np.random.default_rng(5))


def _posed(workshop: Workshop, figure: Figure, unit: str) -> np.ndarray:
    units = np.zeros(17, np.float32)
    units[ACTION_UNITS.index(unit)] = 5
    return workshop.posed(figure, shape_weights(units, workshop.head.expression_names))


def _hairs(figure: Figure) -> np.ndarray:
    return np.unique(figure.triangles[figure.kind == BEARD])


@pytest.mark.parametrize("style", MOUSTACHES[1:])
def test_a_moustache_moves_with_the_upper_lip(workshop: Workshop, style: str) -> None:
    figure = _figure(workshop, dataclasses.replace(BARE, moustache=style))
    hairs = _hairs(figure)
    smiling = _posed(workshop, figure, "AU12")
    corners = smiling[figure.landmarks[[48, 54]]] - figure.vertices[figure.landmarks[[48, 54]]]
    moved = (smiling - figure.vertices)[hairs, 1]
    assert (corners[:, 1] > 0.2).all() and 0.05 < moved.max() <= 2.0 and moved.min() >= 0
    lip = figure.vertices[hairs]
    middle = hairs[(np.abs(lip[:, 0]) < 1.5) & (lip[:, 1] > -2.6)]
    dropped = _posed(workshop, figure, "AU26")
    assert np.abs(dropped - figure.vertices)[middle].max() < 0.01  # the jaw leaves it where it is
    assert lip[:, 2].max() > figure.vertices[figure.landmarks[51], 2]  # it stands off the lip


@pytest.mark.parametrize("style", [style for style in BEARDS if style not in ("none", "stubble")])
def test_a_beard_moves_with_the_jaw(workshop: Workshop, style: str) -> None:
    figure = _figure(workshop, dataclasses.replace(BARE, beard=style))
    hairs = _hairs(figure)
    fallen = (_posed(workshop, figure, "AU26") - figure.vertices)[:, 1]
    chin = hairs[np.abs(figure.vertices[hairs, 0]) < 0.5]
    np.testing.assert_allclose(fallen[chin].mean(), fallen[figure.landmarks[8]], rtol=0.35)


def test_hair_and_paint_leave_the_skin_and_its_points(workshop: Workshop) -> None:
    """Whatever a figure wears, the same units move the same points to the same places."""
    bare = _figure(workshop, BARE)
    count = len(workshop.head.neutral_vertices)
    rng = np.random.default_rng(0)
    for _ in range(20):
        dress = dataclasses.replace(drawn(rng, ""), lids=BARE.lids)
        dressed = _figure(workshop, dress)
        np.testing.assert_array_equal(dressed.vertices[:count], bare.vertices[:count])
        np.testing.assert_array_equal(dressed.landmarks, bare.landmarks)
        for unit in ("AU12", "AU26"):
            np.testing.assert_array_equal(_posed(workshop, dressed, unit)[:count], _posed(workshop, bare, unit)[:count])


@pytest.mark.parametrize(
    ("dress", "rows"),
    [(dataclasses.replace(BARE, moustache=name), (0.48, 0.95)) for name in MOUSTACHES[1:]]
    + [(dataclasses.replace(BARE, beard=name), (0.25, 1)) for name in BEARDS[1:]]
    + [(dataclasses.replace(BARE, eyes=name), (0.2, 0.5)) for name in EYES[1:]],
    ids=[*MOUSTACHES[1:], *BEARDS[1:], *EYES[1:]],
)
def test_each_style_changes_its_region_alone(workshop: Workshop, dress: Dress, rows: tuple[float, float]) -> None:
    config = ClayConfig(size=96, framing="loose", materials=("skin" if dress.beard == "stubble" else "marble",))
    scene = dataclasses.replace(scenes.scene(config, "b"), pose=(0, 0, 0), key=(0, 0, 1), noise=0.0)
    bare, other = _figure(workshop, BARE), _figure(workshop, dress)
    view = plan.view(config, "b", project(bare.vertices, scene)[1][bare.landmarks])
    before, after, again = (
        draw(figure, figure.vertices, NO_FOLDS, scene, view, 96).astype(int) for figure in (bare, other, other)
    )
    np.testing.assert_array_equal(after, again)
    changed = np.flatnonzero(np.abs(after - before).max((1, 2)) > 6) / 96
    assert len(changed) and rows[0] <= changed.min() and changed.max() <= rows[1]


@pytest.mark.parametrize("style", CARVINGS)
def test_carving_is_relief_of_a_few_millimetres(style: str) -> None:
    places = np.random.default_rng(0).uniform(-5, 5, (4000, 2))
    height = carved(style, places)
    assert height.std() > 0.008 and -0.1 <= height.min() and height.max() < 0.5


def test_stubble_covers_lip_cheeks_and_chin_but_no_more() -> None:
    cover = stubble(np.array([1.0, 6.0, 0.0, 0.0, 3.0]), np.array([-2.0, -5.0, -7.0, 1.0, 6.0]))
    assert (cover[:3] > 0.5).all() and (cover[3:] < 0.01).all()
