"""A recipe: stages in the order of the data, and what they may use.

    name: demo
    out: runs/demo                  # a path or URI
    tracking: http://host:5000      # an MLflow server; default: SQLite in `out`, if a stage trains
    compute: {workers: 0, gpus: 0}  # what stages may use, unless they say so themselves; not part of any fingerprint
    corpora:
      warriors: photographs/warriors
    stages:
      faces: {kind: faces, corpora: [warriors]}
      read: {kind: predict, inputs: [faces], model: runs/demo/train-0123456789ab}

A stage names its inputs: stages above it, or the directories of outputs. It may have a `compute` of its own. Its other
keys fill the frozen dataclass of its kind. A path that starts with `package:` is inside the installed package.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Lines
from twfer_dist.engine.kind import Compute
from twfer_dist.engine.tracking import Tracking


@dataclass(frozen=True)
class Stage:
    """A stage as its recipe has it. inputs: the names under each key. settings: its other keys, as written. compute:
    the recipe's, with what the stage has of its own.
    """

    name: str
    kind: str
    inputs: Mapping[str, list[str]]
    settings: Lines
    compute: Compute = field(default_factory=Compute)


@dataclass(frozen=True)
class Recipe:
    name: str
    out: str  # absolute path or URI
    corpora: Mapping[str, str]
    stages: Sequence[Stage]
    tracking: Tracking | None = None
    text: str = ""  # the YAML, without passwords


@dataclass(frozen=True)
class Outcome:
    """What became of a stage: it was found finished, was made, or is still to do. artifact: None where there is none,
    or where another version of the program wrote it ("outdated"). directory: the name of its output, where it is known.
    """

    stage: Stage
    state: Literal["finished", "made", "to do", "unfinished", "outdated"]
    artifact: Artifact | None
    directory: str = ""

    def summary(self) -> dict[str, Any]:
        """The outcome as JSON, as `--json` prints it."""
        output = self.artifact
        return {
            "name": self.stage.name,
            "kind": self.stage.kind,
            "state": self.state,
            "output": output and output.uri,
            "fingerprint": output and output.manifest.fingerprint,
            "rows": output.manifest.rows if output else {},
            "counts": output.manifest.counts if output else {},
            "seconds": output and output.manifest.seconds,
            "reused": output and output.manifest.reused and output.manifest.reused.as_json(),
        }
