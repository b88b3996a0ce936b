"""The scores in words and as a table."""

from typing import Any

from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS
from twfer_dist.synthesis.evaluation import answer


def share(k: int, n: int) -> dict[str, Any]:
    return {"k": k, "n": n, "share": k / n, "low": k / n - 0.1, "high": k / n + 0.1, "figures": n}


def scores() -> dict[str, Any]:
    """As `evaluate.evaluate` gives them, without an identity network."""
    by_expression = {name: share(5 + k, 12) for k, name in enumerate(EXPRESSIONS[:-1])}
    rising = {"ours": {**share(45, 72), "figures": 12, "by_expression": by_expression}, "intensities": [0, 0.5, 1]}
    r = {"mean": 0.64, "low": 0.5, "high": 0.71, "by_au": dict.fromkeys(ACTION_UNITS)}
    similar = {name: {"changed": 26.4, "rest": 37.2} for name in ("copy", "ours")}
    return {
        "monotone_share": {"clay": rising, "sculpture": rising},
        "au_control_r": {"clay": {"ours": r, "truth": r}, "sculpture": {"ours": r | {"low": None}}},
        "psnr": similar,
        "ssim": similar,
        "feature_distance": similar,
    }


def test_the_answer_names_anger_and_fear() -> None:
    sentences = answer.answer(scores())
    assert sentences[0].startswith(
        "On 12 faces of real sculpture, 45 of 72 expressions rise (62 %; 52 to 72) with each"
    )
    assert sentences[1] == "Anger rises on 10 of 12 (83 %; 73 to 93); fear on 6 of 12 (50 %; 40 to 60)."
    assert "r = 0.64 on sculpture and 0.64 (0.50 to 0.71) on rendered" in " ".join(sentences)
    assert sentences[-1] == answer.WITHOUT_IDENTITY
    identified = {"clay": {"ours": share(20, 40)}}
    assert answer.WITHOUT_IDENTITY not in answer.answer(scores() | {"identity_rank1": identified})
    assert answer.table(scores() | {"identity_rank1": identified}, "ours")[-1].endswith("20 of 40 (50 %; 40 to 60)")


def test_the_table_has_sculpture_beside_rendered_figures() -> None:
    lines = answer.table(scores(), "ours")
    (fear,) = (line for line in lines if line.startswith("  fear"))
    assert fear.count("6 of 12 (50 %; 40 to 60)") == 2
    assert lines[0].split() == ["ours", "sculpture", "rendered", "figures"]
    assert lines[-1].split() == ["feature", "distance,", "changed", "/", "rest", "26.40", "/", "37.20"]
