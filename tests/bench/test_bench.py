"""`twfer bench`: one object with rates and ratios of one run."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from twfer_dist.bench import bench
from twfer_dist.cli.main import main
from twfer_dist.training import precision


@pytest.mark.parametrize("stage", ["faces", "animate", "io"])
def test_stages_are_timed_beside_plain_loops(
    ray_cluster: None, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = shutil.copytree(bench.CORPUS, tmp_path / "few")
    manifest = few / "manifest.csv"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:57]))
    monkeypatch.setattr(bench, "CORPUS", str(few))
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "_BATCHES", (1,))
    monkeypatch.setattr(stage, "ROWS_PER_SHARD", 5)
    if stage == "faces":  # the command asks for a hundred photographs or more, which take a minute
        told = bench.bench_faces(20, 1)
    else:
        result = CliRunner().invoke(main, ["bench", stage, "--images", "100", "--actors", "1", "--json"])
        assert result.exit_code == 0, result.output
        told = json.loads(result.stdout)
    assert told["pipeline_over_bare"] == pytest.approx(told["pipeline_rate"] / told["bare_rate"], abs=0.02)
    assert told["bare_rate"] > 0 and (told["processes"], told["rounds"]) == (1, 1)
    assert told["images"] == 2 * {"faces": 10, "animate": 64, "io": 256}[stage]
    if stage == "animate":
        assert (
            told["bfloat16_over_float32"] == f"not in {precision.device_without_bfloat16('cpu')}"
            or told["bfloat16_over_float32"] > 0
        )
        assert (
            told["ours_over_public"] == pytest.approx(told["ours_rate"] / told["public_rate"], rel=0.05)
            and told["public_batch"] == 1
        )
