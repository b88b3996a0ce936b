"""The stage that trains the network that measures faces, data-parallel on Ray Train."""

import dataclasses
import json
import time
from typing import Any

import numpy as np

from twfer_dist import cluster, storage
from twfer_dist.engine import WORK, Job, Work
from twfer_dist.errors import Problem
from twfer_dist.faces import examples, learning, measure
from twfer_dist.faces.learning import FaceNetworkConfig, State
from twfer_dist.progress import Teller
from twfer_dist.storage import Finished
from twfer_dist.tracking import Run, Tracking

VERSION = 1

LOG = "training.jsonl"
CHECKPOINT = "checkpoint.pt"

LOG_EVERY = 20  # seconds
LOOK_EVERY = 120  # seconds between checkpoints and scores of a running training
LOOK_HEADS = 512


def face_network_job(
    rendered: Finished, config: FaceNetworkConfig, tracking: Tracking, *, test: Finished | None = None, workers: int = 0, gpu: bool = False
) -> Job:
    """Train the network on the heads of `rendered` and choose its intervals on figures that it has not seen.

    Writes faces.safetensors (float16, with what `measure.open_network` needs) and training.jsonl. `results`: scores on the held-out
    figures (`learning.scores`) and, where given, on the heads of `test`; the number of heads; the MLflow run's id. workers: processes
    of Ray Train, 0 for this one. A training that was killed goes on from its last checkpoint, at most two minutes old.
    """
    if workers and config.batch % workers:
        raise Problem(f"A batch of {config.batch} cannot be shared equally by {workers} workers: choose a multiple.")

    def do(work: Work) -> None:
        name = f"faces-{work.job.fingerprint}"
        with tracking.start(name, tags={"stage": "face-network"}) as run:
            run.log_params(dataclasses.asdict(config))
            run.log_dataset(rendered, context="training")
            arguments: dict[str, Any] = {
                "rendered": rendered,
                "config": config,
                "tracking": tracking,
                "run_id": run.id,
                "checkpoint": storage.join(work.directory, WORK, CHECKPOINT),
                "told": storage.join(work.directory, WORK, "progress.txt"),
            }
            with work.progress(100, "%").follow(arguments["told"]):
                cluster.train(_worker, arguments, storage.join(work.directory, WORK, "ray"), workers=workers, gpu=gpu)
            _finish(work, run, rendered, config, test)

    inputs = {"rendered": rendered, **({"test": test} if test else {})}
    return Job("face-network", VERSION, inputs, config, {}, {}, do)


def _worker(arguments: dict[str, Any]) -> None:
    """What each worker runs: the same batches, its own share of each; rank 0 logs, looks and keeps the checkpoint."""
    import ray.train
    from ray.train.torch import get_device, prepare_model

    config: FaceNetworkConfig = arguments["config"]
    heads, held_out = learning.split(examples.load_heads(arguments["rendered"]), config.held_out, config.seed)
    state = learning.new_state(config, get_device())
    if storage.exists(arguments["checkpoint"]):
        state.load(storage.read_bytes(arguments["checkpoint"]))
    observer = None
    if ray.train.get_context().get_world_rank() == 0:
        looked_at = held_out.of(np.linspace(0, len(held_out.units) - 1, min(LOOK_HEADS, len(held_out.units))).astype(int))
        run = arguments["tracking"].resume(arguments["run_id"])
        observer = _Observer(run, examples.plain(looked_at), arguments["checkpoint"], Teller(arguments["told"]))
    learning.fit(state, prepare_model(state.network), config, heads, observer or (lambda state, values: None))
    if observer:
        observer.keep(state)


class _Observer:
    """Logs losses every `LOG_EVERY` seconds; every `LOOK_EVERY` seconds scores and keeps a checkpoint."""

    def __init__(self, run: Run, held_out: examples.Examples, checkpoint: str, tell: Teller) -> None:
        self.run, self.held_out, self.checkpoint, self.tell = run, held_out, checkpoint, tell
        self.waiting: list[dict[str, float]] = []
        self.logged = self.looked = time.monotonic()

    def __call__(self, state: State, values: dict[str, float]) -> None:
        self.waiting.append(values)
        self.tell(100 * values["progress"])
        now = time.monotonic()
        if now - self.logged > LOG_EVERY or values["progress"] >= 1:
            names = self.waiting[0].keys() - {"progress"}
            self.note(state, {name: float(np.mean([values[name] for values in self.waiting])) for name in sorted(names)})
            self.waiting, self.logged = [], now
        if now - self.looked > LOOK_EVERY:
            found = learning.answers(state.network, self.held_out)
            state.network.train()
            told = found.scores(learning.interval_factors(found))
            self.note(state, {name: value for name, value in told.items() if isinstance(value, float)})
            self.keep(state)
            self.looked = time.monotonic()

    def note(self, state: State, values: dict[str, float]) -> None:
        rounded = {key: float(f"{value:.5g}") for key, value in values.items()}
        state.log.append({"step": state.step, "seconds": round(state.seconds, 1), **rounded})
        self.run.log_metrics(values, step=state.step)

    def keep(self, state: State) -> None:
        storage.write_bytes(self.checkpoint, state.to_bytes())
        storage.write_bytes(self.checkpoint.replace(CHECKPOINT, LOG), _lines(state.log))


def _finish(work: Work, run: Run, rendered: Finished, config: FaceNetworkConfig, test: Finished | None) -> None:
    """From the last checkpoint: intervals, the weights as they are shipped, and scores of these weights."""
    state = learning.new_state(config)
    state.load(storage.read_bytes(storage.join(work.directory, WORK, CHECKPOINT)))
    _, held_out = learning.split(examples.load_heads(rendered), config.held_out, config.seed)
    found = learning.answers(state.network, examples.plain(held_out))
    factors = learning.interval_factors(found)
    work.write_file(measure.WEIGHTS, measure.to_bytes(state.network, factors, recipe=work.job.fingerprint))
    work.write_file(LOG, _lines(state.log))
    shipped = measure.open_network(storage.join(work.directory, measure.WEIGHTS))
    scores = {"held_out": learning.answers(shipped.network, examples.plain(held_out)).scores(factors)}
    if test:
        scores["test"] = learning.answers(shipped.network, examples.plain(examples.load_heads(test))).scores(factors)
    for split, one in scores.items():
        run.log_metrics({f"{split}_{key}": value for key, value in one.items() if isinstance(value, float)})
    work.results |= {
        "scores": scores,
        "rendered": rendered.manifest["rows"]["."],
        "run_id": run.id,
        "say": [_say(s, one) for s, one in scores.items()],
    }


def _say(split: str, scores: dict[str, Any]) -> str:
    return (
        f"{split.replace('_', ' ')}: Action Units r {scores['au_pearson_mean']:.3f} (least {min(scores['au_pearson'].values()):.2f}), "
        f"off by {scores['au_mae_present']:.2f} where there; points {scores['points_nme']:.4f} of the eyes' distance; n = {scores['n']}"
    )


def _lines(log: list[dict[str, float]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in log).encode()
