"""The network that identifies figures: its training, its retrieval, its files."""

import json
from pathlib import Path

import numpy as np
import pytest

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.measurement import augmentation, identity, training
from twfer_dist.measurement.network import SIZE
from twfer_dist.measurement.train_stage import LOG, identity_network_spec
from twfer_dist.measurement.training import FaceNetworkConfig


def test_the_stage_writes_weights_log_and_scores(rendered: Artifact, tmp_path: Path, mlflow_uri: str) -> None:
    config = FaceNetworkConfig(steps=4, batch=8, held_out=0.25)
    trained = run_stage(
        identity_network_spec([rendered], config, Tracking(mlflow_uri, "faces")), str(tmp_path), quiet=True
    )
    scores = trained.results["scores"]["held_out"]
    assert scores["figures"] == 3 and scores["identity_rank1"] in (0, 1 / 3, 2 / 3, 1)
    assert trained.results["summary"] == [
        f"held out: {round(3 * scores['identity_rank1'])} of 3 figures recognised in another scene"
    ]
    log = [json.loads(line) for line in storage.read_bytes(trained.path(LOG)).splitlines()]
    assert log[-1]["step"] == 4 and log[-1]["figures"] > 0
    opened = identity.open_identity(trained.path(identity.WEIGHTS))
    assert opened.sha256 == storage.sha256(storage.read_bytes(trained.path(identity.WEIGHTS)))
    pictures = np.random.default_rng(0).integers(0, 255, (3, 80, 80, 3), np.uint8)
    embedded = opened.embed(pictures)
    assert embedded.shape == (3, identity.EMBEDDING)
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(opened.embed(pictures[1:2]), embedded[1:2], atol=1e-5)
    run = Tracking(mlflow_uri, "faces").client.get_run(trained.results["run_id"])
    assert run.info.status == "FINISHED" and run.data.metrics["held_out_identity_rank1"] == scores["identity_rank1"]


def test_a_short_training_lowers_the_loss(rendered: Artifact) -> None:
    heads = augmentation.load_heads(rendered)
    config = FaceNetworkConfig(steps=15, batch=16)
    state = training.new_state(config, build=identity.new_network)
    objective = identity.contrastive_objective(heads, config)
    losses: list[float] = []
    training.fit(state, state.network, config, heads, objective, lambda state, values: losses.append(values["figures"]))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3])


def test_a_batch_shows_each_of_its_figures_twice(rendered: Artifact) -> None:
    heads = augmentation.load_heads(rendered)
    rows_of = identity.paired_batches(heads, FaceNetworkConfig(batch=8))
    epoch = [rows_of(step) for step in range(3)]
    one, other = (np.concatenate([rows[part] for rows in epoch]) for part in (slice(4), slice(4, None)))
    assert (heads.figure_ids[one] == heads.figure_ids[other]).all() and (one != other).all()
    assert sorted(heads.figure_ids[one]) == sorted(set(heads.figure_ids))
    np.testing.assert_array_equal(rows_of(2), epoch[2])
    assert rows_of(3).tolist() != epoch[0].tolist()


def test_retrieval_finds_the_nearest_of_the_gallery() -> None:
    gallery = np.eye(4, identity.EMBEDDING, dtype=np.float32)
    queries = np.array([gallery[0], gallery[0] + 0.4 * gallery[3], gallery[2] * 0.3 + gallery[1], gallery[3]])
    hits = identity.rank1_hits(queries, np.array(["a", "a", "c", "d"]), gallery, np.array(["a", "b", "c", "d"]))
    assert hits.tolist() == [True, True, False, True]


def test_a_picture_is_never_its_own_match(rendered: Artifact) -> None:
    """Only figures with two pictures count, wherever their pictures are."""
    heads = augmentation.load_heads(rendered)
    network = identity.new_network()
    once = np.append(np.flatnonzero(heads.figure_ids != heads.figure_ids[0]), 0)
    assert identity.scores(network, heads.of(once))["figures"] == 11
    _, first = np.unique(heads.figure_ids, return_index=True)
    with pytest.raises(UserError, match="held-out heads show each figure once"):
        identity.scores(network, heads.of(first))
    shuffled = heads.of(np.argsort(np.tile(np.arange(4), 12), kind="stable"))
    assert identity.scores(network, shuffled) == identity.scores(network, heads)


def test_two_inputs_with_equal_figures_are_refused(rendered: Artifact, tmp_path: Path, mlflow_uri: str) -> None:
    spec = identity_network_spec([rendered, rendered], FaceNetworkConfig(steps=1, batch=8), Tracking(mlflow_uri, "x"))
    with pytest.raises(UserError, match="share the figure"):
        run_stage(spec, str(tmp_path), quiet=True)


def test_a_whole_crop_is_scaled_corner_to_corner() -> None:
    """The corners of a crop's pixels are the corners of the network's, at any size."""
    for side in (64, 128, 200):
        matrix = identity.whole_crop(side)
        for corner in (-0.5, side - 0.5):
            np.testing.assert_allclose(matrix @ (corner, corner, 1), (corner + 0.5) * SIZE / side - 0.5, atol=1e-4)


def test_figures_with_one_picture_are_refused(rendered: Artifact) -> None:
    heads = augmentation.load_heads(rendered)
    _, first = np.unique(heads.figure_ids, return_index=True)
    with pytest.raises(UserError, match="show each figure once"):
        identity.paired_batches(heads.of(first), FaceNetworkConfig())


def test_batches_that_do_not_fit_are_refused(rendered: Artifact, mlflow_uri: str) -> None:
    tracking = Tracking(mlflow_uri, "faces")
    with pytest.raises(UserError, match="shows 16 figures twice and there are 12"):
        identity.paired_batches(augmentation.load_heads(rendered), FaceNetworkConfig(batch=32))
    with pytest.raises(UserError, match="A batch of 7 cannot show each of its figures twice"):
        identity_network_spec([rendered], FaceNetworkConfig(batch=7), tracking)
    with pytest.raises(UserError, match="A batch of 3 pairs of images cannot be split among 2 workers"):
        identity_network_spec([rendered], FaceNetworkConfig(batch=6), tracking, workers=2)
