"""Everything the report states: what `report.json` holds and the page shows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.reading.reader import NAME as READER
from twfer_dist.study import correction, groups, metrics, models, provenance, roads
from twfer_dist.study.accuracy import accuracy_entries
from twfer_dist.study.agreement import Comparison, compare
from twfer_dist.study.annotators import Annotators, annotators
from twfer_dist.study.answers import answers_of, clearest, relative_readings
from twfer_dist.study.correction import Correction
from twfer_dist.study.credits import Credits, collect_credits
from twfer_dist.study.explanations import Explained, explained
from twfer_dist.study.group_effects import ColumnEffect, group_effects
from twfer_dist.study.inputs import NEW, SEEN, ReportInputs, output_name, predictions_of
from twfer_dist.study.measured import MeasuredFaces
from twfer_dist.study.notes import Notes, collect_notes
from twfer_dist.study.profile import Profile, profile
from twfer_dist.study.reliability import Reliability, reliabilities
from twfer_dist.study.repeatability import repeatability_of
from twfer_dist.study.similarity import SimilarityStudy, similarity_studies
from twfer_dist.study.sweeps import sweep_entry
from twfer_dist.study.units import UnitSources, action_units


@dataclass(frozen=True)
class Answers:
    """What one model says about the faces. Lists and dictionaries are JSON-like."""

    model: str | None
    answers: dict[str, int]  # faces by the status of the model's answer
    correction: Correction
    overall: dict[str, Any] | None  # see groups.overall; None where the model has no answer
    groups: list[dict[str, Any]]  # see groups.distributions
    effects: list[ColumnEffect]


@dataclass(frozen=True)
class Study:
    """The numbers of a study. Lists and dictionaries are JSON-like, as `report.json` holds them."""

    model: str | None  # whose answers are shown; None without predictions
    chosen_by: str  # why it is this model; see models.model_rule
    photographs: dict[str, Any]  # see provenance.photograph_counts
    detectors: list[dict[str, Any]]  # see provenance.detector_counts
    faces: dict[str, Any]  # see provenance.status_counts
    answers: dict[str, int]  # faces by the status of the model's answer
    training: list[dict[str, Any]]  # see provenance.split_counts
    accuracy: list[dict[str, Any]]  # see accuracy.accuracy_entries
    reliability: list[Reliability]
    explained: list[Explained]
    validity: list[dict[str, Any]]  # of each validity test: output, scores
    correction: Correction
    overall: dict[str, Any] | None  # see groups.overall; None where the model has no answer
    groups: list[dict[str, Any]]  # see groups.distributions
    effects: list[ColumnEffect]
    second: Answers | None  # of the model beside `model`; see models.choose_models
    comparison: Comparison | None  # of the two models
    clearest: list[dict[str, Any]]  # see answers.clearest; empty where `model` is no road
    relative: dict[str, Any] | None  # see answers.relative_readings
    recognisers: list[dict[str, Any]]  # see models.recogniser_entry
    sweeps: list[dict[str, Any]]  # see sweeps.sweep_entry
    made_from: list[dict[str, Any]]  # see provenance.provenance
    annotators: list[Annotators]  # of each corpus with several annotators
    notes: Notes
    units: list[UnitSources]
    profile: Profile
    credits: Credits
    similarity: list[SimilarityStudy]

    @property
    def first(self) -> Answers:
        """What `model` says."""
        return Answers(self.model, self.answers, self.correction, self.overall, self.groups, self.effects)

    @property
    def readings(self) -> list[Answers]:
        """What `model` says and, where there is a second, what that says."""
        return [self.first, self.second] if self.second else [self.first]

    def as_json(self) -> dict[str, Any]:
        """The study with the sentences that explain it, in the current language."""
        facts = asdict(self)
        second = self.second.model if self.second else None
        facts["model_rule"] = models.model_rule(self.model, second, self.chosen_by)
        for answers, said in ((self.first, facts), (self.second, facts["second"])):
            if answers:
                said["correction"]["why"] = correction.why(answers.correction)
        return facts


def collect(
    inputs: ReportInputs, images: pa.Table, measured: MeasuredFaces, *, columns: Sequence[str], examples: int
) -> Study:
    """The numbers of a study.

    images: `inputs.photograph_splits`. measured: the faces' Action Units. columns: those that faces are compared by,
    all where empty. examples: about how many photographs without a face are listed.
    """
    counts = _unseen(metrics.count(predictions_of(inputs.predictions, inputs.faces), images, columns))
    accuracy = accuracy_entries(counts, inputs)
    recognisers = _recognisers(inputs)
    chosen = models.choose_models(counts, accuracy, recognisers)
    records = {r["model"]: r["held_out"] for r in recognisers}
    records |= {name: roads.held_out(name, inputs) for name in roads.roads(counts)}
    first = _answers(counts, chosen.first, records, columns)
    units = action_units(inputs.faces)
    doubtful = sorted({unit.unit for source in units for unit in source.far})
    return Study(
        model=chosen.first,
        chosen_by=chosen.rule,
        **_as_found(inputs, examples),
        answers=first.answers,
        accuracy=accuracy,
        reliability=reliabilities(inputs, images),
        explained=explained(inputs.explanations),
        correction=first.correction,
        overall=first.overall,
        groups=first.groups,
        effects=first.effects,
        second=_answers(counts, chosen.second, records, columns) if chosen.second else None,
        **_face_by_face(inputs, images, chosen),
        recognisers=recognisers,
        annotators=annotators(inputs.faces, inputs.predictions, images, _models(counts, chosen.first)),
        units=units,
        profile=profile(measured, repeatability_of(inputs.faces, measured.sources), named=columns, doubtful=doubtful),
    )


def _as_found(inputs: ReportInputs, examples: int) -> dict[str, Any]:
    """What a study takes from its inputs as they are."""
    return {
        "photographs": provenance.photograph_counts(inputs.faces, examples),
        "detectors": provenance.detector_counts(inputs.faces),
        "faces": provenance.status_counts(inputs.faces, "faces"),
        "training": [provenance.split_counts(dataset) for dataset in inputs.datasets],
        "validity": [{"output": output_name(v), "scores": v.results["scores"]} for v in inputs.validity],
        "sweeps": [sweep_entry(m) for m in inputs.models if m.manifest.stage == "sweep"],
        "made_from": [provenance.provenance(kind, output) for kind, outputs in inputs for output in outputs],
        "notes": collect_notes(inputs.faces),
        "credits": collect_credits(inputs.faces),
        "similarity": similarity_studies(inputs.similarity),
    }


def _recognisers(inputs: ReportInputs) -> list[dict[str, Any]]:
    trainings = [m for m in inputs.models if m.manifest.stage == "train"]
    return [models.recogniser_entry(training, trainings) for training in trainings]


def _unseen(counts: pa.Table) -> pa.Table:
    """The count table with the figures that a road reads as new to it, whatever the data sets of the report hold."""
    by_road = pc.is_in(counts["model"], pa.array(roads.roads(counts), pa.string()))
    split = pc.if_else(pc.and_(by_road, pc.equal(counts["split"], SEEN)), NEW, counts["split"])
    return counts.set_column(counts.column_names.index("split"), "split", split)


def _models(counts: pa.Table, first: str | None) -> list[str]:
    """Every model that answered, `first` before the others."""
    return sorted(counts["model"].unique().to_pylist(), key=lambda model: (model != first, model))


def _answers(
    counts: pa.Table, model: str | None, records: Mapping[str | None, Mapping[str, Any] | None], columns: Sequence[str]
) -> Answers:
    """records: the errors on unseen images that each model recorded."""
    rows = counts.filter(pc.equal(counts["model"], model)) if model else counts
    corrected_by, confusion = correction.choose(rows, records.get(model), roads.held_out_images(model))
    summed = rows.group_by("status").aggregate([("n", "sum")]).sort_by("status")
    found = groups.distributions(rows, confusion, columns) if len(rows) else []
    return Answers(
        model=model,
        answers={row["status"]: row["n_sum"] for row in summed.to_pylist()},
        correction=corrected_by,
        overall=groups.overall(rows, confusion) if len(rows) else None,
        groups=found,
        effects=group_effects(rows, model, found),
    )


def _face_by_face(inputs: ReportInputs, images: pa.Table, chosen: models.Choice) -> dict[str, Any]:
    """The fields of a Study that need each face's answer."""
    if not roads.is_road(chosen.first):
        return {"comparison": None, "clearest": [], "relative": None}
    predictions = predictions_of(inputs.predictions, inputs.faces)
    shown = [name for name in (chosen.first, chosen.second) if name]
    tables = [answers_of(predictions, images, name) for name in shown]
    return {
        "comparison": compare((shown[0], shown[1]), *tables) if len(shown) > 1 else None,
        "clearest": clearest(list(zip(shown, tables, strict=True))),
        "relative": relative_readings(predictions, tables[0]) if chosen.first == READER else None,
    }
