"""The settings of a training that takes them from a sweep, or from the training that it repeats."""

import dataclasses
from collections.abc import Mapping

from twfer_dist.core.errors import UserError
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import fill
from twfer_dist.recognition.train_config import TrainConfig


def settings_of(sweep: Artifact | None, refit: Artifact | None) -> TrainConfig | None:
    """Those of a sweep's best trial; those of a training, with as many epochs as were best; None without either."""
    if sweep:
        return _config(sweep.results["best_config"], sweep)
    if refit:
        repeated = _config(refit.manifest.config, refit)
        epochs = refit.results["best_epoch"]
        warmup = repeated.warmup if repeated.warmup < epochs else epochs - 1  # it must end before the training does
        return dataclasses.replace(repeated, epochs=epochs, warmup=warmup, patience=None)
    return None


def check_refit(refit: Artifact, dataset: Artifact, trunk: Artifact | None, models: Mapping[str, str]) -> None:
    """UserError where a refit would not repeat its training: on another data set, or from another start.

    models: the sha256 of each file of weights that the refit starts from, by its key.
    """
    before = refit.manifest
    if before.inputs["dataset"] != dataset.digest:
        raise UserError(f"{refit.uri} was trained on another data set: name that one, or refit a training on this one.")
    if "refit" in before.inputs:
        raise UserError(f"{refit.uri} is a refit itself, and held no images out: name the training that it repeats.")
    if before.inputs.get("trunk") != (trunk.digest if trunk else None):
        raise UserError(f"{refit.uri} started from another trunk: name the same one, or none, as there.")
    if before.models.get("initial") != models.get("initial"):
        raise UserError(f"{refit.uri} started from other weights: name the same file as 'initial', or none, as there.")


def _config(values: dict, source: Artifact) -> TrainConfig:
    config = fill(TrainConfig, values, source.uri)
    assert isinstance(config, TrainConfig)
    return config
