"""What a reader should know about how photographs were found and read: files that were ignored, notes on single
photographs and faces.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from twfer_dist.core.schema import FACES, PHOTOGRAPHS
from twfer_dist.engine.artifact import Artifact

MOST_NOTES = 12
"""How many different notes are listed at most, the most frequent first."""


@dataclass(frozen=True)
class Notes:
    remarks: list[str]  # sentences on how the corpora were read
    rows: list[dict[str, Any]]  # note, count (how many rows have it), first (corpus and path of the first)
    more: int  # how many other notes there are


def collect_notes(faces: Sequence[Artifact]) -> Notes:
    """The notes on photographs and faces, and how their corpora were read."""
    corpora = {name: facts for output in faces for name, facts in output.results.get("corpora", {}).items()}
    counts, first = Counter[str](), dict[str, str]()
    for output in faces:
        for table, schema in (("photographs", PHOTOGRAPHS), ("faces", FACES)):
            noted = pc.utf8_length(pc.field("note")) > 0
            for batch in output.scan(table, schema).to_batches(columns=["corpus", "path", "note"], filter=noted):
                for row in batch.to_pylist():
                    counts[row["note"]] += 1
                    first.setdefault(row["note"], f"{row['corpus']}: {row['path']}")
    listed = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Notes(
        remarks=[sentence for facts in corpora.values() for sentence in facts.get("remarks", [])],
        rows=[{"note": note, "count": count, "first": first[note]} for note, count in listed[:MOST_NOTES]],
        more=len(listed[MOST_NOTES:]),
    )
