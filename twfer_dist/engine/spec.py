"""A stage and everything that decides its output."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from twfer_dist.core import schema
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact


class HasDigest(Protocol):
    @property
    def digest(self) -> str: ...


@dataclass(frozen=True)
class StageSpec:
    """A stage and everything that decides its output; workers, devices and locations are not part of it.

    tables: the schemas of the output tables, the planned one first; "." is a table in the directory itself. do: takes
    the `output.StageOutput` to write to. found: takes the output where a run finds it finished.
    """

    stage: str
    version: int
    inputs: Mapping[str, HasDigest]
    config: Any
    models: Mapping[str, str]
    tables: Mapping[str, pa.Schema]
    do: Callable[[Any], None]
    found: Callable[[Artifact], None] = lambda output: None

    @property
    def name(self) -> str:
        """The name of the output's directory: `<stage>-<fingerprint>`."""
        return f"{self.stage}-{self.fingerprint}"

    @property
    def fingerprint_payload(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "version": self.version,
            "schema": schema.SCHEMA_VERSION,
            "inputs": {name: value.digest for name, value in self.inputs.items()},
            "config": self.config,
            "models": dict(self.models),
        }

    @property
    def fingerprint(self) -> str:
        return storage.digest(self.fingerprint_payload)

    @property
    def build_ids(self) -> dict[str, str]:
        """The build of each input: an input that was deleted and made again makes outputs that used it stale."""
        return {name: value.build_id for name, value in self.inputs.items() if isinstance(value, Artifact)}
