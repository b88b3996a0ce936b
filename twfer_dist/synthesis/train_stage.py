"""The stage that trains a generator, data-parallel on Ray Train."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from twfer_dist.core.errors import UserError
from twfer_dist.core.images import encode_png
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.synthesis import checkpoints, training
from twfer_dist.synthesis.evaluation.scores import prototype_sheet, sample_sheet, score
from twfer_dist.synthesis.networks import AnyGenerator
from twfer_dist.synthesis.pairs import Pairs, load_faces, load_pairs
from twfer_dist.synthesis.training import GeneratorConfig, State
from twfer_dist.training.loop import check_divisible
from twfer_dist.training.observer import LOG, Observer, Record, log_lines
from twfer_dist.training.run import Trained, run_training
from twfer_dist.training.state import LogLine
from twfer_dist.training.workers import Workers

VERSION = 3

GENERATOR = "generator.safetensors"
CRITIC = "critic.safetensors"
SHEET = "samples.png"

SCORED_PAIRS = 48  # with each checkpoint
SHEET_SECONDS = 900  # between two sample sheets that MLflow keeps


def generator_spec(
    rendered: Sequence[Artifact],
    config: GeneratorConfig,
    tracking: Tracking,
    *,
    faces: Sequence[Artifact] = (),
    initial: str | None = None,
    workers: int = 0,
    gpu: bool = False,
    checkpoint_seconds: float = 120,
) -> StageSpec:
    """Train a generator: supervised on rendered scenes, then adversarially on faces with Action Units, or on the
    rendered heads if no faces are given.

    Writes generator.safetensors (float16), generator-<step>.safetensors for each step of `keep_at`, critic.safetensors
    after an adversarial phase, training.jsonl and samples.png. `results`: scores on held-out rendered figures
    (`scores.score`; empty without rendered scenes, whose truth alone is known), the last losses, the precision, and the
    MLflow run's id.

    initial: a generator's weights to start from. workers: processes of Ray Train, 0 for this one. A killed training
    resumes from its last checkpoint, at most `checkpoint_seconds` old.
    """
    check(config, rendered=bool(rendered), faces=bool(faces), workers=workers)
    task = _Task(tuple(rendered), tuple(faces), config, storage.absolute(initial) if initial else None)

    def do(output: StageOutput) -> None:
        with run_training(
            output,
            task,
            tracking,
            Workers(workers, gpu),
            params=dataclasses.asdict(config),
            checkpoint_seconds=checkpoint_seconds,
        ) as trained:
            _finish(output, task, trained)

    models = {"initial": _check_initial(task.initial, config)} if task.initial else {}
    return StageSpec("generator", VERSION, task.inputs, config, models, {}, do)


def check(config: GeneratorConfig, *, rendered: bool, faces: bool, workers: int) -> None:
    """Raise UserError if there is nothing to learn from, or a batch cannot be split among the workers."""
    check_divisible(config.batch, workers)
    if not rendered and (config.supervised_steps or not faces):
        raise UserError(
            "A generator has no training images: name rendered scenes, or set supervised_steps to 0 and name faces."
        )


def _check_initial(uri: str, config: GeneratorConfig) -> str:
    """The sha256 of initial weights. Raises UserError if the configuration describes another generator."""
    loaded = checkpoints.load_generator(uri)
    if loaded.network.width != config.width:
        raise UserError(
            f"{uri} holds a generator of width {loaded.network.width} and width is {config.width}: set the same."
        )
    if not isinstance(loaded.network, training.NETWORKS[config.network]):
        raise UserError(
            f"{uri} does not hold a generator of the kind '{config.network}': set network to the other kind."
        )
    return loaded.sha256


@dataclass(frozen=True)
class _Task:
    """A generator in training, see `run.TrainingTask`."""

    rendered: tuple[Artifact, ...]
    faces: tuple[Artifact, ...]
    config: GeneratorConfig
    initial: str | None

    @property
    def inputs(self) -> dict[str, Artifact]:
        rendered = {f"rendered_{number}": artifact for number, artifact in enumerate(self.rendered)}
        return rendered | {f"faces_{number}": artifact for number, artifact in enumerate(self.faces)}

    @property
    def datasets(self) -> Sequence[Artifact]:
        return list(self.inputs.values())

    def images(self) -> tuple[dict[str, Pairs], Pairs | None]:
        """The images of each phase, and the held-out pairs."""
        phases, held_out = {}, None
        if self.rendered:
            train, held_out = load_pairs(self.rendered, self.config.size, self.config.held_out)
            phases = {"supervised": train, "adversarial": train}
        if self.faces:
            phases["adversarial"] = load_faces(self.faces, self.config.size)
        return phases, held_out

    def new_state(self, device: torch.device | str = "cpu") -> State:
        initial = checkpoints.load_generator(self.initial).network if self.initial else None
        return training.new_state(self.config, device, initial)

    def train(self, state: State, record: Record | None) -> None:
        phases, held_out = self.images()
        observer = _Observer(record, state, phases["adversarial"], held_out, self.config) if record else None
        training.fit(state, phases, self.config, observer)
        if observer:
            observer.save(state)


class _Observer(Observer[State]):
    """Also keeps the weights at the steps of `keep_at`, and saves a sample sheet with each checkpoint; MLflow keeps one
    every SHEET_SECONDS.
    """

    def __init__(
        self, record: Record, state: State, train: Pairs, held_out: Pairs | None, config: GeneratorConfig
    ) -> None:
        super().__init__(record, lambda: self._score(state.generator))
        self._train, self._held_out, self._config, self._phases = train, held_out, config, config.phases()
        self._sheet_logged: float | None = None

    def __call__(self, state: State, values: dict[str, float]) -> None:
        if state.phase == len(self._phases) - 1 and state.step in self._config.keep_at:
            weights = checkpoints.save(state.generator, size=self._config.size, half=True)
            storage.write_bytes(storage.join(self.record.directory, _kept(state.step)), weights)
        super().__call__(state, values)

    def total_progress(self, state: State, progress: float) -> float:
        return (state.phase + progress) / len(self._phases)

    def position(self, state: State) -> LogLine:
        return {"phase": self._phases[state.phase].name} | super().position(state)

    def save(self, state: State) -> None:
        super().save(state)
        sheet = _sheet(state.generator, self._train, self._held_out)
        storage.write_bytes(storage.join(self.record.directory, SHEET), sheet)
        now = time.monotonic()
        if state.phase < len(self._phases) and (self._sheet_logged is None or now - self._sheet_logged > SHEET_SECONDS):
            name = f"samples/{self._phases[state.phase].name}-{state.step:06d}.png"
            self.record.run.log_bytes(sheet, name)
            self._sheet_logged = now

    def _score(self, generator: AnyGenerator) -> Mapping[str, float]:
        if self._held_out is None:
            return {}
        return score(generator, self._held_out, SCORED_PAIRS, next(generator.parameters()).device)


def _finish(output: StageOutput, task: _Task, trained: Trained[State, None]) -> None:
    """Write the weights as they ship, and score the generator that this file holds."""
    config, run, state = task.config, trained.run, trained.state
    weights = checkpoints.save(state.generator, size=config.size, half=True)
    output.write_file(GENERATOR, weights)
    _write_kept(output, config)
    if config.adversarial_steps:
        output.write_file(CRITIC, checkpoints.save(state.critic, size=config.size))
    generator = checkpoints.load_generator(storage.join(output.directory, GENERATOR)).network
    phases, held_out = task.images()
    scores = score(generator, held_out, config.scored_pairs) if held_out else {}
    sheet = _sheet(generator, phases["adversarial"], held_out)
    output.write_file(LOG, log_lines(state.log))
    output.write_file(SHEET, sheet)
    run.log_metrics({f"held_out_{key}": value for key, value in scores.items()})
    run.log_bytes(weights, GENERATOR)
    run.log_bytes(sheet, SHEET)
    output.results |= {
        "scores": scores,
        "held_out_scenes": len(held_out.scenes) if held_out else 0,
        "last": state.log[-1],
        "precision": state.precision,
        "run_id": run.id,
    }
    if scores and scores["output_l1_all"] >= scores["copy_l1_all"]:
        output.results["summary"] = [
            "held-out figures: less accurate than the unchanged picture; train longer, or at a lower rate"
        ]


def _write_kept(output: StageOutput, config: GeneratorConfig) -> None:
    for step in config.keep_at:
        kept = output.scratch(_kept(step))
        if storage.exists(kept):  # its minutes may have ended the phase earlier
            output.write_file(_kept(step), storage.read_bytes(kept))


def _kept(step: int) -> str:
    return GENERATOR.replace(".", f"-{step:06d}.")


def _sheet(generator: AnyGenerator, train: Pairs, held_out: Pairs | None) -> bytes:
    """A PNG to look at: truth and output on held-out scenes, or the prototypes on training images."""
    device = next(generator.parameters()).device
    image = sample_sheet(generator, held_out, 6, device) if held_out else prototype_sheet(generator, train, 6, device)
    return encode_png(image)


def _check(request: Request) -> None:
    rendered, faces = bool(request.all("rendered")), bool(request.all("faces"))
    check(request.config, rendered=rendered, faces=faces, workers=request.compute.workers)


def _build(request: Request) -> StageSpec:
    return generator_spec(
        request.all("rendered"),
        request.config,
        request.tracking,
        faces=request.all("faces"),
        initial=request.files.get("initial"),
        workers=request.compute.workers,
        gpu=request.compute.gpus > 0,
    )


KIND = StageKind(
    "generator",
    makes="the network that animates",
    config=GeneratorConfig,
    inputs=(
        Input("rendered", ("render",), several=True, optional=True),
        Input("faces", ("faces", "corrected"), several=True, optional=True),
    ),
    files=(InputFile("initial", "weights of a generator to start from"),),
    build=_build,
    check=_check,
    tracked=True,
)
