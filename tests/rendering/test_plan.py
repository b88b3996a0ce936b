"""The plans of rendered corpora."""

from collections import Counter

import numpy as np
import pytest

from twfer_dist.core.taxonomy import NEUTRAL
from twfer_dist.rendering import plan, scenes
from twfer_dist.rendering.figure import Workshop
from twfer_dist.rendering.plan import ClayConfig


def test_plans_have_the_paper_s_shapes() -> None:
    expressions = plan.plan(ClayConfig(plan="expressions", figures=58, scenes=1)).to_pylist()
    assert len(expressions) == 58 * 7 and {
        Counter(r["label"] for r in expressions)[label] for label in range(1, 8)
    } == {58}
    assert {r["intensity"] for r in expressions if r["label"] == NEUTRAL} == {0}
    assert len({r["intensity"] for r in expressions if r["label"] == 1}) == len(plan.GRADES)
    postures = plan.plan(ClayConfig(plan="postures", scenes=1)).to_pylist()
    assert (
        Counter(r["posture"] for r in postures) == plan.POSTURE_FIGURES
        and len({r["figure_id"] for r in postures}) == 85
    )
    for shares in plan.POSTURE_EXPRESSIONS.values():
        assert sum(shares) == pytest.approx(1)


def test_images_of_a_scene_differ_in_action_units_only(workshop: Workshop) -> None:
    config = ClayConfig(plan="changes", figures=3, scenes=2, states=4)
    rows, names = plan.plan(config).to_pylist(), workshop.head.expression_names
    of_scenes = [rows[k : k + 4] for k in range(0, len(rows), 4)]
    for scene in of_scenes:
        assert len({row["scene"] for row in scene}) == 1 and scene[0]["label"] == NEUTRAL
        units, leans = zip(
            *(plan.action_units(config, r["image_id"], r["label"], r["intensity"]) for r in scene), strict=True
        )
        assert not units[0].any() and all(u.any() for u in units[1:]) and leans == (None,) * 4
        shapes = [plan.incidental_shapes(config, row["image_id"], names) for row in scene]
        assert all((weights == shapes[0]).all() for weights in shapes)
    assert any(plan.incidental_shapes(config, scene[0]["image_id"], names).any() for scene in of_scenes)
    assert len({scenes.scene(config, scene[0]["scene"]).clutter for scene in of_scenes}) > 1


def test_a_figure_does_not_depend_on_the_number_of_figures() -> None:
    few, many = (plan.plan(ClayConfig(figures=n)).to_pylist() for n in (2, 5))
    assert few == many[: len(few)]


@pytest.mark.parametrize(
    "wrong", [{"plan": "none"}, {"framing": "wide"}, {"materials": ("jade",)}, {"figures": 0}, {"size": 8}]
)
def test_a_config_that_cannot_be_rendered_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
        ClayConfig(**wrong)


def test_a_figure_rests_alike_in_all_its_images(workshop: Workshop) -> None:
    names, config = workshop.head.expression_names, ClayConfig(plan="units")
    one, again, other = (plan.resting_shapes(config, figure, names) for figure in ("a", "a", "b"))
    assert (one == again).all() and (one != other).any() and 0 < np.abs(one).max() < 0.5 and one.min() < 0
    assert not plan.resting_shapes(ClayConfig(plan="expressions"), "a", names).any()
