"""The sweeps of a report: their trials as a table and as pictures."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twfer_dist.core.intervals import as_dict, share
from twfer_dist.core.language import _
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.recognition.recogniser import NAMES
from twfer_dist.recognition.sweep_pictures import CURVES, PARALLEL, SCORE, SURFACE, pictures
from twfer_dist.recognition.sweep_results import TRIALS
from twfer_dist.study.inputs import output_name

_TRIAL_RESULTS = ("epochs", "best_epoch")


@dataclass(frozen=True)
class SweepPicture:
    """A picture of a sweep's trials. image: a data URI."""

    caption: str
    image: str


def sweep_entry(sweep: Artifact) -> dict[str, Any]:
    """The trials of a sweep that have a result, the best first. out: how many diverged or failed."""
    train, n = sweep.manifest.config["train"], sweep.results["validation_images"]
    trials = []
    for number, trial in enumerate(sweep.results["trials"]):
        if SCORE in trial:
            correct = np.arange(n) < round(trial["accuracy/validation"] * n)
            scores = {
                "accuracy": as_dict(share(correct.astype(int), np.ones(n, int))),
                "balanced_accuracy": trial[SCORE],
            }
            settings = {"settings": {name: trial[name] for name in sweep.results["swept"]}}
            trials.append({"number": number, **{key: trial[key] for key in _TRIAL_RESULTS}, **settings, **scores})
    trials.sort(key=lambda t: (t["number"] != sweep.results["best"], -t["balanced_accuracy"], t["number"]))
    return {
        "output": output_name(sweep),
        "network": NAMES[train["network"]],
        "size": train["size"],
        "loss": train["loss"],
        "swept": sweep.results["swept"],
        "trials": trials,
        "out": len(sweep.results["trials"]) - len(trials),
    }


def sweep_pictures(sweeps: Sequence[Artifact]) -> list[list[SweepPicture]]:
    """The pictures of each sweep, in the page's language."""
    return [list(_pictures(sweep)) for sweep in sweeps]


def _pictures(sweep: Artifact) -> Iterator[SweepPicture]:
    captions = {
        PARALLEL: _(
            "Each line is a trial, from its settings to its balanced accuracy on the validation images. The darker, "
            "the better; the thick line is the best trial."
        ),
        SURFACE: _(
            "Balanced accuracy by alpha and gamma: in a grid the best trial of each cell, otherwise the mean of the "
            "trials around. Dots are trials, the filled one is the best."
        ),
        CURVES: _("Balanced accuracy on the validation images after each epoch. A trial that fell behind ends early."),
    }
    trials = json.loads(storage.read_bytes(sweep.path(TRIALS)))
    for name, canvas in pictures(sweep.results["swept"], trials, sweep.results["best"]):
        encoded = base64.b64encode(canvas.svg()).decode()
        yield SweepPicture(captions[name], f"data:image/svg+xml;base64,{encoded}")
