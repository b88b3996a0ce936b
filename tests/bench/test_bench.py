"""`twfer bench`: one object with rates and ratios of one run."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from twfer_dist.bench import animate, compare, train
from twfer_dist.bench.faces import bench_faces
from twfer_dist.cli.main import main
from twfer_dist.faces import stage
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.synthesis.stage import rows_per_shard
from twfer_dist.training import precision


@pytest.fixture(autouse=True)
def one_round(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "ROUNDS", 1)
    monkeypatch.setattr(animate, "PUBLIC_BATCHES", (1,))


def bench(name: str) -> dict[str, Any]:
    result = CliRunner().invoke(main, ["bench", name, "--images", "100", "--actors", "1", "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def assert_compared(facts: dict[str, Any], images: int) -> None:
    assert facts["pipeline_over_bare"] == pytest.approx(facts["pipeline_rate"] / facts["bare_rate"], abs=0.02)
    assert facts["bare_rate"] > 0 and (facts["processes"], facts["rounds"], facts["images"]) == (1, 1, images)


def test_each_process_gets_equally_many_shards() -> None:
    assert compare.even_size(600, 2, lambda rows: 64) == compare.Size(384, 2, 3)
    assert compare.even_size(600, 2, lambda rows: rows_per_shard(rows, 16)) == compare.Size(320, 2, 10)


@pytest.mark.long
def test_io_is_timed_beside_a_plain_loop() -> None:
    facts = bench("io")
    assert_compared(facts, 512)
    assert facts["pipeline_mb_per_second"] == pytest.approx(
        facts["pipeline_rate"] * facts["image_bytes"] / 1e6, abs=0.1
    )
    assert facts["read_mb_per_second"] > 0


@pytest.mark.long
def test_faces_are_timed_beside_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "ROWS_PER_SHARD", 5)
    assert_compared(bench_faces(20, 1), 20)  # the command takes a hundred photographs or more


@pytest.mark.long
def test_animate_is_timed_beside_a_plain_loop() -> None:
    facts = bench("animate")
    assert_compared(facts, 128)
    emulated = f"not in {precision.device_without_bfloat16('cpu')}"
    assert facts["bfloat16_over_float32"] == emulated or facts["bfloat16_over_float32"] > 0
    assert facts["ours_over_public"] == pytest.approx(facts["ours_rate"] / facts["public_rate"], rel=0.05)
    assert facts["public_batch"] == 1


@pytest.mark.long
def test_training_is_timed_beside_a_bare_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "CONFIG", TrainConfig(network="resnet18", size=32, epochs=3))
    monkeypatch.setattr(train, "TRAINED", 70)
    result = CliRunner().invoke(main, ["bench", "train", "--images", "6000", "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    for ratio, ours, theirs in (
        ("one_worker_over_bare", "one_worker_rate", "bare_rate"),
        ("two_workers_over_one", "two_workers_rate", "one_worker_rate"),
        ("loader_over_bare", "loader_rate", "bare_rate"),
    ):
        assert facts[ratio]["median"] == pytest.approx(facts[ours] / facts[theirs], rel=0.02)
    assert facts["row_groups"] == 13 and facts["read_over_share"].keys() == {"1", "2", "4"}
    assert facts["read_over_share"]["1"] < 20 / 13  # at most seven row groups are read twice
    assert all(0.9 < ratio < 2 for ratio in facts["read_over_share"].values())  # 4 would be the whole set for each
