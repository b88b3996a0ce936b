"""A stage of a recipe -> its job: what each kind takes in, which settings it has, and who makes it."""

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twfer_dist.corpus.corpus import Corpus
from twfer_dist.engine import Job
from twfer_dist.errors import Problem
from twfer_dist.settings import fill, package_path
from twfer_dist.tracking import Tracking

INPUTS = {  # the keys of each kind that name inputs; True: several
    "render": {},
    "generator": {"rendered": False, "faces": True},
    "face-network": {"rendered": False, "test": False},
    "identity-network": {"rendered": False},
    "faces": {"corpora": True},
    "corrected": {"faces": False},
    "animate": {"faces": True},
    "strips": {"animated": True, "faces": True, "corpora": True},
    "dataset": {"faces": True, "animated": True},
    "train": {"dataset": False, "trunk": False},
    "sweep": {"dataset": False},
    "predict": {"inputs": True, "model": False},
    "validity": {"real": False, "animated": False, "models": True, "predictions": True},
    "report": {"predictions": True, "faces": True, "animated": True, "datasets": True, "models": True, "validity": True},
}


SETTINGS = {  # the frozen dataclass that the other keys of each kind fill, and the keys that are not in it
    "render": ("corpus.clay", "ClayConfig", ("head",)),
    "generator": ("synthesis.training", "GeneratorConfig", ("initial",)),
    "face-network": ("faces.learning", "FaceNetworkConfig", ()),
    "identity-network": ("faces.learning", "FaceNetworkConfig", ()),
    "faces": ("faces.pipeline", "FacesConfig", ("detector", "model", "network")),
    "corrected": ("faces.corrections", "CorrectedConfig", ("corrections",)),
    "animate": ("synthesis.pipeline", "AnimateConfig", ("generator",)),
    "strips": ("synthesis.strips", "StripsConfig", ()),
    "dataset": ("dataset.pipeline", "DatasetConfig", ()),
    "train": ("recognition.training", "TrainConfig", ("initial",)),
    "sweep": ("recognition.sweep", "SweepConfig", ()),
    "predict": ("recognition.pipeline", "PredictConfig", ()),
    "validity": ("study.validity", "ValidityConfig", ()),
    "report": ("study.report", "ReportConfig", ()),
}
KIND_OF = {"rendered": "render", "animated": "animate", "predictions": "predict"}  # where an output is named otherwise
TRACKED = ("generator", "face-network", "identity-network", "train", "sweep")


@dataclass(frozen=True)
class Compute:
    """What stages may ask for. It changes how fast they are, never what they give."""

    workers: int = 0  # processes of a data-parallel training; 0 trains in this process, or in one with a GPU
    gpus: float = 0.0  # GPUs of each actor that animates or predicts, and whether trainings use GPUs
    actors: int | None = None  # of each stage's pool, and trials of a sweep at a time; as many as fit where not given

    def __post_init__(self) -> None:
        if self.workers < 0 or self.gpus < 0 or (self.actors is not None and self.actors < 1):
            raise ValueError("workers and gpus are 0 or more, and actors 1 or more")


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


def config_of(kind: str, settings: Mapping[str, Any], place: str) -> Any:
    """The configuration of a stage. Its room is imported here, so that a recipe loads no more than it uses."""
    module, name, beside = SETTINGS[kind]
    own = {key: value for key, value in settings.items() if key not in beside}
    return fill(getattr(importlib.import_module(f"twfer_dist.{module}"), name), own, place)


def job_of(recipe: Recipe, stage: Stage, inputs: dict[str, list[Any]]) -> Job:
    """The job of a stage."""
    place = f"recipe {recipe.name}, stage '{stage.name}'"
    config = config_of(stage.kind, stage.settings, place)
    compute = recipe.compute

    def tracking() -> Tracking:
        if recipe.tracking is None:
            raise Problem(
                f"{place}: runs are tracked in an SQLite file beside the outputs, and {recipe.out} is not on this machine: "
                "give 'tracking', the address of an MLflow server."
            )
        return recipe.tracking

    def only(key: str) -> Any:
        if not inputs.get(key):
            raise Problem(f"{place}: '{key}' is missing: name a stage above it, or the directory of a finished output.")
        return inputs[key][0]

    def path(key: str) -> str | None:
        value = stage.settings.get(key)
        return None if value is None else package_path(str(value))

    match stage.kind:
        case "render":
            from twfer_dist.corpus.pipeline import rendered_job

            head = path("head")
            if head is None:
                raise Problem(f"{place}: 'head' is missing: name the head model that `twfer corpus head` makes.")
            return rendered_job(head, config, actors=compute.actors)
        case "generator":
            from twfer_dist.synthesis.train import train_generator_job

            rendered = only("rendered") if "rendered" in inputs else None
            faces, initial, gpu = inputs.get("faces", []), path("initial"), compute.gpus > 0
            return train_generator_job(rendered, config, tracking(), faces=faces, initial=initial, workers=compute.workers, gpu=gpu)
        case "face-network":
            from twfer_dist.faces.train import face_network_job

            test = only("test") if "test" in inputs else None
            return face_network_job(only("rendered"), config, tracking(), test=test, workers=compute.workers, gpu=compute.gpus > 0)
        case "identity-network":
            from twfer_dist.faces.train import identity_network_job

            return identity_network_job(only("rendered"), config, tracking(), workers=compute.workers, gpu=compute.gpus > 0)
        case "faces":
            from twfer_dist.faces.measure import SHIPPED
            from twfer_dist.faces.pipeline import faces_job

            options = {"detector": str(stage.settings.get("detector", "auto")), "network": path("network") or SHIPPED}
            return faces_job(_corpora(inputs, place), config, model=path("model"), actors=compute.actors, **options)
        case "corrected":
            from twfer_dist.faces.corrections import corrected_job

            corrections = path("corrections")
            if corrections is None:
                raise Problem(f"{place}: 'corrections' is missing: name the table that the page of `twfer inspect --html` saves.")
            return corrected_job(only("faces"), config, corrections)
        case "animate":
            from twfer_dist.synthesis.pipeline import animate_job

            generator = path("generator")
            if generator is None:
                raise Problem(f"{place}: 'generator' is missing: name a checkpoint, such as package:weights/generator.safetensors.")
            return animate_job(inputs.get("faces", []), config, generator, gpus=compute.gpus, actors=compute.actors)
        case "strips":
            from twfer_dist.synthesis.strips import strips_job

            return strips_job(inputs.get("animated", []), inputs.get("faces", []), config, corpora=inputs.get("corpora", []))
        case "dataset":
            from twfer_dist.dataset.pipeline import dataset_job

            return dataset_job(inputs.get("faces", []), inputs.get("animated", []), config)
        case "train":
            from twfer_dist.recognition.train import train_job

            initial, trunk, gpu = path("initial"), only("trunk") if "trunk" in inputs else None, compute.gpus > 0
            return train_job(only("dataset"), config, tracking(), initial=initial, trunk=trunk, workers=compute.workers, gpu=gpu)
        case "sweep":
            from twfer_dist.recognition.sweep import sweep_job

            return sweep_job(only("dataset"), config, tracking(), concurrency=compute.actors, gpu=compute.gpus > 0)
        case "predict":
            from twfer_dist.recognition.pipeline import predict_job

            return predict_job(inputs.get("inputs", []), only("model"), config, gpus=compute.gpus, actors=compute.actors)
        case "validity":
            from twfer_dist.study.validity import validity_job

            return validity_job(only("real"), only("animated"), inputs.get("models", []), inputs.get("predictions", []), config)
        case _:
            from twfer_dist.study.report import report_job

            config = dataclasses.replace(config, recipe=config.recipe or recipe.text)
            return report_job(**{key: inputs.get(key, []) for key in INPUTS["report"]}, config=config)


def _corpora(inputs: Mapping[str, list[Any]], place: str) -> list[Corpus]:
    if not inputs.get("corpora"):
        raise Problem(f"{place}: 'corpora' is missing: name corpora of the recipe.")
    return inputs["corpora"]
