"""The stage that trains a recogniser, data-parallel on Ray Train, and logs it to MLflow."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from twfer_dist.core.errors import UserError
from twfer_dist.dataset.parts import PARTS, Parts, parts_of
from twfer_dist.dataset.stream import ImageSource
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.mlflow_model import Registration
from twfer_dist.engine.mlflow_run import Run
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recognition import calibration, predictions, product, recogniser, results, training
from twfer_dist.recognition.card import card
from twfer_dist.recognition.predictions import Predictions
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.recognition.training import State
from twfer_dist.training import weights
from twfer_dist.training.distributed import rank_and_world_size
from twfer_dist.training.normalisation import synchronise
from twfer_dist.training.observer import Record, Recorder, log_line
from twfer_dist.training.run import Trained, run_training
from twfer_dist.training.workers import Workers, loader_processes

VERSION = 5

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
    """Train a recogniser on the data set and keep its epoch with the best balanced accuracy on the validation images.

    Writes model.safetensors, model.json, novelty.safetensors and history.jsonl (the metrics of each epoch). `results`:
    scores (for each split loss, accuracy, balanced_accuracy, n and a confusion matrix), best_epoch, temperature,
    threshold, novelty, images (of each split), validation_held_out, held_out (`results.held_out_errors`), precision (of
    the products during training), run_id, summary.

    initial: a file of weights to start from (`recogniser.load_weights`). trunk: a training's output to take the trunk
    from: the papers' networks start from one that has seen many faces. register: the name under which MLflow registers
    the model, as the newest version and the champion. workers: processes of Ray Train with `cpus` each, and a GPU each
    with `gpu`; 0 trains in this process. Their number changes the result by rounding only. A killed training resumes
    from its last checkpoint, at most `checkpoint_seconds` and one update of the weights old, and ends as an unbroken
    one would.
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
    task = dataclasses.replace(task, parts=parts_of(task.dataset, seed=config.seed))
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
class _Task:
    """A recogniser in training, see `run.TrainingTask`."""

    dataset: Artifact
    config: TrainConfig
    initial: str | None
    trunk: Artifact | None
    register: str | None
    parts: Parts = Parts((), frozenset())

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
        training.start_average(state, self.config)
        return state

    def train(self, state: State, record: Record | None) -> dict[str, Predictions]:
        """The best network's predictions for each part, on every worker."""
        import ray.train
        from ray.train.torch import prepare_model

        source = ImageSource(self.dataset, self.parts).of_worker(*rank_and_world_size())
        recorder = Recorder[State](record) if record else None

        def report(epochs: float) -> None:
            if recorder:
                recorder.report(epochs)
                if recorder.checkpoint_due():
                    recorder.save(state)

        synchronise(state.network)
        network = prepare_model(
            state.network, move_to_device=False, parallel_strategy_kwargs={"broadcast_buffers": False}
        )
        processes = loader_processes(next(state.network.parameters()).device)
        started = time.monotonic()
        for line in training.fit(state, network, self.config, source, report, processes=processes):
            speed = source.count("train") / (time.monotonic() - started)
            if recorder:
                if recorder.checkpoint_due() or training.ended(state.log, self.config):
                    recorder.save(state)
                log_line(recorder.record.run, line | {"images_per_second": speed})
            ray.train.report(line)
            started = time.monotonic()
        state.network.load_state_dict(state.best)
        return {part: self._predict(state, source, part) for part in PARTS if source.count(part)}

    def _predict(self, state: State, source: ImageSource, part: str) -> Predictions:
        wanted = calibration.NOVELTY_IMAGES if part in ("train", *self.calibrated_on) else 1
        return predictions.predict(
            state.network,
            self.config,
            source.in_order(part, self.config.batch),
            first=source.run_of(part)[0],
            stride=max(1, source.count(part) // wanted),
        )


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


def _finish(output: StageOutput, task: _Task, trained: Trained[State, dict[str, Predictions]]) -> None:
    """Calibrate, write the files, and record the scores."""
    config, state, predicted = task.config, trained.state, trained.result
    train = predicted["train"]
    held_out = [predicted[split] for split in task.calibrated_on if split in predicted]
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
    scores = {split: results.scores_of(split, found, config) for split, found in predicted.items()}
    figures = {split: task.parts.figures(task.dataset, split) for split in predicted}
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
        "images": {split: len(found.labels) for split, found in predicted.items()},
        "validation_held_out": bool(task.parts.held_out),
        "precision": state.precision,
        "held_out": results.held_out_errors(predicted, figures),
        "run_id": trained.run.id,
        "summary": results.summary(config, scores, best_epoch),
    }
    _log_result(output, trained.run, task, predicted, figures)


def _log_result(
    output: StageOutput,
    run: Run,
    task: _Task,
    predicted: Mapping[str, Predictions],
    figures: Mapping[str, Sequence[str]],
) -> None:
    """Log the result to MLflow: metrics, scores, confusion matrices, and the model, registered where it has a name."""
    config, dataset, register = task.config, task.dataset, task.register
    part = "test" if "test" in predicted else "validation"
    scores = predictions.scores(part, predicted[part], config)
    own = {f"model_{name}": value for name, value in scores.items()}  # beside the epochs' metrics of these names
    metrics = {name: output.results[name] for name in ("temperature", "best_epoch")}
    run.log_metrics(metrics | (scores if part == "test" else {}), step=output.results["best_epoch"])
    run.log_text(storage.json_text(output.results, indent=2), "scores.json")
    run.log_text(results.confusion_page(output.results["scores"]), "confusion.html")
    described = card(config, output.results, dataset, predicted, figures, register)
    run.log_text(described, "card.md")
    save = partial(product.save, directory=output.directory, manifest=output.preview())
    run.log_model(save, config.network, own, dataset, Registration(register, described) if register else None)


def _check(request: Request) -> None:
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
