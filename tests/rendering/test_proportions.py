"""Proportions beyond the scanned people's."""

import numpy as np

from twfer_dist.core.landmarks import interocular_distance
from twfer_dist.rendering.dress import Dress
from twfer_dist.rendering.facs import shape_weights
from twfer_dist.rendering.figure import Workshop
from twfer_dist.rendering.proportions import restyle

BARE = Dress("bald", "bare", "none", "blank", False)


def test_no_style_leaves_the_head_as_it_is(workshop: Workshop) -> None:
    neutral = workshop.head.neutral_vertices
    moved, mobility = restyle(neutral, neutral, 0.0, np.random.default_rng(0))
    assert np.allclose(moved, neutral, atol=1e-5) and np.allclose(mobility, 1)


def test_both_sides_of_a_face_change_alike(workshop: Workshop) -> None:
    neutral = workshop.head.neutral_vertices
    moved, _ = restyle(neutral, neutral, 1.0, np.random.default_rng(0))
    right, left = (moved[workshop.head.landmarks_68[k]] for k in (36, 45))
    change = moved - neutral
    assert np.abs(change).max() > 0.1 and np.allclose(right * (-1, 1, 1), left, atol=0.05)


def test_a_larger_feature_moves_further(workshop: Workshop) -> None:
    neutral, weights = workshop.head.neutral_vertices, shape_weights(np.full(17, 2.0), workshop.head.expression_names)
    figure = workshop.figure(BARE, np.random.default_rng(3), 1.0)
    count = len(neutral)
    offset = workshop.posed(figure, weights)[:count] - figure.vertices[:count]
    plain = workshop.figure(BARE, np.random.default_rng(3))
    of_people = workshop.posed(plain, weights)[:count] - plain.vertices[:count]
    assert np.allclose(offset, of_people * figure.mobility, atol=1e-4)
    sizes = [interocular_distance(f.vertices[f.landmarks, :2]) for f in (figure, plain)]
    assert sizes[0] != sizes[1]
