"""The network that tells figures apart: its training as a stage, its retrieval, its files."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_head import rendered as rendered_heads

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.measurement import augmentation, identity, training
from twfer_dist.measurement.network import SIZE
from twfer_dist.measurement.train_stage import LOG, identity_network_job
from twfer_dist.measurement.training import FaceNetworkConfig
from twfer_dist.rendering.plan import ClayConfig


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """12 figures, each in two scenes and two states."""
    return rendered_heads(str(tmp_path_factory.mktemp("figures")), ClayConfig(figures=12, scenes=2, states=2, size=64))


def test_the_stage_leaves_weights_log_and_scores(rendered: Artifact, tmp_path: Path, mlflow_uri: str) -> None:
    config = FaceNetworkConfig(steps=4, batch=8, held_out=0.25)
    trained = run_stage(
        identity_network_job(rendered, config, Tracking(mlflow_uri, "faces")), str(tmp_path), quiet=True
    )
    scores = trained.results["scores"]["held_out"]
    assert scores["figures"] == 3 and scores["identity_rank1"] in (0, 1 / 3, 2 / 3, 1)
    assert trained.results["summary"] == [
        f"held out: {round(3 * scores['identity_rank1'])} of 3 figures known again in another scene"
    ]
    log = [json.loads(line) for line in storage.read_bytes(trained.path(LOG)).splitlines()]
    assert log[-1]["step"] == 4 and log[-1]["figures"] > 0
    opened = identity.open_identity(trained.path(identity.WEIGHTS))
    assert opened.sha256 == storage.sha256(storage.read_bytes(trained.path(identity.WEIGHTS)))
    pictures = np.random.default_rng(0).integers(0, 255, (3, 80, 80, 3), np.uint8)
    found = opened.embed(pictures)
    assert found.shape == (3, identity.EMBEDDING)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(opened.embed(pictures[1:2]), found[1:2], atol=1e-5)
    run = Tracking(mlflow_uri, "faces").client.get_run(trained.results["run_id"])
    assert run.info.status == "FINISHED" and run.data.metrics["held_out_identity_rank1"] == scores["identity_rank1"]


def test_a_short_training_tells_the_figures_it_saw_better_than_chance(rendered: Artifact) -> None:
    heads = augmentation.load_heads(rendered)
    config = FaceNetworkConfig(steps=25, batch=16)
    state, seen = training.new_state(config, make=identity.new_network), []
    lesson = identity.contrastive_objective(heads, config)
    training.fit(state, state.network, config, heads, lesson, lambda state, values: seen.append(values["figures"]))
    assert np.mean(seen[-5:]) < 0.8 * np.mean(seen[:3])


def test_a_batch_shows_two_pictures_of_each_of_its_figures(rendered: Artifact) -> None:
    heads = augmentation.load_heads(rendered)
    rows_of = identity.paired_batches(heads, FaceNetworkConfig(batch=8))
    epoch = [rows_of(step) for step in range(3)]
    one, other = (np.concatenate([rows[part] for rows in epoch]) for part in (slice(4), slice(4, None)))
    assert (heads.figure_ids[one] == heads.figure_ids[other]).all() and (one != other).all()
    assert sorted(heads.figure_ids[one]) == sorted(set(heads.figure_ids))
    np.testing.assert_array_equal(rows_of(2), epoch[2])
    assert rows_of(3).tolist() != epoch[0].tolist()


def test_the_nearest_of_the_gallery_is_what_is_retrieved() -> None:
    gallery = np.eye(4, identity.EMBEDDING, dtype=np.float32)
    asked = np.array([gallery[0], gallery[0] + 0.4 * gallery[3], gallery[2] * 0.3 + gallery[1], gallery[3]])
    hits = identity.rank1_hits(asked, np.array(["a", "a", "c", "d"]), gallery, np.array(["a", "b", "c", "d"]))
    assert hits.tolist() == [True, True, False, True]


def test_a_crop_and_what_the_network_sees_of_it_are_framed_alike() -> None:
    """The corners of a crop's pixels are the corners of the network's, at any size."""
    for side in (64, 128, 200):
        matrix = identity.whole_crop(side)
        for place in (-0.5, side - 0.5):
            np.testing.assert_allclose(matrix @ (place, place, 1), (place + 0.5) * SIZE / side - 0.5, atol=1e-4)


def test_figures_that_are_shown_once_cannot_be_learned(rendered: Artifact) -> None:
    heads = augmentation.load_heads(rendered)
    _, first = np.unique(heads.figure_ids, return_index=True)
    with pytest.raises(UserError, match="show each figure once"):
        identity.paired_batches(heads.of(first), FaceNetworkConfig())


def test_a_batch_that_cannot_be_told_apart_is_refused(rendered: Artifact, mlflow_uri: str) -> None:
    tracking = Tracking(mlflow_uri, "faces")
    with pytest.raises(UserError, match="shows 16 figures twice and there are 12"):
        identity.paired_batches(augmentation.load_heads(rendered), FaceNetworkConfig(batch=32))
    with pytest.raises(UserError, match="A batch of 7 cannot show each of its figures twice"):
        identity_network_job(rendered, FaceNetworkConfig(batch=7), tracking)
    with pytest.raises(UserError, match="A batch of 3 pairs of images cannot be dealt to 2 workers"):
        identity_network_job(rendered, FaceNetworkConfig(batch=6), tracking, workers=2)
