"""What a report is made from, and which of its faces show figures that a model was trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.language import mark
from twfer_dist.core.schema import DATASET, FACES, PREDICTIONS, figures
from twfer_dist.engine.artifact import Artifact

NEW = mark("figures new to the model")
SEEN = mark("figures seen in training")
ALL = mark("all labelled photographs")
"""The splits of photographs: whether their figure is in the training part of a data set; ALL without data sets."""

_ID_COLUMNS = ["image_id", "corpus", "figure_id"]


@dataclass(frozen=True)
class ReportInputs:
    """The finished outputs that a report is made from; any of them may be absent."""

    predictions: Sequence[Artifact] = ()
    faces: Sequence[Artifact] = ()
    animated: Sequence[Artifact] = ()
    datasets: Sequence[Artifact] = ()
    models: Sequence[Artifact] = ()  # trainings and sweeps
    validity: Sequence[Artifact] = ()
    explanations: Sequence[Artifact] = ()
    similarity: Sequence[Artifact] = ()

    def __iter__(self) -> Iterator[tuple[str, Sequence[Artifact]]]:
        """The kinds of inputs by name, each with its outputs."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))


def output_name(output: Artifact) -> str:
    """The name of an output's directory, without the path to it."""
    return f"{output.manifest.stage}-{output.manifest.fingerprint}"


def dataset_images(dataset: Artifact) -> pa.Table:
    """image_id, split and intensity of every image in a data set."""
    return dataset.scan(".", DATASET).to_table(columns=["image_id", "split", "intensity"])


def photograph_splits(inputs: ReportInputs) -> pa.Table:
    """image_id and split (NEW, SEEN or ALL) of the faces of photographs, sorted by id.

    Without outputs of `faces`, these are all predicted images that are in no data set.
    """
    if inputs.faces:
        columns = ["face_id", "corpus", "figure_id"]
        tables = [output.scan("faces", FACES).to_table(columns=columns) for output in inputs.faces]
    else:
        tables = [output.scan(".", PREDICTIONS).to_table(columns=_ID_COLUMNS) for output in inputs.predictions]
    empty = pa.table({column: pa.array([], pa.string()) for column in _ID_COLUMNS})
    rows = pa.concat_tables([empty, *(table.rename_columns(_ID_COLUMNS) for table in tables)])
    rows = rows.group_by(_ID_COLUMNS).aggregate([]).sort_by("image_id")
    if not inputs.faces:
        for dataset in inputs.datasets:
            known = dataset_images(dataset)["image_id"].combine_chunks()
            rows = rows.filter(pc.invert(pc.is_in(rows["image_id"], known)))
    return pa.table({"image_id": rows["image_id"], "split": seen_or_new(rows, inputs)})


def seen_or_new(rows: pa.Table, inputs: ReportInputs) -> pa.Array:
    """The split of each of `rows` (columns corpus and figure_id): SEEN where the figure is in the training part of a
    data set, else NEW; ALL without data sets.

    A data set of a cross-fit does not count: its training reads no figure that it saw.
    """
    if not inputs.datasets:
        return pa.array([ALL] * len(rows), pa.string())
    cross_fitted = {
        digest
        for output in inputs.predictions
        if "cross_fitted" in output.results
        for digest in output.manifest.inputs.values()
    }
    seen: set[str] = set()
    for dataset in (dataset for dataset in inputs.datasets if dataset.digest not in cross_fitted):
        train = dataset.scan(".", DATASET).to_batches(
            columns=["corpus", "figure_id"], filter=pc.field("split") == "train"
        )
        for batch in train:
            seen.update(figures(batch).to_pylist())
    return pc.if_else(pc.is_in(figures(rows), pa.array(sorted(seen), pa.string())), SEEN, NEW)


def predictions_of(predictions: Sequence[Artifact], images: Sequence[Artifact]) -> Sequence[Artifact]:
    """The predictions made from one of `images`, so that an image in several tables counts once.

    All predictions where none names one of `images` as its input (a data set may hold the faces of photographs).
    """
    digests = {output.digest for output in images}
    return [p for p in predictions if digests & set(p.manifest.inputs.values())] or predictions
