"""A recipe: stages in the order of the data, and what they may ask for.

    name: demo
    out: runs/demo                  # a path or URI
    tracking: http://host:5000      # an MLflow address; SQLite in `out` where not given and something is trained
    compute: {workers: 0, gpus: 0}  # what stages may ask for: in no fingerprint
    corpora:
      warriors: photographs/warriors
    stages:
      faces: {kind: faces, corpora: [warriors]}
      read: {kind: predict, inputs: [faces], model: runs/demo/train-0123456789ab}

A stage names its inputs: stages above it, or the directories of finished outputs. Its other keys fill the frozen
dataclass of its kind. `package:` at the start of a path is the installed package: what ships with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Range, Settings
from twfer_dist.engine.tracking import Tracking


@dataclass(frozen=True)
class Compute(Settings):
    """What stages may ask for. It changes how fast they are, never what they give."""

    # processes of a data-parallel training; 0 trains in this process, or in one with a GPU
    workers: Annotated[int, Range(0, 4096)] = 0
    # GPUs of each actor that animates or predicts, and whether trainings use GPUs
    gpus: Annotated[float, Range(0, 64)] = 0.0
    # of each pool, and trials of a sweep at a time; as many as fit where not given
    actors: Annotated[int, Range(1, 100_000)] | None = None


@dataclass(frozen=True)
class Stage:
    name: str
    kind: str
    inputs: Mapping[str, list[str]]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    name: str
    out: str
    corpora: Mapping[str, str]
    stages: Sequence[Stage]
    tracking: Tracking | None = None
    compute: Compute = field(default_factory=Compute)
    text: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a stage: `state` is "finished" (found), "made" or "to do"."""

    stage: Stage
    state: str
    finished: Artifact | None

    def summary(self) -> dict[str, Any]:
        made = self.finished
        return {
            "name": self.stage.name,
            "kind": self.stage.kind,
            "state": self.state,
            "output": made and made.uri,
            "fingerprint": made and made.manifest.fingerprint,
            "rows": made.manifest.rows if made else {},
            "counts": made.manifest.counts if made else {},
            "seconds": made and made.manifest.seconds,
            "reused": made and made.manifest.reused and made.manifest.reused.as_json(),
        }
