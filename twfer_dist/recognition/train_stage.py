"""The stage that trains a recogniser, data-parallel on Ray Train, and logs it to MLflow."""

import dataclasses
import time
from typing import Any

import numpy as np

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset import loader
from twfer_dist.engine import ray_cluster, storage
from twfer_dist.engine.artifact import WORK, Artifact
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.mlflow_run import Run
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.progress import ProgressReporter
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recognition import calibration, recogniser, training
from twfer_dist.recognition.training import Answers, TrainConfig
from twfer_dist.training.checkpoint import keep_checkpoint, set_aside_damaged
from twfer_dist.training.loop import check_divisible

VERSION = 3

HISTORY = "history.jsonl"
CHECKPOINT = "checkpoint.pt"


def train_job(
    dataset: Artifact,
    config: TrainConfig,
    tracking: Tracking,
    *,
    initial: str | None = None,
    trunk: Artifact | None = None,
    workers: int = 0,
    gpu: bool = False,
    cpus: float = 1,
    checkpoint_seconds: float = 30,
) -> StageSpec:
    """Train a recogniser on the data set and keep its epoch with the best accuracy on the validation images.

    Writes model.safetensors, model.json, novelty.safetensors and history.jsonl (the metrics of each epoch). `results`:
    scores (for each split loss, accuracy, balanced_accuracy, n and a confusion matrix), best_epoch, temperature,
    threshold, novelty, images (of each split), validation_held_out, held_out (see `_held_out`), precision (of the
    products while learning), run_id, say.

    initial: a file of weights to start from (recogniser.load_weights). trunk: a finished training whose trunk to start
    from: the papers' networks start from one that has seen many faces. workers: processes of Ray Train with `cpus`
    each, and a GPU each with `gpu`; 0 trains in this process. A training that was killed goes on from its last
    checkpoint, at most `checkpoint_seconds` and one epoch old, and ends as it would have ended.
    """
    initial = storage.absolute(initial) if initial else None
    network = recogniser.build(config.network, config.size)
    if initial and trunk:
        raise UserError("A training starts from 'initial' or from a 'trunk', not from both: leave one out.")
    models = {"initial": recogniser.load_weights(network, initial)} if initial else {}
    if trunk:
        recogniser.load_trunk(network, trunk)
    inputs = {"dataset": dataset, **({"trunk": trunk} if trunk else {})}

    def do(work: StageOutput) -> None:
        loader.splits(dataset, seed=config.seed)  # Problem where there is nothing to learn from or to validate with
        name, checkpoint = f"train-{work.spec.fingerprint}", storage.join(work.directory, WORK, CHECKPOINT)
        set_aside_damaged(checkpoint, lambda: training.new_state(config))
        tags = {"stage": "train", "fingerprint": work.spec.fingerprint, "network": config.network}
        params = dataclasses.asdict(config) | {"workers": workers, "initial": initial, "trunk": trunk and trunk.uri}
        with tracking.start(name, work.out, tags=tags, params=params) as run:
            run.log_dataset(dataset, context="training")
            arguments: dict[str, Any] = {
                "dataset": dataset,
                "config": config,
                "initial": initial,
                "trunk": trunk,
                "run": run,
                "gpu": gpu,
                "checkpoint": checkpoint,
                "checkpoint_seconds": checkpoint_seconds,
                "told": storage.join(work.directory, WORK, "progress.txt"),
            }
            with work.progress(config.epochs, "epochs").follow(arguments["told"]):
                place = storage.join(work.directory, WORK, "ray")
                found = ray_cluster.train(_worker, arguments, place, workers=workers, gpu=gpu, cpus=cpus)
            _finish(work, run, dataset, config, found)

    return StageSpec("train", VERSION, inputs, config, models, {}, do)


def _worker(arguments: dict[str, Any]) -> dict[str, Any] | None:
    """What each worker runs on its share of the images. Rank 0 logs, keeps the checkpoint, and returns the best
    network.
    """
    import ray.train
    from ray.train.torch import prepare_model

    config: TrainConfig = arguments["config"]
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), max(1, context.get_world_size())
    splits = loader.splits(arguments["dataset"], seed=config.seed)
    share = {split: loader.load(arguments["dataset"], ids, rank=rank, world=world) for split, ids in splits.ids.items()}
    state = training.new_state(config, ray_cluster.train_device(arguments["gpu"]))
    if arguments["initial"]:
        recogniser.load_weights(state.network, arguments["initial"])
    if arguments["trunk"]:
        recogniser.load_trunk(state.network, arguments["trunk"])
    if storage.exists(arguments["checkpoint"]):
        state.load(storage.read_bytes(arguments["checkpoint"]))
    run = arguments["run"] if rank == 0 else None
    if run and state.run_id != run.key:
        for epoch, metrics in enumerate(state.history, start=1):
            run.log_metrics(metrics, step=epoch)
        state.run_id = run.key
    tell = ProgressReporter(arguments["told"]) if rank == 0 else lambda epochs: None
    saved = started = time.monotonic()
    for metrics in training.fit(
        state, prepare_model(state.network, move_to_device=False), config, share["train"], share["validation"], tell
    ):
        now, epoch = time.monotonic(), len(state.history)
        if run:
            if now - saved >= arguments["checkpoint_seconds"] or epoch == config.epochs:
                keep_checkpoint(arguments["checkpoint"], state.to_bytes())
                saved = time.monotonic()
            run.log_metrics(metrics | {"images_per_second": len(splits.ids["train"]) / (now - started)}, step=epoch)
        ray.train.report(metrics)
        started = time.monotonic()
    state.network.load_state_dict(state.best)
    found = {
        split: training.answers(
            state.network, config, images, features_of=calibration.NOVELTY_IMAGES if split != "test" else 1
        )
        for split, images in share.items()
        if splits.ids[split]
    }
    if rank:
        return None
    return {
        "weights": recogniser.to_bytes(state.network),
        "history": state.history,
        "best_epoch": training.best_epoch(state.history),
        "answers": found,
        "held_out": splits.held_out,
        "precision": " and ".join(state.precisions),
        "figures": {
            split: [f for start in range(world) for f in figures[start::world]]
            for split, figures in splits.figures.items()
        },
    }


def _finish(work: StageOutput, run: Run, dataset: Artifact, config: TrainConfig, found: dict[str, Any]) -> None:
    """Calibrate on the validation images, write the files, note and log the scores."""
    answers: dict[str, Answers] = found["answers"]
    validation, train = answers["validation"], answers["train"]
    temperature = calibration.temperature(validation.logits, validation.labels)
    confident = calibration.probabilities(validation.logits, temperature).max(1)
    threshold = calibration.threshold(
        confident, validation.logits.argmax(1) == validation.labels, config.accuracy_target
    )
    novelty = calibration.novelty(train.features, train.feature_labels, validation.features)

    work.write_file(recogniser.WEIGHTS, found["weights"])
    work.write_file(recogniser.NOVELTY, recogniser.novelty_to_bytes(novelty))
    work.write_file(
        recogniser.DESCRIPTION,
        recogniser.describe(config.network, config.size, temperature, threshold, dataset, found["best_epoch"]),
    )
    lines = [storage.json_text({"epoch": k, **metrics}) + "\n" for k, metrics in enumerate(found["history"], start=1)]
    work.write_file(HISTORY, "".join(lines).encode())

    scores = {split: _scores(split, one, config) for split, one in answers.items()}
    test = training.scores("test", answers["test"], config) if "test" in answers else {}
    work.results |= {
        "scores": scores,
        "best_epoch": found["best_epoch"],
        "temperature": temperature,
        "threshold": dataclasses.asdict(threshold),
        "novelty": {
            "limit": novelty.limit,
            "percentile": calibration.NOVELTY_PERCENTILE,
            "images": len(train.features),
            "held_out": len(validation.features),
        },
        "images": {split: len(one.labels) for split, one in answers.items()},
        "validation_held_out": found["held_out"],
        "precision": found["precision"],
        "held_out": _held_out(answers, found["figures"]),
        "run_id": run.id,
        "summary": _say(config, scores, found),
    }
    run.log_metrics(test | {"temperature": temperature, "best_epoch": found["best_epoch"]}, step=found["best_epoch"])
    run.log_text(storage.json_text(work.results, indent=2), "scores.json")
    run.log_text(_confusion_page(scores), "confusion.html")
    network = recogniser.build(config.network, config.size)
    recogniser.load_weights(network, storage.join(work.directory, recogniser.WEIGHTS))
    run.log_model(network.eval(), name=config.network, example=np.zeros((2, 3, config.size, config.size), np.float32))


def _scores(split: str, found: Answers, config: TrainConfig) -> dict[str, Any]:
    measured = {name.partition("/")[0]: value for name, value in training.scores(split, found, config).items()}
    return measured | {"n": len(found.labels), "confusion": training.confusion_of(found).tolist()}


def _held_out(answers: dict[str, Answers], figures: dict[str, list[str]]) -> dict[str, Any] | None:
    """How the network errs on figures that it did not learn from: the confusion of the validation and test images of
    such figures, and what these images are worth (`calibration.Confusion`). None where there are none.
    """
    learned = np.unique(figures["train"])
    names = np.concatenate([np.array(figures[split], np.str_) for split in answers if split != "train"])
    truth, answered = (
        np.concatenate([values(one) for split, one in answers.items() if split != "train"])
        for values in (lambda one: one.labels, lambda one: one.logits.argmax(1))
    )
    new = ~np.isin(names, learned)
    if not new.any():
        return None
    figure = np.unique(names[new], return_inverse=True)[1]
    return calibration.confusion(truth[new], answered[new], figure).as_dict()


def _say(config: TrainConfig, scores: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """The lines that the command line prints."""
    lines = [f"{recogniser.NAMES[config.network]}, epoch {found['best_epoch']} of {config.epochs}"]
    for split, one in scores.items():
        right = sum(row[k] for k, row in enumerate(one["confusion"]))
        lines.append(
            f"{split}: {100 * one['accuracy']:.1f} % ({right} of {one['n']}), mean of classes "
            f"{100 * one['balanced_accuracy']:.1f} %"
        )
    return lines if "test" in scores else [*lines, "no test images: how good it is on new images is not measured"]


def _confusion_page(scores: dict[str, Any]) -> str:
    """The confusion matrices as a page: images by true (row) and answered (column) expression."""
    parts = ["<meta charset='utf-8'><style>td, th { text-align: right; padding: 0.2em 0.6em }</style>"]
    head = "".join(f"<th>{name}</th>" for name in EXPRESSIONS)
    for split, one in scores.items():
        rows = (
            f"<tr><th>{name}</th>{''.join(f'<td>{n}</td>' for n in row)}</tr>"
            for name, row in zip(EXPRESSIONS, one["confusion"], strict=True)
        )
        parts.append(
            f"<h2>{split}, n = {one['n']}</h2><table><tr><th>true \\ answered</th>{head}</tr>{''.join(rows)}</table>"
        )
    return "\n".join(parts)


def _check(request: Request) -> None:
    check_divisible(request.config.batch, request.compute.workers)
    if request.files.get("initial") and request.one("trunk"):
        raise UserError("A training starts from 'initial' or from a 'trunk', not from both: leave one out.")


def _build(request: Request) -> StageSpec:
    return train_job(
        request.one("dataset"),
        request.config,
        request.tracking,
        initial=request.files.get("initial"),
        trunk=request.one("trunk"),
        workers=request.compute.workers,
        gpu=request.compute.gpus > 0,
    )


KIND = StageKind(
    "train",
    config=TrainConfig,
    inputs=(Input("dataset", ("dataset",)), Input("trunk", ("train",), optional=True)),
    files=(InputFile("initial"),),
    build=_build,
    check=_check,
    tracked=True,
)
