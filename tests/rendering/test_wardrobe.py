"""How often figures wear what."""

from collections import Counter

import numpy as np

from twfer_dist.core.taxonomy import POSTURES
from twfer_dist.rendering.brows import BROWS
from twfer_dist.rendering.dress import HEADGEAR
from twfer_dist.rendering.eyes import EYES
from twfer_dist.rendering.facial_hair import BEARDS, CARVINGS, MOUSTACHES
from twfer_dist.rendering.wardrobe import drawn


def test_all_is_worn_and_half_have_no_facial_hair() -> None:
    rng = np.random.default_rng(0)
    figures = [drawn(rng, "") for _ in range(4000)]
    for name, all_names in (
        *(("headgear", HEADGEAR), ("moustache", MOUSTACHES), ("beard", BEARDS), ("eyes", EYES), ("carving", CARVINGS)),
    ):
        counts = Counter(getattr(figure, name) for figure in figures)
        assert set(counts) == set(all_names) and min(counts.values()) >= 40, name
    assert {figure.brows.style for figure in figures} == set(BROWS)
    bare = np.mean([figure.moustache == figure.beard == "none" for figure in figures])
    assert 0.45 < bare < 0.55
    assert 0.25 < np.mean([figure.low > 0 for figure in figures]) < 0.45
    assert drawn(np.random.default_rng(3), "") == drawn(np.random.default_rng(3), "")


def test_each_posture_has_its_headgear() -> None:
    rng = np.random.default_rng(0)
    worn = {posture: {drawn(rng, posture).headgear for _ in range(40)} for posture in POSTURES}
    assert worn["general"] == {"general"} and worn["vertical"] == {"topknot", "cap"} and worn["civil"] == {"board"}
