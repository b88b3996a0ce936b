"""The gate: each fault has its sentence."""

from dataclasses import replace

import numpy as np

from twfer_dist.core.landmarks import MOUTH, OUTER_EYE_CORNERS
from twfer_dist.measurement.face import Face
from twfer_dist.measurement.quality import Gate


def test_every_fault_has_its_sentence() -> None:
    points = np.full((68, 2), 50, np.float32)
    points[list(OUTER_EYE_CORNERS)] = (20, 50), (80, 50)
    fine = Face(
        points,
        predicted_nme=0.01,
        units=np.zeros(17),
        half_width_90=np.ones(17),
        pose=np.zeros(3),
        sharpness=1.0,
    )

    def fault(face: Face | None) -> str:
        return Gate().fault(face, 100, 100)

    assert fault(fine) == ""
    assert "too blurred" in fault(replace(fine, sharpness=0.0))
    assert "too small" in fault(replace(fine, points=points / 6))
    assert "turned away: 55 degrees" in fault(replace(fine, pose=np.array([-55.0, 3, 0])))
    assert "points are uncertain" in fault(replace(fine, predicted_nme=0.3))
    assert "points were not found" in fault(None)
    cut = points.copy()
    cut[MOUTH, 1] = 120
    assert fault(replace(fine, points=cut)) == "The photograph cuts off the mouth: 29 % of the points lie outside it."
