"""A stage of a recipe -> its job: what each kind takes in, which settings it has, and who makes it."""

import contextlib
import dataclasses
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.engine.config import either, fill, package_path
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recipe.recipe import Compute, Recipe, Stage


@dataclass(frozen=True)
class Input:
    """What a key of a stage names: outputs of stages of these kinds, or corpora of the recipe where there are none."""

    kinds: tuple[str, ...]
    several: bool = False
    optional: bool = False


FACES = ("faces", "corrected")
INPUTS: dict[str, dict[str, Input]] = {
    "render": {},
    "generator": {"rendered": Input(("render",), optional=True), "faces": Input(FACES, several=True, optional=True)},
    "face-network": {"rendered": Input(("render",)), "test": Input(("render",), optional=True)},
    "identity-network": {"rendered": Input(("render",))},
    "faces": {"corpora": Input((), several=True)},
    "corrected": {"faces": Input(FACES)},
    "animate": {"faces": Input(FACES, several=True)},
    "strips": {
        "animated": Input(("animate",), several=True),
        "faces": Input(FACES, several=True),
        "corpora": Input((), several=True, optional=True),
    },
    "dataset": {
        "faces": Input(FACES, several=True, optional=True),
        "animated": Input(("animate",), several=True, optional=True),
    },
    "train": {"dataset": Input(("dataset",)), "trunk": Input(("train",), optional=True)},
    "sweep": {"dataset": Input(("dataset",))},
    "predict": {"inputs": Input((*FACES, "animate", "dataset"), several=True), "model": Input(("train",))},
    "validity": {
        "real": Input(("dataset",)),
        "animated": Input(("dataset",)),
        "models": Input(("train",), several=True),
        "predictions": Input(("predict",), several=True),
    },
    "report": {
        "predictions": Input(("predict",), several=True, optional=True),
        "faces": Input(FACES, several=True, optional=True),
        "animated": Input(("animate",), several=True, optional=True),
        "datasets": Input(("dataset",), several=True, optional=True),
        "models": Input(("train", "sweep"), several=True, optional=True),
        "validity": Input(("validity",), several=True, optional=True),
    },
}
NEEDED = {  # files without which a stage has nothing to work with
    "render": ("head", "name the head model that `twfer corpus head` makes"),
    "corrected": ("corrections", "name the table that the page of `twfer inspect --html` saves"),
    "animate": ("generator", "name a checkpoint, such as package:weights/generator.safetensors"),
}

SETTINGS = {  # the frozen dataclass that the other keys of each kind fill, and the keys that are not in it
    "render": ("rendering.plan", "ClayConfig", ("head",)),
    "generator": ("synthesis.training", "GeneratorConfig", ("initial",)),
    "face-network": ("measurement.training", "FaceNetworkConfig", ()),
    "identity-network": ("measurement.training", "FaceNetworkConfig", ()),
    "faces": ("faces.stage", "FacesConfig", ("detector", "model", "network")),
    "corrected": ("annotation.corrections", "CorrectedConfig", ("corrections",)),
    "animate": ("synthesis.stage", "AnimateConfig", ("generator",)),
    "strips": ("synthesis.strips", "StripsConfig", ()),
    "dataset": ("dataset.stage", "DatasetConfig", ()),
    "train": ("recognition.training", "TrainConfig", ("initial",)),
    "sweep": ("recognition.sweep_stage", "SweepConfig", ()),
    "predict": ("recognition.stage", "PredictConfig", ()),
    "validity": ("study.validity", "ValidityConfig", ()),
    "report": ("study.report", "ReportConfig", ()),
}
KIND_OF = {"rendered": "render", "animated": "animate", "predictions": "predict"}  # where an output is named otherwise
TRACKED = ("generator", "face-network", "identity-network", "train", "sweep")


def config_of(kind: str, settings: Mapping[str, Any], place: str) -> Any:
    """The configuration of a stage. Its room is imported here, so that a recipe loads no more than it uses."""
    module, name, beside = SETTINGS[kind]
    own = {key: value for key, value in settings.items() if key not in beside}
    return fill(
        getattr(importlib.import_module(f"twfer_dist.{module}"), name), own, place, other_keys=(*INPUTS[kind], *beside)
    )


def check(stage: Stage, compute: Compute, kinds: Mapping[str, str], place: str) -> None:
    """Problem where a stage lacks something, names a stage of a kind that it cannot take, or has settings that do not
    go together.

    kinds: of the stages above it.
    """
    config = config_of(stage.kind, stage.settings, place)
    for key, takes in INPUTS[stage.kind].items():
        named = stage.inputs.get(key, [])
        if not named and not takes.optional:
            source = (
                f"a stage of kind {either(takes.kinds)}, or its finished directory"
                if takes.kinds
                else "corpora of the recipe"
            )
            raise UserError(f"{place}: '{key}' is missing: name {source}.")
        for one in named:
            if one in kinds and takes.kinds:
                check_kind(takes, key, f"stage '{one}'", kinds[one], place)
    if stage.kind in NEEDED and stage.settings.get(NEEDED[stage.kind][0]) is None:
        raise UserError(f"{place}: '{NEEDED[stage.kind][0]}' is missing: {NEEDED[stage.kind][1]}.")
    with _at(place):
        _check_together(stage, config, compute)


def check_kind(takes: Input, key: str, what: str, kind: str, place: str) -> None:
    """Problem where what a key names is the output of another kind of stage than it takes."""
    if kind not in takes.kinds:
        raise UserError(
            f"{place}: '{key}' names {what}, which is of kind {kind}: name one of kind {either(takes.kinds)}."
        )


def _check_together(stage: Stage, config: Any, compute: Compute) -> None:
    match stage.kind:
        case "generator":
            from twfer_dist.synthesis.train_stage import check

            check(
                config,
                rendered="rendered" in stage.inputs,
                faces=bool(stage.inputs.get("faces")),
                workers=compute.workers,
            )
        case "face-network" | "identity-network":
            from twfer_dist.measurement.train_stage import check_batch

            check_batch(config.batch, compute.workers, pairs=stage.kind == "identity-network")
        case "train":
            from twfer_dist.training.loop import check_divisible

            check_divisible(config.batch, compute.workers)
            if stage.settings.get("initial") and stage.inputs.get("trunk"):
                raise UserError("A training starts from 'initial' or from a 'trunk', not from both: leave one out.")
        case "dataset":
            wanted = {"photographs": "faces", "animated": "animated"}
            if missing := [origin for origin in config.include if not stage.inputs.get(wanted[origin])]:
                raise UserError(
                    f"The data set includes {missing[0]}, and '{wanted[missing[0]]}' is missing: name the stages "
                    "that have them."
                )
            if config.split == "given" and not stage.inputs.get("faces"):
                raise UserError(
                    "The split 'given' is that of the photographs, and 'faces' is missing: name the stages that "
                    "have them."
                )
        case "faces":
            from twfer_dist.faces.detector_models import DETECTORS

            if (detector := str(stage.settings.get("detector", "auto"))) not in ("auto", *DETECTORS):
                raise UserError(f"'{detector}' is no face detector: use {either(('auto', *DETECTORS))}.")


@contextlib.contextmanager
def _at(place: str) -> Iterator[None]:
    """Meanwhile a Problem names the place."""
    try:
        yield
    except UserError as problem:
        raise UserError(f"{place}: {problem}") from None


def job_of(recipe: Recipe, stage: Stage, inputs: dict[str, list[Any]]) -> StageSpec:
    """The job of a stage."""
    place = f"recipe {recipe.name}, stage '{stage.name}'"
    config = config_of(stage.kind, stage.settings, place)
    compute = recipe.compute

    def tracking() -> Tracking:
        if recipe.tracking is None:
            raise UserError(
                f"{place}: runs are tracked in an SQLite file beside the outputs, and {recipe.out} is not on this "
                "machine: "
                "give 'tracking', the address of an MLflow server."
            )
        return recipe.tracking

    def only(key: str) -> Any:
        return inputs[key][0]

    def path(key: str) -> str | None:
        value = stage.settings.get(key)
        return None if value is None else package_path(str(value))

    def needed() -> str:
        return package_path(str(stage.settings[NEEDED[stage.kind][0]]))

    match stage.kind:
        case "render":
            from twfer_dist.rendering.stage import rendered_job

            return rendered_job(needed(), config, actors=compute.actors)
        case "generator":
            from twfer_dist.synthesis.train_stage import train_generator_job

            rendered = only("rendered") if "rendered" in inputs else None
            faces, initial, gpu = inputs.get("faces", []), path("initial"), compute.gpus > 0
            return train_generator_job(
                rendered, config, tracking(), faces=faces, initial=initial, workers=compute.workers, gpu=gpu
            )
        case "face-network":
            from twfer_dist.measurement.train_stage import face_network_job

            test = only("test") if "test" in inputs else None
            return face_network_job(
                only("rendered"), config, tracking(), test=test, workers=compute.workers, gpu=compute.gpus > 0
            )
        case "identity-network":
            from twfer_dist.measurement.train_stage import identity_network_job

            return identity_network_job(
                only("rendered"), config, tracking(), workers=compute.workers, gpu=compute.gpus > 0
            )
        case "faces":
            from twfer_dist.faces.stage import faces_job
            from twfer_dist.measurement.analyzer import SHIPPED

            options = {"detector": str(stage.settings.get("detector", "auto")), "network": path("network") or SHIPPED}
            return faces_job(inputs["corpora"], config, model=path("model"), actors=compute.actors, **options)
        case "corrected":
            from twfer_dist.annotation.corrections import corrected_job

            return corrected_job(only("faces"), config, needed())
        case "animate":
            from twfer_dist.synthesis.stage import animate_job

            return animate_job(inputs["faces"], config, needed(), gpus=compute.gpus, actors=compute.actors)
        case "strips":
            from twfer_dist.synthesis.strips import strips_job

            return strips_job(
                inputs.get("animated", []), inputs.get("faces", []), config, corpora=inputs.get("corpora", [])
            )
        case "dataset":
            from twfer_dist.dataset.stage import dataset_job

            return dataset_job(inputs.get("faces", []), inputs.get("animated", []), config)
        case "train":
            from twfer_dist.recognition.train_stage import train_job

            initial, trunk, gpu = path("initial"), only("trunk") if "trunk" in inputs else None, compute.gpus > 0
            return train_job(
                only("dataset"), config, tracking(), initial=initial, trunk=trunk, workers=compute.workers, gpu=gpu
            )
        case "sweep":
            from twfer_dist.recognition.sweep_stage import sweep_job

            return sweep_job(only("dataset"), config, tracking(), concurrency=compute.actors, gpu=compute.gpus > 0)
        case "predict":
            from twfer_dist.recognition.stage import predict_job

            return predict_job(
                inputs.get("inputs", []), only("model"), config, gpus=compute.gpus, actors=compute.actors
            )
        case "validity":
            from twfer_dist.study.validity import validity_job

            return validity_job(
                only("real"), only("animated"), inputs.get("models", []), inputs.get("predictions", []), config
            )
        case _:
            from twfer_dist.study.report import report_job

            config = dataclasses.replace(config, recipe=config.recipe or recipe.text)
            return report_job(**{key: inputs.get(key, []) for key in INPUTS["report"]}, config=config)
