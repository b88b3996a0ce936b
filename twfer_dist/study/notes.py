"""What a reader should know of how photographs were found and read: files that were passed over, annotators, notes on
single files.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc

from twfer_dist.core.schema import FACES, PHOTOGRAPHS
from twfer_dist.engine.artifact import Artifact

KINDS = 12
"""Different notes that are listed, at most; the most frequent first."""


def notes(faces: Sequence[Artifact]) -> dict[str, Any]:
    """said: sentences on what was passed over; agreement: of each corpus with several annotators; rows: the notes on
    photographs and faces, each with how many have it and the path of the first; more: how many other notes there are.
    """
    corpora = {name: about for finished in faces for name, about in finished.results.get("corpora", {}).items()}
    counted, first = Counter[str](), dict[str, str]()
    for finished in faces:
        for table, schema in (("photographs", PHOTOGRAPHS), ("faces", FACES)):
            scanned = finished.scan(table, schema)
            for batch in scanned.to_batches(
                columns=["corpus", "path", "note"], filter=pc.utf8_length(pc.field("note")) > 0
            ):
                for row in batch.to_pylist():
                    counted[row["note"]] += 1
                    first.setdefault(row["note"], f"{row['corpus']}: {row['path']}")
    listed = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return {
        "said": [sentence for about in corpora.values() for sentence in about.get("said", [])],
        "agreement": [
            {"corpus": name, **about["agreement"]} for name, about in corpora.items() if about.get("agreement")
        ],
        "rows": [{"note": note, "count": count, "first": first[note]} for note, count in listed[:KINDS]],
        "more": len(listed[KINDS:]),
    }
