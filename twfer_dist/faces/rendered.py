"""Rendered heads as a corpus: their images stand in the table of a `render` stage instead of in files."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from twfer_dist.core import schema
from twfer_dist.corpus.corpus import Corpus
from twfer_dist.corpus.votes import label_from_votes, parse_votes
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact

LAYOUT = "rendered"
"""`notes["layout"]` of such a corpus."""

_COLUMNS = ["image_id", "figure_id", "label", "votes", "groups"]


def rendered_corpus(rendered: Artifact, name: str, split: str | None = None) -> Corpus:
    """The images of a `render` stage as a corpus called `name`, all in one `split`; `path` is the image's id.

    Labels come from the simulated annotators' votes; where there are none, they are the rendered expressions. The
    rendered Action Units are left out: as of a photograph, they are for the faces stage to measure.
    """
    images = rendered.table(".", schema.RENDERED, columns=_COLUMNS).to_pylist()
    rows = sorted((_row(name, image) | {"split": split} for image in images), key=lambda row: row["photo_id"])
    notes = {
        "layout": LAYOUT,
        "photographs": len(rows),
        "figures": len({row["figure_id"] for row in rows}),
        "labelled": sum(row["label"] is not None for row in rows),
        "remarks": [],
    }
    table = pa.Table.from_pylist(rows, schema=schema.CORPUS)
    fact = (int(rendered.digest[:12], 16), 0)  # in the place of a file's size and time: other renders, another fact
    digest = storage.digest([name, split, rendered.digest])
    return Corpus(name, rendered.uri, table, [fact] * len(rows), digest, notes)


def _row(name: str, image: Mapping[str, Any]) -> dict[str, Any]:
    label, rule = image["label"], "none" if image["label"] is None else "given"
    if image["votes"]:
        label, rule = label_from_votes(parse_votes(image["votes"]))
    return {
        "photo_id": schema.photo_id(name, image["image_id"]),
        "corpus": name,
        "path": image["image_id"],
        **{key: image[key] for key in ("figure_id", "groups")},
        "label": label,
        "label_rule": rule,
    }


def rendered_images(rendered: Artifact, image_ids: Sequence[str]) -> dict[str, bytes]:
    """The encoded image of each id."""
    rows = rendered.table(".", schema.RENDERED, columns=["image_id", "image"], ids=list(image_ids))
    return dict(zip(rows["image_id"].to_pylist(), rows["image"].to_pylist(), strict=True))
