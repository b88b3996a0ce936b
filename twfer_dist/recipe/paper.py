"""The paper's road on the photographs at hand: their faces are animated, and recognisers trained on the animated faces
read the original ones, cross-fitted. Its settings are here, and nowhere else.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.core.language import listed
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.corpus.corpus import Corpus
from twfer_dist.recipe.road import Road
from twfer_dist.synthesis.source_faces import LEAST_CALM

FOLDS = 3
REFERENCES = 5  # faces of each expression, where a labelled corpus gives them; else its prototype
AT_MOST = 240  # images of each expression

ANIMATE: Mapping[str, Any] = {
    "generator": "package:weights/generator.safetensors",
    "size": 112,
    "levels": 5,
    "select": "calm",
}
"""Of the five levels, the strongest is left out, as in the paper."""

TRAIN: Mapping[str, Mapping[str, Any]] = {
    "resnet18": {"network": "resnet18", "size": 96},
    "arm": {"network": "arm", "size": 112},
}
"""The networks in the order of their training: ARM starts from the trunk of its fold's ResNet-18."""

SHARED = {"loss": "softmax", "learning_rate": 0.0003, "precision": "auto", "accuracy_target": 0.7}

VIEWS = {"resnet18": 12_000, "arm": 6_000}
"""Images that a training sees in all its epochs: a small folder has more epochs."""
LAST_RATE = 0.1  # of the learning rate, in the last epoch


def paper_road(faces: str, corpora: Sequence[Corpus], references: str | None) -> Road:
    """The stages from `faces`, a stage with the faces of `corpora`, to the predictions of each network.

    references: a stage with labelled faces whose expressions are copied; None for the prototypes. UserError where the
    corpora show fewer than two figures.
    """
    figures, photographs = _count(corpora)
    folds = range(1, min(FOLDS, figures) + 1)
    copied = {"references": REFERENCES, "reference_faces": [references]} if references else {"references": 0}
    stages: dict[str, Any] = {
        "animated": {"kind": "animate", "faces": [faces], **copied, **ANIMATE, "at_most": AT_MOST}
    }
    split = "by_figure" if figures > 2 else "within_figure"
    for fold in folds:
        chosen = {"at_most": AT_MOST, "fold": [fold, len(folds)], "split": split, "ratios": [7, 1]}
        stages[f"set-{fold}"] = {"kind": "dataset", "animated": ["animated"], **chosen}
    calm = min(photographs, max(LEAST_CALM, photographs // 2))
    shown = min(AT_MOST, (ANIMATE["levels"] - 1) * calm) * len(EXPRESSIONS) * (len(folds) - 1) / len(folds)
    for network, settings in TRAIN.items():
        for fold in folds:
            trunk = {} if network == "resnet18" else {"trunk": f"resnet18-{fold}"}
            own = {**settings, **SHARED, **_epochs(VIEWS[network] / shown)}
            stages[f"{network}-{fold}"] = {"kind": "train", "dataset": f"set-{fold}", **trunk, **own}
    for network in TRAIN:
        stages |= _read(network, faces, folds)
    return Road(
        stages,
        predictions=[f"read-{network}" for network in TRAIN],
        animated=["animated"],
        datasets=[f"set-{fold}" for fold in folds],
        models=[f"{network}-{fold}" for network in TRAIN for fold in folds],
        explanations=[f"explain-{network}" for network in TRAIN],
    )


def _count(corpora: Sequence[Corpus]) -> tuple[int, int]:
    """How many figures and photographs there are. UserError where there are fewer than two figures."""
    figures = sum(corpus.notes["figures"] for corpus in corpora)
    if figures < 2:
        folders = listed(corpus.root for corpus in corpora)
        raise UserError(
            f"{folders} shows {figures} figure, and the paper's method needs at least two: a face is read by a "
            "network that never saw it; add photographs of other figures, or leave out --method paper."
        )
    return figures, sum(len(corpus.table) for corpus in corpora)


def _read(network: str, faces: str, folds: Sequence[int]) -> dict[str, Any]:
    """The stages that read the faces with the trainings of a network, cross-fitted, and explain the answers."""
    models = [f"{network}-{fold}" for fold in folds]
    cross_fitted = {"model": models, "datasets": [f"set-{fold}" for fold in folds]}
    explained = {"predictions": f"read-{network}", "faces": [faces], "models": models}
    return {
        f"read-{network}": {"kind": "predict", "inputs": [faces], **cross_fitted},
        f"explain-{network}": {"kind": "explain-answers", **explained},
    }


def _epochs(wanted: float) -> dict[str, Any]:
    epochs = round(min(max(wanted, 4), 60))
    return {"epochs": epochs, "decay": round(LAST_RATE ** (1 / max(epochs - 1, 1)), 3)}
