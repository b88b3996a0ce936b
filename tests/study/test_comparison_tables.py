"""The tables on annotators and on similarity hold the numbers of their comparisons."""

from typing import Any

from twfer_dist.annotation.comparison import Labelled, compare
from twfer_dist.corpus.votes import parse_vote
from twfer_dist.engine.described import DescribedTable
from twfer_dist.similarity.means import Similarity
from twfer_dist.study.annotators import Annotators
from twfer_dist.study.comparison_tables import annotator_tables, similarity_table
from twfer_dist.study.similarity import NetworkSimilarities, SimilarityStudy


def rows_of(table: DescribedTable) -> list[dict[str, Any]]:
    return [row for part in table.parts for row in part.to_pylist()]


def test_annotators_have_their_tables() -> None:
    words = ["happiness", "happiness", "anger", "neutral", "sadness", "fear+surprise"]
    faces = [
        Labelled(f"i{k}", f"{k}.jpg", f"f{k}", {"A": parse_vote(word), "B": parse_vote(word), "C": parse_vote("anger")})
        for k, word in enumerate(words)
    ]
    found = compare(faces, {"ARM": {f"i{k}": 4 for k in range(6)}})
    who, agreement, confusion = annotator_tables([Annotators("warriors", found)])
    people = {row["who"]: row for row in rows_of(who)}
    assert list(people) == ["A", "B", "C", "all annotators", "ARM"] and rows_of(similarity_table([])) == []
    assert people["C"]["k"] == found.annotators[2].rest["k"] and people["ARM"]["majority_k"] == 2
    alphas = {row["of"]: row["alpha"] for row in rows_of(agreement)}
    assert found.agreement and alphas["all expressions"] == found.agreement.alpha and "A and C" in alphas
    assert [
        [row[name] for name in row if name not in ("corpus", "one")] for row in rows_of(confusion)
    ] == found.confusion


def test_similarities_have_theirs() -> None:
    row = Similarity("within", "warriors", "warriors", 0.54, None, None, 3, 3, 3)
    study = SimilarityStudy("similarity-0", "corpus", [NetworkSimilarities("identity", 3, 0, [row])], {}, [], {})
    (written,) = rows_of(similarity_table([study]))
    assert (written["network"], written["mean"], written["low"], written["pairs"]) == ("identity", 0.54, None, 3)
