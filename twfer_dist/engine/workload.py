"""How much work a stage is expected to be, before any of it is done."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Content:
    """The images that a corpus or an output holds or will hold, or the model that a training makes.

    labels: how many images of each expression, 1 to 7; None: without a label. parts: how many images of each part of a
    split. model: the network and the side of its input in pixels, such as "arm 112".
    """

    labels: Mapping[int | None, float] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)
    model: str = ""

    @property
    def rows(self) -> float:
        return sum(self.labels.values())

    def times(self, factor: float) -> "Content":
        labels = {label: factor * n for label, n in self.labels.items()}
        return Content(labels, {part: factor * n for part, n in self.parts.items()}, self.model)


def joined(contents: Iterable[Content]) -> Content:
    """The images of all of them."""
    labels: dict[int | None, float] = {}
    parts: dict[str, float] = {}
    for content in contents:
        labels |= {label: labels.get(label, 0) + n for label, n in content.labels.items()}
        parts |= {part: parts.get(part, 0) + n for part, n in content.parts.items()}
    return Content(labels, parts)


@dataclass(frozen=True)
class Workload:
    """The work of a stage: `amount` of `unit` at the measured rate called `rate`.

    content: of the stage's output. processes: how many processes can share the work; None: as many as there are.
    assumed: what is not known before, in phrases. starts: how often what a start takes is to be paid; the trials of a
    sweep each start a process, import torch in it and build a network.
    """

    rate: str
    amount: float
    unit: str
    content: Content
    processes: int | None = None
    assumed: tuple[str, ...] = ()
    starts: int = 1
