"""Rendered heads as a corpus: their images stand in the table of a `render` stage instead of in files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from twfer_dist.core import schema
from twfer_dist.corpus.corpus import Corpus
from twfer_dist.corpus.files import Fact
from twfer_dist.corpus.votes import label_from_votes, parse_votes
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact

LAYOUT = "rendered"
"""`notes["layout"]` of such a corpus."""

_COLUMNS = ["image_id", "figure_id", "label", "votes", "groups"]


@dataclass(frozen=True)
class RenderedHeads:
    """The images of a `render` stage as a corpus called `called`, all in one `split`; `path` is the image's id."""

    rendered: Artifact
    called: str = "rendered"
    split: str | None = None

    def corpus(self) -> Corpus:
        """Labels come from the simulated annotators' votes; where there are none, they are the rendered expressions.
        The rendered Action Units are left out: as of a photograph, they are for the faces stage to measure.
        """
        images = self.rendered.table(".", schema.RENDERED, columns=_COLUMNS).to_pylist()
        rows = [_row(self.called, image) | {"split": self.split} for image in images]
        rows.sort(key=lambda row: row["photo_id"])
        notes = {
            "layout": LAYOUT,
            "photographs": len(rows),
            "figures": len({row["figure_id"] for row in rows}),
            "labelled": sum(row["label"] is not None for row in rows),
            "remarks": [],
        }
        digest = self.rendered.digest
        facts: list[Fact | None] = [(int(digest, 16), 0)] * len(rows)  # in the place of a file's size and time
        table = pa.Table.from_pylist(rows, schema=schema.CORPUS)
        whole = storage.digest([self.called, self.split, digest])
        votes = {row["photo_id"]: parse_votes(i["votes"]) for row, i in zip(rows, images, strict=True) if i["votes"]}
        return Corpus(self.called, self.rendered.uri, table, facts, whole, credits={}, votes=votes, notes=notes)

    def images(self, planned: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
        """The encoded image of each of the planned photographs that is of this corpus, by `photo_id`."""
        mine = {row["path"]: row["photo_id"] for row in planned if row["corpus"] == self.called}
        rows = self.rendered.table(".", schema.RENDERED, columns=["image_id", "image"], ids=mine).to_pylist()
        return {mine[row["image_id"]]: row["image"] for row in rows}


def _row(name: str, image: Mapping[str, Any]) -> dict[str, Any]:
    label, rule = image["label"], "none" if image["label"] is None else "given"
    if image["votes"]:
        label, rule = label_from_votes(parse_votes(image["votes"]).values())
    return {
        "photo_id": schema.photo_id(name, image["image_id"]),
        "corpus": name,
        "path": image["image_id"],
        **{key: image[key] for key in ("figure_id", "groups")},
        "label": label,
        "label_rule": rule,
    }
