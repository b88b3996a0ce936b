"""How measurements of renders are disturbed as photographs disturb them."""

import numpy as np

from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.reading.photographs import Disturbance

RESTING = np.zeros((1, len(ACTION_UNITS)), np.float32)
RESTING[0, ACTION_UNITS.index("AU04")] = 1.0


def disturbed(units: np.ndarray, disturbance: Disturbance, width: float = 0.0) -> np.ndarray:
    return disturbance.apply(units, np.full_like(units, width), RESTING, np.random.default_rng(0))


def test_units_stay_on_their_scale() -> None:
    units = np.random.default_rng(1).uniform(0, 5, (200, len(ACTION_UNITS))).astype(np.float32)
    result = disturbed(units, Disturbance(), width=0.8)
    assert result.min() >= 0 and result.max() <= 5 and result.dtype == np.float32


def test_a_resting_face_gets_what_people_show_at_rest() -> None:
    quiet = Disturbance(gain=(1, 1), leak=0, styled=0)
    result = disturbed(np.zeros((500, len(ACTION_UNITS)), np.float32), quiet)
    brow = result[:, ACTION_UNITS.index("AU04")]
    assert 0.6 < brow.mean() < 0.9 and np.delete(result, ACTION_UNITS.index("AU04"), 1).max() < 0.1


def test_a_unit_leaks_into_its_region_alone() -> None:
    smile = np.zeros((500, len(ACTION_UNITS)), np.float32)
    smile[:, ACTION_UNITS.index("AU12")] = 3
    result = disturbed(smile, Disturbance(gain=(1, 1), resting=0, styled=0))
    assert result[:, ACTION_UNITS.index("AU10")].mean() > 1
    assert result[:, ACTION_UNITS.index("AU01")].max() == 0


def test_an_uncertain_unit_is_disturbed_more() -> None:
    units = np.full((500, len(ACTION_UNITS)), 2.5, np.float32)
    narrow, wide = (disturbed(units, Disturbance(leak=0, resting=0, styled=0), width=w).std() for w in (0.1, 1.0))
    assert wide > 1.5 * narrow


def test_a_style_gives_calm_faces_arched_brows() -> None:
    calm = np.zeros((500, len(ACTION_UNITS)), np.float32)
    brows = [disturbed(calm, Disturbance(leak=0, resting=0, styled=s))[:, ACTION_UNITS.index("AU01")] for s in (0, 1)]
    assert brows[0].max() == 0 and brows[1].max() > 2
