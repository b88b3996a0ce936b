"""The stage that trains the reader on measured heads, and logs it to MLflow."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import NEUTRAL
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.kind import Input, StageKind
from twfer_dist.engine.mlflow_run import Run
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.reading import reader, training
from twfer_dist.reading.photographs import Disturbance
from twfer_dist.reading.training import MeasuredHeads, ReaderConfig
from twfer_dist.recognition import calibration
from twfer_dist.training.observer import LOG, LogLine, log_lines

VERSION = 2


def reader_spec(measured: Artifact, resting: Artifact, config: ReaderConfig, tracking: Tracking) -> StageSpec:
    """Train the reader on the heads of `measured`.

    resting: an output of `faces` with photographs of expressionless people (label neutral), whose measured units the
    reader learns to disregard. Writes reader.safetensors (for `reader.open_reader`) and training.jsonl. `results`:
    scores on the heads of held-out figures, `as_measured` and `disturbed` as photographs may disturb them; the
    threshold; `held_out`, the confusion of the disturbed ones; the MLflow run's id.
    """

    def do(output: StageOutput) -> None:
        heads, held_out = training.split(_load_heads(measured), config.held_out, config.seed)
        people = _load_resting(resting)
        tags = {"stage": output.spec.stage, "fingerprint": output.spec.fingerprint}
        name = f"{output.spec.stage}-{output.spec.fingerprint}"
        with tracking.start(name, output.out, tags=tags, params=dataclasses.asdict(config)) as run:
            run.log_dataset(measured, context="training")
            log: list[LogLine] = []

            def record(step: int, values: Mapping[str, float]) -> None:
                log.append({"step": step, **values})
                run.log_metrics(values, step)

            network = training.fit(config, heads, people, record)
            output.write_file(LOG, log_lines(log))
            _finish(output, network, config, held_out, people, run)

    return StageSpec("reader", VERSION, {"measured": measured, "resting": resting}, config, {}, {}, do)


def _load_heads(measured: Artifact) -> MeasuredHeads:
    columns = ["figure_id", "label", "intensity", "action_units", "action_units_half_width_90", "status"]
    rows = measured.scan(".", schema.MEASURED).to_table(columns=columns, filter=pc.field("status") == OK)
    rows = rows.filter(pc.and_(pc.is_valid(rows["label"]), pc.is_valid(rows["action_units_half_width_90"])))
    if pc.count_distinct(rows["figure_id"]).as_py() < 2:
        raise UserError(
            f"{measured.uri} holds fewer than two figures with labelled heads: measure a rendered corpus of plan "
            "performances."
        )
    return MeasuredHeads(
        _matrix(rows["action_units"]),
        _matrix(rows["action_units_half_width_90"]),
        rows["label"].to_numpy().astype(np.int64) - 1,
        rows["intensity"].to_numpy().astype(np.float32),
        np.array(rows["figure_id"].to_pylist()),
    )


def _load_resting(faces: Artifact) -> np.ndarray:
    """The units (M, 17) of the faces that are labelled neutral."""
    wanted = (pc.field("status") == OK) & (pc.field("label") == NEUTRAL)
    rows = faces.scan("faces", schema.FACES).to_table(columns=["action_units"], filter=wanted).drop_null()
    if not len(rows):
        raise UserError(f"{faces.uri} holds no measured face with the label neutral: name faces of people at rest.")
    return _matrix(rows["action_units"])


def _matrix(column: Any) -> np.ndarray:
    return np.array(column.to_pylist(), np.float32)


def _finish(
    output: StageOutput,
    network: reader.ReaderNetwork,
    config: ReaderConfig,
    held_out: MeasuredHeads,
    people: np.ndarray,
    run: Run,
) -> None:
    """Choose the threshold on held-out heads, disturbed as photographs may be, and write the weights with it."""
    rng = np.random.default_rng((config.seed, 1))
    disturbed = Disturbance().apply(held_out.units, held_out.half_width_90, people, rng)
    rest = np.median(disturbed[held_out.labels == NEUTRAL - 1], 0)
    trained = reader.Reader(network, training.laplace_draws(config.draws), rest, 1.0, {}, "")
    probabilities = training.read_all(trained, disturbed, held_out.half_width_90)
    answers = probabilities.argmax(1)
    threshold = calibration.threshold(probabilities.max(1), answers == held_out.labels, config.accuracy_target)
    figure = np.unique(held_out.figure_ids, return_inverse=True)[1]
    errors = calibration.confusion(held_out.labels, answers, figure).as_dict()
    trained = dataclasses.replace(trained, threshold=threshold.confidence or 1.0, held_out=errors)
    output.write_file(reader.WEIGHTS, reader.to_bytes(trained, recipe=output.spec.fingerprint))
    as_measured = training.read_all(trained, held_out.units, held_out.half_width_90)
    scores = {
        "as_measured": training.scores(as_measured, held_out.labels),
        "disturbed": training.scores(probabilities, held_out.labels),
    }
    for name, values in scores.items():
        run.log_metrics({f"{name}_accuracy": values["accuracy"], f"{name}_ece": values["ece"]})
    output.results |= {
        "scores": scores,
        "threshold": dataclasses.asdict(threshold),
        "held_out": errors,
        "run_id": run.id,
        "summary": [_summary(name, values) for name, values in scores.items()],
    }


def _summary(name: str, scores: Mapping[str, Any]) -> str:
    return (
        f"held-out heads, {name.replace('_', ' ')}: {100 * scores['accuracy']:.1f} % of {scores['n']:,} correct; "
        f"expected calibration error {scores['ece']:.3f}"
    )


KIND = StageKind(
    "reader",
    makes="the reader: Action Units to expressions",
    config=ReaderConfig,
    inputs=(Input("measured", ("measure",)), Input("resting", ("faces", "corrected"))),
    build=lambda request: reader_spec(
        request.one("measured"), request.one("resting"), request.config, request.tracking
    ),
    tracked=True,
)
