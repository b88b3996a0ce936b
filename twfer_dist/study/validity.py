"""The paper's validity test (Table 7) and its mirror: does an animated face show its expression as a real one does?

A recogniser trained on real faces is tested on real expressive faces and on animated neutral ones. In the mirror, one
trained on animated faces is tested on real ones, beside the one trained on real faces.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import DATASET, figures
from twfer_dist.core.status import OK
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Settings
from twfer_dist.engine.kind import Input, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.recognition.recogniser import name_of
from twfer_dist.study import metrics

VERSION = 2
ORIGINS = {"real": "photograph", "animated": "animated"}
"""The origin (column of DATASET) of the images in the two data sets."""


@dataclass(frozen=True)
class ValidityConfig(Settings):
    """Without settings: the inputs decide everything."""


def validity_spec(
    real: Artifact,
    animated: Artifact,
    models: Sequence[Artifact],
    predictions: Sequence[Artifact],
    config: ValidityConfig,
) -> StageSpec:
    """Score each model on the test images of both data sets: accuracy by expression and overall, n, 95 % intervals.

    real: a data set of labelled photographs. animated: one of animated neutral faces. models: trainings on either, at
    least one of them on `real`. predictions: the models' answers to both data sets. Test images whose figure is in the
    model's own training images are left out. `results["scores"]`: for each model, those trained on `real` first, and
    each data set, a row of `metrics.scores` with trained_on and asked_about ("real" or "animated"), left_out and
    by_intensity (see metrics). UserError where an input is of another kind, or answers are missing.
    """
    datasets = {"real": real, "animated": animated}
    trained = _by_training_set(datasets, models)
    inputs = {
        **datasets,
        **{f"model-{k}": m for k, m in enumerate(models)},
        **{f"predictions-{k}": p for k, p in enumerate(predictions)},
    }
    do = partial(_write, datasets=datasets, trained=trained, predictions=predictions)
    return StageSpec("validity", VERSION, inputs, config, {}, {}, do)


def _by_training_set(datasets: Mapping[str, Artifact], models: Sequence[Artifact]) -> list[tuple[str, Artifact]]:
    """Each model with the name of the data set that it was trained on, "real" first. UserError for wrong inputs."""
    for name, dataset in datasets.items():
        if (stage := dataset.manifest.stage) != "dataset":
            raise UserError(
                f"{dataset.uri} is given as the {name} faces but is the output of stage '{stage}': name a data set."
            )
    names = {dataset.digest: name for name, dataset in datasets.items()}
    for model in models:
        if model.manifest.stage != "train" or model.manifest.inputs["dataset"] not in names:
            raise UserError(
                f"{model.uri} is not a training on the real or animated faces of this validity test: name one that is."
            )
    trained = sorted(((names[m.manifest.inputs["dataset"]], m) for m in models), key=lambda pair: pair[0] != "real")
    if not trained or trained[0][0] != "real":
        raise UserError(
            f"The validity test has no model trained on {datasets['real'].uri}: add a training on the real faces."
        )
    return trained


def _write(
    output: StageOutput,
    *,
    datasets: Mapping[str, Artifact],
    trained: Sequence[tuple[str, Artifact]],
    predictions: Sequence[Artifact],
) -> None:
    images = {name: _test_images(name, dataset) for name, dataset in datasets.items()}
    scores = [
        {"trained_on": trained_on, **_score(model, datasets[trained_on], name, images[name], predictions)}
        for trained_on, model in trained
        for name in datasets
    ]
    output.results = {"scores": scores, "summary": [_summary(score) for score in scores]}


def _test_images(name: str, dataset: Artifact) -> pa.Table:
    """image_id, figure_id (with its corpus) and intensity of a data set's test images. UserError where there are none,
    or some are of another origin.
    """
    columns = ["image_id", "corpus", "figure_id", "origin", "intensity", "split"]
    wanted = (pc.field("status") == OK) & (pc.field("split") == "test")
    rows = dataset.scan(".", DATASET).to_table(columns=columns, filter=wanted)
    if not len(rows):
        raise UserError(f"{dataset.uri} has no test images: split the data set into at least train and test.")
    if foreign := sorted(set(rows["origin"].to_pylist()) - {ORIGINS[name]}):
        raise UserError(
            f"{dataset.uri} is given as the {name} faces but holds images of origin '{foreign[0]}': name another "
            "data set."
        )
    return pa.table({"image_id": rows["image_id"], "figure_id": figures(rows), "intensity": rows["intensity"]})


def _score(
    model: Artifact, training_set: Artifact, name: str, images: pa.Table, predictions: Sequence[Artifact]
) -> dict[str, Any]:
    """The model's score on those of `images` whose figures are not in its training images."""
    train = training_set.scan(".", DATASET).to_table(
        columns=["corpus", "figure_id"], filter=pc.field("split") == "train"
    )
    new = images.filter(pc.invert(pc.is_in(images["figure_id"], pc.unique(figures(train)))))
    if not len(new):
        raise UserError(
            f"Every figure in the {name} test images is also in the training images of {model.uri}: split both data "
            "sets by the same figures."
        )
    counted = pa.table({"image_id": new["image_id"], "split": pa.array([name] * len(new), pa.string())})
    counts = metrics.count(predictions, counted)
    evaluations = metrics.evaluate(counts.filter(pc.equal(counts["model"], name_of(model))))
    answers = int(evaluations[0].total.sum()) + evaluations[0].unanswered if evaluations else 0
    if answers != len(new):
        raise UserError(
            f"The predictions hold {answers} answers of {name_of(model)} to {len(new)} {name} test images: predict "
            "both data sets with this model in one stage."
        )
    (score,) = metrics.scores(evaluations)
    by_intensity = metrics.by_intensity(name_of(model), predictions, new)
    return {"asked_about": name, **score, "left_out": len(images) - len(new), "by_intensity": by_intensity}


def _summary(score: Mapping[str, Any]) -> str:
    accuracy, balanced = score["accuracy"], score["balanced_accuracy"]
    return (
        f"{score['model']}, trained on {score['trained_on']} faces, tested on {score['asked_about']} faces: accuracy "
        f"{100 * accuracy['share']:.1f} % ({accuracy['k']} of {accuracy['n']}), balanced accuracy "
        f"{balanced['value']:.3f} ({balanced['low']:.3f} to {balanced['high']:.3f})"
    )


KIND = StageKind(
    "validity",
    makes="the paper's validity test and its mirror",
    config=ValidityConfig,
    inputs=(
        Input("real", ("dataset",)),
        Input("animated", ("dataset",)),
        Input("models", ("train",), several=True),
        Input("predictions", ("predict",), several=True),
    ),
    build=lambda request: validity_spec(
        request.one("real"), request.one("animated"), request.all("models"), request.all("predictions"), request.config
    ),
)
