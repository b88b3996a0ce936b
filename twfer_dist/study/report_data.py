"""Everything the report states: what `report.json` holds and the page shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.study import correction, groups, metrics, models, provenance
from twfer_dist.study.accuracy import accuracy_entries
from twfer_dist.study.correction import Correction
from twfer_dist.study.inputs import ReportInputs, output_name, predictions_of
from twfer_dist.study.measured import MeasuredFaces
from twfer_dist.study.notes import Notes, collect_notes
from twfer_dist.study.profile import Profile, profile
from twfer_dist.study.repeatability import repeatability_of
from twfer_dist.study.units import UnitSources, action_units


@dataclass(frozen=True)
class Study:
    """The numbers of a study. Lists and dictionaries are JSON-like, as `report.json` holds them."""

    model: str | None  # whose answers are shown; None without predictions
    model_rule: str  # why it is this model, in a sentence
    photographs: dict[str, Any]  # see provenance.photograph_counts
    detectors: list[dict[str, Any]]  # see provenance.detector_counts
    faces: dict[str, Any]  # see provenance.status_counts
    answers: dict[str, int]  # faces by the status of the model's answer
    training: list[dict[str, Any]]  # see provenance.split_counts
    accuracy: list[dict[str, Any]]  # see accuracy.accuracy_entries
    validity: list[dict[str, Any]]  # of each validity test: output, scores
    correction: Correction
    overall: dict[str, Any] | None  # see groups.overall; None where the model has no answer
    groups: list[dict[str, Any]]  # see groups.distributions
    recognisers: list[dict[str, Any]]  # see models.recogniser_entry
    sweeps: list[dict[str, Any]]  # see models.sweep_entry
    made_from: list[dict[str, Any]]  # see provenance.provenance
    notes: Notes
    units: list[UnitSources]
    profile: Profile


def collect(
    inputs: ReportInputs, images: pa.Table, measured: MeasuredFaces, *, columns: Sequence[str], examples: int
) -> Study:
    """The numbers of a study.

    images: `inputs.photograph_splits`. measured: the faces' Action Units. columns: those that faces are compared by,
    all where empty. examples: about how many photographs without a face are listed.
    """
    counts = metrics.count(predictions_of(inputs.predictions, inputs.faces), images, columns)
    accuracy = accuracy_entries(counts, inputs)
    trainings = [m for m in inputs.models if m.manifest.stage == "train"]
    recognisers = [models.recogniser_entry(t, trainings) for t in trainings]
    model, rule = models.choose_model(counts, accuracy, recognisers)
    answers = counts.filter(pc.equal(counts["model"], model)) if model else counts
    record = next((r["held_out"] for r in recognisers if r["model"] == model), None)
    corrected_by, confusion = correction.choose(answers, record)
    units = action_units(inputs.faces)
    doubtful = sorted({unit.unit for source in units for unit in source.far})
    return Study(
        model=model,
        model_rule=rule,
        photographs=provenance.photograph_counts(inputs.faces, examples),
        detectors=provenance.detector_counts(inputs.faces),
        faces=provenance.status_counts(inputs.faces, "faces"),
        answers=_sum_by_status(answers),
        training=[provenance.split_counts(dataset) for dataset in inputs.datasets],
        accuracy=accuracy,
        validity=[{"output": output_name(v), "scores": v.results["scores"]} for v in inputs.validity],
        correction=corrected_by,
        overall=groups.overall(answers, confusion) if len(answers) else None,
        groups=groups.distributions(answers, confusion, columns) if len(answers) else [],
        recognisers=recognisers,
        sweeps=[models.sweep_entry(m) for m in inputs.models if m.manifest.stage == "sweep"],
        made_from=[provenance.provenance(kind, output) for kind, outputs in inputs for output in outputs],
        notes=collect_notes(inputs.faces),
        units=units,
        profile=profile(measured, repeatability_of(inputs.faces, measured.sources), named=columns, doubtful=doubtful),
    )


def _sum_by_status(counts: pa.Table) -> dict[str, int]:
    summed = counts.group_by("status").aggregate([("n", "sum")]).sort_by("status")
    return {row["status"]: row["n_sum"] for row in summed.to_pylist()}
