"""The data set: balanced selection, splits by and within figures, leakage, and the stage on real Ray."""

import dataclasses
import itertools

import numpy as np
import pyarrow as pa
import pytest

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset import splits
from twfer_dist.dataset.balance import select, share_evenly
from twfer_dist.dataset.stage import DatasetConfig, dataset_job
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage

GAN18K = np.array([15_730, 2_960])


def spread(values) -> int:
    counts = np.unique(np.asarray(values), return_counts=True)[1]
    return int(counts.max() - counts.min())


def grid(figure_ids: int, levels: int, references: int) -> tuple[list[str], np.ndarray, list[list[str]]]:
    """Ids, labels and keys (figure, intensity, reference) of a corpus that was animated at every level to every
    reference.
    """
    cells = list(itertools.product(range(figure_ids), range(1, 8), range(levels), range(references)))
    ids = [f"w{s:02d}-{label}-r{r}-{level}" for s, label, level, r in cells]
    keys = [[f"w{c[0]:02d}" for c in cells], [str(c[2]) for c in cells], [f"r{c[3]}" for c in cells]]
    return ids, np.array([c[1] for c in cells]), keys


# Balanced selection


def test_share_evenly():
    order = np.array([2, 0, 1, 3])
    assert share_evenly(np.array([10, 10, 10, 10]), 8, order).tolist() == [2, 2, 2, 2]
    assert share_evenly(np.array([10, 10, 10, 10]), 9, order).tolist() == [2, 2, 3, 2]
    assert share_evenly(np.array([1, 10, 0, 10]), 10, order).tolist() == [1, 5, 0, 4]
    assert share_evenly(np.array([3, 1]), 4, np.array([0, 1])).tolist() == [3, 1]
    with pytest.raises(ValueError):
        share_evenly(np.array([3, 1]), 5, np.array([0, 1]))


def test_share_evenly_is_even_whatever_the_groups_hold():
    rng = np.random.default_rng(0)
    for _ in range(200):
        sizes = rng.integers(0, 30, rng.integers(1, 20))
        total = int(rng.integers(0, sizes.sum() + 1))
        taken = share_evenly(sizes, total, rng.permutation(len(sizes)))
        assert taken.sum() == total and (taken <= sizes).all() and (taken >= 0).all()
        not_emptied = taken[taken < sizes]
        if len(not_emptied):  # a group that could give more gives no less than any other but one
            assert taken.max() - not_emptied.min() <= 1


def test_selection_is_exact_and_even_at_every_level():
    ids, labels, keys = grid(figure_ids=58, levels=10, references=6)
    rows = select(ids, labels, keys, 2_670)
    assert len(set(rows.tolist())) == 7 * 2_670
    assert np.bincount(labels[rows]).tolist() == [0] + [2_670] * 7
    figure_id, level, reference = (np.array(k)[rows] for k in keys)
    assert spread(figure_id) <= 1 and spread(level) <= 1 and spread(reference) <= 1
    for label in range(1, 8):
        here = labels[rows] == label
        assert spread(figure_id[here]) <= 1 and spread(level[here]) <= 1 and spread(reference[here]) <= 1
    assert spread([f"{s} {v}" for s, v in zip(figure_id, level, strict=True)]) <= 7  # one for each expression


def test_selection_takes_what_small_sources_have():
    ids, labels, keys = grid(figure_ids=5, levels=4, references=1)
    keep = np.array([not i.startswith("w00") or i.endswith("-0") for i in ids])
    ids, labels, keys = (
        [i for i, k in zip(ids, keep, strict=True) if k],
        labels[keep],
        [list(np.array(k)[keep]) for k in keys],
    )
    rows = select(ids, labels, keys, 13)
    for label in range(1, 8):
        counts = dict(zip(*np.unique(np.array(keys[0])[rows][labels[rows] == label], return_counts=True), strict=True))
        assert counts["w00"] == 1 and sorted(counts.values()) == [1, 3, 3, 3, 3]


def test_selection_depends_on_ids_and_seed_and_not_on_order():
    ids, labels, keys = grid(figure_ids=9, levels=5, references=3)
    chosen = {ids[i] for i in select(ids, labels, keys, 40)}
    turn = np.random.default_rng(1).permutation(len(ids))
    turned_ids = [ids[i] for i in turn]
    turned = select(turned_ids, labels[turn], [[k[i] for i in turn] for k in keys], 40)
    assert {turned_ids[i] for i in turned} == chosen
    assert {ids[i] for i in select(ids, labels, keys, 40, seed=1)} != chosen
    by_hash = {ids[i] for i in select(ids, labels, keys[:1], 40)}  # of the images of a figure no key tells apart
    assert {turned_ids[i] for i in select(turned_ids, labels[turn], [[keys[0][i] for i in turn]], 40)} == by_hash


def test_selection_of_more_than_there_is_names_the_expressions():
    ids, labels, keys = grid(figure_ids=2, levels=3, references=1)
    keep = np.flatnonzero((labels != 2) | (np.arange(len(ids)) % 2 == 0))
    with pytest.raises(
        UserError, match=r"6 images of each expression.*fewer of: fear 3; set per_expression to at most 3"
    ):
        select([ids[i] for i in keep], labels[keep], [[k[i] for i in keep] for k in keys], 6)
    with pytest.raises(UserError, match="anger 0"):
        select(ids, np.where(labels == 6, 7, labels), keys, 1)


# Splits


def gan18k() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels (0 to 6), figures and ids of a data set of GAN18K's shape."""
    ids, labels, keys = grid(figure_ids=58, levels=10, references=6)
    rows = select(ids, labels, keys, 2_670)
    return labels[rows] - 1, np.array(keys[0])[rows], [ids[i] for i in rows]


def nearest_sum(sizes: list[int], target: int) -> int:
    """The sum of some of `sizes`, not none and not all, that is nearest to `target`, by listing all sums."""
    sums = {0}
    for size in sizes:
        sums |= {s + size for s in sums}
    return min(sums - {0, sum(sizes)}, key=lambda s: abs(s - target))


def test_apportion():
    assert splits.apportion(10, (7, 1, 2)).tolist() == [7, 1, 2]
    assert splits.apportion(18_690, (7, 1, 2)).tolist() == [13_083, 1_869, 3_738]
    assert splits.apportion(11, (1, 1, 1)).sum() == 11


def test_by_figure_in_the_shape_of_gan18k():
    labels, figure_ids, _ = gan18k()
    parts = splits.by_figure([labels], figure_ids, GAN18K)
    reached = np.bincount(parts)
    sizes = np.unique(figure_ids, return_counts=True)[1].tolist()
    assert abs(reached[1] - 2_960) == abs(nearest_sum(sizes, 2_960) - 2_960)  # 322 and 323 do not make 2,960
    assert all(len(set(parts[figure_ids == s])) == 1 for s in set(figure_ids))
    for label in range(7):
        assert abs((parts[labels == label] == 1).sum() - reached[1] / 7) < 2


def test_by_figure_reaches_the_nearest_sizes_of_uneven_sources():
    rng = np.random.default_rng(2)
    for _ in range(60):
        sizes = rng.integers(1, 60, int(rng.integers(2, 30)))
        figure_ids = np.repeat([f"s{i}" for i in range(len(sizes))], sizes)
        asked = splits.apportion(len(figure_ids), (84, 16))
        parts = splits.by_figure([rng.integers(0, 7, len(figure_ids))], figure_ids, asked)
        reached = (parts == 1).sum()
        assert abs(reached - asked[1]) == abs(nearest_sum(sizes.tolist(), asked[1]) - asked[1])


def test_by_figure_in_three_parts_gives_every_part_a_source():
    labels, figure_ids, _ = gan18k()
    parts = splits.by_figure([labels], figure_ids, splits.apportion(len(labels), (7, 1, 2)))
    assert [len(set(figure_ids[parts == p])) for p in range(3)] == [41, 6, 11]
    three = np.repeat(["a", "b", "c"], [300, 100, 50])
    assert sorted(splits.by_figure([np.zeros(450, int)], three, np.array([315, 45, 90]))[[0, 300, 400]]) == [0, 1, 2]
    two = np.repeat(["a", "b"], 50)
    for asked in (np.array([90, 10]), np.array([10, 90])):  # an empty part would be nearer
        assert sorted(splits.by_figure([np.zeros(100, int)], two, asked)[[0, 99]]) == [0, 1]
    with pytest.raises(UserError, match="into 3 parts needs as many figures and there are 2"):
        splits.by_figure([np.zeros(400, int)], three[:400], np.array([280, 40, 80]))


def test_by_figure_of_single_photographs_is_stratified_by_label_and_corpus():
    """Each photograph its own figure, expressions as unequal as in RAF-DB, beside figures with many images."""
    rng = np.random.default_rng(3)
    single = rng.choice(7, 3_000, p=[0.1, 0.03, 0.06, 0.4, 0.15, 0.06, 0.2])
    labels = np.concatenate([single, np.tile(np.arange(7), 200)])
    corpora = np.repeat([0, 1], [3_000, 1_400])
    figure_ids = np.concatenate(
        [np.array([f"p{i}" for i in range(3_000)]), np.repeat([f"w{i}" for i in range(20)], 70)]
    )
    asked = splits.apportion(len(labels), (7, 1, 2))
    parts = splits.by_figure([labels, corpora], figure_ids, asked)
    assert np.bincount(parts).tolist() == asked.tolist()
    for codes in (labels, corpora):
        for code in np.unique(codes):
            share = np.bincount(parts[codes == code], minlength=3) / (codes == code).sum()
            assert share == pytest.approx([0.7, 0.1, 0.2], abs=0.03)


@pytest.mark.parametrize("asked", [GAN18K, splits.apportion(18_690, (7, 1, 2)), splits.apportion(18_690, (70, 30))])
def test_within_source(asked):
    labels, figure_ids, ids = gan18k()
    parts = splits.within_figure(labels, figure_ids, ids, asked)
    assert np.bincount(parts).tolist() == asked.tolist()
    share = asked / asked.sum()
    for label in range(7):
        here = np.bincount(parts[labels == label], minlength=len(asked))
        assert np.abs(here - share * here.sum()).max() <= 2
    for figure_id in np.unique(figure_ids):
        here = figure_ids == figure_id
        counts = np.bincount(parts[here], minlength=len(asked))
        assert np.abs(counts - share * counts.sum()).max() <= len(asked) - 1
        for label in range(7):
            cell = np.bincount(parts[here & (labels == label)], minlength=len(asked))
            assert np.abs(cell - share * cell.sum()).max() <= len(asked) - 1


def test_splits_depend_on_ids_and_seed_and_not_on_order():
    labels, figure_ids, ids = gan18k()
    turn = np.random.default_rng(4).permutation(len(ids))
    turned = [ids[i] for i in turn]
    asked = splits.apportion(len(ids), (7, 1, 2))
    by_figure = splits.by_figure([labels], figure_ids, asked)
    assert (splits.by_figure([labels[turn]], figure_ids[turn], asked) == by_figure[turn]).all()
    assert (splits.by_figure([labels], figure_ids, asked, seed=1) != by_figure).any()
    within = splits.within_figure(labels, figure_ids, ids, asked)
    assert (splits.within_figure(labels[turn], figure_ids[turn], turned, asked) == within[turn]).all()
    assert (splits.within_figure(labels, figure_ids, ids, asked, seed=1) != within).any()


def test_leakage_is_refused():
    splits.check_leakage(["a", "a", "b"], ["train", "train", "test"])
    with pytest.raises(UserError, match="1 figures lie on more than one side.*a in test and train"):
        splits.check_leakage(["a", "a", "b"], ["train", "test", "test"])


# The stage


def table(expected: pa.Schema, rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist([{name: row.get(name) for name in expected.names} for row in rows], schema=expected)


def made(out, stage: str, name: str, tables: dict[str, pa.Table]) -> Artifact:
    """The finished output of a stage whose tables are given."""

    def do(work: StageOutput) -> None:
        for key, rows in tables.items():
            work.write_table(key, rows)

    schemas = {key: rows.schema for key, rows in tables.items()}
    return run_stage(StageSpec(stage, 1, {}, {"name": name}, {}, schemas, do), str(out))


def face_rows(corpus: str, count: int, *, units: bool) -> list[dict]:
    """One photograph and face for each of `count` figures, expressions in turn; with Action Units or without."""
    rows = []
    for k in range(count):
        photo = schema.photo_id(corpus, f"{k}.jpg")
        shared: dict = {
            "photo_id": photo,
            "corpus": corpus,
            "path": f"{k}.jpg",
            "figure_id": f"s{k}",
            "groups": [("posture", "general")],
        }
        shared |= {"width": 4, "height": 4, "status": "ok", "action_units": [k / 10] * 17 if units else None}
        split = "test" if k % 3 == 0 else "train"
        rows.append(
            shared
            | {"face_id": f"{photo}-0", "rank": 0, "label": k % 7 + 1, "split": split, "image": f"{photo}".encode()}
        )
    return rows


def faces_of(out, corpus: str, rows: list[dict]) -> Artifact:
    photographs = table(
        schema.PHOTOGRAPHS, [{"photo_id": r["photo_id"], "status": "ok"} for r in rows if r["rank"] == 0]
    )
    return made(out, "faces", corpus, {"photographs": photographs, "faces": table(schema.FACES, rows)})


def animated_of(out, corpus: str, faces: list[dict], levels: int = 4) -> Artifact:
    rows = []
    for face, (label, name), reference, level in itertools.product(
        faces, enumerate(EXPRESSIONS, 1), ("r0", "r1"), range(1, levels + 1)
    ):
        image_id = f"{face['face_id']}-{name}-{reference}-{level}"
        row = {
            "image_id": image_id,
            "label": label,
            "level": level,
            "intensity": level / levels,
            "reference_id": reference,
        }
        rows.append(face | row | {"image": image_id.encode(), "status": "ok"})
    rows[0] |= {"status": "no_face", "error": "broken", "image": None}
    return made(out, "animate", corpus, {".": table(schema.ANIMATED, rows)})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> tuple[Artifact, Artifact, Artifact]:
    """Faces of two corpora with equal figure names, and animated faces of the first."""
    out = tmp_path_factory.mktemp("inputs")
    warriors, people = face_rows("warriors", 6, units=True), face_rows("people", 70, units=False)
    extra = people[5] | {"face_id": people[5]["photo_id"] + "-1", "rank": 1}
    people[8] |= {"label": None}
    people[9] |= {"status": "blank", "error": "no picture", "image": None}
    return (
        faces_of(out, "warriors", warriors),
        faces_of(out, "people", [*people, extra]),
        animated_of(out, "warriors", warriors),
    )


def test_stage_makes_a_balanced_data_set_by_figure(ray_cluster, inputs, tmp_path):
    warriors, people, animated = inputs
    config = DatasetConfig(include=("animated", "photographs"), per_expression=30, ratios=(7, 1, 2))
    finished = run_stage(dataset_job([warriors, people], [animated], config), str(tmp_path), quiet=True)
    found = finished.table(".", schema.DATASET)
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
    results = finished.results
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


def test_stage_takes_all_of_one_corpus_within_sources(ray_cluster, inputs, tmp_path):
    warriors, people, animated = inputs
    config = DatasetConfig(
        include=("photographs", "animated"), split="within_figure", ratios=(70, 30), corpora=("warriors",)
    )
    found = run_stage(dataset_job([warriors, people], [animated], config), str(tmp_path), quiet=True)
    assert found.results["reached"] == {"train": 239, "test": 102}
    assert found.results["summary"][0].endswith("239 train + 102 test as asked")
    assert found.results["left_out"]["of another corpus"] == 68
    assert set(found.table(".", schema.DATASET, columns=["corpus"])["corpus"].to_pylist()) == {"warriors"}


def test_sources_of_one_name_in_two_corpora_are_two(ray_cluster, inputs, tmp_path):
    config = DatasetConfig(include=("photographs",), ratios=(7, 3))
    finished = run_stage(dataset_job(inputs[:2], [], config), str(tmp_path), quiet=True)
    assert finished.results["figures"] == {"train": 52, "test": 22}


def test_stage_keeps_the_given_split(ray_cluster, inputs, tmp_path):
    warriors, people, animated = inputs
    config = DatasetConfig(include=("photographs", "animated"), split="given")
    finished = run_stage(dataset_job([warriors, people], [animated], config), str(tmp_path), quiet=True)
    rows = finished.table(".", schema.DATASET).to_pylist()
    assert {r["split"] for r in rows if int(r["figure_id"][1:]) % 3 == 0} == {"test"}
    assert {r["split"] for r in rows if int(r["figure_id"][1:]) % 3} == {"train"}
    assert list(finished.results["reached"]) == ["train", "test"]
    assert finished.results["figures_on_several_sides"] == 0
    # Of animated faces alone, the split is that of the face; without the faces it is not known.
    finished = run_stage(dataset_job([warriors], [animated], DatasetConfig(split="given")), str(tmp_path), quiet=True)
    assert finished.results["reached"] == {"train": 224, "test": 111}
    with pytest.raises(UserError, match="335 images of the data set have no split of their own"):
        run_stage(dataset_job([people], [animated], DatasetConfig(split="given")), str(tmp_path), quiet=True)


def test_stage_is_the_same_in_another_place_and_differs_by_seed(ray_cluster, inputs, tmp_path):
    warriors, people, animated = inputs
    config = DatasetConfig(per_expression=20, ratios=(7, 3))
    first = run_stage(dataset_job([warriors], [animated], config), str(tmp_path / "a"), quiet=True)
    again = run_stage(
        dataset_job([people], [animated], config), str(tmp_path / "b"), quiet=True
    )  # faces are not used here
    assert (again.digest, again.manifest.fingerprint) == (first.digest, first.manifest.fingerprint)
    other = run_stage(dataset_job([], [animated], dataclasses.replace(config, seed=1)), str(tmp_path / "a"), quiet=True)
    assert other.digest != first.digest


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (DatasetConfig(ratios=(7, 3), per_expression=49), "there are fewer of: surprise 47"),
        (DatasetConfig(counts=(100, 50)), "counts add up to 150 and the data set has 3\\d\\d images"),
        (
            DatasetConfig(include=("animated",), ratios=(7, 3), corpora=("people",)),
            "no image for the data set .*335 of another corpus",
        ),
        (DatasetConfig(ratios=(9999, 1)), "do not fill 2 parts"),
    ],
)
def test_stage_problems(inputs, tmp_path, config, says):
    warriors, _, animated = inputs
    with pytest.raises(UserError, match=says):
        run_stage(dataset_job([warriors], [animated], config), str(tmp_path), quiet=True)


def test_stage_refuses_an_input_twice(inputs, tmp_path):
    with pytest.raises(UserError, match="the same images twice"):
        run_stage(dataset_job([], [inputs[2], inputs[2]], DatasetConfig(ratios=(7, 3))), str(tmp_path), quiet=True)
