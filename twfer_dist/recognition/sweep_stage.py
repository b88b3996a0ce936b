"""The stage that compares settings of the sigmoid focal loss on Ray Tune; each trial is an MLflow run nested under the
sweep's.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import torch
from scipy.stats import qmc

from twfer_dist.core.errors import UserError
from twfer_dist.dataset.parts import parts_of
from twfer_dist.dataset.stream import ImageSource
from twfer_dist.engine import ray_cluster, resources, storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Range, Settings, shown
from twfer_dist.engine.kind import Input, Request, StageKind
from twfer_dist.engine.mlflow_run import Run
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.progress import Progress
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recognition import recogniser, training
from twfer_dist.recognition.sweep_runs import close_trial, trial_records
from twfer_dist.recognition.training import TrainConfig
from twfer_dist.training.checkpoint import set_aside_damaged
from twfer_dist.training.loop import Diverged
from twfer_dist.training.observer import Record, Recorder, log_line
from twfer_dist.training.state import LogLine

VERSION = 3

TRIALS = "trials.json"
METRIC = "accuracy/validation"
LOST_WORKERS = 3  # a trial that its worker or node takes along starts again from its checkpoint, this often
SWEPT = ("alpha", "gamma", "learning_rate")


@dataclass(frozen=True)
class SweepConfig(Settings):
    """Which settings are tried: `trials` points of a Latin hypercube over the ranges, each from low to high."""

    train: TrainConfig = field(default_factory=TrainConfig)  # shared by all trials
    trials: Annotated[int, Range(1, 10_000)] = 12
    alpha: tuple[Annotated[float, Range(0, 1)], ...] = (0.1, 0.9)
    gamma: tuple[Annotated[float, Range(0, 20)], ...] = (0.0, 4.0)
    learning_rate: tuple[Annotated[float, Range(0, 1, above=True)], ...] = (3e-5, 1e-3)  # on a logarithmic scale
    patience: Annotated[int, Range(1, 100_000)] = 2  # epochs of each trial before ASHA may stop it
    reduction: Annotated[int, Range(2, 100)] = 3  # ASHA lets the best 1 in this many continue
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0

    def agree(self) -> None:
        if self.train.loss != "sigmoid":
            raise ValueError("a sweep needs the sigmoid loss: an alpha before a softmax has no effect under Adam")
        for name in SWEPT:
            ends = getattr(self, name)
            if len(ends) != 2 or ends[0] > ends[1]:
                raise ValueError(f"{name} is {shown(list(ends))}; use two numbers, the lowest and the highest")

    def points(self) -> list[TrainConfig]:
        """The configuration of each trial."""
        low, high = self.learning_rate
        return [
            dataclasses.replace(
                self.train,
                alpha=_between(self.alpha, a),
                gamma=_between(self.gamma, g),
                learning_rate=_rounded(low * (high / low) ** r),
            )
            for a, g, r in qmc.LatinHypercube(3, rng=self.seed).random(self.trials)
        ]


def _between(ends: tuple[float, ...], share: float) -> float:
    return _rounded(ends[0] + share * (ends[1] - ends[0]))


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def sweep_spec(
    dataset: Artifact,
    config: SweepConfig,
    tracking: Tracking,
    *,
    concurrency: int | None = None,
    gpu: bool = False,
    cpus: float = 1,
    checkpoint_seconds: float = 120,
) -> StageSpec:
    """Train each of the config's points on the data set, at most `concurrency` (default: as many as fit) at a time,
    each in one process with `cpus` (and a GPU with `gpu`); ASHA stops those that fall behind.

    Writes trials.json. `results`: trials (in order: alpha, gamma, learning_rate, epochs done, and the metrics of the
    best epoch, or `diverged`, a sentence), best (the number of the one with the best accuracy on the validation
    images), best_config (its TrainConfig), validation_images (their number), run_id, summary. How many epochs ASHA
    grants a trial depends on which trials finished before it, so with a concurrency over 1 two sweeps may stop
    different trials. A killed sweep resumes each trial from its last checkpoint, at most `checkpoint_seconds` and one
    epoch old.
    """
    recogniser.build(config.train.network, config.train.size)  # UserError if ARM cannot read such images

    def do(output: StageOutput) -> None:
        source = ImageSource(dataset, parts_of(dataset, seed=config.train.seed))
        ray_cluster.start()
        if gpu:
            resources.check_gpus(1)
        at_once = concurrency or resources.slots(cpus, int(gpu))
        with _open_runs(output, dataset, config, tracking, checkpoint_seconds) as (run, records):
            trials = _Trials(source, tuple(config.points()), records, gpu)
            per_trial = {"cpu": cpus, "gpu": int(gpu)}
            progress = output.progress(len(records), "trials")
            ends = _tune(trials, config, at_once, per_trial, output.scratch("tune"), progress)
            _finish(output, run, trials, ends, source.count("validation"))

    return StageSpec("sweep", VERSION, {"dataset": dataset}, config, {}, {}, do)


@dataclass(frozen=True)
class _Trials:
    """All trials on their way to the workers."""

    source: ImageSource
    configs: tuple[TrainConfig, ...]
    records: tuple[Record, ...]
    gpu: bool


@contextlib.contextmanager
def _open_runs(
    output: StageOutput, dataset: Artifact, config: SweepConfig, tracking: Tracking, checkpoint_seconds: float
) -> Iterator[tuple[Run, tuple[Record, ...]]]:
    """The sweep's run, and the records of its trials."""
    spec, points = output.spec, config.points()
    tags = {"stage": "sweep", "fingerprint": spec.fingerprint, "network": config.train.network}
    own = {name: value for name, value in dataclasses.asdict(config).items() if name != "train"}
    params = dataclasses.asdict(config.train) | own
    with tracking.start(f"sweep-{spec.fingerprint}", output.out, tags=tags, params=params) as run:
        run.log_dataset(dataset, context="training")
        with trial_records(output, tracking, run, len(points), checkpoint_seconds) as records:
            for record, trial in zip(records, points, strict=True):
                set_aside_damaged(record.checkpoint_uri, partial(training.new_state, trial))
            yield run, records


def _finish(
    output: StageOutput, run: Run, trials: _Trials, ends: Sequence[Sequence[LogLine] | Diverged], images: int
) -> None:
    """Choose the best trial. Raises UserError if all have diverged."""
    table = [_row(config, end) for config, end in zip(trials.configs, ends, strict=True)]
    diverged = {number: str(end) for number, end in enumerate(ends) if isinstance(end, Diverged)}
    if len(diverged) == len(table):
        raise UserError(
            f"All {len(table)} trials diverged: lower both ends of the sweep's learning_rate. Trial 0: {diverged[0]}"
        )
    done = [number for number in range(len(table)) if number not in diverged]
    best = max(done, key=lambda number: (table[number][METRIC], -table[number]["loss/validation"], -number))
    output.write_file(TRIALS, (storage.json_text(table, indent=2) + "\n").encode())
    settings = ", ".join(f"{name} {table[best][name]:g}" for name in SWEPT)
    output.results |= {
        "trials": table,
        "best": best,
        "best_config": dataclasses.asdict(trials.configs[best]),
        "validation_images": images,
        "run_id": run.id,
        "summary": [
            f"best of {len(table)} trials: number {best} with {settings}: accuracy {100 * table[best][METRIC]:.1f} % "
            "on the validation images",
            *(f"trial {number} is out: {sentence}" for number, sentence in diverged.items()),
        ],
    }
    run.log_metrics({key: value for key, value in table[best].items() if "/" in key} | {"best_trial": best})
    run.log_text(storage.json_text(table, indent=2), TRIALS)


def _row(config: TrainConfig, end: Sequence[LogLine] | Diverged) -> dict[str, Any]:
    swept = {name: getattr(config, name) for name in SWEPT}
    if isinstance(end, Diverged):
        return {"diverged": str(end)} | swept
    best = training.best_epoch(end)
    return {**end[best - 1], "epochs": len(end), "best_epoch": best} | swept


def _tune(
    trials: _Trials,
    config: SweepConfig,
    concurrency: int,
    resources: Mapping[str, float],
    uri: str,
    progress: Progress,
) -> list[list[LogLine] | Diverged]:
    """Run the trials; the metrics of each one's epochs, or how it diverged. uri: where Ray Tune keeps its notes."""
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output prints a table of the settings in spite of verbose=0
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    fs, path = storage.resolve(uri)
    epochs = config.train.epochs
    scheduler = ASHAScheduler(
        time_attr="epoch", max_t=epochs, grace_period=min(config.patience, epochs), reduction_factor=config.reduction
    )
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_trial, trials=trials), dict(resources)),
        param_space={"trial": tune.grid_search(list(range(len(trials.configs))))},
        tune_config=tune.TuneConfig(metric=METRIC, mode="max", scheduler=scheduler, max_concurrent_trials=concurrency),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=path,
            storage_filesystem=fs,
            verbose=0,
            callbacks=[_observer(trials.records, epochs, progress)],
            failure_config=tune.FailureConfig(max_failures=LOST_WORKERS),
        ),
    )
    results = tuner.fit()
    progress.close()
    ends = dict(_end(results[number]) for number in range(len(results)))
    return [ends[number] for number in range(len(ends))]


def _observer(records: Sequence[Record], epochs: int, progress: Progress) -> Any:
    """What Ray Tune tells of its trials, as progress and as ends of their runs."""
    from ray import tune

    class Observer(tune.Callback):
        """An epoch of a trial is a fraction of a trial's progress; its end, early or not, is the rest."""

        def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
            progress.advance(1 / epochs)

        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            progress.advance(1 - trial.last_result["epoch"] / epochs)
            close_trial(records[trial.config["trial"]].run, trial.last_result, epochs)

    return Observer()


def _end(result: Any) -> tuple[int, list[LogLine] | Diverged]:
    """A trial's number, and the metrics of its epochs, or how it diverged. Raises the trial's error."""
    if result.error:
        raise result.error
    # a trial that lost its worker reports the epochs of before again
    number, reported = result.config["trial"], result.metrics_dataframe.drop_duplicates("epoch", keep="last")
    if "refused" in reported.columns:
        raise UserError(reported["refused"].iloc[-1])
    if "diverged" in reported.columns:
        return number, Diverged(reported["diverged"].iloc[-1])
    metrics = [name for name in reported.columns if name.rpartition("/")[2] in ("train", "validation")]
    return number, reported[["learning_rate", *metrics]].to_dict("records")


def _trial(params: Mapping[str, int], trials: _Trials) -> None:
    """One trial in its own process: epochs of an earlier start are reported again, and the rest is trained."""
    from ray import tune

    torch.set_num_threads(1)
    config, record = trials.configs[params["trial"]], trials.records[params["trial"]]
    state = training.new_state(config, resources.device(trials.gpu))
    record.run.open(dataclasses.asdict(config))
    record.run.log_dataset(trials.source.dataset, context="training")
    record.resume(state)
    record.replay_log(state)
    recorder = Recorder[training.State](record)
    try:
        for line in list(state.log):
            tune.report(line)
        for line in training.fit(state, state.network, config, trials.source):
            if recorder.checkpoint_due():
                recorder.save(state)
            log_line(record.run, line)
            tune.report(line)
    except Diverged as diverged:  # the worst of all trials, and no reason to end the others
        tune.report({METRIC: 0.0, "epoch": len(state.log) + 1, "diverged": str(diverged)})
    except UserError as error:  # told to the sweep: what is raised here counts as a lost worker
        tune.report({METRIC: 0.0, "epoch": len(state.log) + 1, "refused": str(error)})


def _build(request: Request) -> StageSpec:
    compute = request.compute
    return sweep_spec(
        request.one("dataset"), request.config, request.tracking, concurrency=compute.actors, gpu=compute.gpus > 0
    )


KIND = StageKind(
    "sweep",
    makes="trials of alpha, gamma and learning rate on Ray Tune, nested in MLflow",
    config=SweepConfig,
    inputs=(Input("dataset", ("dataset",)),),
    build=_build,
    tracked=True,
)
