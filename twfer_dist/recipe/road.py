"""A road from faces to predictions: stages of a study, and what its report takes from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Road:
    """stages: in order, as a recipe has them. The other fields are stages, or directories of outputs, under the key of
    the report that takes them.
    """

    stages: Mapping[str, Any]
    predictions: Sequence[str]
    animated: Sequence[str] = ()
    datasets: Sequence[str] = ()
    models: Sequence[str] = ()
    explanations: Sequence[str] = ()


def report_inputs(roads: Sequence[Road]) -> dict[str, list[str]]:
    """What the report takes from all roads together, the first road first; keys without anything are left out."""
    keys = [field.name for field in fields(Road) if field.name != "stages"]
    together = {key: [name for road in roads for name in getattr(road, key)] for key in keys}
    return {key: names for key, names in together.items() if names}
