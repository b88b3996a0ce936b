"""The stage that compares settings of the sigmoid focal loss on Ray Tune; each trial is an MLflow run nested under the
sweep's.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from twfer_dist.core.errors import UserError
from twfer_dist.dataset.parts import parts_of
from twfer_dist.dataset.stream import ImageSource
from twfer_dist.engine import ray_cluster, resources, storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.kind import Input, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.progress import Progress
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.engine.workload import Workload
from twfer_dist.recognition import training
from twfer_dist.recognition.expected import expected_training
from twfer_dist.recognition.search import SweepConfig, check_optuna, rounded
from twfer_dist.recognition.starts import INITIAL, TRUNK, Start, check_request
from twfer_dist.recognition.sweep_results import TrialEnd, finish_sweep
from twfer_dist.recognition.sweep_runs import METRIC, close_failed, close_trial, ended_log, keep_log, open_runs, told
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.training.loop import Diverged
from twfer_dist.training.observer import Record, Recorder, log_line

VERSION = 4

LOST_WORKERS = 3
"""How often a trial that its worker or node takes along starts again from its checkpoint; after that it is out."""


def sweep_spec(
    dataset: Artifact,
    config: SweepConfig,
    tracking: Tracking,
    *,
    initial: str | None = None,
    trunk: Artifact | None = None,
    concurrency: int | None = None,
    gpus: float = 0,
    cpus: float = 1,
    checkpoint_seconds: float = 120,
) -> StageSpec:
    """Train each of the config's points on the data set, at most `concurrency` (default: as many as fit) at a time,
    each in one process with `cpus` and `gpus`, a GPU or a part of one, from `initial` or `trunk` (see `Start`); ASHA
    stops those that fall behind.

    Writes trials.json, and pictures of the trials. `results`: swept (the names of the settings), trials (in order: the
    swept settings, epochs done, and the metrics of the best epoch, or `diverged` or `failed`, a sentence), best (the
    number of the one with the best balanced accuracy on the validation images), best_config (its TrainConfig),
    validation_images (their number), run_id, summary. How many epochs ASHA grants a trial, and what Optuna suggests,
    depends on which trials finished before, so with a concurrency over 1 two sweeps may differ there. A killed sweep
    takes trials that had ended as they were, and resumes the others from their last checkpoints, at most
    `checkpoint_seconds` and one epoch old. UserError if Optuna is needed and missing.
    """
    check_optuna(config)
    start = Start.of(initial, trunk)

    def do(output: StageOutput) -> None:
        source = ImageSource(dataset, parts_of(dataset, seed=config.train.seed))
        ray_cluster.start()
        if gpus:
            resources.await_gpus(gpus)
        at_once = concurrency or resources.slots(cpus, gpus)
        with open_runs(output, dataset, config, start, tracking, checkpoint_seconds) as (run, records):
            trials, progress = _Trials(source, config, start, records, gpus), output.progress(len(records), "trials")
            ends = _tune(trials, at_once, {"cpu": cpus, "gpu": gpus}, output.scratch("tune"), progress)
            finish_sweep(output, run, config, ends, source.count("validation"))

    weights = start.check(config.train, dataset)
    return StageSpec("sweep", VERSION, {"dataset": dataset, **start.inputs}, config, weights, {}, do)


@dataclass(frozen=True)
class _Trials:
    """All trials on their way to the workers."""

    source: ImageSource
    config: SweepConfig
    start: Start
    records: tuple[Record, ...]
    gpus: float


def _tune(
    trials: _Trials, concurrency: int, resources: Mapping[str, float], uri: str, progress: Progress
) -> list[TrialEnd]:
    """Run the trials; how each one ended. uri: where Ray Tune keeps its notes."""
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output prints a table of the settings in spite of verbose=0
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    fs, path = storage.resolve(uri)
    config, epochs = trials.config, trials.config.train.epochs
    scheduler = ASHAScheduler(
        time_attr="epoch", max_t=epochs, grace_period=min(config.patience, epochs), reduction_factor=config.reduction
    )
    space, search = _search(config, storage.join(uri, "points"))
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_trial, trials=trials), dict(resources)),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            scheduler=scheduler,
            search_alg=search,
            num_samples=config.count if search else 1,
            max_concurrent_trials=concurrency,
        ),
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
    return [ends[number] for number in sorted(ends)]


def _search(config: SweepConfig, uri: str) -> tuple[dict[str, Any], Any]:
    """What Ray Tune draws each trial from, and Optuna's search, None where all points are known beforehand.

    uri: where the points that Optuna suggested are kept: a sweep that was killed begins with them.
    """
    from ray import tune

    if config.search != "tpe":
        points = [{"trial": number, **point} for number, point in enumerate(config.points())]
        return {"point": tune.grid_search(points)}, None
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known = [json.loads(storage.read_bytes(storage.join(uri, name))) for name in storage.list_files(uri)]

    class Numbered(OptunaSearch):
        """Numbers its suggestions, and keeps them."""

        given = 0

        def suggest(self, trial_id: str) -> dict[str, Any] | None:
            point = super().suggest(trial_id)
            if point is None:
                return None
            number, self.given = self.given, self.given + 1
            point = {name: rounded(value) for name, value in point.items()}
            storage.write_json(storage.join(uri, f"{number:05d}.json"), point)
            return {"point": {"trial": number, **point}}

    space = {
        dimension.name: (tune.loguniform if dimension.logarithmic else tune.uniform)(*dimension.values)
        for dimension in config.dimensions
    }
    return space, Numbered(points_to_evaluate=known, seed=config.seed)


def _observer(records: Sequence[Record], epochs: int, progress: Progress) -> Any:
    """What Ray Tune tells of its trials, as progress and as ends of their runs."""
    from ray import tune

    class Observer(tune.Callback):
        """An epoch of a trial is a fraction of a trial's progress; its end, early or not, is the rest."""

        def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
            progress.advance(1 / epochs)

        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            progress.advance(1 - trial.last_result["epoch"] / epochs)
            close_trial(records[trial.config["point"]["trial"]], trial.last_result, epochs)

        def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            progress.advance(1 - (trial.last_result or {}).get("epoch", 0) / epochs)
            error = trial.get_pickled_error() or trial.get_error()
            close_failed(records[trial.config["point"]["trial"]], _sentence(error))

    return Observer()


def _end(result: Any) -> tuple[int, TrialEnd]:
    """A trial's number, and how it ended."""
    point = dict(result.config["point"])
    number = point.pop("trial")
    if result.error:
        return number, TrialEnd(point, failed=_sentence(result.error))
    # a trial that lost its worker reports the epochs of before again
    reported = result.metrics_dataframe.drop_duplicates("epoch", keep="last")
    if "refused" in reported.columns:
        raise UserError(reported["refused"].iloc[-1])
    if "diverged" in reported.columns:
        return number, TrialEnd(point, diverged=reported["diverged"].iloc[-1])
    metrics = [name for name in reported.columns if name.rpartition("/")[2] in ("train", "validation")]
    history = reported[["epoch", "learning_rate", *(name for name in metrics if name != METRIC)]]
    return number, TrialEnd(point, history.to_dict("records"))


def _sentence(error: object) -> str:
    """What a trial failed of: Ray's error is a traceback, whose last line says it."""
    return str(error).strip().splitlines()[-1]


def _trial(params: Mapping[str, Any], trials: _Trials) -> None:
    """One trial in its own process: epochs of an earlier start are reported again, and the rest is trained."""
    from ray import tune

    torch.set_num_threads(1)
    point = dict(params["point"])
    record = trials.records[point.pop("trial")]
    config = trials.config.trial(point)
    record.run.open(dataclasses.asdict(config) | trials.start.params | point)
    record.run.log_dataset(trials.source.dataset, context="training")
    log = ended_log(record)
    if log is not None:
        for line in told(log):
            log_line(record.run, line)
            tune.report(line)
        return
    state = trials.start.new_state(config, resources.device(trials.gpus))
    record.resume(state)
    record.replay_log(state, told(state.log))
    try:
        _train(trials, record, config, state)
    except Diverged as diverged:  # the worst of all trials, and no reason to end the others
        tune.report({METRIC: 0.0, "epoch": len(state.log) + 1, "diverged": str(diverged)})
    except UserError as error:  # told to the sweep: what is raised here counts as a lost worker
        tune.report({METRIC: 0.0, "epoch": len(state.log) + 1, "refused": str(error)})


def _train(trials: _Trials, record: Record, config: TrainConfig, state: training.State) -> None:
    """Report the epochs that a trial's state has, and train the rest."""
    from ray import tune

    recorder = Recorder[training.State](record)
    keep_log(record, state.log)
    for line in told(state.log):
        tune.report(line)
    for _ in training.fit(state, state.network, config, trials.source):
        if recorder.checkpoint_due():
            recorder.save(state)
        keep_log(record, state.log)
        line = told(state.log)[-1]
        log_line(record.run, line)
        tune.report(line)


def _build(request: Request) -> StageSpec:
    compute = request.compute
    return sweep_spec(
        request.one("dataset"),
        request.config,
        request.tracking,
        initial=request.files.get("initial"),
        trunk=request.one("trunk"),
        concurrency=compute.actors,
        gpus=min(compute.gpus, 1),
    )


def _workload(request: Request) -> Workload:
    one = expected_training(request.config.train, request.one("dataset"), request.compute, work="sweep")
    trials = request.config.count
    return dataclasses.replace(
        one,
        amount=trials * one.amount,
        processes=request.compute.actors,
        assumed=(*one.assumed, "no trial is stopped early"),
        starts=trials,
    )


KIND = StageKind(
    "sweep",
    makes="trials of alpha, gamma and learning rate on Ray Tune, nested in MLflow",
    config=SweepConfig,
    inputs=(Input("dataset", ("dataset",)), TRUNK),
    files=(INITIAL,),
    build=_build,
    workload=_workload,
    check=check_request,
    tracked=True,
)
