"""Everything that the page states (`paper.json`), as columns of ours beside the paper's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.study import provenance
from twfer_dist.study.credits import Credits, collect_credits
from twfer_dist.study.inputs import NEW
from twfer_dist.study.paper.compared import Compared, compare_groups
from twfer_dist.study.paper.figures import AVERAGE, CLASS_MEAN, PaperFigures
from twfer_dist.study.paper.numbers import (
    PEOPLE,
    PaperInputs,
    ScoreTable,
    Shares,
    WarriorScores,
    group_shares,
    score_tables,
    warrior_scores,
)
from twfer_dist.study.paper.paired import Paired, same_photographs
from twfer_dist.study.similarity import SimilarityStudy, similarity_studies

ACCURACY, BALANCED, PRINTED = "accuracy", "balanced_accuracy", "printed"
"""The rows below the seven expressions: our two averages, and the paper's where it is of neither kind."""

_AVERAGES = {2: ACCURACY, 5: ACCURACY, 6: ACCURACY, 7: BALANCED}
"""The kind of the average in the paper's last row; that of Table 3 is neither, those of Tables 1 and 4 are unknown."""


@dataclass(frozen=True)
class Paper:
    """The numbers of the page, as paper.json holds them."""

    tables: list[ScoreTable]
    warriors: list[WarriorScores]
    same_photographs: Paired | None
    validity: list[dict[str, Any]]  # see validity_spec
    validity_paper: dict[str, dict[str, float | None]]  # the paper's Table 7 by column and row
    warriors_paper: dict[str, float | None]  # the paper's Table 3 by row
    shares: list[Shares]
    postures_test: dict[str, Any] | None  # see groups.difference
    compared: Compared | None
    agreement: list[dict[str, Any]]  # corpus and agreement.Agreement, where annotators voted
    similarity: list[SimilarityStudy]
    credits: Credits  # of the figures' photographs
    finetuned_below: float | None
    source: str  # of the paper's figures
    made_from: list[dict[str, Any]]  # see provenance.provenance


@dataclass(frozen=True)
class Column:
    """A column of a table: our score beside the paper's figures by row, None where the paper has no such column."""

    head: str
    model: str
    score: Mapping[str, Any]
    paper: Mapping[str, float | None] | None

    @property
    def transcribed(self) -> bool:
        """Whether any of the paper's figures is known."""
        return self.paper is not None and any(value is not None for value in self.paper.values())

    @property
    def printed(self) -> bool:
        """Whether the paper's average is known, and of neither of our kinds."""
        return self.paper is not None and self.paper[PRINTED] is not None


def collect(inputs: PaperInputs, named: Mapping[str, Artifact], figures: PaperFigures) -> Paper:
    """All numbers of the page. named: the outputs that it is made from, by what they are."""
    shares, test = group_shares(inputs, figures)
    return Paper(
        tables=score_tables(inputs, figures),
        warriors=warrior_scores(inputs),
        same_photographs=same_photographs(inputs),
        validity=inputs.validity.results["scores"] if inputs.validity else [],
        validity_paper={column: figures.column(7, column) for column in ("real", "animated")},
        warriors_paper=figures.column(3, "labelled"),
        shares=shares,
        postures_test=test,
        compared=compare_groups(inputs),
        agreement=[
            {"corpus": name, **facts["agreement"]}
            for output in (inputs.faces or {}).values()
            for name, facts in output.results.get("corpora", {}).items()
            if facts.get("agreement")
        ],
        similarity=similarity_studies(inputs.similarity),
        credits=collect_credits(inputs.photographed),
        finetuned_below=figures.finetuned_below,
        source=figures.source,
        made_from=[provenance.provenance(role, output) for role, output in named.items()],
    )


def table_columns(table: ScoreTable) -> list[Column]:
    """The columns of a recogniser's table: one for each part of its data set."""
    return [
        Column(
            score["split"],
            table.model,
            score,
            _rows(table.number, table.paper[score["split"]]) if table.number else None,
        )
        for score in table.scores
    ]


def warrior_columns(paper: Paper) -> list[Column]:
    """The columns of Table 3, a recogniser of people on warriors, and of the recognisers that come after it."""
    first = next((w.role for w in paper.warriors if w.role in PEOPLE), "")
    return [
        Column(
            score["split"],
            scores.model,
            score,
            _rows(3, paper.warriors_paper) if scores.role == first and score["split"] == NEW else None,
        )
        for scores in paper.warriors
        for score in scores.scores
    ]


def validity_columns(paper: Paper) -> list[Column]:
    """The columns of Table 7, whose model was trained on real faces, and of its mirror."""
    return [
        Column(
            s["asked_about"],
            s["model"],
            s,
            _rows(7, paper.validity_paper[s["asked_about"]]) if s["trained_on"] == "real" else None,
        )
        for s in paper.validity
    ]


def _rows(number: int, given: Mapping[str, float | None]) -> dict[str, float | None]:
    """The paper's figures by the rows of our tables: its average is in the row of its kind, or in PRINTED."""
    rows = {name: given[name] for name in EXPRESSIONS} | {ACCURACY: None, BALANCED: given[CLASS_MEAN], PRINTED: None}
    return rows | ({} if given[AVERAGE] is None else {_AVERAGES.get(number, PRINTED): given[AVERAGE]})
