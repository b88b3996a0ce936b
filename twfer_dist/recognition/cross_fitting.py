"""Cross-fitting: each image is read by the training whose data set left its figure out."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import DATASET, figures
from twfer_dist.dataset.folds import assign_folds
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.spreadsheet import as_written, rows_to_csv
from twfer_dist.recognition.recogniser import NAMES, name_of, open_recogniser

CROSS_FITTED = ", cross-fitted"
"""How the names of cross-fitted recognisers end in tables."""

FILE = "cross-fitting.csv"
"""Which training read the images of which figure."""


@dataclass(frozen=True)
class CrossFit:
    """Trainings of one network, and for each the figures (`schema.figures`) of its training and validation images, and
    those of its test images.
    """

    models: tuple[Artifact, ...]
    seen: tuple[pa.Array, ...]
    tested: tuple[pa.Array, ...]

    @property
    def name(self) -> str:
        """The name of all of them together in tables."""
        return NAMES[self.models[0].manifest.config["network"]] + CROSS_FITTED

    def assign(self, named: pa.Array) -> np.ndarray:
        """The number of the model that reads each figure of `named`, int16 (N,): one that did not see it.

        Where several did not see it, `assign_folds` decides between them. UserError
        where every model saw a figure.
        """
        unseen = np.stack([~pc.is_in(named, seen).to_numpy(zero_copy_only=False) for seen in self.seen], axis=1)
        if not (left_out := unseen.any(1)).all():
            figure = named[int(np.argmin(left_out))].as_py().replace("\0", "/", 1)
            raise UserError(
                f"All {len(self.models)} models saw the figure {figure} in training or validation, so none of them may "
                "read it: name a model for each fold of one data set (fold: [1, 3], [2, 3], [3, 3])."
            )
        first = assign_folds(named.to_pylist(), len(self.models))
        turns = (first[:, None] + np.arange(len(self.models))) % len(self.models)
        number = np.argmax(np.take_along_axis(unseen, turns, axis=1), axis=1)
        return np.take_along_axis(turns, number[:, None], axis=1)[:, 0].astype(np.int16)

    def results(self, named: pa.Array, images: np.ndarray, readers: np.ndarray) -> dict[str, Any]:
        """What each training read, for the results of the stage. images: how many each of the figures `named` has.
        readers: as `assign` gives them.
        """
        entries = []
        for k, model in enumerate(self.models):
            read = readers == k
            counts = {"images": int(images[read].sum()), "figures": int(read.sum())}
            entries.append(
                {"model": name_of(model), "training": model.digest, **counts, "test_figures": len(self.tested[k])}
            )
        summary = (
            f"{images.sum():,} images of {len(named):,} figures, each read by the one of {len(self.models)} "
            "trainings that never saw its figure"
        )
        return {"cross_fitted": entries, "summary": [summary]}

    def as_csv(self, named: pa.Array, readers: np.ndarray) -> bytes:
        """The file FILE: a line for each figure and the training that read it."""
        rows = []
        for name, reader in sorted(set(zip(named.to_pylist(), readers.tolist(), strict=True))):
            corpus, _, figure_id = name.rpartition("\0")
            model = self.models[reader]
            rows.append({"corpus": corpus, "figure_id": figure_id, "model": name_of(model), "training": model.digest})
        return rows_to_csv(["corpus", "figure_id", "model", "training"], rows)


def readers_of(predictions: Artifact) -> dict[str, str]:
    """The digest of the training that read each figure (`schema.figures`), from the output of a cross-fit."""
    lines = csv.DictReader(io.StringIO(storage.read_bytes(predictions.path(FILE)).decode("utf-8-sig")))
    rows = [{key: as_written(value) for key, value in line.items()} for line in lines]
    columns = pa.schema([(name, pa.string()) for name in ("corpus", "figure_id", "training")])
    table = pa.Table.from_pylist(rows, columns)
    return dict(zip(figures(table).to_pylist(), table["training"].to_pylist(), strict=True))


def cross_fit(models: Sequence[Artifact], datasets: Sequence[Artifact]) -> CrossFit:
    """The trainings with what they saw. datasets: those that they were trained on, in any order.

    UserError where the data set of a training is not among them, or the trainings differ in network or size.
    """
    sizes = {open_recogniser(model).size for model in models}
    networks = {model.manifest.config["network"] for model in models}
    if len(networks) > 1 or len(sizes) > 1:
        raise UserError("The models of a cross-fit must be of one network and size: name the trainings of one network.")
    by_digest = {dataset.digest: dataset for dataset in datasets}
    seen, tested = [], []
    for model in models:
        dataset = by_digest.get(model.manifest.inputs["dataset"])
        if dataset is None:
            raise UserError(
                f"The data set that {model.uri} was trained on is not among 'datasets': name it, so that no face is "
                "read by a model that saw it."
            )
        seen.append(_figures(dataset, pc.field("split") != "test"))
        tested.append(_figures(dataset, pc.field("split") == "test"))
    return CrossFit(tuple(models), tuple(seen), tuple(tested))


def _figures(dataset: Artifact, rows: pc.Expression) -> pa.Array:
    """The figures of some rows of a data set, each once."""
    return figures(dataset.scan(".", DATASET).to_table(columns=["corpus", "figure_id"], filter=rows)).unique()
