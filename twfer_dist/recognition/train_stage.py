"""The stage that trains a recogniser, data-parallel on Ray Train, and logs it to MLflow."""

import copy
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from twfer_dist.core.errors import UserError
from twfer_dist.dataset.parts import PARTS, Parts, parts_of
from twfer_dist.dataset.stream import ImageSource
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.kind import Input, Option, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.engine.workload import Workload
from twfer_dist.recognition import calibration, predictions, product, recogniser, results, starts, training
from twfer_dist.recognition.expected import expected_training
from twfer_dist.recognition.fitted import fit_to, inherit
from twfer_dist.recognition.predictions import Predictions
from twfer_dist.recognition.settings import check_refit, settings_of
from twfer_dist.recognition.starts import Start
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.recognition.training import State
from twfer_dist.training import weights
from twfer_dist.training.distributed import rank_and_world_size
from twfer_dist.training.normalisation import synchronise
from twfer_dist.training.observer import Record, Recorder, log_line
from twfer_dist.training.run import Trained, run_training
from twfer_dist.training.state import LogLine
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
    refit: Artifact | None = None,
    sweep: Artifact | None = None,
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

    initial, trunk: see `Start`. sweep: its best trial gives the settings. refit: a training that is repeated on its
    training and validation images together, for as many epochs as were best there; it gives the settings, the
    calibration and the validation scores. register: the name under which MLflow registers the model, as the newest
    version and the champion, also where the training is finished. workers: processes of Ray Train with `cpus` each, and
    a GPU each with `gpu`; 0 trains in this process. Their number changes the result by rounding only. A killed training
    resumes from its last checkpoint, at most `checkpoint_seconds` and one update of the weights old, and ends as an
    unbroken one would.
    """
    config = settings_of(sweep, refit) or config
    start = Start.of(initial, trunk)
    models = start.check(config, dataset)
    if refit:
        check_refit(refit, dataset, trunk, models)
    task = _Task(dataset, config, start, refit, register)
    given = {name: artifact for name, artifact in {"refit": refit, "sweep": sweep}.items() if artifact}
    inputs = {"dataset": dataset, **start.inputs, **given}
    do = partial(_do, task, tracking, Workers(workers, gpu, cpus), checkpoint_seconds)
    return StageSpec("train", VERSION, inputs, config, models, {}, do, partial(_found, task, tracking))


def _found(task: "_Task", tracking: Tracking, output: Artifact) -> None:
    if task.register:
        product.register_finished(output, task.dataset, task.config, tracking, task.register)


def _do(task: "_Task", tracking: Tracking, workers: Workers, checkpoint_seconds: float, output: StageOutput) -> None:
    config = task.config
    task = dataclasses.replace(task, parts=parts_of(task.dataset, seed=config.seed, refit=task.refit is not None))
    with run_training(
        output,
        task,
        tracking,
        workers,
        params=dataclasses.asdict(config) | {"workers": workers.count, **task.start.params},
        tags={"network": config.network, "twfer.corpora": ", ".join(task.parts.corpora)},
        checkpoint_seconds=checkpoint_seconds,
        total=(config.epochs, "epochs"),
    ) as trained:
        _finish(output, task, trained)


@dataclass(frozen=True)
class _Task:
    """A recogniser in training, see `run.TrainingTask`."""

    dataset: Artifact
    config: TrainConfig
    start: Start
    refit: Artifact | None
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

    def new_state(self, device: torch.device | str = "cpu") -> State:
        return self.start.new_state(self.config, device)

    def measured(self, line: LogLine) -> LogLine:
        """A line of the log without what says nothing: a refit is trained on the validation images."""
        return {name: value for name, value in line.items() if not (self.refit and name.endswith("/validation"))}

    def train(self, state: State, record: Record | None) -> dict[str, Predictions]:
        """The best network's predictions for each part that it may be judged by, on every worker."""
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
        started, count = time.monotonic(), source.count("train")
        images = training.images_left(state, self.config, count)
        for line in training.fit(state, network, self.config, source, report, processes=processes):
            if self.refit:  # nothing is held out that could choose an epoch
                state.best = copy.deepcopy(state.scored.state_dict())
            speed = images / (time.monotonic() - started)
            if recorder:
                if recorder.checkpoint_due() or training.ended(state.log, self.config):
                    recorder.save(state)
                log_line(recorder.record.run, self.measured(line) | {"images_per_second": speed})
            ray.train.report(line)
            started, images = time.monotonic(), count
        state.network.load_state_dict(state.best)
        parts = ("train", "test") if self.refit else PARTS
        return {part: self._predict(state, source, part) for part in parts if source.count(part)}

    def _predict(self, state: State, source: ImageSource, part: str) -> Predictions:
        wanted = calibration.NOVELTY_IMAGES if part in ("train", *self.calibrated_on) else 1
        return predictions.predict(
            state.network,
            self.config,
            source.in_order(part, self.config.batch),
            first=source.run_of(part)[0],
            stride=max(1, source.count(part) // wanted),
        )


def _finish(output: StageOutput, task: _Task, trained: Trained[State, dict[str, Predictions]]) -> None:
    """Calibrate, write the files, and record the scores."""
    config, state, predicted = task.config, trained.state, trained.result
    train = predicted["train"]
    held_out = [predicted[split] for split in task.calibrated_on if split in predicted]
    fitted = inherit(train, task.refit) if task.refit else fit_to(train, held_out, config.accuracy_target)
    best_epoch = config.epochs if task.refit else training.best_epoch(state.log)
    description = recogniser.describe(
        config.network, config.size, fitted.temperature, fitted.threshold, task.dataset, best_epoch
    )
    state.network.load_state_dict(state.best)
    history = "".join(storage.json_text(line) + "\n" for line in map(task.measured, state.log))
    output.write_file(recogniser.WEIGHTS, weights.encode(state.network))
    output.write_file(recogniser.NOVELTY, recogniser.novelty_to_bytes(fitted.novelty))
    output.write_file(recogniser.DESCRIPTION, description)
    output.write_file(HISTORY, history.encode())
    figures = {split: task.parts.figures(task.dataset, split) for split in predicted}
    scores = {split: results.scores_of(split, found, config, figures[split]) for split, found in predicted.items()}
    held_out_errors = results.held_out_errors(predicted, figures)
    if task.refit:
        scores["validation"] = task.refit.results["scores"]["validation"]  # of the network that did not see them
        held_out_errors = held_out_errors or task.refit.results["held_out"]
    output.results |= {
        "scores": scores,
        "best_epoch": best_epoch,
        "temperature": fitted.temperature,
        "threshold": dataclasses.asdict(fitted.threshold),
        "novelty": fitted.as_dict()
        | {
            "images": len(train.features),
            "held_out": sum(len(found.features) for found in held_out),
        },
        "images": {split: len(found.labels) for split, found in predicted.items()},
        "validation_held_out": bool(task.parts.held_out),
        **{"precision": state.precision, "held_out": held_out_errors, "run_id": trained.run.id},
        "summary": results.summary(config, scores, best_epoch),
    }
    product.log_result(output, trained.run, config, task.dataset, task.register)


def _check(request: Request) -> None:
    starts.check_request(request)
    given = [name for name in ("sweep", "refit") if request.one(name)]
    if len(given) > 1 or (given and request.config != TrainConfig()):
        what = "another's settings or a sweep's" if len(given) > 1 else f"the settings of '{given[0]}'"
        raise UserError(f"A training takes {what}, not its own besides: leave the rest out.")


def _build(request: Request) -> StageSpec:
    return train_spec(
        request.one("dataset"),
        request.config,
        request.tracking,
        initial=request.files.get("initial"),
        trunk=request.one("trunk"),
        refit=request.one("refit"),
        sweep=request.one("sweep"),
        register=request.options.get("register"),
        workers=request.compute.workers,
        gpu=request.compute.gpus > 0,
    )


def _workload(request: Request) -> Workload | None:
    if request.one("sweep") or request.one("refit"):
        return None  # its settings are not known before
    return expected_training(request.config, request.one("dataset"), request.compute)


KIND = StageKind(
    "train",
    makes="a recogniser: ResNet-18, ARM or AU-ResNet",
    config=TrainConfig,
    inputs=(
        Input("dataset", ("dataset",)),
        starts.TRUNK,
        Input("sweep", ("sweep",), optional=True, meaning="its best trial gives the settings"),
        Input(
            "refit",
            ("train",),
            optional=True,
            meaning="is trained again, with its settings, on its training and validation images together, for as many "
            "epochs as were best there",
        ),
    ),
    files=(starts.INITIAL,),
    options=(
        Option("register", "the name under which MLflow registers the model, as its newest version and its champion"),
    ),
    build=_build,
    workload=_workload,
    check=_check,
    tracked=True,
)
