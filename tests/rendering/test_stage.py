"""Rendered corpora as a stage and as folders."""

import csv
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_head import tiny_head

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS, NEUTRAL
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.corpus.votes import label_from_votes, parse_votes
from twfer_dist.engine import artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.rendering import plan
from twfer_dist.rendering.head import save_head
from twfer_dist.rendering.plan import ClayConfig
from twfer_dist.rendering.stage import Studio, make_corpora, render_spec


def test_the_stage_renders_what_its_worker_renders(ray_cluster: None, head_file: str, tmp_path: Path) -> None:
    config = ClayConfig(figures=11, scenes=2, states=6, size=32)
    output = run_stage(render_spec(head_file, config), str(tmp_path), quiet=True)
    table = output.table(".", schema.RENDERED)
    assert len(table) == 132 and set(table["status"].to_pylist()) == {OK}
    # Across the border of two shards, starting in the middle of a scene.
    alone = Studio(head_file, config)(plan.plan(config).slice(117, 6))
    assert table.slice(117, 6).to_pylist() == alone.to_pylist()
    for first, second, last in zip(*(table.to_pylist()[k::6] for k in (0, 1, 5)), strict=True):
        assert first["scene"] == second["scene"] == last["scene"] and first["pose"] == last["pose"]
        assert not any(first["action_units"]) and any(second["action_units"]) and first["label"] == NEUTRAL
        assert first["votes"] == ""
    assert len({row["image"] for row in table.to_pylist()[::6]}) == 22  # no two scenes look the same
    assert run_stage(render_spec(head_file, config), str(tmp_path), quiet=True).build_id == output.build_id


def test_another_head_or_another_seed_is_another_output(head_file: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other.npz")
    save_head(dataclasses.replace(tiny_head(), uv=np.ones((1, 2), np.float32)), other)
    spec = render_spec(head_file, ClayConfig())
    others = render_spec(other, ClayConfig()), render_spec(head_file, ClayConfig(seed=1))
    assert len({spec.fingerprint, *(other_job.fingerprint for other_job in others)}) == 3


def test_a_recipe_becomes_corpora_that_can_be_read(ray_cluster: None, head_file: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "corpora:\n  little: {plan: expressions, figures: 4, scenes: 1, size: 40, framing: portrait, materials: "
        "[marble]}\n"
    )
    (folder,) = make_corpora(str(recipe), head_file, str(tmp_path / "out"))
    corpus = open_corpus(folder)
    assert corpus.notes["photographs"] == 28 and corpus.notes["missing"] == 0 and corpus.notes["figures"] == 4
    rendered = {f"photographs/{row['image_id']}.jpg": row for row in _rendered(tmp_path / "out" / "rendered")}
    with (Path(folder) / "rendered.csv").open() as file:
        expressions = {row["path"]: row["expression"] for row in csv.DictReader(file)}
    with (Path(folder) / "action_units.csv").open() as file:
        units = {row.pop("path"): [float(value) for value in row.values()] for row in csv.DictReader(file)}
    for row in corpus.table.to_pylist():
        truth = rendered[row["path"]]
        np.testing.assert_allclose(units[row["path"]], truth["action_units"], atol=0.006)
        assert row["action_units"] is None  # the truth is not a measurement
        assert (row["label"], row["label_rule"]) == label_from_votes(parse_votes(truth["votes"]).values())
        assert expressions[row["path"]] == EXPRESSIONS[truth["label"] - 1]
    points = list(csv.DictReader((Path(folder) / "landmarks.csv").open()))
    assert [float(points[0][f"y_{k}"]) for k in (0, 67)] == pytest.approx(
        [rendered[points[0]["path"]]["landmarks68"][k] for k in (1, 135)], abs=0.06
    )
    sheet = cv2.imread(str(tmp_path / "out" / "little.jpg"))
    assert sheet is not None and sheet.shape == (2 * 96, 14 * 96, 3)


def _rendered(folder: Path) -> list[dict]:
    (output,) = folder.iterdir()
    return artifact.open_artifact(str(output)).table(".", schema.RENDERED).to_pylist()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("corpora: []", "names no corpora"),
        ("corpora: {a: {sizes: 3}}", "'sizes' is not a setting"),
        ("corpora: {../a: {}}", "cannot be the name"),
        ("corpora: {a: {size: big}}", 'size is "big"; use a whole number, 16 to 1024'),
        ("corpora: {a: {plan: statues}}", 'plan is "statues".*Use pairs, changes'),
        ("corpora: {a: [", "is not YAML"),
    ],
)
def test_a_wrong_recipe_is_one_sentence(head_file: str, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(UserError, match=sentence):
        make_corpora(str(tmp_path / "recipe.yaml"), head_file, str(tmp_path / "out"))
