"""What the stages of a recipe are expected to cost before they run, and what the finished ones took."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
import pyarrow.fs as pafs

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import RENDERED
from twfer_dist.core.status import OK
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.inspect import finished_share
from twfer_dist.engine.workload import Content, Workload
from twfer_dist.recipe.kinds import kind_of, workload_of
from twfer_dist.recipe.rates import Measured, Rate, Rates
from twfer_dist.recipe.recipe import Outcome, Recipe, Stage
from twfer_dist.recipe.run import plan_recipe
from twfer_dist.recipe.walk import open_input
from twfer_dist.recognition.stage import IMAGE_TABLES

_TABLES = IMAGE_TABLES | {"render": (".", RENDERED)}


@dataclass(frozen=True)
class Estimate:
    """What a stage is expected to cost. workload, rate: None where it is not estimated, for which `reason` is given.
    artifact: its output where it is finished. done: the share that an earlier run finished of one that is to do.
    """

    stage: Stage
    state: str
    workload: Workload | None = None
    rate: Rate | None = None
    reason: str = ""
    artifact: Artifact | None = None
    done: float = 0

    @property
    def amount(self) -> float:
        """The units of work, without the rows that were reused or are done."""
        assert self.workload
        manifest = self.artifact and self.artifact.manifest
        share = 0.0
        if manifest and manifest.reused and manifest.planned_table:
            share = manifest.reused.rows / max(1, manifest.rows[manifest.planned_table])
        return self.workload.amount * (1 - share) * (1 - self.done)

    @property
    def starts(self) -> int:
        assert self.workload
        return self.workload.starts

    @property
    def cpu_hours(self) -> float | None:
        return (self.starts * self.rate.start + self.amount * self.rate.cpu) / 3600 if self.rate else None

    @property
    def gpu_hours(self) -> float | None:
        return self.amount * self.rate.gpu / 3600 if self.rate else None

    @property
    def bytes(self) -> float | None:
        return self.starts * self.rate.start_bytes + self.amount * self.rate.bytes if self.rate else None

    @property
    def written(self) -> int:
        """The bytes of the finished output."""
        assert self.artifact
        fs, path = storage.resolve(self.artifact.uri)
        return sum(file.size or 0 for file in fs.get_file_info(pafs.FileSelector(path, recursive=True)))

    @property
    def took(self) -> Measured | None:
        """What the finished stage took; None where it is to do, or its output does not say, as after a cluster."""
        if self.artifact is None or self.workload is None:
            return None
        manifest = self.artifact.manifest
        if manifest.cpu_seconds is None or manifest.peak_bytes is None:
            return None
        used = (manifest.cpu_seconds, self.written, manifest.peak_bytes)
        return Measured(self.workload.rate, self.workload.unit, self.amount, self.starts, *used)


def estimate(recipe: Recipe, rates: Rates, photographs: int | None = None) -> list[Estimate]:
    """The stages of a recipe in order. photographs: estimate all stages as if the corpora had so many photographs in
    all, with the labels, parts and faces that these have. UserError where the recipe cannot run.
    """
    corpora = {name: _of_corpus(name, path) for name, path in recipe.corpora.items()}
    factor = 1.0
    if photographs:
        if not (rows := sum(corpus.rows for corpus in corpora.values())):
            raise UserError(f"The recipe {recipe.name} has no photographs that can be multiplied to {photographs:,}.")
        factor = photographs / rows
    known = _Known(recipe, {name: corpus.times(factor) for name, corpus in corpora.items()}, {}, factor)
    return [known.estimate(outcome, rates) for outcome in plan_recipe(recipe)]


@dataclass(frozen=True)
class _Known:
    """What corpora and outputs hold, or are expected to; None where that is not known."""

    recipe: Recipe
    corpora: dict[str, Content]
    outputs: dict[str, Content | None]
    factor: float

    def estimate(self, outcome: Outcome, rates: Rates) -> Estimate:
        stage = outcome.stage
        inputs = dict(self._inputs(stage))
        unknown = [name for key in inputs for name, content in inputs[key].items() if content is None]
        contents = {key: [content for content in named.values() if content] for key, named in inputs.items()}
        workload = None if unknown else workload_of(self.recipe, stage, contents)
        self.outputs[stage.name] = self._content(outcome, workload)
        artifact = outcome.artifact if self.factor == 1 else None
        found: dict[str, Any] = {"stage": stage, "state": "finished" if artifact else "to do", "artifact": artifact}
        if workload is None:
            why = f"it is not known what '{unknown[0]}' will hold" if unknown else "this kind says nothing before"
            return Estimate(reason=why, **found)
        rate, begun = rates.rates.get(workload.rate), storage.join(self.recipe.out, outcome.directory)
        done = finished_share(begun) if artifact is None and self.factor == 1 and outcome.directory else 0
        return Estimate(workload=workload, rate=rate, reason=f"no rate '{workload.rate}'", done=done, **found)

    def _inputs(self, stage: Stage) -> Iterator[tuple[str, dict[str, Content | None]]]:
        for key in kind_of(stage.kind).inputs:
            names = stage.inputs.get(key.name, [])
            if not key.kinds:
                yield key.name, {name: self.corpora[name] for name in names}
                continue
            for name in set(names) - self.outputs.keys():
                opened = open_input(self.recipe, key, name, f"recipe {self.recipe.name}, stage '{stage.name}'")
                self.outputs[name] = _of_artifact(opened)
            yield key.name, {name: self.outputs[name] for name in names}

    def _content(self, outcome: Outcome, workload: Workload | None) -> Content | None:
        """What the output holds. Of photographs that are multiplied, the finished faces tell how many have one."""
        of_corpora = any(not key.kinds for key in kind_of(outcome.stage.kind).inputs)
        if outcome.artifact and (self.factor == 1 or of_corpora):
            return _of_artifact(outcome.artifact).times(self.factor)
        return workload.content if workload else None


def _of_corpus(name: str, path: str) -> Content:
    table = open_corpus(path, name).table
    return Content(_counts(table["label"]), _counts(table["split"]))


def _of_artifact(artifact: Artifact) -> Content:
    manifest = artifact.manifest
    if manifest.stage == "train":
        return Content(model=f"{manifest.config['network']} {manifest.config['size']}")
    if manifest.stage not in _TABLES:
        return Content({None: max(manifest.rows.values(), default=0)})
    table, expected = _TABLES[manifest.stage]
    columns = ["label", *(["split"] if "split" in expected.names else [])]
    rows = artifact.scan(table, expected).to_table(columns=columns, filter=pc.field("status") == OK)
    return Content(_counts(rows["label"]), _counts(rows["split"]) if "split" in columns else {})


def _counts(column: Any) -> dict[Any, float]:
    return {count["values"]: count["counts"] for count in column.value_counts().to_pylist()}
