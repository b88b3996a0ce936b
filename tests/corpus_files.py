"""Folders as the tests of corpora need them, and what a corpus made of them."""

from pathlib import Path
from typing import Any

from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.corpus.corpus import Corpus, open_corpus

TRIALS = Path(__file__).parent / "data" / "trials"
PICTURE = TRIALS / "endings" / "face.jfif"


def put(folder: Path, *names: str) -> Path:
    """Files of these names below a folder, each holding its own name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def read(folder: Path, text: str | bytes, name: str = "manifest.csv") -> Corpus:
    """The corpus of a folder after a table was written into it."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return open_corpus(str(folder))


def rows(corpus: Corpus) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in corpus.table.to_pylist()}


def labels(corpus: Corpus) -> dict[str, str]:
    """The expression of each photograph by path, empty without one."""
    return {path: EXPRESSIONS[row["label"] - 1] if row["label"] else "" for path, row in rows(corpus).items()}


def remarks(corpus: Corpus) -> str:
    return "\n".join(corpus.remarks)


def paths(corpus: Corpus) -> list[str]:
    return sorted(rows(corpus))
