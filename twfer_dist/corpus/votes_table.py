"""The votes on the photographs of corpora as votes.csv, which travels with their faces."""

import csv
import io
from collections.abc import Iterable, Mapping

from twfer_dist.corpus.corpus import Corpus
from twfer_dist.corpus.votes import Vote, parse_vote, words_of
from twfer_dist.engine.spreadsheet import as_written, rows_to_csv

FILE = "votes.csv"
_COLUMNS = ("photo_id", "corpus", "path", "figure_id", "annotator", "label")


def votes_csv(corpora: Iterable[Corpus]) -> bytes | None:
    """A row for each vote: photo_id, corpus, path, figure_id, annotator, and label as in "surprise+fear". None where no
    photograph has a vote.
    """
    rows = [
        {**{name: row[name] for name in _COLUMNS[:4]}, "annotator": annotator, "label": words_of(vote)}
        for corpus in corpora
        if corpus.votes
        for row in corpus.table.select(_COLUMNS[:4]).to_pylist()
        for annotator, vote in corpus.votes.get(row["photo_id"], {}).items()
    ]
    return rows_to_csv(_COLUMNS, rows) if rows else None


def read_votes(data: bytes) -> dict[str, Mapping[str, Vote]]:
    """The votes in votes.csv by photo_id and annotator."""
    votes: dict[str, dict[str, Vote]] = {}
    for row in csv.DictReader(io.StringIO(data.decode("utf-8-sig"))):
        votes.setdefault(row["photo_id"], {})[as_written(row["annotator"])] = parse_vote(row["label"])
    return dict(votes)
