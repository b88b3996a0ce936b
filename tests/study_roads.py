"""Answers of the reader and of cross-fitted recognisers to the faces of `study_tables`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from study_tables import output

from twfer_dist.core.schema import FACES, PREDICTIONS, READINGS
from twfer_dist.core.status import LOW_CONFIDENCE, OK
from twfer_dist.engine.artifact import Artifact
from twfer_dist.study.roads import READER

PAPER = "ResNet-18, cross-fitted"


def make_road(
    out: str, faces: Artifact, model: str, answers: Mapping[int, tuple[int, float]], **results: Any
) -> Artifact:
    """Answers to the faces, which are numbered in the order of their figures: a label and its probability, below 0.5
    without confidence. Faces that are not in `answers` were not read. The reader has readings too, and calls every
    face neutral relative to the median face.
    """
    predictions, readings = [], []
    for row in faces.table("faces", FACES).to_pylist():
        predicted, confidence = answers.get(int(row["figure_id"].rpartition("-")[2]), (None, None))
        kept = {key: row[key] for key in ("figure_id", "corpus", "split", "label", "groups")}
        prediction = {**kept, "image_id": row["face_id"], "model": model, "status": "low_quality", "error": "too small"}
        reading = {"face_id": row["face_id"], "reason": ""}
        if predicted and confidence:
            probabilities = np.full(7, (1 - confidence) / 6)
            probabilities[predicted - 1] = confidence
            accepted = (
                {"status": OK, "error": ""} if confidence >= 0.5 else {"status": LOW_CONFIDENCE, "error": "unsure"}
            )
            prediction |= {"probabilities": probabilities.tolist(), "predicted": predicted, "confidence": confidence}
            prediction |= accepted
            reading |= {"reason": f"AU0{predicted} 2.0 ± 0.5", "relative_predicted": 7}
        predictions.append(prediction)
        readings.append(reading)
    if model == READER:
        return output(
            out, "read", {".": (PREDICTIONS, predictions), "readings": (READINGS, readings)}, [faces], **results
        )
    return output(out, "predict", {".": (PREDICTIONS, predictions)}, [faces], **results)
