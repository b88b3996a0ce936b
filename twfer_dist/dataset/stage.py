"""The stage that makes a data set of faces and animated faces: rows are chosen and split, then images are fetched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset import splits
from twfer_dist.dataset.balance import select
from twfer_dist.dataset.candidates import ORIGINS, collect_candidates, figure_keys
from twfer_dist.dataset.folds import assign_folds
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Range, Settings, shown
from twfer_dist.engine.kind import Input, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.workload import Content, Workload, joined

VERSION = 2
ROWS_PER_SHARD = 500


@dataclass(frozen=True)
class DatasetConfig(Settings):
    """What a data set holds and how it is split.

    The parts are train and test, or train, validation and test, by `ratios` (7, 1, 2) or by `counts` of images (15730,
    2960). With split "given", the corpus's own split is kept. With a `fold`, its figures are the test part, and
    `ratios` (7, 1) divide the others into train and validation: see `assign_folds`.
    """

    include: tuple[Literal["animated", "photographs"], ...] = ("animated",)  # or both
    # exactly this many images of each expression; all of them if null
    per_expression: Annotated[int, Range(1, 10**7)] | None = None
    # as many images of each expression as the rarest has, and no more than this
    at_most: Annotated[int, Range(1, 10**7)] | None = None
    # every figure in one part (ARM-1), or each figure divided among the parts (ARM-2)
    split: Literal["by_figure", "within_figure", "given"] = "by_figure"
    # of the parts, train and test or train, validation and test; [7, 1, 2] are 70, 10 and 20 %
    ratios: tuple[Annotated[float, Range(0, 10**9, above=True)], ...] | None = None
    counts: tuple[Annotated[int, Range(1, 10**9)], ...] | None = None  # images of each part, instead of ratios
    fold: tuple[Annotated[int, Range(1, 1000)], ...] | None = None  # [1, 3]: the first of three folds of the figures
    corpora: tuple[str, ...] = ()  # only images from these corpora; from all if empty
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0  # decides what is chosen and how it is split

    def agree(self) -> None:
        if not self.include:
            raise ValueError("include is []; use animated, photographs or both")
        if self.per_expression and self.at_most:
            raise ValueError("per_expression and at_most are both given; use one of them")
        if self.fold is not None:
            self._agree_on_fold(self.fold)
        if self.ratios is not None and self.counts is not None:
            raise ValueError("a split has both ratios and counts; use one of them")
        sizes = self.counts if self.ratios is None else self.ratios
        if self.split == "given":
            if sizes is not None:
                raise ValueError("the split 'given' is the corpus's own; leave out ratios and counts")
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
                f"{shown(list(self.ratios))}; use more images, or fewer parts"
            )
        if self.counts and images and sum(self.counts) != images:
            raise ValueError(
                f"counts add up to {sum(self.counts)}, but per_expression gives {images} images; make them agree, or "
                "use ratios"
            )

    def _agree_on_fold(self, fold: tuple[int, ...]) -> None:
        if len(fold) != 2 or fold[0] > fold[1] or fold[1] < 2:
            raise ValueError(f"fold is {shown(list(fold))}; use its number and how many there are, such as [1, 3]")
        if self.split == "given" or self.ratios is None or len(self.ratios) != 2:
            raise ValueError(
                "the figures outside a fold are divided by 2 ratios (train, validation), by_figure or within_figure; "
                "use ratios: [7, 1]"
            )


@dataclass(frozen=True)
class Split:
    """The part of each row, and how many images each part was to have, by its name."""

    parts: np.ndarray  # names, str (N,)
    wanted: dict[str, int]


def dataset_spec(faces: Sequence[Artifact], animated: Sequence[Artifact], config: DatasetConfig) -> StageSpec:
    """The stage that makes the table DATASET from finished outputs of `faces` and `animate`.

    Of `faces` the largest face of each labelled photograph is a candidate, of `animated` every image. Rows without a
    result are never candidates. The stage's results say what was asked for, reached and left out; `results["summary"]`
    says it in sentences. UserError if the configuration cannot be met.
    """
    inputs: dict[str, Artifact] = {}
    if "photographs" in config.include or config.split == "given":
        inputs |= {f"photographs-{k}": output for k, output in enumerate(faces)}
    if "animated" in config.include:
        inputs |= {f"animated-{k}": output for k, output in enumerate(animated)}
    do = partial(_write, inputs=inputs, config=config)
    return StageSpec("dataset", VERSION, inputs, config, {}, {".": schema.DATASET}, do)


def _write(output: StageOutput, *, inputs: Mapping[str, Artifact], config: DatasetConfig) -> None:
    candidates, left_out = collect_candidates(inputs, config.include, config.corpora)
    chosen = _choose(candidates, config)
    split = _split(chosen, config)
    figure_ids = figure_keys(chosen)
    if config.split == "by_figure":
        splits.check_leakage(figure_ids.tolist(), split.parts.tolist(), chosen["content"].to_pylist())
    output.results = _results(chosen, split, figure_ids, given=config.split == "given") | {
        "candidates": len(candidates),
        "left_out": left_out | {"not chosen": len(candidates) - len(chosen)},
    }
    plan = chosen.drop_columns(["reference", "given", "content"])
    plan = plan.append_column("split", pa.array(split.parts.tolist(), pa.string()))
    output.map(plan, [Step(fetch, kwargs={"inputs": inputs})], rows_per_shard=ROWS_PER_SHARD)


def _choose(candidates: pa.Table, config: DatasetConfig) -> pa.Table:
    labels = candidates["label"].to_numpy().astype(int)
    count = config.per_expression
    if config.at_most:
        count = min(config.at_most, int(np.bincount(labels, minlength=len(EXPRESSIONS) + 1)[1:].min()))
    if count is None:
        return candidates
    keys = [figure_keys(candidates).tolist()]
    keys += [[str(value) for value in candidates[column].to_pylist()] for column in ("intensity", "reference")]
    return candidates.take(select(candidates["image_id"].to_pylist(), labels, keys, count, config.seed))


def _split(chosen: pa.Table, config: DatasetConfig) -> Split:
    if config.split == "given":
        return _given_split(chosen)
    if config.fold:
        return _fold_split(chosen, config, *config.fold)
    sizes = _sizes(len(chosen), config)
    names = splits.PARTS[len(sizes)]
    return Split(np.array(names)[_divide(chosen, sizes, config)], dict(zip(names, sizes.tolist(), strict=True)))


def _divide(rows: pa.Table, sizes: np.ndarray, config: DatasetConfig) -> np.ndarray:
    """The number of the part of each row."""
    labels, figure_ids = rows["label"].to_numpy().astype(int) - 1, figure_keys(rows)
    if config.split == "within_figure":
        return splits.within_figure(labels, figure_ids, rows["image_id"].to_pylist(), sizes, config.seed)
    corpora = np.unique(rows["corpus"].to_pylist(), return_inverse=True)[1]
    return splits.by_figure([labels, corpora], figure_ids, sizes, config.seed)


def _fold_split(chosen: pa.Table, config: DatasetConfig, fold: int, folds: int) -> Split:
    """The figures of the fold are the test part; the others are divided into train and validation."""
    figures = schema.figures(chosen).to_pylist()
    test = assign_folds(figures, folds) == fold - 1
    rest = chosen.filter(pa.array(~test))
    learned, needed = len(schema.figures(rest).unique()), 2 if config.split == "by_figure" else 1
    if learned < needed:
        raise UserError(
            f"Cross-fitting needs images of at least {needed + 1} figures, and there are {len(set(figures))}: add "
            "photographs of others."
        )
    sizes = _sizes(len(rest), config)
    parts = np.full(len(chosen), "test", object)
    parts[~test] = np.array(splits.PARTS[3][:2])[_divide(rest, sizes, config)]
    wanted = dict(zip(splits.PARTS[3], [*sizes.tolist(), int(test.sum())], strict=True))
    return Split(parts, {name: size for name, size in wanted.items() if size})


def _sizes(images: int, config: DatasetConfig) -> np.ndarray:
    """The size of each part that the configuration asks for."""
    if config.counts:
        if sum(config.counts) != images:
            raise UserError(
                f"The split's counts add up to {sum(config.counts)} but the data set has {images} images: make them "
                "add up, change per_expression, or give ratios."
            )
        return np.array(config.counts)
    sizes = splits.apportion(images, config.ratios or ())
    if not sizes.all():
        raise UserError(
            f"{images} images do not fill {len(sizes)} parts by {config.ratios}: take more images, or fewer parts."
        )
    return sizes


def _given_split(chosen: pa.Table) -> Split:
    given = chosen["given"].to_pylist()
    if unknown := given.count(None):
        raise UserError(
            f"{unknown} images of the data set have no split of their own: add a column 'split' to the manifest, name "
            "the faces that the images were animated from, or split by_figure."
        )
    return Split(np.array(given), {name: given.count(name) for name in splits.PARTS[3] if name in given})


def _results(chosen: pa.Table, split: Split, figure_ids: np.ndarray, *, given: bool) -> dict[str, Any]:
    labels = chosen["label"].to_numpy()
    parts_of: dict[str, set[str]] = {}
    for figure_id, part in zip(figure_ids.tolist(), split.parts.tolist(), strict=True):
        parts_of.setdefault(figure_id, set()).add(part)
    leaks = sum(len(parts) > 1 for parts in parts_of.values())
    reached = {name: int((split.parts == name).sum()) for name in split.wanted}
    by_expression = {
        name: {
            expression: int(((split.parts == name) & (labels == label)).sum())
            for label, expression in enumerate(EXPRESSIONS, 1)
        }
        for name in reached
    }
    return {
        "asked": split.wanted,
        "reached": reached,
        "reached_by_expression": by_expression,
        "figures": {name: sum(name in parts for parts in parts_of.values()) for name in reached},
        "figures_on_several_sides": leaks,
        "summary": _summary(split.wanted, reached, len(parts_of), leaks if given else 0),
    }


def _summary(wanted: Mapping[str, int], reached: Mapping[str, int], figures: int, leaks: int) -> list[str]:
    request, sizes = (" + ".join(f"{n:,} {name}" for name, n in counts.items()) for counts in (wanted, reached))
    exact = wanted == reached
    match = "as requested" if exact else f"(requested: {request}; this is the nearest that keeps figures whole)"
    sentences = [f"{sum(reached.values()):,} images of {figures:,} figures: {sizes} {match}"]
    if leaks:
        sentences.append(
            f"{leaks:,} of {figures:,} figures, copies of a picture included, are in more than one part of the "
            "corpus's own split: scores on it are too good"
        )
    return sentences


def fetch(plan: pa.Table, *, inputs: Mapping[str, Artifact]) -> pa.Table:
    """The rows of the data set for a shard of its plan: images and Action Units, fetched by id from the inputs."""
    fetched = []
    for name in plan["input"].unique().to_pylist():
        rows = plan.filter(pc.equal(plan["input"], name))
        _, table, expected = ORIGINS[name.partition("-")[0]]
        key = expected.names[0]
        columns = [key, "action_units", "groups", "image", "width", "height", "status", "error"]
        images = inputs[name].table(table, expected, columns=columns, ids=rows["image_id"].to_pylist())
        if images[key].to_pylist() != rows["image_id"].to_pylist():
            raise ValueError(f"{inputs[name].uri} does not hold the images that were planned from it")
        for column in columns[1:]:
            rows = rows.append_column(column, images[column])
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


def _workload(request: Request) -> Workload:
    config, faces = request.config, joined(request.all("faces"))
    images = joined({"photographs": faces, "animated": joined(request.all("animated"))}[o] for o in config.include)
    known = {label: n for label, n in images.labels.items() if label is not None}
    count = config.per_expression or (config.at_most and min([config.at_most, *known.values()]))
    labels: dict[int | None, float] = {label: count or n for label, n in known.items()}
    parts = faces.parts if config.split == "given" else splits.shares(config.counts or config.ratios or (), config.fold)
    rows, whole = sum(labels.values()), sum(parts.values()) or 1
    return Workload("dataset", rows, "images", Content(labels, {p: n * rows / whole for p, n in parts.items()}))


KIND = StageKind(
    "dataset",
    makes="a balanced data set, split by figure (ARM-1 of the paper), within figures (ARM-2) or as given",
    config=DatasetConfig,
    inputs=(
        Input("faces", ("faces", "corrected"), several=True, optional=True),
        Input("animated", ("animate",), several=True, optional=True),
    ),
    build=lambda request: dataset_spec(request.all("faces"), request.all("animated"), request.config),
    workload=_workload,
    check=_check,
)
