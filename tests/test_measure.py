"""The network that measures faces: what it learns from, its training as a stage, its files."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tiny_head import tiny_head

from twfer_dist.cli.main import main
from twfer_dist.core.crop import SPAN, aligned_matrix, warp_crop
from twfer_dist.core.errors import UserError
from twfer_dist.core.landmarks import MIRRORED, apply_affine, resample_jawline
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.measurement import analyzer, augmentation, training
from twfer_dist.measurement.network import SIZE, FaceNetwork, predict_batch
from twfer_dist.measurement.train_stage import face_network_job
from twfer_dist.measurement.training import FaceNetworkConfig
from twfer_dist.rendering.head import save_head
from twfer_dist.rendering.plan import ClayConfig
from twfer_dist.rendering.stage import rendered_job

MEAN = tiny_head().neutral_vertices[tiny_head().landmarks_68_jawline][:, :2] * (1, -1)
"""The 68 points of an upright face, x right and y down."""

SMALL = FaceNetworkConfig(steps=6, batch=8, held_out=0.3)


def turned(points: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    cosine, sine = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return points @ np.array([[cosine, sine], [-sine, cosine]]) + shift


def test_alignment_undoes_turn_scale_and_place_and_ignores_the_jaw() -> None:
    straight = apply_affine(MEAN, aligned_matrix(MEAN, 224))
    dropped = MEAN.copy()
    dropped[[*range(4, 13), *range(55, 60)], 1] += 4
    for points in (turned(MEAN, 30, 7.5, (400, 90)), turned(dropped, -20, 0.4, (-3, 8))):
        matrix = aligned_matrix(points, 224)
        np.testing.assert_allclose(apply_affine(points, matrix)[17:48], straight[17:48], atol=1e-3)
    assert np.ptp(straight, axis=0).max() / 224 == pytest.approx(SPAN, rel=0.1)
    assert abs(np.polyfit(straight[[36, 45], 0], straight[[36, 45], 1], 1)[0]) < 0.02  # the eyes are level


def test_the_points_of_the_jaw_are_spread_evenly_on_either_side_of_the_chin_and_no_other_moves() -> None:
    crowded = MEAN.copy()
    crowded[1:8] = crowded[0] + (crowded[8] - crowded[0]) * (np.arange(1, 8)[:, None] / 8) ** 0.4
    for points in (crowded, turned(crowded, 40, 3.0, (100, 50))):
        spread = resample_jawline(points)
        for side in (spread[:9], spread[8:17]):
            steps = np.linalg.norm(np.diff(side, axis=0), axis=1)
            assert steps.max() / steps.min() < 1.1
        np.testing.assert_array_equal(spread[[0, 8, *range(16, 68)]], points[[0, 8, *range(16, 68)]])
    np.testing.assert_allclose(resample_jawline(resample_jawline(crowded)), resample_jawline(crowded), atol=0.05)


def test_a_turned_crop_shows_what_its_matrix_says() -> None:
    """Also where the photograph is much larger than the crop, which is averaged over areas first."""
    for scale in (1.0, 0.2):
        row, column = np.mgrid[0:600, 0:800].astype(np.float32)
        ramps = np.stack([row / 4, column / 4, np.full_like(row, 7)], 2).astype(np.uint8)
        angle = np.radians(25)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = np.column_stack([turn, np.array([40, 40]) - turn @ (400, 300)])
        crop = warp_crop(ramps, matrix, 80)
        back = cv2.invertAffineTransform(matrix)
        for place in ((40, 40), (20, 30), (60, 15)):
            x, y = apply_affine(np.array(place, float), back)
            np.testing.assert_allclose(crop[place[1], place[0], :2], [y / 4, x / 4], atol=1.5)


def test_the_mirror_swaps_left_and_right() -> None:
    twice = np.array(MIRRORED)[list(MIRRORED)]
    assert twice.tolist() == list(range(68))
    np.testing.assert_allclose((MEAN * (-1, 1))[list(MIRRORED)], MEAN, atol=0.35)


def test_a_face_and_its_mirror_image_are_measured_alike() -> None:
    torch.manual_seed(0)
    network = FaceNetwork().eval()
    crops = torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8)
    found, mirror = predict_batch(network, crops), predict_batch(network, crops.flip(2))
    for name, value in vars(mirror.mirrored()).items():
        torch.testing.assert_close(value, getattr(found, name), atol=2e-4, rtol=1e-4)
    assert (mirror.points - found.points).abs().max() > 0.01


def test_hair_covers_the_head_and_leaves_the_eyes_nose_and_mouth() -> None:
    points = apply_affine(MEAN, aligned_matrix(MEAN, SIZE))
    for seed in range(12):
        crop = np.full((SIZE, SIZE), 255, np.uint8)
        haired = augmentation._hair(crop, points, np.random.default_rng(seed))
        x, y = points[27:68].round().astype(int).T
        assert (haired[y, x] == 255).all() and (haired != 255).mean() > 0.05, seed


def test_paint_changes_eyes_brows_and_lips_and_no_cheek() -> None:
    points = apply_affine(MEAN, aligned_matrix(MEAN, SIZE))
    crop = np.full((SIZE, SIZE), 120, np.uint8)
    changed = np.mean(
        [augmentation._makeup(crop, points, np.random.default_rng(seed)) != crop for seed in range(40)], axis=0
    )
    x, y = points.round().astype(int).T
    assert changed[y[37:42], x[37:42]].min() > 0.3 and changed[y[19], x[19]] > 0.2 and changed[y[57], x[57]] > 0.2
    cheek = (points[2] + points[31]) / 2
    assert changed[int(cheek[1]), int(cheek[0])] < 0.1 and changed[y[30], x[30]] == 0


@pytest.fixture(scope="module")
def rendered(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """48 heads of 24 figures in any Action Units."""
    folder = tmp_path_factory.mktemp("heads")
    save_head(tiny_head(), str(folder / "head.npz"))
    config = ClayConfig(
        plan="units", figures=24, scenes=2, states=1, size=64, framing="loose", materials=("terracotta", "skin")
    )
    return run_stage(rendered_job(str(folder / "head.npz"), config), str(folder), quiet=True)


@pytest.fixture(scope="module")
def heads(rendered: Artifact) -> augmentation.Heads:
    return augmentation.load_heads(rendered)


def test_heads_show_each_unit_often_and_some_unevenly(rendered: Artifact, heads: augmentation.Heads) -> None:
    assert heads.images.shape == (48, 64, 64) and heads.points.shape == (48, 68, 2)
    there = (heads.units >= training.PRESENT).mean(0)
    assert 0.25 < there.mean() < 0.55 and there.min() > 0.05
    assert heads.pose[:, 0].std() > 4


def test_an_example_belongs_to_its_seed_and_place_alone(heads: augmentation.Heads) -> None:
    rows = np.stack([np.arange(6), np.arange(6)], 1)
    whole, part = augmentation.augmented(heads, rows, (0, 3)), augmentation.augmented(heads, rows[4:], (0, 3))
    for name in ("crops", "points", "units", "pose"):
        assert torch.equal(getattr(whole, name)[4:], getattr(part, name)), name
    assert not torch.equal(augmentation.augmented(heads, rows, (0, 4)).crops, whole.crops)


def test_points_stay_on_what_they_mark(heads: augmentation.Heads) -> None:
    """A white dot at the tip of the nose is found where the moved point says, whatever crop or mirror was drawn."""
    dotted = np.zeros_like(heads.images)
    for image, points in zip(dotted, heads.points, strict=True):
        cv2.circle(image, [int(round(float(v) * 16)) for v in points[30]], 40, 255, -1, cv2.LINE_AA, 4)
    shown = augmentation.aligned(augmentation.Heads(dotted, heads.points, heads.units, heads.pose, heads.figure_ids))
    for crop, points in zip(shown.crops.numpy().astype(float), shown.points.numpy(), strict=True):
        row, column = np.mgrid[0:SIZE, 0:SIZE]
        found = np.array([(crop * column).sum(), (crop * row).sum()]) / crop.sum()
        np.testing.assert_allclose(found, points[30], atol=0.5)


@pytest.fixture(scope="module")
def trained(rendered: Artifact, migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    out = tmp_path_factory.mktemp("trained")
    (out / "mlflow.db").write_bytes(migrated_database.read_bytes())
    job = face_network_job(rendered, SMALL, Tracking(f"sqlite:///{out}/mlflow.db", "faces"), test=rendered)
    return run_stage(job, str(out), quiet=True)


def test_evaluation_prints_one_object(rendered: Artifact, trained: Artifact) -> None:
    weights = trained.path(analyzer.WEIGHTS)
    result = CliRunner().invoke(main, ["evaluate", "faces", "--weights", weights, "--rendered", rendered.uri, "--json"])
    told = json.loads(result.stdout)
    assert (
        told["n"] == 48
        and len(told["au_pearson"]) == 17
        and told["points_nme"] > 0
        and 0 <= told["interval_coverage_90"] <= 1
    )
    wrong = CliRunner().invoke(main, ["evaluate", "faces", "--weights", weights, "--rendered", trained.uri])
    assert wrong.exit_code == 2 and "holds no table" in wrong.stderr


def test_points_of_a_measured_face_are_in_the_photograph(tmp_path: Path) -> None:
    """A network that always says the mean face: its points come back to the framing that it was given, and the crop
    turns to them.
    """
    network = FaceNetwork().eval()
    with torch.no_grad():
        for parameter in (network.points.weight, network.points.bias):
            parameter.zero_()
        even = (MEAN + (MEAN * (-1, 1))[list(MIRRORED)]) / 2  # a face and its mirror image are measured together
        upright = apply_affine(even, aligned_matrix(even, SIZE))
        network.points.bias.copy_(torch.from_numpy((upright - SIZE / 2) / 10).flatten())
    loaded = analyzer.NetworkAnalyzer(network, np.ones(17, np.float32), "")
    picture = np.random.default_rng(0).integers(0, 255, (500, 400, 3), np.uint8)
    truth = turned(even, 15, 11, (210, 240))
    (face,) = loaded.measure(picture, [aligned_matrix(truth, SIZE)])
    assert face is not None and face.half_width_90 is not None
    np.testing.assert_allclose(
        face.points, truth, atol=3
    )  # half a pixel of the crop at each look: the mean face stands beside its middle
    assert face.pose[2] - network.pose.bias[2].item() * 20 == pytest.approx(-15, abs=15)
    assert (face.units >= 0).all() and (face.units <= 5).all() and (face.half_width_90 > 0).all()


def test_mediapipe_is_asked_for_by_its_file_and_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(
        UserError,
        match=r"face_landmarker.task needs MediaPipe, which is not here: pip install 'twfer_dist\[mediapipe\]'",
    ):
        analyzer.open_analyzer(str(tmp_path / "face_landmarker.task"))
