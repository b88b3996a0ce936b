"""The skin unrolled around the axis."""

import numpy as np

from twfer_dist.rendering.figure import Workshop
from twfer_dist.rendering.solids import sheet
from twfer_dist.rendering.unrolled import TURN, outward


def test_a_solid_is_held_where_it_was_put(workshop: Workshop) -> None:
    across, y = (v.ravel() for v in np.meshgrid(np.linspace(-9, 9, 12), np.linspace(1, -6, 9)))
    skin = workshop.unrolled
    surface = skin.places(across, y)
    np.testing.assert_allclose(np.arctan2(surface[:, 0], surface[:, 2]) * TURN, across, atol=1e-6)
    points = surface + 0.5 * outward(across)
    solid = skin.attach(points, across, y, points, sheet(12, 9))
    np.testing.assert_allclose(solid.hold.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(solid.on(workshop.head.neutral_vertices), points, atol=1e-4)
    assert np.linalg.norm(solid.offset, axis=1).max() < 0.8  # from the place held, on the skin
    raised = workshop.head.neutral_vertices + np.array((0, 2, 0), np.float32)
    np.testing.assert_allclose(solid.on(raised), points + (0, 2, 0), atol=1e-4)
    a, b, c = (points[solid.faces[:, k]] for k in range(3))
    assert (np.einsum("fc,fc->f", np.cross(b - a, c - a), a) > 0).all()  # counter-clockwise from outside
