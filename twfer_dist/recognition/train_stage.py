"""The stage that trains a recogniser, data-parallel on Ray Train, and logs it to MLflow."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from twfer_dist.core.errors import UserError
from twfer_dist.dataset import loader
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.mlflow_model import Registration
from twfer_dist.engine.mlflow_run import Run
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recognition import calibration, product, recogniser, results, training
from twfer_dist.recognition.card import card
from twfer_dist.recognition.training import Predictions, State, TrainConfig
from twfer_dist.training import weights
from twfer_dist.training.distributed import rank_and_world_size
from twfer_dist.training.loop import check_divisible
from twfer_dist.training.observer import Record, Recorder, log_line
from twfer_dist.training.run import Trained, run_training
from twfer_dist.training.workers import Workers

VERSION = 4

HISTORY = "history.jsonl"


def train_spec(
    dataset: Artifact,
    config: TrainConfig,
    tracking: Tracking,
    *,
    initial: str | None = None,
    trunk: Artifact | None = None,
    register: str | None = None,
    workers: int = 0,
    gpu: bool = False,
    cpus: float = 1,
    checkpoint_seconds: float = 30,
) -> StageSpec:
    """Train a recogniser on the data set and keep its epoch with the best balanced accuracy on the validation
    images.

    Writes model.safetensors, model.json, novelty.safetensors and history.jsonl (the metrics of each epoch). `results`:
    scores (for each split loss, accuracy, balanced_accuracy, n and a confusion matrix), best_epoch, temperature,
    threshold, novelty, images (of each split), validation_held_out, held_out (`results.held_out_errors`), precision (of
    the products during training), run_id, summary.

    initial: a file of weights to start from (`recogniser.load_weights`). trunk: a training's output to take the trunk
    from: the papers' networks start from one that has seen many faces. register: the name under which MLflow registers
    the model, as the newest version and the champion. workers: processes of Ray Train with `cpus`
    each, and a GPU each with `gpu`; 0 trains in this process. A killed training resumes from its last checkpoint, at
    most `checkpoint_seconds` and one epoch old, and ends as an unbroken one would.
    """
    if trunk and dataset.manifest.config.get("fold") and trunk.manifest.inputs["dataset"] != dataset.digest:
        raise UserError(
            f"The trunk {trunk.uri} may have seen the figures of the fold that {dataset.uri} leaves out: start from a "
            "training on this data set."
        )
    task = _Task(dataset, config, storage.absolute(initial) if initial else None, trunk, register)
    inputs = {"dataset": dataset, **({"trunk": trunk} if trunk else {})}
    do = partial(_do, task, tracking, Workers(workers, gpu, cpus), checkpoint_seconds)
    return StageSpec("train", VERSION, inputs, config, task.check(), {}, do)


def _do(task: "_Task", tracking: Tracking, workers: Workers, checkpoint_seconds: float, output: StageOutput) -> None:
    config, trunk = task.config, task.trunk
    loader.splits(task.dataset, seed=config.seed)  # UserError if there are no images to train on or to validate with
    start = {"initial": task.initial, "trunk": trunk.uri if trunk else None}
    with run_training(
        output,
        task,
        tracking,
        workers,
        params=dataclasses.asdict(config) | {"workers": workers.count, **start},
        tags={"network": config.network},
        checkpoint_seconds=checkpoint_seconds,
        total=(config.epochs, "epochs"),
    ) as trained:
        _finish(output, task, trained)


@dataclass(frozen=True)
class _Result:
    """What rank 0 returns: the best network's predictions for each split, and what the splits are."""

    predictions: dict[str, Predictions]
    figures: dict[str, list[str]]  # of each split, in the order of the predictions
    held_out: bool  # the validation images are taken from the training split


@dataclass(frozen=True)
class _Task:
    """A recogniser in training, see `run.TrainingTask`."""

    dataset: Artifact
    config: TrainConfig
    initial: str | None
    trunk: Artifact | None
    register: str | None

    @property
    def datasets(self) -> Sequence[Artifact]:
        return (self.dataset,)

    @property
    def calibrated_on(self) -> tuple[str, ...]:
        """The parts that show how far the network's answers can be believed. With folds, a validation part may have two
        figures; those of the test part took no part in the training either.
        """
        return ("validation", "test") if self.dataset.manifest.config.get("fold") else ("validation",)

    def check(self) -> dict[str, str]:
        """The sha256 of initial weights. Raises UserError if the network cannot start as configured."""
        network = recogniser.build(self.config.network, self.config.size)
        if self.initial and self.trunk:
            raise UserError("A training starts from 'initial' or from a 'trunk', not from both: leave one out.")
        models = {"initial": recogniser.load_weights(network, self.initial)} if self.initial else {}
        if self.trunk:
            recogniser.load_trunk(network, self.trunk)
        return models

    def new_state(self, device: torch.device | str = "cpu") -> State:
        state = training.new_state(self.config, device)
        if self.initial:
            recogniser.load_weights(state.network, self.initial)
        if self.trunk:
            recogniser.load_trunk(state.network, self.trunk)
        return state

    def train(self, state: State, record: Record | None) -> _Result:
        import ray.train
        from ray.train.torch import prepare_model

        rank, world = rank_and_world_size()
        splits = loader.splits(self.dataset, seed=self.config.seed)
        share = {split: loader.load(self.dataset, ids, rank=rank, world=world) for split, ids in splits.ids.items()}
        recorder = Recorder[State](record) if record else None
        report = recorder.report if recorder else lambda epochs: None
        network = prepare_model(state.network, move_to_device=False)
        started = time.monotonic()
        for line in training.fit(state, network, self.config, share["train"], share["validation"], report):
            speed = len(splits.ids["train"]) / (time.monotonic() - started)
            if recorder:
                if recorder.checkpoint_due() or line["epoch"] == self.config.epochs:
                    recorder.save(state)
                log_line(recorder.record.run, line | {"images_per_second": speed})
            ray.train.report(line)
            started = time.monotonic()
        state.network.load_state_dict(state.best)
        predictions = {
            split: training.predict(
                state.network,
                self.config,
                images,
                features_of=calibration.NOVELTY_IMAGES if split in ("train", *self.calibrated_on) else 1,
            )
            for split, images in share.items()
            if splits.ids[split]
        }
        return _Result(predictions, _figures(splits, world), splits.held_out)


def _figures(splits: loader.Splits, world: int) -> dict[str, list[str]]:
    """The figure of each image, in the order in which the workers' shares are joined."""
    return {
        split: [figure for rank in range(world) for figure in figures[rank::world]]
        for split, figures in splits.figures.items()
    }


@dataclass(frozen=True)
class _Calibration:
    temperature: float
    threshold: calibration.Threshold
    novelty: calibration.Novelty


def _calibrate(train: Predictions, held_out: Sequence[Predictions], accuracy_target: float) -> _Calibration:
    logits, labels = (np.concatenate([getattr(p, name) for p in held_out]) for name in ("logits", "labels"))
    temperature = calibration.temperature(logits, labels)
    confidence = calibration.probabilities(logits, temperature).max(1)
    return _Calibration(
        temperature,
        calibration.threshold(confidence, logits.argmax(1) == labels, accuracy_target),
        calibration.novelty(train.features, train.feature_labels, np.concatenate([p.features for p in held_out])),
    )


def _finish(output: StageOutput, task: _Task, trained: Trained[State, _Result]) -> None:
    """Calibrate, write the files, and record the scores."""
    config, state, predictions = task.config, trained.state, trained.result.predictions
    train = predictions["train"]
    held_out = [predictions[split] for split in task.calibrated_on if split in predictions]
    fitted = _calibrate(train, held_out, config.accuracy_target)
    best_epoch = training.best_epoch(state.log)
    description = recogniser.describe(
        config.network, config.size, fitted.temperature, fitted.threshold, task.dataset, best_epoch
    )
    state.network.load_state_dict(state.best)
    output.write_file(recogniser.WEIGHTS, weights.encode(state.network))
    output.write_file(recogniser.NOVELTY, recogniser.novelty_to_bytes(fitted.novelty))
    output.write_file(recogniser.DESCRIPTION, description)
    output.write_file(HISTORY, "".join(storage.json_text(line) + "\n" for line in state.log).encode())
    scores = {split: results.scores_of(split, found, config) for split, found in predictions.items()}
    output.results |= {
        "scores": scores,
        "best_epoch": best_epoch,
        "temperature": fitted.temperature,
        "threshold": dataclasses.asdict(fitted.threshold),
        "novelty": {
            "limit": fitted.novelty.limit,
            "percentile": calibration.NOVELTY_PERCENTILE,
            "images": len(train.features),
            "held_out": sum(len(found.features) for found in held_out),
        },
        "images": {split: len(found.labels) for split, found in predictions.items()},
        "validation_held_out": trained.result.held_out,
        "precision": state.precision,
        "held_out": results.held_out_errors(predictions, trained.result.figures),
        "run_id": trained.run.id,
        "summary": results.summary(config, scores, best_epoch),
    }
    _log_result(output, trained.run, config, task.dataset, trained.result, task.register)


def _log_result(
    output: StageOutput, run: Run, config: TrainConfig, dataset: Artifact, result: _Result, register: str | None
) -> None:
    """Log the result to MLflow: metrics, scores, confusion matrices, and the model, registered where it has a name."""
    part = "test" if "test" in result.predictions else "validation"
    scores = training.scores(part, result.predictions[part], config)
    own = {f"model_{name}": value for name, value in scores.items()}  # beside the epochs' metrics of these names
    metrics = {name: output.results[name] for name in ("temperature", "best_epoch")}
    run.log_metrics(metrics | (scores if part == "test" else {}), step=output.results["best_epoch"])
    run.log_text(storage.json_text(output.results, indent=2), "scores.json")
    run.log_text(results.confusion_page(output.results["scores"]), "confusion.html")
    described = card(config, output.results, dataset, result.predictions, result.figures, register)
    run.log_text(described, "card.md")
    save = partial(product.save, directory=output.directory, manifest=output.preview())
    run.log_model(save, config.network, own, dataset, Registration(register, described) if register else None)


def _check(request: Request) -> None:
    check_divisible(request.config.batch, request.compute.workers)
    if request.files.get("initial") and request.one("trunk"):
        raise UserError("A training starts from 'initial' or from a 'trunk', not from both: leave one out.")


def _build(request: Request) -> StageSpec:
    return train_spec(
        request.one("dataset"),
        request.config,
        request.tracking,
        initial=request.files.get("initial"),
        trunk=request.one("trunk"),
        register=request.options.get("register"),
        workers=request.compute.workers,
        gpu=request.compute.gpus > 0,
    )


KIND = StageKind(
    "train",
    makes="a recogniser: ResNet-18 or ARM",
    config=TrainConfig,
    inputs=(Input("dataset", ("dataset",)), Input("trunk", ("train",), optional=True)),
    files=(InputFile("initial"),),
    options=("register",),
    build=_build,
    check=_check,
    tracked=True,
)
