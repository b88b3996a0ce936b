"""The stage that compares faces, on small embeddings: its tables, files, results and refusals."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from similarity_tables import embedded, picture, row

from twfer_dist.core import images
from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.similarity.compare import SimilarityConfig, similarity_spec
from twfer_dist.similarity.tables import NEAR_DUPLICATES, SIMILARITIES


def run(out: Path, embeddings: list[Artifact], config: SimilarityConfig | None = None) -> Artifact:
    return run_stage(similarity_spec(embeddings, config or SimilarityConfig()), str(out), quiet=True)


def vector(rng: np.random.Generator, kind: int) -> np.ndarray:
    return rng.normal(0, 0.2, 6) + np.eye(6)[kind]


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    """Ten statues, thirty people of whom one is a statue's picture again, and faces without a result."""
    out, rng = str(tmp_path_factory.mktemp("embed")), np.random.default_rng(0)
    statues = [row(k, "statues", f"s{k}", vector(rng, 0), groups=[("material", "clay")]) for k in range(10)]
    people = [row(k, "people", f"p{k // 2}", vector(rng, 1), label=1 + k % 2) for k in range(10, 40)]
    people[3] |= {"embedding": statues[4]["embedding"], "image": images.encode_jpeg(picture(4), 70)}
    people.append(
        {**row(50, "people", "none", np.ones(6)), "embedding": None, "status": "low_quality", "error": "small"}
    )
    return [embedded(out, statues), embedded(out, people)]


@pytest.fixture(scope="module")
def compared(embeddings: list[Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run(tmp_path_factory.mktemp("similarity"), embeddings)


def test_means_are_in_table_csv_and_results(compared: Artifact) -> None:
    rows = compared.table(".", SIMILARITIES).to_pylist()
    measures = sorted((r["measure"], r["first"], r["second"]) for r in rows)
    assert measures == [
        ("between", "people", "statues"),
        ("difference", "people", "statues"),
        ("difference", "statues", "people"),
        ("same figure", "people", "people"),
        ("within", "people", "people"),
        ("within", "statues", "statues"),
    ]
    assert sorted(compared.results["similarities"], key=lambda r: r["comparison"]) == rows
    written = csv.DictReader(io.StringIO(storage.read_bytes(compared.path("similarity.csv")).decode("utf-8-sig")))
    assert sorted(float(r["mean"]) for r in written) == sorted(r["mean"] for r in rows)
    assert compared.results["networks"] == [{"network": "test network", "faces": 40, "without": 1}]
    assert any("Faces of statues are more like each other" in line for line in compared.results["summary"])


def test_the_planted_picture_is_listed(compared: Artifact) -> None:
    (pair,) = compared.table("pairs", NEAR_DUPLICATES).to_pylist()
    assert (pair["first_id"], pair["second_id"]) == ("0013-0", "0004-0")
    assert (pair["first_corpus"], pair["second_path"]) == ("people", "4.jpg") and pair["content"] > 0.95
    assert compared.results["near_duplicates"]["pairs"] == 1 and compared.results["leakage"] == []


def test_faces_are_sampled_and_grouped_by_a_column(embeddings: list[Artifact], tmp_path: Path) -> None:
    few = run(tmp_path, embeddings, SimilarityConfig(sample=4, sample_of=("people",)))
    faces = {r["first"]: r["faces"] for r in few.results["similarities"] if r["measure"] == "within"}
    assert faces == {"people": 4, "statues": 10} and few.results["map"]["total"] == 40
    shown = run(tmp_path, embeddings, SimilarityConfig(by="expression"))
    assert {r["first"] for r in shown.results["similarities"]} == {"surprise", "fear"}


def test_each_network_is_compared_by_itself(embeddings: list[Artifact], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    other = embedded(
        str(tmp_path), [row(k, "statues", f"s{k}", rng.normal(0, 1, 3), network="other") for k in range(5)]
    )
    both = run(tmp_path, [*embeddings, other])
    within = [
        (r["network"], r["faces"]) for r in both.results["similarities"] if r["first"] == r["second"] == "statues"
    ]
    assert within == [("test network", 10), ("other", 5)]


def test_a_leak_between_parts_is_counted_and_said(tmp_path: Path) -> None:
    """An image of the test part is a training image of the same figure, saved again."""
    rng = np.random.default_rng(2)
    parts = ["train"] * 12 + ["test"] * 5 + ["validation"] * 3
    rows = [row(k, "set", f"f{k}", vector(rng, 2), split=part) for k, part in enumerate(parts)]
    rows[14] |= {"figure_id": "f3", "embedding": rows[3]["embedding"], "image": images.encode_jpeg(picture(3), 60)}
    leaky = run(tmp_path, [embedded(str(tmp_path), rows)])
    assert leaky.results["leakage"] == [
        {"part": "validation", "images": 3, "leaked": 0},
        {"part": "test", "images": 5, "leaked": 1},
    ]
    assert leaky.results["summary"][-1] == (
        "1 of the 5 test images is nearly the same picture as a training image: scores on that part are too good."
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (SimilarityConfig(by="posture"), "no face has a value of 'posture' to compare by: use corpus, expression, mat"),
        (SimilarityConfig(sample=3, sample_of=("raf",)), "'raf', of which no face is here: use people, statues"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    embeddings: list[Artifact], config: SimilarityConfig, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        run(tmp_path, embeddings, config)


def test_a_column_of_names_is_no_grouping(tmp_path: Path) -> None:
    rows = [row(k, "c", f"f{k}", np.ones(3), groups=[("name", f"n{k}")]) for k in range(25)]
    with pytest.raises(UserError, match="'name' has 25 values, too many"):
        run(tmp_path, [embedded(str(tmp_path), rows)], SimilarityConfig(by="name"))
    named_twice = [embedded(str(tmp_path), rows)] * 2
    with pytest.raises(UserError, match="the same faces twice"):
        run(tmp_path, named_twice)
