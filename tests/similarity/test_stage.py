"""The stage that embeds faces, on Ray Data: the same bytes on one and two workers, and rows without a result."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import tiny_onnx
import torch
from similarity_tables import picture

from twfer_dist.core import images
from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import FACES
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.similarity import stage
from twfer_dist.similarity.compare import SimilarityConfig, similarity_spec
from twfer_dist.similarity.stage import EmbedConfig, embed_spec
from twfer_dist.similarity.tables import EMBEDDINGS


def faces(out: str, number: int) -> Artifact:
    """Faces of which the last two are broken and not measurable."""
    rows = []
    for k in range(number):
        crop = b"broken" if k == number - 2 else images.encode_jpeg(picture(k))
        known = {"face_id": f"{k:04d}-0", "photo_id": f"{k:04d}", "rank": 0, "corpus": "c", "path": f"{k}.jpg"}
        result = ("low_quality", "too blurred") if k == number - 1 else ("ok", "")
        status = dict(zip(("status", "error"), result, strict=True))
        rows.append({**known, "figure_id": f"f{k}", "groups": [], "image": crop, "width": 96, "height": 96, **status})

    def do(output: StageOutput) -> None:
        output.write_table("faces", pa.Table.from_pylist(rows, FACES))

    return run_stage(StageSpec("faces", 1, {}, number, {}, {"faces": FACES}, do), out, quiet=True)


@pytest.mark.long
def test_one_worker_and_two_give_the_same_bytes(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "ROWS_PER_SHARD", 5)
    (tmp_path / "tiny.onnx").write_bytes(tiny_onnx.colour_means())
    given = faces(str(tmp_path), 14)
    outputs = [
        run_stage(
            embed_spec([given], EmbedConfig(), network=str(tmp_path / "tiny.onnx"), actors=actors),
            str(tmp_path / str(actors)),
            quiet=True,
        )
        for actors in (1, 2)
    ]
    assert outputs[0].digest == outputs[1].digest
    rows = outputs[0].table(".", EMBEDDINGS).to_pylist()
    assert [row["status"] for row in rows] == ["ok"] * 12 + ["unreadable", "low_quality"]
    assert all((row["embedding"] is None) == (row["status"] != "ok") for row in rows)
    lengths = [np.linalg.norm(row["embedding"]) for row in rows[:12]]
    assert lengths == pytest.approx([1] * 12, abs=1e-5) and rows[-1]["image"] and not rows[-2]["image"]
    compared = [
        run_stage(similarity_spec([output], SimilarityConfig()), str(tmp_path / "s" / output.name), quiet=True)
        for output in outputs
    ]
    assert compared[0].digest == compared[1].digest
    assert compared[0].results["similarities"][0]["faces"] == 12


def test_an_output_without_faces_is_refused(tmp_path: Path) -> None:
    other = run_stage(StageSpec("sweep", 1, {}, {}, {}, {}, lambda output: None), str(tmp_path), quiet=True)
    with pytest.raises(UserError, match="holds no faces to embed: name outputs of faces, corrected, animate, dataset"):
        embed_spec([other], EmbedConfig())


def test_planning_leaves_a_training_after_it_its_cores(tmp_path: Path) -> None:
    """Both run in the process of a recipe."""
    given = faces(str(tmp_path), 3)
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        torch.set_num_threads(3)
        cv2.setNumThreads(3)
        embed_spec([given], EmbedConfig())
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (3, 3)
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
