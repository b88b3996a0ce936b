"""The settings that `measure_paper_road.py` compares."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Road:
    """One way from neutral faces to a recogniser. The defaults are the paper's and the animate stage's."""

    network: Literal["resnet18", "arm", "measuring"] = "resnet18"
    # random weights; a ResNet-18 trained on animated rendered heads; for ARM also one trained on the same images
    start: Literal["random", "heads", "resnet18"] = "random"
    frozen: bool = False  # of the network that measures faces: train the last layer only
    source: Literal["neutral", "every"] = "neutral"  # the faces that are animated
    target: Literal["prototype", "performed", "clearest"] = "prototype"
    levels: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    draws: int = 1  # images of each face, expression and level
    round_trip: bool = False  # neutral images have been animated to another expression and back
    strong: bool = False  # augmentation: grey, low resolution, blur, noise, uneven light
    smoothing: float = 0.0  # of the labels; above 0 with cross entropy instead of the focal loss
    adapt: bool = False  # batch norm's statistics are those of real faces, of the figures trained on
    size: int = 96
    epochs: int = 12
    rate: float = 3e-4
    batch: int = 64
    most: int = 600  # faces that are animated


PAPER = Road()
VARIED = replace(PAPER, target="performed", strong=True)
MEASURING = replace(VARIED, network="measuring", epochs=8)

SMALL_FOLDER = 60  # faces


@dataclass(frozen=True)
class Job:
    """A setting to measure. folds: of "folder"."""

    corpus: Literal["fer", "yale"]
    way: Literal["folder", "apart"]
    road: Road
    seeds: int = 2
    folds: int = 3


def described(road: Road) -> dict[str, Any]:
    """What of a setting differs from the paper's."""
    return {name: value for name, value in asdict(road).items() if value != asdict(PAPER)[name]}


def few_people(road: Road) -> Road:
    """The setting for the neutral faces of fifteen people: as many steps with fewer images."""
    return replace(road, epochs=40, batch=32)


def jobs() -> Iterator[Job]:
    """All settings, the most important first."""
    for road in (PAPER, VARIED, replace(VARIED, round_trip=True), MEASURING, replace(MEASURING, round_trip=True)):
        yield Job("fer", "apart", road)
        yield Job("yale", "folder", few_people(road), seeds=3)
        yield Job("yale", "folder", replace(road, source="every", epochs=12, batch=32), seeds=3)
        yield Job("fer", "folder", replace(road, source="every", epochs=8))
    for road in (PAPER, VARIED, MEASURING):
        yield Job("yale", "folder", few_people(road), seeds=3, folds=5)
    for road in variants():
        yield Job("fer", "apart", road)
        yield Job("yale", "folder", few_people(road), seeds=3)
    for road in (PAPER, VARIED, MEASURING):
        yield Job("fer", "apart", replace(road, most=SMALL_FOLDER, epochs=5 * road.epochs))
        yield Job("fer", "folder", replace(road, epochs=2 * road.epochs))
        yield Job("fer", "apart", replace(road, source="every"))


def variants() -> Iterator[Road]:
    """Settings that differ from the main ones in one thing each."""
    yield replace(PAPER, strong=True)
    yield replace(PAPER, target="performed")
    yield replace(PAPER, target="clearest")
    yield replace(PAPER, network="arm", start="resnet18", size=112)
    yield replace(VARIED, network="arm", start="resnet18", size=112)
    yield replace(VARIED, start="heads")
    yield replace(VARIED, adapt=True)
    yield replace(MEASURING, frozen=True, rate=3e-3)
    yield replace(MEASURING, adapt=True)
    yield replace(VARIED, target="clearest")
    yield replace(MEASURING, target="clearest")
    for base in (VARIED, MEASURING):
        yield replace(base, levels=(0.4, 0.6, 0.8))
        yield replace(base, levels=(0.25, 0.5, 0.75, 1.0))
        yield replace(base, levels=(1.0,), draws=4)
        yield replace(base, smoothing=0.1)
    yield replace(VARIED, size=64)
    yield replace(VARIED, size=112)
    yield replace(VARIED, draws=3, epochs=5)
    yield replace(MEASURING, draws=3, epochs=4)
    yield replace(VARIED, network="arm", start="heads", size=112)
