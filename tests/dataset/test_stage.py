"""The stage that makes a data set, on Ray."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from dataset_tables import animated_of, face_rows, faces_of

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.dataset import splits
from twfer_dist.dataset.stage import DatasetConfig, dataset_spec
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage


class Inputs(NamedTuple):
    warriors: Artifact
    people: Artifact
    animated: Artifact


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Faces of two corpora with equal figure names, and animated faces of the first."""
    out = tmp_path_factory.mktemp("inputs")
    warriors, people = face_rows("warriors", 6, units=True), face_rows("people", 70, units=False)
    extra = people[5] | {"face_id": people[5]["photo_id"] + "-1", "rank": 1}
    people[8] |= {"label": None}
    people[9] |= {"status": "blank", "error": "no picture", "image": None}
    return Inputs(
        faces_of(out, "warriors", warriors),
        faces_of(out, "people", [*people, extra]),
        animated_of(out, "warriors", warriors),
    )


def test_a_balanced_data_set_by_figure(ray_cluster: None, inputs: Inputs, tmp_path: Path) -> None:
    warriors, people, animated = inputs
    config = DatasetConfig(include=("animated", "photographs"), per_expression=30, ratios=(7, 1, 2))
    dataset = run_stage(dataset_spec([warriors, people], [animated], config), str(tmp_path), quiet=True)
    found = dataset.table(".", schema.DATASET)
    assert np.bincount(found["label"].to_numpy()).tolist() == [0] + [30] * 7
    keys = [f"{c}: {s}" for c, s in zip(found["corpus"].to_pylist(), found["figure_id"].to_pylist(), strict=True)]
    splits.check_leakage(keys, found["split"].to_pylist())
    for row in found.to_pylist():
        expected = row["image_id"] if row["origin"] == "animated" else row["image_id"].rpartition("-")[0]
        assert row["image"] == expected.encode()
        assert row["groups"] == [("posture", "general")]
        assert (row["status"], row["error"], row["width"]) == ("ok", None, 4)
        assert (row["action_units"] is None) == (row["corpus"] == "people")
        assert (row["intensity"] is None) == (row["origin"] == "photograph")
    results = dataset.results
    assert results["asked"] == {"train": 147, "validation": 21, "test": 42}
    assert results["reached"] == {
        name: found["split"].to_pylist().count(name) for name in ("train", "validation", "test")
    }
    assert sum(results["reached_by_expression"]["test"].values()) == results["reached"]["test"]
    assert (results["figures_on_several_sides"], sum(results["figures"].values())) == (0, len(set(keys)))
    assert results["left_out"]["without result"] == 2
    assert (results["left_out"]["not the largest face"], results["left_out"]["no expression known"]) == (1, 1)
    assert results["candidates"] == results["left_out"]["not chosen"] + 210
    assert results["summary"][0].startswith("210 images of ")


def test_all_images_of_one_corpus_within_figures(ray_cluster: None, inputs: Inputs, tmp_path: Path) -> None:
    warriors, people, animated = inputs
    config = DatasetConfig(
        include=("photographs", "animated"), split="within_figure", ratios=(70, 30), corpora=("warriors",)
    )
    found = run_stage(dataset_spec([warriors, people], [animated], config), str(tmp_path), quiet=True)
    assert found.results["reached"] == {"train": 239, "test": 102}
    assert found.results["summary"][0].endswith("239 train + 102 test as requested")
    assert found.results["left_out"]["of another corpus"] == 68
    assert set(found.table(".", schema.DATASET, columns=["corpus"])["corpus"].to_pylist()) == {"warriors"}


def test_equal_figure_names_in_two_corpora_are_two_figures(ray_cluster: None, inputs: Inputs, tmp_path: Path) -> None:
    config = DatasetConfig(include=("photographs",), ratios=(7, 3))
    dataset = run_stage(dataset_spec(inputs[:2], [], config), str(tmp_path), quiet=True)
    assert dataset.results["figures"] == {"train": 52, "test": 22}


def test_the_given_split_is_kept(ray_cluster: None, inputs: Inputs, tmp_path: Path) -> None:
    warriors, people, animated = inputs
    config = DatasetConfig(include=("photographs", "animated"), split="given")
    dataset = run_stage(dataset_spec([warriors, people], [animated], config), str(tmp_path), quiet=True)
    rows = dataset.table(".", schema.DATASET).to_pylist()
    assert {r["split"] for r in rows if int(r["figure_id"][1:]) % 3 == 0} == {"test"}
    assert {r["split"] for r in rows if int(r["figure_id"][1:]) % 3} == {"train"}
    assert list(dataset.results["reached"]) == ["train", "test"]
    assert dataset.results["figures_on_several_sides"] == 0
    # Animated faces have the split of their face; without the faces it is not known.
    dataset = run_stage(dataset_spec([warriors], [animated], DatasetConfig(split="given")), str(tmp_path), quiet=True)
    assert dataset.results["reached"] == {"train": 224, "test": 111}
    with pytest.raises(UserError, match="335 images of the data set have no split of their own"):
        run_stage(dataset_spec([people], [animated], DatasetConfig(split="given")), str(tmp_path), quiet=True)


def test_each_figure_is_left_out_by_one_fold(ray_cluster: None, inputs: Inputs, tmp_path: Path) -> None:
    left_out: list[str] = []
    for fold in (1, 2, 3):
        config = DatasetConfig(fold=(fold, 3), ratios=(3, 1), at_most=40)
        dataset = run_stage(dataset_spec([], [inputs.animated], config), str(tmp_path), quiet=True)
        rows = dataset.table(".", schema.DATASET).to_pylist()
        assert np.bincount([row["label"] for row in rows]).tolist() == [0] + [40] * 7
        parts = {part: {row["figure_id"] for row in rows if row["split"] == part} for part in dataset.results["asked"]}
        assert [len(parts[part]) for part in ("train", "validation", "test")] == [3, 1, 2]
        assert dataset.results["figures_on_several_sides"] == 0
        left_out += parts["test"]
    assert sorted(left_out) == [f"s{k}" for k in range(6)]


def test_output_depends_on_the_seed_and_not_on_the_directory(ray_cluster: None, inputs: Inputs, tmp_path: Path) -> None:
    warriors, people, animated = inputs
    config = DatasetConfig(per_expression=20, ratios=(7, 3))
    first = run_stage(dataset_spec([warriors], [animated], config), str(tmp_path / "a"), quiet=True)
    again = run_stage(
        dataset_spec([people], [animated], config), str(tmp_path / "b"), quiet=True
    )  # faces are not used here
    assert (again.digest, again.manifest.fingerprint) == (first.digest, first.manifest.fingerprint)
    other = run_stage(
        dataset_spec([], [animated], dataclasses.replace(config, seed=1)), str(tmp_path / "a"), quiet=True
    )
    assert other.digest != first.digest


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (DatasetConfig(ratios=(7, 3), per_expression=49), "there are fewer of: surprise 47"),
        (DatasetConfig(counts=(100, 50)), "counts add up to 150 but the data set has 3\\d\\d images"),
        (
            DatasetConfig(include=("animated",), ratios=(7, 3), corpora=("people",)),
            "no image for the data set .*335 of another corpus",
        ),
        (DatasetConfig(ratios=(9999, 1)), "do not fill 2 parts"),
    ],
)
def test_impossible_settings_are_refused(inputs: Inputs, tmp_path: Path, config: DatasetConfig, says: str) -> None:
    warriors, _, animated = inputs
    with pytest.raises(UserError, match=says):
        run_stage(dataset_spec([warriors], [animated], config), str(tmp_path), quiet=True)


def test_an_input_given_twice_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the same images twice"):
        run_stage(dataset_spec([], [inputs[2], inputs[2]], DatasetConfig(ratios=(7, 3))), str(tmp_path), quiet=True)


@pytest.mark.parametrize("split", ["by_figure", "within_figure"])
def test_a_fold_of_too_few_figures_is_refused(ray_cluster: None, tmp_path: Path, split: str) -> None:
    few = 2 if split == "by_figure" else 1
    animated = animated_of(tmp_path, "warriors", face_rows("warriors", few, units=True))
    config = DatasetConfig(ratios=(7, 1), fold=(1, 2), split=split)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"at least {few + 1} figures, and there are {few}: add photographs"):
        run_stage(dataset_spec([], [animated], config), str(tmp_path), quiet=True)
