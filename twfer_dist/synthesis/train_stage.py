"""The stage that trains a generator from rendered heads, data-parallel on Ray Train."""

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twfer_dist.core.errors import UserError
from twfer_dist.core.images import encode_png
from twfer_dist.engine import ray_cluster, storage
from twfer_dist.engine.artifact import WORK, Artifact
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.mlflow_run import Run
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.progress import ProgressReporter
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.synthesis import checkpoints, training
from twfer_dist.synthesis.evaluation.scores import prototype_sheet, sample_sheet, score
from twfer_dist.synthesis.networks import AnyGenerator
from twfer_dist.synthesis.pairs import Pairs, load_faces, load_pairs
from twfer_dist.synthesis.training import GeneratorConfig, State
from twfer_dist.training.checkpoint import keep_checkpoint, set_aside_damaged
from twfer_dist.training.loop import check_divisible

VERSION = 2

GENERATOR = "generator.safetensors"
CRITIC = "critic.safetensors"
LOG = "training.jsonl"
SHEET = "samples.png"
CHECKPOINT = "checkpoint.pt"

LOG_EVERY = 15  # seconds
LOOK_EVERY = 120  # seconds between checkpoints, scores and sample sheets of a running training
LOOK_PAIRS = 48
SHOW_EVERY = 900  # seconds between the sample sheets that are kept in MLflow


def train_generator_job(
    rendered: Artifact | None,
    config: GeneratorConfig,
    tracking: Tracking,
    *,
    faces: Sequence[Artifact] = (),
    initial: str | None = None,
    workers: int = 0,
    gpu: bool = False,
) -> StageSpec:
    """Train a generator: the supervised phase on rendered scenes, the adversarial phase on faces with Action Units, or
    on the rendered heads where no faces are given. Writes generator.safetensors (float16), generator-<step>.safetensors
    of each step of `keep_at`, critic.safetensors where there was an adversarial phase, training.jsonl and samples.png.
    `results` holds the scores on held-out rendered figures (`scores.score`; none without rendered scenes, because then
    no truth is known), the last losses, the precision, and the MLflow run's id.

    initial: a generator's checkpoint to go on from. workers: processes of Ray Train, 0 for this one. A training that
    was killed goes on from its last checkpoint, at most two minutes old.
    """
    check(config, rendered=rendered is not None, faces=bool(faces), workers=workers)
    start = checkpoints.load_generator(storage.absolute(initial)) if initial else None
    if start and start.network.width != config.width:
        raise UserError(
            f"{initial} holds a generator of width {start.network.width} and width is {config.width}: set the same."
        )
    if start and not isinstance(start.network, training.NETWORKS[config.network]):
        raise UserError(
            f"{initial} does not hold a generator of the kind '{config.network}': set network to the other kind."
        )
    data = _Data(rendered, tuple(faces), config)

    def do(work: StageOutput) -> None:
        name, checkpoint = f"generator-{work.spec.fingerprint}", storage.join(work.directory, WORK, CHECKPOINT)
        set_aside_damaged(checkpoint, lambda: training.new_state(config))
        tags = {"stage": "generator", "fingerprint": work.spec.fingerprint}
        with tracking.start(name, work.out, tags=tags, params=dataclasses.asdict(config)) as run:
            for finished in data.inputs.values():
                run.log_dataset(finished, context="training")
            arguments: dict[str, Any] = {
                "run": run,
                "gpu": gpu,
                "data": data,
                "initial": initial and storage.absolute(initial),
                "checkpoint": checkpoint,
                "told": storage.join(work.directory, WORK, "progress.txt"),
            }
            with work.progress(100, "%").follow(arguments["told"]):
                ray_cluster.train(
                    _worker, arguments, storage.join(work.directory, WORK, "ray"), workers=workers, gpu=gpu
                )
            _finish(work, run, data)

    models = {"initial": start.sha256} if start else {}
    return StageSpec("generator", VERSION, data.inputs, config, models, {}, do)


def check(config: GeneratorConfig, *, rendered: bool, faces: bool, workers: int) -> None:
    """Problem where there is nothing to learn from, or a batch cannot be dealt to the workers."""
    check_divisible(config.batch, workers)
    if not rendered and (config.supervised_steps or not faces):
        raise UserError(
            "A generator learns from nothing: name rendered pairs, or set supervised_steps to 0 and name faces."
        )


@dataclass(frozen=True)
class _Data:
    """What a training learns from; each worker loads it for itself."""

    rendered: Artifact | None
    faces: tuple[Artifact, ...]
    config: GeneratorConfig

    @property
    def inputs(self) -> dict[str, Artifact]:
        rendered = {"rendered": self.rendered} if self.rendered else {}
        return {**rendered, **{f"faces_{k}": finished for k, finished in enumerate(self.faces)}}

    def load(self) -> tuple[dict[str, Pairs], Pairs | None]:
        """The images of each phase, and the held-out pairs."""
        phases, held_out = {}, None
        if self.rendered:
            learn, held_out = load_pairs(self.rendered, self.config.size, self.config.held_out)
            phases = {"supervised": learn, "adversarial": learn}
        if self.faces:
            phases["adversarial"] = load_faces(self.faces, self.config.size)
        return phases, held_out


def _worker(arguments: dict[str, Any]) -> None:
    """What each worker runs: the same batches, its own share of each; rank 0 logs, looks and keeps the checkpoint."""
    import ray.train

    config: GeneratorConfig = arguments["data"].config
    device = ray_cluster.train_device(arguments["gpu"])
    phases, held_out = arguments["data"].load()
    initial = checkpoints.load_generator(arguments["initial"]).network if arguments["initial"] else None
    state = training.new_state(config, device, initial)
    if storage.exists(arguments["checkpoint"]):
        state.load(storage.read_bytes(arguments["checkpoint"]))
    observer = None
    if ray.train.get_context().get_world_rank() == 0:
        run: Run = arguments["run"]
        if (
            state.run_id != run.key
        ):  # the first start, or the first one after a kill: the new run is told what came before
            for line in state.log:
                _log(run, line)
            state.run_id = run.key
        observer = _Observer(
            run, held_out, phases["adversarial"], config, arguments["checkpoint"], ProgressReporter(arguments["told"])
        )
    training.fit(state, phases, config, observer or (lambda state, values: None))
    if observer:
        observer.keep(state)


class _Observer:
    """Logs losses every `LOG_EVERY` seconds; every `LOOK_EVERY` seconds keeps a checkpoint, scores and a sample sheet,
    which MLflow gets too every `SHOW_EVERY` seconds.
    """

    def __init__(
        self,
        run: Run,
        held_out: Pairs | None,
        seen: Pairs,
        config: GeneratorConfig,
        checkpoint: str,
        tell: ProgressReporter,
    ) -> None:
        self.run, self.held_out, self.seen, self.config, self.checkpoint = run, held_out, seen, config, checkpoint
        self.tell = tell
        self.waiting: list[dict[str, float]] = []
        self.logged = self.looked = time.monotonic()
        self.shown: float | None = None

    def __call__(self, state: State, values: dict[str, float]) -> None:
        self.waiting.append(values)
        if state.phase == len(self.config.phases()) - 1 and state.step in self.config.keep_at:
            kept = checkpoints.save(state.generator, size=self.config.size, half=True)
            storage.write_bytes(self.checkpoint.replace(CHECKPOINT, _kept(state.step)), kept)
        self.tell(100 * (state.phase + values["progress"]) / len(self.config.phases()))
        now = time.monotonic()
        if now - self.logged > LOG_EVERY or values["progress"] >= 1:
            self.flush(state)
            self.logged = now
        if now - self.looked > LOOK_EVERY:
            if self.held_out:
                self.note(
                    state, score(state.generator, self.held_out, LOOK_PAIRS, next(state.generator.parameters()).device)
                )
            self.keep(state)
            self.looked = time.monotonic()

    def flush(self, state: State) -> None:
        """Log the means of the losses since the last time."""
        names = self.waiting[0].keys() - {"progress"}
        self.note(state, {name: float(np.mean([values[name] for values in self.waiting])) for name in sorted(names)})
        self.waiting = []

    def note(self, state: State, values: dict[str, float]) -> None:
        phase = self.config.phases()[state.phase][0]
        state.log.append({"phase": phase, "step": state.step, "seconds": round(state.seconds, 1), **_rounded(values)})
        _log(self.run, state.log[-1])

    def keep(self, state: State) -> None:
        keep_checkpoint(self.checkpoint, state.to_bytes())
        sheet = _sheet(state.generator, self.held_out, self.seen)
        storage.write_bytes(self.checkpoint.replace(CHECKPOINT, SHEET), sheet)
        storage.write_bytes(self.checkpoint.replace(CHECKPOINT, LOG), _lines(state.log))
        now = time.monotonic()
        if state.phase < len(self.config.phases()) and (self.shown is None or now - self.shown > SHOW_EVERY):
            self.run.log_bytes(sheet, f"samples/{self.config.phases()[state.phase][0]}-{state.step:06d}.png")
            self.shown = now


def _finish(work: StageOutput, run: Run, data: _Data) -> None:
    """From the last checkpoint: weights as they are shipped, and scores of these weights."""
    config = data.config
    state = training.new_state(config)
    state.load(storage.read_bytes(storage.join(work.directory, WORK, CHECKPOINT)))
    weights = checkpoints.save(state.generator, size=config.size, half=True)
    work.write_file(GENERATOR, weights)
    for step in config.keep_at:
        if storage.exists(
            kept := storage.join(work.directory, WORK, _kept(step))
        ):  # minutes may have ended the phase before
            work.write_file(_kept(step), storage.read_bytes(kept))
    if config.adversarial_steps:
        work.write_file(CRITIC, checkpoints.save(state.critic, size=config.size))
    generator = checkpoints.load_generator(storage.join(work.directory, GENERATOR)).network
    phases, held_out = data.load()
    scores = score(generator, held_out, config.scored_pairs) if held_out else {}
    sheet = _sheet(generator, held_out, phases["adversarial"])
    work.write_file(LOG, _lines(state.log))
    work.write_file(SHEET, sheet)
    run.log_metrics({f"held_out_{key}": value for key, value in scores.items()})
    run.log_bytes(weights, GENERATOR)
    run.log_bytes(sheet, SHEET)
    work.results |= {
        "scores": scores,
        "held_out_scenes": len(held_out.scenes) if held_out else 0,
        "last": state.log[-1],
        "precision": " and ".join(state.precisions),
        "run_id": run.id,
    }
    if scores and scores["output_l1_all"] >= scores["copy_l1_all"]:
        work.results["summary"] = [
            "further from the truth than the unchanged picture on held-out figures: train longer, or at a lower rate"
        ]


def _kept(step: int) -> str:
    return GENERATOR.replace(".", f"-{step:06d}.")


def _sheet(generator: AnyGenerator, held_out: Pairs | None, seen: Pairs) -> bytes:
    """A PNG for the eye: truth and result on held-out scenes, or the prototypes on images that were learnt from."""
    device = next(generator.parameters()).device
    image = sample_sheet(generator, held_out, 6, device) if held_out else prototype_sheet(generator, seen, 6, device)
    return encode_png(image)


def _log(run: Run, line: dict[str, float | str]) -> None:
    """A line of the log as metrics of the run, at its step."""
    values = {
        f"{line['phase']}_{key}": float(value) for key, value in line.items() if key not in ("phase", "step", "seconds")
    }
    run.log_metrics(values, step=int(line["step"]))


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {key: float(f"{value:.5g}") for key, value in values.items()}


def _lines(log: list[dict[str, float | str]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in log).encode()


def _check(request: Request) -> None:
    rendered, faces = bool(request.all("rendered")), bool(request.all("faces"))
    check(request.config, rendered=rendered, faces=faces, workers=request.compute.workers)


def _build(request: Request) -> StageSpec:
    return train_generator_job(
        request.one("rendered"),
        request.config,
        request.tracking,
        faces=request.all("faces"),
        initial=request.files.get("initial"),
        workers=request.compute.workers,
        gpu=request.compute.gpus > 0,
    )


KIND = StageKind(
    "generator",
    config=GeneratorConfig,
    inputs=(
        Input("rendered", ("render",), optional=True),
        Input("faces", ("faces", "corrected"), several=True, optional=True),
    ),
    files=(InputFile("initial"),),
    build=_build,
    check=_check,
    tracked=True,
)
