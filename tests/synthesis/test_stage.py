"""The stage that animates faces, on Ray Data."""

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from synthesis_tables import artifact, face_rows, faces

from twfer_dist.core.errors import UserError
from twfer_dist.core.prototypes import prototype
from twfer_dist.core.schema import ANIMATED, FACES
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.synthesis import checkpoints
from twfer_dist.synthesis.networks import Generator
from twfer_dist.synthesis.source_faces import find_source_faces
from twfer_dist.synthesis.stage import AnimateConfig, Animator, animate_spec, rows_per_shard
from twfer_dist.training import precision

CONFIG = AnimateConfig(size=80, batch=5)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("generator") / "generator.safetensors"
    path.write_bytes(checkpoints.save(Generator(4), size=64))
    return str(path)


@pytest.fixture(scope="module")
def some_faces(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return faces(str(tmp_path_factory.mktemp("faces")))


@pytest.fixture(scope="module")
def animated(
    ray_cluster: None, some_faces: Artifact, generator: str, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    out = str(tmp_path_factory.mktemp("animated"))
    return run_stage(animate_spec([some_faces], CONFIG, generator, actors=2), out, quiet=True)


def source_faces(inputs: list[Artifact], config: AnimateConfig) -> pa.Table:
    found = find_source_faces(inputs, config.select)
    return pa.concat_tables(found.read(part.ids) for part in found.ranges)


def decoded(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def test_each_neutral_face_gets_graded_expressions(animated: Artifact) -> None:
    rows = {row["image_id"]: row for row in animated.table(".", ANIMATED).to_pylist()}
    assert set(rows) == {f"drawn{f}neutral-0-{e}-1-{k}" for f in range(3) for e in EXPRESSIONS for k in range(1, 5)}
    row = rows["drawn0neutral-0-surprise-1-3"]
    assert (row["label"], row["level"], row["reference_id"]) == (1, 3, "drawn2surprise-0")
    assert row["groups"] == [("posture", "civil")] and row["figure_id"] == "drawn-figure0"
    np.testing.assert_allclose(row["intensity"], 0.6)
    np.testing.assert_allclose(row["action_units"], 0.6 * 0.8 * prototype("surprise"), atol=1e-5)
    assert animated.results["faces"] == 3 and animated.results["faces_without_own_action_units"] == 0
    assert animated.results["intensities"] == [0.2, 0.4, 0.6, 0.8]
    assert [r["reference_id"] for r in animated.results["references"]] == [
        *(f"drawn2{expression}-0" for expression in EXPRESSIONS[:-1]),
        "drawn0neutral-0",
    ]


def test_a_crop_that_cannot_be_decoded_is_unreadable(animated: Artifact) -> None:
    for row in animated.table(".", ANIMATED).to_pylist():
        if row["face_id"] == "drawn1neutral-0":
            assert (row["status"], row["image"], row["width"]) == ("unreadable", None, None) and row["error"]
        else:
            assert row["status"] == OK and decoded(row["image"]).shape == (80, 80, 3)
            assert (row["width"], row["height"]) == (80, 80)


@pytest.mark.long
def test_one_actor_and_two_write_the_same_bytes(
    ray_cluster: None, animated: Artifact, some_faces: Artifact, generator: str, tmp_path: Path
) -> None:
    one = run_stage(animate_spec([some_faces], CONFIG, generator, actors=1), str(tmp_path), quiet=True)
    assert one.manifest.fingerprint == animated.manifest.fingerprint and one.digest == animated.digest


@pytest.mark.parametrize(("rows", "expected"), [(602, 16), (10**6, 256), (10, 16)])
def test_a_small_study_has_many_shards(rows: int, expected: int) -> None:
    assert rows_per_shard(rows, 16) == expected


def test_an_image_does_not_depend_on_its_neighbours(generator: str) -> None:
    animator = Animator(generator, batch=16, gpus=0, bfloat16=False)
    rng = np.random.default_rng(0)
    pixels = [cv2.GaussianBlur(rng.integers(0, 256, (80, 80, 3), np.uint8), (0, 0), 2).tobytes() for _ in range(20)]
    wanted, own = rng.uniform(0, 5, (2, 20, 17)).astype(np.float32)

    def animate(rows: list[int]) -> list[bytes]:
        columns = {"action_units": list(wanted[rows]), "own": list(own[rows])}
        columns |= {"pixels": pa.array([pixels[k] for k in rows], pa.large_binary())}
        return animator(pa.table(columns))["pixels"].to_pylist()

    together = animate(list(range(20)))
    for rows in ([7], [19, 7, 3], [0, 0, 0, 7, 7]):
        assert animate(rows) == [together[k] for k in rows]


def test_unlabelled_faces_start_from_zeros(
    ray_cluster: None, some_faces: Artifact, generator: str, tmp_path: Path
) -> None:
    warriors = faces(str(tmp_path / "warriors"), 2, corpus="warriors", expressions=False, units=False)
    config = AnimateConfig(size=64, levels=2, drop_last=False, references=2, reference_corpora=("drawn",))
    spec = animate_spec([some_faces, warriors], config, generator, actors=1)
    animated = run_stage(spec, str(tmp_path / "out"), quiet=True)
    table = animated.table(".", ANIMATED)
    assert len(table) == 5 * 7 * 2 * 2
    assert animated.results["faces_without_own_action_units"] == 2
    assert {r["reference_id"].split("-")[0][:5] for r in animated.results["references"]} == {"drawn"}
    row = table.filter(pc.equal(table["image_id"], "warriors0neutral-0-anger-2-1")).to_pylist()[0]
    reference = next(r for r in animated.results["references"] if r["label"] == 6 and r["number"] == 2)
    np.testing.assert_allclose(row["action_units"], 0.5 * np.array(reference["action_units"]), atol=1e-5)


def test_expressions_may_come_from_other_faces(
    ray_cluster: None, some_faces: Artifact, generator: str, tmp_path: Path
) -> None:
    warriors = faces(str(tmp_path / "warriors"), 2, corpus="warriors", expressions=False)
    config = AnimateConfig(size=64, levels=2, at_most=1)
    spec = animate_spec([warriors], config, generator, reference_faces=[some_faces], actors=1)
    rows = run_stage(spec, str(tmp_path / "out"), quiet=True).table(".", ANIMATED)
    assert sorted(rows["label"].to_pylist()) == list(range(1, 8))
    assert set(rows["corpus"].to_pylist()) == {"warriors"}
    assert {name[:5] for name in rows["reference_id"].to_pylist()} == {"drawn"}


def test_calm_leaves_out_the_more_expressive_half(ray_cluster: None, tmp_path: Path) -> None:
    """Faces without a label; of a small folder, as many as it takes to train on."""
    rows = [row | {"label": None} for row in face_rows(30, expressions=False)]
    for k, row in enumerate(rows):
        row["action_units"] = [((7 * k) % 30) / 10] * 17
    config = AnimateConfig(select="calm")
    for count, calm in ((30, 15), (14, 12), (5, 5)):
        table = pa.Table.from_pylist(rows[:count], schema=FACES)
        some = artifact(str(tmp_path), f"faces{count}", "faces", table, FACES)
        chosen = source_faces([some], config)
        loudest = sorted(row["action_units"][0] for row in rows[:count])[calm - 1]
        assert len(chosen) == calm and max(units[0] for units in chosen["action_units"].to_pylist()) <= loudest + 1e-6


@pytest.mark.parametrize(("select", "count"), [("neutral", 3), ("unlabelled", 5), ("all", 23)])
def test_select_names_the_faces_to_animate(
    ray_cluster: None, some_faces: Artifact, tmp_path: Path, select: Any, count: int
) -> None:
    rows = [row | {"label": None} for row in face_rows(2, corpus="warriors", expressions=False)]
    unlabelled = artifact(str(tmp_path), "faces", "faces", pa.Table.from_pylist(rows, schema=FACES), FACES)
    inputs = [some_faces, unlabelled]
    config = AnimateConfig(select=select)
    chosen = source_faces(inputs, config)
    assert len(chosen) == count and set(chosen["status"].to_pylist()) == {OK}


def test_no_face_to_animate_is_refused(ray_cluster: None, some_faces: Artifact, generator: str, tmp_path: Path) -> None:
    only = some_faces.table("faces", FACES).filter(pc.field("label") == 1)
    surprised = artifact(str(tmp_path), "surprised", "faces", only, FACES)
    with pytest.raises(UserError, match="No face to animate"):
        run_stage(animate_spec([surprised], AnimateConfig(), generator), str(tmp_path), quiet=True)


@pytest.mark.long
def test_auto_uses_the_precision_of_all_nodes(
    ray_cluster: None, animated: Artifact, some_faces: Artifact, generator: str, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, precision="auto")
    auto = run_stage(animate_spec([some_faces], config, generator, actors=1), str(tmp_path), quiet=True)
    expected = precision.choose_precision("auto", [precision.device_without_bfloat16("cpu")])
    assert auto.results["precision"] == expected
    same = auto.table(".", ANIMATED).equals(animated.table(".", ANIMATED))
    assert same == (expected == "float32")


def test_more_gpus_than_the_cluster_has_are_refused(
    ray_cluster: None, some_faces: Artifact, generator: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="asks for 3 GPU per actor and the cluster has 1"):
        run_stage(animate_spec([some_faces], AnimateConfig(), generator, gpus=3), str(tmp_path), quiet=True)


def test_another_generator_is_another_fingerprint(some_faces: Artifact, generator: str, tmp_path: Path) -> None:
    other, same = tmp_path / "other.safetensors", tmp_path / "copy.safetensors"
    other.write_bytes(checkpoints.save(Generator(8), size=64))
    same.write_bytes(Path(generator).read_bytes())
    prints = [animate_spec([some_faces], CONFIG, str(path)).fingerprint for path in (generator, same, other)]
    assert prints[0] == prints[1] != prints[2]
