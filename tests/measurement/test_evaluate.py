"""The evaluation of face measurement: what the command prints, and what the shipped network reaches."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from twfer_dist.cli.main import main
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.measurement import evaluate
from twfer_dist.measurement.analyzer import SHIPPED


def test_the_command_prints_one_object(rendered: Artifact) -> None:
    command = ["evaluate", "faces", "--weights", SHIPPED, "--rendered"]
    result = CliRunner().invoke(main, [*command, rendered.uri, "--json"])
    scores = json.loads(result.stdout)
    assert scores["n"] == 48 and len(scores["au_pearson"]) == 17 and scores["points_nme"] > 0
    assert 0 <= scores["interval_coverage_90"] <= 1
    wrong = CliRunner().invoke(main, [*command, str(Path(rendered.uri).parent)])
    assert wrong.exit_code == 2


def test_the_scores_belong_to_the_shipped_weights() -> None:
    facts = json.loads(Path(SHIPPED).with_suffix(".json").read_text())
    assert facts["sha256"] == storage.sha256(Path(SHIPPED).read_bytes())


@pytest.mark.long
@pytest.mark.parametrize(
    ("test", "key", "count"), [("TEST", "evaluation", 600), ("SECOND_TEST", "evaluation_makehuman", 240)]
)
def test_the_shipped_network_reaches_its_scores(test: str, key: str, count: int) -> None:
    """On rendered heads of either head model in materials that it never saw, from a detector's framing on."""
    facts = json.loads(Path(SHIPPED).with_suffix(".json").read_text())[key]
    scores = evaluate.evaluate(SHIPPED, artifact.open_artifact(getattr(evaluate, test)))
    for name in ("au_pearson_mean", "au_mae_present", "points_nme", "interval_coverage_90"):
        assert scores[name] == pytest.approx(facts[name], abs=0.01), name
    assert scores["n"] == count and scores["au_pearson_mean"] > 0.75 and min(scores["au_pearson"].values()) > 0.5
    assert scores["points_nme"] < 0.03
