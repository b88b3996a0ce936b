"""The results of a trained recogniser: scores of each split, errors on new figures, confusion matrices."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from twfer_dist.core.intervals import as_dict, share_of
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.recognition import calibration, predictions, recogniser
from twfer_dist.recognition.predictions import Predictions
from twfer_dist.recognition.train_config import TrainConfig


def scores_of(split: str, found: Predictions, config: TrainConfig, figures: Sequence[str]) -> dict[str, Any]:
    """The metrics of a split under plain names, with n, the confusion matrix, and the share that is right with its 95 %
    interval, of all images ("share") and of each expression ("by_expression", None without images).

    figures: of each image.
    """
    scores = predictions.scores(split, found, config)
    named = {name.partition("/")[0]: value for name, value in scores.items()}
    named |= {"n": len(found.labels), "confusion": predictions.confusion_of(found).tolist()}
    right, names = found.logits.argmax(1) == found.labels, np.array(figures, np.str_)
    of_expressions = (found.labels == k for k in range(len(EXPRESSIONS)))
    return named | {
        "share": as_dict(share_of(right, names)),
        "by_expression": [
            as_dict(share_of(right[rows], names[rows])) if rows.any() else None for rows in of_expressions
        ],
    }


def held_out_errors(found: Mapping[str, Predictions], figures: Mapping[str, Sequence[str]]) -> dict[str, Any] | None:
    """The errors of the network on figures that it was not trained on: the confusion matrix of their validation and
    test images, and how many independent images these are worth (`calibration.Confusion`). None without such images.
    """
    splits = [split for split in found if split != "train"]
    if not splits:
        return None
    names = np.concatenate([np.array(figures[split], np.str_) for split in splits])
    truth = np.concatenate([found[split].labels for split in splits])
    predicted = np.concatenate([found[split].logits.argmax(1) for split in splits])
    new = ~np.isin(names, np.unique(figures["train"]))
    if not new.any():
        return None
    figure = np.unique(names[new], return_inverse=True)[1]
    return calibration.confusion(truth[new], predicted[new], figure).as_dict()


def summary(config: TrainConfig, scores: Mapping[str, Mapping[str, Any]], best_epoch: int) -> list[str]:
    """The lines that the command line prints."""
    lines = [f"{recogniser.NAMES[config.network]}, epoch {best_epoch} of {config.epochs}"]
    for split, measured in scores.items():
        correct = sum(row[k] for k, row in enumerate(measured["confusion"]))
        lines.append(
            f"{split}: accuracy {100 * measured['accuracy']:.1f} % ({correct} of {measured['n']}), balanced accuracy "
            f"{100 * measured['balanced_accuracy']:.1f} %"
        )
    return lines if "test" in scores else [*lines, "no test images: accuracy on new images is not measured"]


def confusion_page(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """The confusion matrices as a page: images by true (row) and predicted (column) expression."""
    parts = ["<meta charset='utf-8'><style>td, th { text-align: right; padding: 0.2em 0.6em }</style>"]
    head = "".join(f"<th>{name}</th>" for name in EXPRESSIONS)
    for split, measured in scores.items():
        rows = (
            f"<tr><th>{name}</th>{''.join(f'<td>{n}</td>' for n in row)}</tr>"
            for name, row in zip(EXPRESSIONS, measured["confusion"], strict=True)
        )
        parts.append(
            f"<h2>{split}, n = {measured['n']}</h2><table><tr><th>true \\ predicted</th>{head}</tr>{''.join(rows)}"
            "</table>"
        )
    return "\n".join(parts)
