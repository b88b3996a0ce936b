"""The stage that makes a data set of faces and animated faces: rows chosen, balanced and split, and their images
fetched.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset import splits
from twfer_dist.dataset.balance import select
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Range, Settings, shown
from twfer_dist.engine.kind import Input, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec

VERSION = 2
ROWS_PER_SHARD = 500

ORIGINS = {"photographs": ("photograph", "faces", schema.FACES), "animated": ("animated", ".", schema.ANIMATED)}
"""What a data set may include: the origin of its rows, and the table and schema that they come from."""


@dataclass(frozen=True)
class DatasetConfig(Settings):
    """What a data set holds and how it is split.

    The parts are train and test, or train, validation and test, by `ratios` (7, 1, 2) or by `counts` of images (15730,
    2960). With split "given" the corpus's own split stands.
    """

    include: tuple[Literal["animated", "photographs"], ...] = ("animated",)  # or both
    # exactly so many of each expression; all there are where None
    per_expression: Annotated[int, Range(1, 10**7)] | None = None
    # no figure on two sides (ARM-1), or each cut in parts (ARM-2)
    split: Literal["by_figure", "within_figure", "given"] = "by_figure"
    ratios: tuple[Annotated[float, Range(0, 10**9, above=True)], ...] | None = None
    counts: tuple[Annotated[int, Range(1, 10**9)], ...] | None = None
    corpora: tuple[str, ...] = ()  # only images from these corpora; all where empty
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0  # another seed chooses and splits otherwise

    def agree(self) -> None:
        if not self.include:
            raise ValueError("include is []; use animated, photographs or both")
        if self.ratios is not None and self.counts is not None:
            raise ValueError("a split has both ratios and counts; use one of them")
        sizes = self.counts if self.ratios is None else self.ratios
        if self.split == "given":
            if sizes is not None:
                raise ValueError("the split 'given' takes the corpus's own; leave ratios and counts out")
        elif sizes is None:
            raise ValueError(f"the split '{self.split}' needs ratios, such as [7, 1, 2], or counts")
        elif len(sizes) not in splits.PARTS:
            name = "counts" if self.ratios is None else "ratios"
            raise ValueError(
                f"{name} is {shown(list(sizes))}; use 2 numbers (train, test) or 3 (train, validation, test)"
            )
        images = len(EXPRESSIONS) * (self.per_expression or 0)
        if self.ratios and images and not splits.apportion(images, self.ratios).all():
            raise ValueError(
                f"per_expression gives {images} images, which do not fill {len(self.ratios)} parts by "
                f"{shown(list(self.ratios))}; "
                "use more images, or fewer parts"
            )
        if self.counts and images and sum(self.counts) != images:
            raise ValueError(
                f"counts add up to {sum(self.counts)}, and per_expression gives {images} images; make them agree, "
                "or use ratios"
            )


def dataset_job(faces: Sequence[Artifact], animated: Sequence[Artifact], config: DatasetConfig) -> StageSpec:
    """The job that makes the table DATASET of finished outputs of `faces` and `animate`.

    Of `faces` the largest face of each labelled photograph is a candidate, of `animated` every image. Rows that have no
    result are never candidates. `Finished.results` holds what was asked, reached and left out; `results["summary"]` is
    a line to print. Problem where the configuration cannot be followed.
    """
    inputs: dict[str, Artifact] = {}
    if "photographs" in config.include or config.split == "given":
        inputs |= {f"photographs-{k}": finished for k, finished in enumerate(faces)}
    if "animated" in config.include:
        inputs |= {f"animated-{k}": finished for k, finished in enumerate(animated)}

    def do(work: StageOutput) -> None:
        candidates, left_out = _candidates(inputs, config)
        chosen = _choose(candidates, config)
        parts, names, asked = _split(chosen, config)
        named = np.array(names)[parts]
        figure_ids = _figure_keys(chosen).tolist()
        if config.split == "by_figure":
            splits.check_leakage(figure_ids, named.tolist(), chosen["content"].to_pylist())
        work.results = _results(chosen, named, figure_ids, names, asked, config.split) | {
            "candidates": len(candidates),
            "left_out": left_out | {"not chosen": len(candidates) - len(chosen)},
        }
        plan = chosen.drop_columns(["reference", "given", "content"]).append_column(
            "split", pa.array(named.tolist(), pa.string())
        )
        work.map(plan, [Step(fetch, kwargs={"inputs": inputs})], rows_per_shard=ROWS_PER_SHARD)

    return StageSpec("dataset", VERSION, inputs, config, {}, {".": schema.DATASET}, do)


def _candidates(inputs: Mapping[str, Artifact], config: DatasetConfig) -> tuple[pa.Table, dict[str, int]]:
    """The rows that may be chosen, with the input that each comes from, and counts of those that may not."""
    left_out: Counter[str] = Counter()
    given: dict[str, str | None] = {}  # the split that each face was given
    tables = []
    for name, finished in inputs.items():
        animated = name.startswith("animated")
        origin, table, expected = ORIGINS["animated" if animated else "photographs"]
        own = ["level", "intensity", "reference_id"] if animated else ["photo_id", "rank", "split"]
        columns = [expected.names[0], "face_id", "corpus", "figure_id", "label", "status", *own]
        rows = finished.table(table, expected, columns=list(dict.fromkeys(columns)))
        if not animated:
            given |= zip(rows["face_id"].to_pylist(), rows["split"].to_pylist(), strict=True)
            if "photographs" not in config.include:
                continue
        keep = pc.equal(rows["status"], OK)
        left_out["without result"] += len(rows) - pc.sum(keep).as_py()
        rows = rows.filter(keep)
        content: dict[str, str] = {}  # a digest of each photograph; of generated images only their figures are known
        if not animated:
            photographs = finished.table("photographs", schema.PHOTOGRAPHS, columns=["photo_id", "content_sha256"])
            content = dict(zip(*(photographs[name].to_pylist() for name in photographs.column_names), strict=True))
            rows = _drop(rows, pc.not_equal(rows["rank"], 0), "not the largest face", left_out)
            rows = _drop(rows, pc.is_null(rows["label"]), "no expression known", left_out)
        if config.corpora:
            rows = _drop(
                rows,
                pc.invert(pc.is_in(rows["corpus"], pa.array(config.corpora, pa.string()))),
                "of another corpus",
                left_out,
            )
        count = len(rows)
        tables.append(
            pa.table(
                {
                    "image_id": rows[expected.names[0]],
                    "label": rows["label"],
                    "figure_id": rows["figure_id"],
                    "corpus": rows["corpus"],
                    "origin": pa.array([origin] * count, pa.string()),
                    "intensity": rows["intensity"] if animated else pa.nulls(count, pa.float32()),
                    "reference": rows["reference_id"] if animated else pa.nulls(count, pa.string()),
                    "given": pa.array([given.get(f) for f in rows["face_id"].to_pylist()], pa.string()),
                    "content": pa.array(
                        [None] * count if animated else map(content.get, rows["photo_id"].to_pylist()), pa.string()
                    ),
                    "input": pa.array([name] * count, pa.string()),
                }
            )
        )
    if not sum(len(t) for t in tables):
        why = ", ".join(f"{n} {reason}" for reason, n in left_out.items() if n) or "the inputs are empty"
        raise UserError(
            f"There is no image for the data set ({why}): include other origins or corpora, or label photographs."
        )
    candidates = pa.concat_tables(tables).combine_chunks().sort_by("image_id")
    if len(candidates) != pc.count_distinct(candidates["image_id"]).as_py():
        raise UserError(
            "The inputs of a data set hold the same images twice: name every finished output and every corpus once."
        )
    return candidates, {reason: n for reason, n in left_out.items() if n}


def _drop(rows: pa.Table, condition: pa.ChunkedArray, reason: str, left_out: Counter[str]) -> pa.Table:
    kept = rows.filter(pc.invert(condition))
    left_out[reason] += len(rows) - len(kept)
    return kept


def _figure_keys(table: pa.Table) -> np.ndarray:
    """One readable key for each figure."""
    return np.array([key.replace("\0", "/", 1) for key in schema.figures(table).to_pylist()])


def _choose(candidates: pa.Table, config: DatasetConfig) -> pa.Table:
    if config.per_expression is None:
        return candidates
    labels = candidates["label"].to_numpy().astype(int)
    keys = [_figure_keys(candidates).tolist()]
    keys += [[str(value) for value in candidates[column].to_pylist()] for column in ("intensity", "reference")]
    return candidates.take(select(candidates["image_id"].to_pylist(), labels, keys, config.per_expression, config.seed))


def _split(chosen: pa.Table, config: DatasetConfig) -> tuple[np.ndarray, tuple[str, ...], dict[str, int]]:
    """The part of each row, the parts' names, and the size asked of each part."""
    if config.split == "given":
        return _given(chosen)
    labels = chosen["label"].to_numpy().astype(int) - 1
    figure_ids = _figure_keys(chosen)
    if config.counts:
        if sum(config.counts) != len(chosen):
            raise UserError(
                f"The split's counts add up to {sum(config.counts)} and the data set has {len(chosen)} images: "
                "make them add up, change per_expression, or give ratios."
            )
        sizes = np.array(config.counts)
    else:
        sizes = splits.apportion(len(chosen), config.ratios or ())
        if not sizes.all():
            raise UserError(
                f"{len(chosen)} images do not fill {len(sizes)} parts by {config.ratios}: take more images, or "
                "fewer parts."
            )
    if config.split == "by_figure":
        corpora = np.unique(chosen["corpus"].to_pylist(), return_inverse=True)[1]
        parts = splits.by_figure([labels, corpora], figure_ids, sizes, config.seed)
    else:
        parts = splits.within_figure(labels, figure_ids, chosen["image_id"].to_pylist(), sizes, config.seed)
    names = splits.PARTS[len(sizes)]
    return parts, names, dict(zip(names, sizes.tolist(), strict=True))


def _given(chosen: pa.Table) -> tuple[np.ndarray, tuple[str, ...], dict[str, int]]:
    given = chosen["given"].to_pylist()
    if unknown := given.count(None):
        raise UserError(
            f"{unknown} images of the data set have no split of their own: add a column 'split' to the manifest, "
            "give the faces that "
            "images were animated from, or split by_figure."
        )
    names = tuple(name for name in splits.PARTS[3] if name in given)
    return np.array([names.index(split) for split in given]), names, {name: given.count(name) for name in names}


def _results(
    chosen: pa.Table, named: np.ndarray, figure_ids: list[str], names: Sequence[str], asked: dict[str, int], split: str
) -> dict[str, Any]:
    labels = chosen["label"].to_numpy()
    reached = {name: int((named == name).sum()) for name in names}
    by_label = {
        name: {
            expression: int(((named == name) & (labels == label)).sum())
            for label, expression in enumerate(EXPRESSIONS, 1)
        }
        for name in reached
    }
    of_figure: dict[str, set[str]] = {}
    for figure_id, side in zip(figure_ids, named.tolist(), strict=True):
        of_figure.setdefault(figure_id, set()).add(side)
    leaks = sum(len(found) > 1 for found in of_figure.values())
    warning = (
        f"{leaks:,} of {len(of_figure):,} figures (a figure, or a picture with its copies) are on more than one "
        "side of the split that the "
        "corpus gives: scores on it are too good"
    )
    lines = [" + ".join(f"{n:,} {name}" for name, n in sizes.items()) for sizes in (asked, reached)]
    return {
        "asked": asked,
        "reached": reached,
        "reached_by_expression": by_label,
        "figures": {name: sum(name in found for found in of_figure.values()) for name in reached},
        "figures_on_several_sides": leaks,
        "summary": [
            f"{len(chosen):,} images of {len(of_figure):,} figures: {lines[1]}"
            + (
                " as asked" if asked == reached else f" (asked: {lines[0]}; the nearest found that keeps figures whole)"
            ),
            *([warning] if leaks and split == "given" else []),
        ],
    }


def fetch(plan: pa.Table, *, inputs: Mapping[str, Artifact]) -> pa.Table:
    """The rows of the data set for a part of its plan: images and Action Units fetched by id from the inputs."""
    fetched = []
    for name in plan["input"].unique().to_pylist():
        rows = plan.filter(pc.equal(plan["input"], name))
        _, table, expected = ORIGINS[name.partition("-")[0]]
        key = expected.names[0]
        columns = [key, "action_units", "groups", "image", "width", "height", "status", "error"]
        found = inputs[name].table(table, expected, columns=columns, ids=rows["image_id"].to_pylist())
        if found[key].to_pylist() != rows["image_id"].to_pylist():
            raise ValueError(f"{inputs[name].uri} does not hold the images that were planned from it")
        for column in columns[1:]:
            rows = rows.append_column(column, found[column])
        fetched.append(rows.drop_columns(["input"]))
    return pa.concat_tables(fetched).select(schema.DATASET.names)


def _check(request: Request) -> None:
    keys = {"photographs": "faces", "animated": "animated"}
    if missing := [origin for origin in request.config.include if not request.all(keys[origin])]:
        raise UserError(
            f"The data set includes {missing[0]}, but '{keys[missing[0]]}' is missing: name the stages that make them."
        )
    if request.config.split == "given" and not request.all("faces"):
        raise UserError(
            "The split 'given' is that of the photographs, but 'faces' is missing: name the stages that make them."
        )


KIND = StageKind(
    "dataset",
    config=DatasetConfig,
    inputs=(
        Input("faces", ("faces", "corrected"), several=True, optional=True),
        Input("animated", ("animate",), several=True, optional=True),
    ),
    build=lambda request: dataset_job(request.all("faces"), request.all("animated"), request.config),
    check=_check,
)
