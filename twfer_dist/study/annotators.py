"""How far the annotators of a corpus agree on its faces, and the models beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.annotation.answer import answer
from twfer_dist.annotation.comparison import Comparison, Labelled, compare
from twfer_dist.core.schema import FACES, figures
from twfer_dist.corpus.votes_table import FILE, read_votes
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.study.answers import answers_of
from twfer_dist.study.words import at_start, called


@dataclass(frozen=True)
class Annotators:
    """The annotators of one corpus with several of them."""

    corpus: str
    found: Comparison

    @property
    def paragraphs(self) -> list[str]:
        """What they make of the faces, in the current language."""
        return answer(self.found, lambda model: at_start(called(model)))


def annotators(
    faces: Sequence[Artifact], predictions: Sequence[Artifact], images: pa.Table, models: Sequence[str]
) -> list[Annotators]:
    """The annotators of each corpus on the largest face of each photograph; a corpus with one annotator is left out.

    models: those whose answers to `images` (column image_id) in `predictions` stand beside the annotators'.
    """
    by_corpus: dict[str, list[Labelled]] = {}
    for output in faces:
        if any(file.path == FILE for file in output.manifest.files):
            for corpus, labelled in _labelled(output).items():
                by_corpus.setdefault(corpus, []).extend(labelled)
    several = {name: found for name, found in by_corpus.items() if any(len(face.votes) > 1 for face in found)}
    if not several:
        return []
    answers = {model: _answers(answers_of(predictions, images, model)) for model in models}
    return [Annotators(name, compare(found, answers)) for name, found in sorted(several.items())]


def _labelled(output: Artifact) -> dict[str, list[Labelled]]:
    """The largest face of each photograph with votes, by corpus."""
    votes = read_votes(storage.read_bytes(output.path(FILE)))
    columns = ["face_id", "photo_id", "path", "corpus", "figure_id", "rank"]
    rows = output.scan("faces", FACES).to_table(columns=columns, filter=pc.field("rank") == 0)
    by_corpus: dict[str, list[Labelled]] = {}
    for row, figure in zip(rows.to_pylist(), figures(rows).to_pylist(), strict=True):
        if cast := votes.get(row["photo_id"]):
            by_corpus.setdefault(row["corpus"], []).append(Labelled(row["face_id"], row["path"], figure, cast))
    return by_corpus


def _answers(table: pa.Table) -> Mapping[str, int]:
    """The answers of one model (`answers_of`) by image_id, those of the unread left out."""
    table = table.filter(pc.is_valid(table["predicted"]))
    return dict(zip(table["image_id"].to_pylist(), table["predicted"].to_pylist(), strict=True))
