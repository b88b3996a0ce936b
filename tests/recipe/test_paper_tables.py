"""The paper's recipe on rendered figures, too small to say anything about accuracy: each stage on Ray, each table."""

import csv
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

import twfer_dist
from twfer_dist.cli.main import main
from twfer_dist.core.schema import DATASET, PREDICTIONS
from twfer_dist.corpus.agreement import distance
from twfer_dist.corpus.votes_table import read_votes
from twfer_dist.engine.artifact import Artifact, open_artifact
from twfer_dist.similarity.tables import EMBEDDINGS

DEMO = Path(twfer_dist.__file__).parent / "demo"
TRAINED = ("resnet18-people", "arm-people", "resnet18-animated", "arm-1", "arm-2", "finetuned", "resnet18-mirror")
SIDES = {"real": "people", "animated": "people-animated"}
"""The data sets of the validity test."""


def some_of(corpus: str, rows: slice, folder: Path) -> str:
    """Some rows of a demo corpus with their photographs."""
    with (DEMO / corpus / "manifest.csv").open() as file:
        reader = csv.DictReader(file)
        kept, columns = list(reader)[rows], reader.fieldnames or ()
    (folder / "photographs").mkdir(parents=True)
    for row in kept:
        shutil.copy(DEMO / corpus / row["path"], folder / row["path"])
    with (folder / "manifest.csv").open("w") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(kept)
    return str(folder)


def tiny(folder: Path) -> str:
    """The recipe with few figures, small pictures and one epoch."""
    stages: dict[str, Any] = {
        "people-train": {"figures": 5, "size": 48},
        "people-test": {"figures": 3, "size": 48},
        "han": {"figures": 1},
        "american": {"figures": 1},
        **dict.fromkeys(("animated", "gan18k-by-figure", "gan18k-within-figure"), {"per_expression": 20}),
        "gan18k": {"per_expression": 20, "counts": [112, 28]},
        "animated-people": {"per_expression": 20},
        **{name: {"epochs": 1, "size": 96 if "arm" in name or name == "finetuned" else 32} for name in TRAINED},
    }
    corpora = {
        "tw58": some_of("tw58", slice(0, 70), folder / "tw58"),
        "postures": some_of("postures", slice(0, 85, 6), folder / "postures"),
    }
    recipe = folder / "tiny.yaml"
    content = {"out": str(folder / "out"), "base": "package:recipes/paper-clay.yaml", "corpora": corpora}
    recipe.write_text(yaml.safe_dump({"name": "tiny", **content, "stages": stages}, sort_keys=False))
    return str(recipe)


def run(recipe: str) -> dict[str, Any]:
    result = CliRunner().invoke(main, ["run", recipe, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def agreement_is_that_of_the_votes(told: dict[str, Any], faces: Artifact) -> None:
    """Krippendorff's alpha from its definition: from all pairs of votes on one photograph, and all pairs."""
    votes = [list(cast.values()) for cast in read_votes(Path(faces.path("votes.csv")).read_bytes()).values()]
    cast = [vote for photograph in votes for vote in photograph]
    observed = sum(sum(distance(a, b) for a in v for b in v) / (len(v) - 1) for v in votes) / len(cast)
    expected = sum(distance(a, b) for a in cast for b in cast) / len(cast) / (len(cast) - 1)
    assert told["images"] == len(votes) and min(map(len, votes)) > 1
    assert told["alpha"] == pytest.approx(1 - observed / expected, abs=1e-6)


def validity_is_that_of_the_answers(told: list[dict[str, Any]], outputs: dict[str, Artifact]) -> None:
    """Of each recogniser on the test images of each data set, those of figures it was trained on left out."""
    sets = {name: outputs[stage].table(".", DATASET).to_pylist() for name, stage in SIDES.items()}
    for score in told:
        model = "resnet18-people" if score["trained_on"] == "real" else "resnet18-mirror"
        known = {row["figure_id"] for row in sets[score["trained_on"]] if row["split"] == "train"}
        test = {row["image_id"]: row for row in sets[score["asked_about"]]
            if row["split"] == "test" and row["figure_id"] not in known}  # fmt: skip
        answers = outputs[f"read-{model}"].table(".", PREDICTIONS).to_pylist()
        read = [(test[row["image_id"]], row["predicted"]) for row in answers if row["image_id"] in test]
        right = [image["label"] == answer for image, answer in read]
        assert (score["accuracy"]["k"], score["accuracy"]["n"]) == (sum(right), len(right)) and right
        graded = {(row["intensity"], row["k"], row["n"]) for row in score["by_intensity"]}
        steps = Counter(round(image["intensity"], 3) for image, _ in read if image["intensity"])
        hits = Counter(round(image["intensity"], 3) for (image, _), hit in zip(read, right, strict=True)
            if hit and image["intensity"])  # fmt: skip
        assert graded == {(step, hits[step], n) for step, n in steps.items()}
        assert bool(graded) == (score["asked_about"] == "animated")


def similarities_are_those_of_all_pairs(told: dict[str, Any], outputs: dict[str, Artifact]) -> None:
    """Within TW58, by each network: of each two faces of different figures, one pair after another."""
    for output in (outputs["embeddings"], outputs["embeddings-arm"]):
        rows = output.table(".", EMBEDDINGS).to_pylist()
        faces = [(row["figure_id"], np.array(row["embedding"])) for row in rows
            if row["corpus"] == "tw58" and row["embedding"]]  # fmt: skip
        pairs = [a @ b for k, (one, a) in enumerate(faces) for other, b in faces[:k] if one != other]
        (network,) = (n for n in told["networks"] if n["network"] == output.results["network"])
        (within,) = (row for row in network["rows"] if (row["measure"], row["first"]) == ("within", "tw58"))
        assert within["pairs"] == len(pairs) and within["mean"] == pytest.approx(np.mean(pairs), abs=1e-5)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_table_comes_out_of_the_recipe(ray_cluster: None, tmp_path: Path) -> None:
    recipe = tiny(tmp_path)
    made = run(recipe)
    page = Path(made["report"]).read_text()
    assert made["report"] == str(tmp_path / "out" / "tables" / "paper.html")
    assert "This run has no such table." not in page and "In their place stand rendered heads in skin" in page
    content = json.loads(Path(open_artifact(made["stages"][-1]["output"]).path("paper.json")).read_text())
    assert [table["number"] for table in content["tables"]] == [1, 2, 4, 5, 6, None]
    assert len(content["validity"]) == 4 and content["agreement"][0]["corpus"] == "tw58"
    groups = [shares["group"] for shares in content["shares"]]
    assert groups == ["warriors", "kneeling", "general", "vertical", "cavalry", "civil", "han", "american"]
    outputs = {stage["name"]: open_artifact(stage["output"]) for stage in made["stages"]}
    strict, within = (outputs[name].results for name in ("gan18k-by-figure", "gan18k-within-figure"))
    assert strict["figures_on_several_sides"] == 0 < within["figures_on_several_sides"]
    agreement_is_that_of_the_votes(content["agreement"][0], outputs["faces-tw58"])
    validity_is_that_of_the_answers(content["validity"], outputs)
    similarities_are_those_of_all_pairs(content["similarity"][0], outputs)
    people = outputs["people"].table(".", DATASET, columns=["split", "figure_id"]).to_pylist()
    seeds = {row["split"]: re.sub(r"-.*", "", row["figure_id"]) for row in people}
    assert seeds == {"train": "expressions1", "test": "expressions2"}
    assert {stage["state"] for stage in run(recipe)["stages"]} == {"finished"}
