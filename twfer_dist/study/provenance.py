"""What went into a report and what was lost on the way: photographs, detectors, training images, outputs."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.schema import DATASET, PHOTOGRAPHS, figures
from twfer_dist.core.status import NO_FACE, OK
from twfer_dist.engine.artifact import Artifact
from twfer_dist.study.inputs import output_name
from twfer_dist.study.metrics import split_order

_KEPT = ("stage", "fingerprint", "version", "schema", "digest", "rows", "counts", "config", "models", "versions",
    "inputs", "results")  # fmt: skip


def photograph_counts(faces: Sequence[Artifact], examples: int) -> dict[str, Any]:
    """rows and status (see `status_counts`) of the photographs; examples: about `examples` photographs without a face,
    as many of each status; copies: how many photographs are copies of how many pictures.
    """
    counts = status_counts(faces, "photographs")
    failed = [status for status in counts["status"] if status != OK]
    columns = ["photo_id", "corpus", "path", "status", "error"]
    listed: list[dict[str, Any]] = []
    for status in sorted(failed, key=lambda s: counts["status"][s]):
        limit, chosen = -(-examples // len(failed)), pc.field("status") == status
        scans = [output.scan("photographs", PHOTOGRAPHS) for output in faces]
        rows = [row for scan in scans for row in scan.head(limit, columns=columns, filter=chosen).to_pylist()]
        listed += sorted(rows, key=lambda row: row["photo_id"])[:limit]
    copies = Counter[str]()
    for output in faces:
        copies.update(output.results.get("copies", {}))
    return {**counts, "examples": listed, "copies": dict(copies)}


def status_counts(outputs: Sequence[Artifact], table: str) -> dict[str, Any]:
    """rows: how many rows a table has in all outputs; status: how many of them by status."""
    counts = Counter[str]()
    for output in outputs:
        counts.update(output.manifest.counts[table])
    return {"rows": sum(counts.values()), "status": dict(sorted(counts.items()))}


def detector_counts(faces: Sequence[Artifact]) -> list[dict[str, Any]]:
    """For each detector that ran: the photographs it examined, the faces it found, and the faces that were kept."""
    by_detector: dict[str, Counter[str]] = {}
    for output in faces:
        found = output.scan("photographs", PHOTOGRAPHS).to_table(columns=["faces"])["faces"]
        examined = sum(output.manifest.counts["photographs"].get(status, 0) for status in (OK, NO_FACE))
        counts = {
            "photographs": examined,
            "found": pc.sum(found).as_py() or 0,
            "kept": output.manifest.rows["faces"],
        }
        by_detector.setdefault(output.results["detector"], Counter()).update(counts)
    return [{"detector": detector, **counts} for detector, counts in by_detector.items()]


def split_counts(dataset: Artifact) -> dict[str, Any]:
    """Of each split of a data set: images, how many of them were generated, figures, and how many of these are in
    training too.
    """
    columns = ["split", "origin", "corpus", "figure_id"]
    batches = dataset.scan(".", DATASET).to_batches(columns=columns)
    rows = pa.concat_tables(pa.table(b).group_by(columns).aggregate([([], "count_all")]) for b in batches)
    parts = {split: rows.filter(pc.equal(rows["split"], split)) for split in pc.unique(rows["split"]).to_pylist()}
    figure_ids = {split: set(figures(part).to_pylist()) for split, part in parts.items()}
    splits = {}
    for split in sorted(parts, key=split_order):
        generated = parts[split].filter(pc.equal(parts[split]["origin"], "animated"))
        splits[split] = {
            "images": pc.sum(parts[split]["count_all"]).as_py(),
            "generated": pc.sum(generated["count_all"]).as_py() or 0,
            "figures": len(figure_ids[split]),
            "figures_in_training": len(figure_ids[split] & figure_ids.get("train", set())),
        }
    return {"name": output_name(dataset), "splits": splits}


def provenance(kind: str, output: Artifact) -> dict[str, Any]:
    """What an output is and what it was made from, as its manifest has it."""
    return {"kind": kind, "name": output_name(output), **{key: getattr(output.manifest, key) for key in _KEPT}}
