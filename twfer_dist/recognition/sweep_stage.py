"""The stage that compares settings of the sigmoid focal loss on Ray Tune; each trial is an MLflow run under the
sweep's.
"""

import contextlib
import dataclasses
import itertools
import os
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import torch
from scipy.stats import qmc

from twfer_dist.core.errors import UserError
from twfer_dist.dataset import loader
from twfer_dist.engine import ray_cluster, resources, storage
from twfer_dist.engine.artifact import WORK, Artifact
from twfer_dist.engine.config import Range, Settings, shown
from twfer_dist.engine.kind import Input, Request, StageKind
from twfer_dist.engine.mlflow_run import Run
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.progress import Progress
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recognition import recogniser, training
from twfer_dist.recognition.training import TrainConfig
from twfer_dist.training.checkpoint import keep_checkpoint, set_aside_damaged
from twfer_dist.training.loop import Diverged

VERSION = 2

TRIALS = "trials.json"
METRIC = "accuracy/validation"
SWEPT = ("alpha", "gamma", "learning_rate")


@dataclass(frozen=True)
class SweepConfig(Settings):
    """Which settings are tried: `trials` points spread evenly (Latin hypercube) over the ranges, low to high."""

    train: TrainConfig = field(default_factory=TrainConfig)  # what all trials share
    trials: Annotated[int, Range(1, 10_000)] = 12
    alpha: tuple[Annotated[float, Range(0, 1)], ...] = (0.1, 0.9)
    gamma: tuple[Annotated[float, Range(0, 20)], ...] = (0.0, 4.0)
    learning_rate: tuple[Annotated[float, Range(0, 1, above=True)], ...] = (3e-5, 1e-3)  # spread over its logarithm
    patience: Annotated[int, Range(1, 100_000)] = 2  # epochs of each trial before ASHA may stop it
    reduction: Annotated[int, Range(2, 100)] = 3  # ASHA lets the best 1 of so many go on
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0

    def agree(self) -> None:
        if self.train.loss != "sigmoid":
            raise ValueError("a sweep needs the sigmoid loss: an alpha before a softmax changes nothing under Adam")
        for name in SWEPT:
            ends = getattr(self, name)
            if len(ends) != 2 or ends[0] > ends[1]:
                raise ValueError(f"{name} is {shown(list(ends))}; use two numbers, the lowest and the highest")

    def points(self) -> list[TrainConfig]:
        """What each trial trains."""
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


def sweep_job(
    dataset: Artifact,
    config: SweepConfig,
    tracking: Tracking,
    *,
    concurrency: int | None = None,
    gpu: bool = False,
    cpus: float = 1,
    checkpoint_seconds: float = 120,
) -> StageSpec:
    """Train each of the config's points on the data set, at most `concurrency` (as many as fit) at a time, each in one
    process with `cpus` (and a GPU with `gpu`); ASHA stops those that fall behind.

    Writes trials.json. `results`: trials (in order: alpha, gamma, learning_rate, epochs done, and the metrics of the
    best epoch, or `diverged`, a sentence), best (the number of the one with the best accuracy on the validation
    images), best_config (its TrainConfig), validation_images (how many these are), run_id, say. How many epochs ASHA
    grants a trial depends on which trials are done before it, so with a concurrency over 1 two sweeps may stop
    different trials. A killed sweep trains only what its checkpoints do not hold.
    """
    recogniser.build(config.train.network, config.train.size)

    def do(work: StageOutput) -> None:
        validation = loader.splits(dataset, seed=config.train.seed).ids["validation"]
        ray_cluster.start()
        if gpu:
            resources.check_gpus(1)
        name = f"sweep-{work.spec.fingerprint}"
        with contextlib.ExitStack() as stack:
            tags = {"stage": "sweep", "fingerprint": work.spec.fingerprint, "network": config.train.network}
            params = dataclasses.asdict(config.train) | {
                k: v for k, v in dataclasses.asdict(config).items() if k != "train"
            }
            run = stack.enter_context(tracking.start(name, work.out, tags=tags, params=params))
            run.log_dataset(dataset, context="training")
            trials: list[Trial] = []
            # The runs are opened and closed here: a trial that ASHA stops has no chance to close its own.
            for number, trial in enumerate(config.points()):
                label, params = f"trial-{number:03d}", dataclasses.asdict(trial)
                nested = stack.enter_context(
                    tracking.start(label, work.out, parent=run, tags={"stage": "trial"}, params=params)
                )
                nested.log_dataset(dataset, context="training")
                trials.append(Trial(number, trial, nested))
                set_aside_damaged(
                    _checkpoint(storage.join(work.directory, WORK), number), partial(training.new_state, trial)
                )
            shared = {
                "dataset": dataset,
                "trials": trials,
                "work": storage.join(work.directory, WORK),
                "seconds": checkpoint_seconds,
                "gpu": gpu,
            }
            at_once = concurrency or resources.slots(cpus, int(gpu))
            ends = _tune(
                trials, shared, config, at_once, {"cpu": cpus, "gpu": int(gpu)}, work.progress(len(trials), "trials")
            )
            table = [_row(trial.config, end) for trial, end in zip(trials, ends, strict=True)]
            diverged = {number: str(row["diverged"]) for number, row in enumerate(table) if "diverged" in row}
            for number, sentence in diverged.items():
                trials[number].run.log_text(sentence, "diverged.txt")
            if len(diverged) == len(table):
                raise UserError(
                    f"All {len(table)} trials diverged: lower both ends of the sweep's learning_rate. Trial 0: "
                    f"{diverged[0]}"
                )
            done = [k for k in range(len(table)) if k not in diverged]
            best = max(done, key=lambda k: (table[k][METRIC], -table[k]["loss/validation"], -k))
            work.write_file(TRIALS, (storage.json_text(table, indent=2) + "\n").encode())
            chosen = {key: table[best][key] for key in SWEPT}
            work.results |= {
                "trials": table,
                "best": best,
                "best_config": dataclasses.asdict(trials[best].config),
                "validation_images": len(validation),
                "run_id": run.id,
                "summary": [
                    f"best of {len(table)} trials: number {best} with "
                    f"{', '.join(f'{k} {v:g}' for k, v in chosen.items())}: "
                    f"{100 * table[best][METRIC]:.1f} % of the validation images",
                    *(f"trial {number} is out: {sentence}" for number, sentence in diverged.items()),
                ],
            }
            run.log_metrics({key: value for key, value in table[best].items() if "/" in key} | {"best_trial": best})
            run.log_text(storage.json_text(table, indent=2), TRIALS)

    return StageSpec("sweep", VERSION, {"dataset": dataset}, config, {}, {}, do)


@dataclass(frozen=True)
class Trial:
    """One trial on its way to a worker."""

    number: int
    config: TrainConfig
    run: Run


def _checkpoint(work: str, number: int) -> str:
    return storage.join(work, f"trial-{number:03d}.pt")


def _row(config: TrainConfig, end: list[dict[str, float]] | Diverged) -> dict[str, Any]:
    swept = {key: getattr(config, key) for key in SWEPT}
    if isinstance(end, Diverged):
        return {"diverged": str(end)} | swept
    best = training.best_epoch(end)
    return {**end[best - 1], "epochs": len(end), "best_epoch": best} | swept


def _tune(
    trials: list[Trial],
    shared: dict[str, Any],
    config: SweepConfig,
    concurrency: int,
    resources: dict[str, float],
    progress: Progress,
) -> list[list[dict[str, float]] | Diverged]:
    """Run the trials; the history of each, or how it diverged."""
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new one prints a table of the settings in spite of verbose=0
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    class Shown(tune.Callback):
        """An epoch of one trial is a share of the progress, and the end of a trial, early or not, is the rest of it."""

        def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
            progress.advance(1 / epochs)

        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            progress.advance(1 - trial.last_result["epoch"] / epochs)

    fs, path = storage.resolve(storage.join(shared["work"], "tune"))
    epochs = config.train.epochs
    scheduler = ASHAScheduler(
        time_attr="epoch", max_t=epochs, grace_period=min(config.patience, epochs), reduction_factor=config.reduction
    )
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_trial, shared=shared), resources),
        param_space={"trial": tune.grid_search(list(range(len(trials))))},
        tune_config=tune.TuneConfig(metric=METRIC, mode="max", scheduler=scheduler, max_concurrent_trials=concurrency),
        run_config=tune.RunConfig(
            name="trials", storage_path=path, storage_filesystem=fs, verbose=0, callbacks=[Shown()]
        ),
    )
    ends: dict[int, list[dict[str, float]] | Diverged] = {}
    results = tuner.fit()
    progress.close()
    for result in (results[k] for k in range(len(results))):
        if result.error:
            raise _problem_in(result.error) or result.error
        reported = result.metrics_dataframe
        assert reported is not None and result.config is not None
        number = result.config["trial"]
        if "diverged" in reported.columns:
            ends[number] = Diverged(reported["diverged"].iloc[-1])
            continue
        names = [
            "learning_rate",
            *(name for name in reported.columns if name.rpartition("/")[2] in ("train", "validation")),
        ]
        ends[number] = reported[names].to_dict("records")
    return [ends[number] for number in range(len(trials))]


def _problem_in(error: BaseException | None) -> UserError | None:
    """The Problem that a trial raised, out of Ray's wrappings."""
    while error is not None:
        if isinstance(error, UserError):
            return UserError(str(error))
        error = getattr(error, "cause", None) or error.__cause__
    return None


def _trial(given: dict[str, Any], shared: dict[str, Any]) -> None:
    """One trial in a process of its own: the epochs of an earlier start are told again, and the rest is trained."""
    from ray import tune

    torch.set_num_threads(1)
    trial: Trial = shared["trials"][given["trial"]]
    config = trial.config
    splits = loader.splits(shared["dataset"], seed=config.seed)
    train, validation = (loader.load(shared["dataset"], splits.ids[split]) for split in ("train", "validation"))
    state = training.new_state(config, resources.device(shared["gpu"]))
    checkpoint = _checkpoint(shared["work"], trial.number)
    if storage.exists(checkpoint):
        state.load(storage.read_bytes(checkpoint))
    told, saved = list(state.history), time.monotonic()
    epoch = 0
    try:
        for metrics in itertools.chain(told, training.fit(state, state.network, config, train, validation)):
            epoch += 1
            if epoch > len(told) and time.monotonic() - saved >= shared["seconds"]:
                keep_checkpoint(checkpoint, state.to_bytes())
                saved = time.monotonic()
            trial.run.log_metrics(metrics, step=epoch)
            tune.report(metrics | {"epoch": epoch})
    except Diverged as diverged:  # the worst of all trials, and no reason to end the others
        tune.report({METRIC: 0.0, "epoch": epoch + 1, "diverged": str(diverged)})


def _build(request: Request) -> StageSpec:
    compute = request.compute
    return sweep_job(
        request.one("dataset"), request.config, request.tracking, concurrency=compute.actors, gpu=compute.gpus > 0
    )


KIND = StageKind("sweep", config=SweepConfig, inputs=(Input("dataset", ("dataset",)),), build=_build, tracked=True)
