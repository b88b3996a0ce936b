"""How alike the faces are, as a similarity stage found it, for the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twfer_dist.core.images import data_uri
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.similarity import PICTURE, answer
from twfer_dist.similarity.means import BETWEEN, SAME_FIGURE, WITHIN, Similarity
from twfer_dist.similarity.tables import NEAR_DUPLICATES
from twfer_dist.study.inputs import output_name

PAPER = answer.PAPER
PAIRS = 12
"""Near-duplicates on the page."""


@dataclass(frozen=True)
class NetworkSimilarities:
    """What one network says. rows: of tables.SIMILARITIES as the stage recorded them."""

    network: str
    faces: int
    without: int  # faces without a result
    rows: list[Similarity]

    @property
    def means(self) -> list[Similarity]:
        """Those that the table shows: within groups, of one figure, between groups."""
        order = (WITHIN, SAME_FIGURE, BETWEEN)
        return sorted((row for row in self.rows if row.measure in order), key=lambda row: order.index(row.measure))

    def said(self) -> list[str]:
        """The means between groups and what they differ by, in the current language; those within, of one group."""
        between = [row for row in self.rows if row.measure not in (WITHIN, SAME_FIGURE)]
        return answer.answer(between or self.rows)

    def scale(self) -> list[str]:
        """Where each group stands between the faces of two groups and the pictures of one figure."""
        same = [row for row in self.rows if row.measure == SAME_FIGURE]
        between = [row for row in self.rows if row.measure == BETWEEN]
        if not same or len(between) != 1 or same[0].mean <= between[0].mean:
            return []
        return [answer.scale(row, between[0], same[0]) for row in self.rows if row.measure == WITHIN]


@dataclass(frozen=True)
class SimilarityStudy:
    """The results of one similarity stage."""

    output: str
    by: str
    networks: list[NetworkSimilarities]
    near_duplicates: dict[str, Any]  # pairs, listed, network
    leakage: list[dict[str, Any]]  # see compare.leakage
    map: dict[str, Any]  # faces, total, drawn, method, column, legend

    def duplicates_said(self) -> list[str]:
        return answer.near_answer(self.near_duplicates["pairs"], self.leakage)


@dataclass(frozen=True)
class SimilarityPictures:
    """The map as a data URI, and the most alike near-duplicates: rows of tables.NEAR_DUPLICATES with data URIs."""

    map: str
    pairs: list[dict[str, Any]]


def similarity_studies(outputs: Sequence[Artifact]) -> list[SimilarityStudy]:
    """The results of finished similarity stages."""
    return [_study(output) for output in outputs]


def _study(output: Artifact) -> SimilarityStudy:
    results = output.results
    named = ("comparison", "network")
    networks = [
        NetworkSimilarities(
            **one,
            rows=[
                Similarity(**{key: value for key, value in row.items() if key not in named})
                for row in results["similarities"]
                if row["network"] == one["network"]
            ],
        )
        for one in results["networks"]
    ]
    kept = {key: results[key] for key in ("by", "near_duplicates", "leakage", "map")}
    return SimilarityStudy(output=output_name(output), networks=networks, **kept)


def similarity_pictures(outputs: Sequence[Artifact]) -> list[SimilarityPictures]:
    """The pictures of finished similarity stages."""
    return [
        SimilarityPictures(data_uri(storage.read_bytes(output.path(PICTURE))), _pairs(output)) for output in outputs
    ]


def _pairs(output: Artifact) -> list[dict[str, Any]]:
    rows = output.table("pairs", NEAR_DUPLICATES).to_pylist()
    rows.sort(key=lambda row: (-row["content"], row["pair"]))
    sides = ("first_image", "second_image")
    return [row | {side: data_uri(row[side]) for side in sides} for row in rows[:PAIRS]]
