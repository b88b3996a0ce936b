"""The report's sections on how alike the faces are, with every number recomputed from the stage's tables."""

from pathlib import Path

import numpy as np
import pytest
from report_pages import html_of, json_of, report_on, words_of
from similarity_tables import embedded, picture, row
from study_tables import make_faces

from twfer_dist.core import images
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.similarity.compare import SimilarityConfig, similarity_spec
from twfer_dist.similarity.tables import SIMILARITIES


@pytest.fixture(scope="module")
def similarity(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Sixteen statues and twenty pictures of ten people, one of which is in the test part and in the training part."""
    out, rng = str(tmp_path_factory.mktemp("similarity")), np.random.default_rng(0)

    def vector(kind: int) -> np.ndarray:
        return rng.normal(0, 0.2, 6) + np.eye(6)[kind]

    rows = [row(k, "statues", f"s{k}", vector(0)) for k in range(16)]
    for k in range(16, 36):
        rows.append(row(k, "people", f"p{k // 2}", vector(1), split="train" if k < 30 else "test"))
    rows[34] |= {"embedding": rows[20]["embedding"], "image": images.encode_jpeg(picture(20), 60)}
    return run_stage(similarity_spec([embedded(out, rows)], SimilarityConfig()), out, quiet=True)


@pytest.fixture(scope="module")
def report(similarity: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    out = str(tmp_path_factory.mktemp("report"))
    return report_on(out, make_faces(out, figures=14), similarity=[similarity])


def test_every_mean_of_the_page_is_that_of_the_table(similarity: Artifact, report: Artifact) -> None:
    words, (study,) = words_of(report), json_of(report)["similarity"]
    rows = similarity.table(".", SIMILARITIES).to_pylist()
    for one in (one for one in rows if one["measure"] != "difference"):
        ends = f"{one['low']:.2f} to {one['high']:.2f}"
        numbers = f"{one['pairs']:,} {one['faces']:,} {one['figures']:,}"
        assert f"{one['mean']:.2f} {ends} {numbers}" in words, one["comparison"]
    recorded = study["networks"][0]["rows"]
    assert sorted(r["mean"] for r in recorded) == sorted(r["mean"] for r in rows)
    assert "the paper: within TW58 0.54" in words and "the paper: TW58 and RAF-DB 0.28" in words
    assert "If faces of people and statues stand at 0 and two pictures of one figure" in words


def test_a_leak_is_said_and_shown(report: Artifact) -> None:
    words, html = words_of(report), html_of(report)
    assert "1 of the 6 test images is nearly the same picture as a training image" in words
    assert 'id="duplicates"' in html and "20.jpg (train) 34.jpg (test)" in words


def test_without_a_comparison_there_is_no_section(tmp_path: Path) -> None:
    html = html_of(report_on(str(tmp_path), make_faces(str(tmp_path), figures=3)))
    assert 'id="similarity"' not in html and 'id="duplicates"' not in html
