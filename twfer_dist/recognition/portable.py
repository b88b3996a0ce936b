"""A recogniser for images that come one by one, as to a logged model: encoded or as arrays, faces framed or not."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from twfer_dist.core import images, schema
from twfer_dist.core.crop import full_frame_matrix, warp_crop
from twfer_dist.core.status import LOW_CONFIDENCE, OK, UNREADABLE
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset import loader
from twfer_dist.faces.decode import DecodeError, decode, on_grey
from twfer_dist.faces.detector_models import choose
from twfer_dist.faces.finder import FaceFinder, FacesConfig
from twfer_dist.measurement.analyzer import SHIPPED
from twfer_dist.recognition.recogniser import read_recogniser

COLUMNS = {
    "expression": "string",
    "confidence": "double",
    **dict.fromkeys(EXPRESSIONS, "double"),
    "accepted": "boolean",
    "status": "string",
    "reason": "string",
}
"""The columns of answers with their types in MLflow: the seven probabilities stand under their expressions' names."""

_BATCH = 32
_LARGEST = FacesConfig().max_pixels


class PortableRecogniser:
    """The recogniser in the files of a directory, see `recogniser.read_recogniser`."""

    def __init__(self, directory: str) -> None:
        self.recogniser = read_recogniser(directory, "")
        self._finder: FaceFinder | None = None

    def answer(self, given: Sequence[Any], *, find_faces: bool = False) -> pd.DataFrame:
        """A row of COLUMNS for each image, in their order, none left out.

        given: encoded images (bytes, or base64 text, also as a data URI) or uint8 arrays, grey (H, W) or (H, W, 1),
        RGB (H, W, 3) or RGBA (H, W, 4), also as nested lists; each of any size. find_faces: the images are photographs;
        of each, the largest face that can be measured is found and framed as in the faces stage. Otherwise each image
        is taken as a face's crop: its edges are repeated until it is square.

        An image without an answer has None for expression and numbers; status and reason say why. Another batch
        changes a probability by less than 1e-5.
        """
        read = self._find if find_faces else self._crop
        pixels: dict[int, np.ndarray] = {}
        answers: list[dict[str, Any]] = [{} for _ in given]
        for k, image in enumerate(given):
            try:
                pixels[k] = read(_content(image), f"image {k + 1}")
            except DecodeError as error:
                answers[k] = _unanswered(error.status, str(error).rstrip("."))
        readable = list(pixels)
        for start in range(0, len(readable), _BATCH):
            group = readable[start : start + _BATCH]
            probabilities, distances = self.recogniser.predict(np.stack([pixels[k] for k in group]))
            for k, values, distance in zip(group, probabilities, distances, strict=True):
                answers[k] = self._answered(values, distance)
        table = pd.DataFrame(answers, columns=list(COLUMNS))
        # JSON, as servers send it, has no NaN.
        return table if table.notna().all(axis=None) else table.astype(object).where(table.notna(), None)

    def _answered(self, probabilities: np.ndarray, distance: float) -> dict[str, Any]:
        confidence = float(probabilities.max())
        status, reason = self.recogniser.verdict(confidence, distance)
        return {
            "expression": EXPRESSIONS[int(probabilities.argmax())],
            "confidence": confidence,
            **dict(zip(EXPRESSIONS, map(float, probabilities), strict=True)),
            "accepted": status == OK,
            "status": status,
            "reason": self._reason(status, reason),
        }

    def _reason(self, status: str, reason: str) -> str:
        threshold = self.recogniser.threshold.confidence
        if status == OK:
            return f"the face is like the training images, and the confidence reaches the threshold of {threshold:.2f}"
        if status == LOW_CONFIDENCE and threshold is None:
            return "no confidence of this model was enough for the accuracy aimed at, so no answer is accepted"
        return f"{reason} of {threshold:.2f}" if status == LOW_CONFIDENCE else reason

    def _crop(self, image: bytes | np.ndarray, name: str) -> np.ndarray:
        pixels = image if isinstance(image, np.ndarray) else images.decode(image, loader.LARGEST_SIDE)
        if pixels is None:  # not a format of ours, or larger than a stored crop: read as a photograph is
            assert isinstance(image, bytes)
            pixels = on_grey(decode(image, _LARGEST).pixels)
        side = max(pixels.shape[:2])
        if min(pixels.shape[:2]) < side:
            pixels = warp_crop(pixels, full_frame_matrix(pixels, side), side)
        return loader.fit(pixels, self.recogniser.size)

    def _find(self, image: bytes | np.ndarray, name: str) -> np.ndarray:
        if self._finder is None:
            self._finder = _finder()
        data = image if isinstance(image, bytes) else images.encode_png(image)
        row, faces = self._finder.photograph({**_PLANNED, "photo_id": name, "path": name}, lambda: data)
        found = faces[0] if faces else row
        if found["status"] != OK:
            raise DecodeError(found["status"], found["error"].removeprefix(f"{name}: "))
        pixels = loader.decode(found["image"], self.recogniser.size)
        assert pixels is not None  # the finder encoded it
        return pixels


_PLANNED: Mapping[str, Any] = dict.fromkeys(schema.CORPUS.names)
"""What a corpus knows of a photograph; of a single image it is nothing."""


def _finder() -> FaceFinder:
    threads = torch.get_num_threads()
    finder = FaceFinder({}, FacesConfig(), choose(), SHIPPED)
    torch.set_num_threads(threads)  # a worker of the faces stage has one, a server has what it was given
    return finder


def _unanswered(status: str, reason: str) -> dict[str, Any]:
    return {"expression": None, "accepted": False, "status": status, "reason": reason}


def _content(image: Any) -> bytes | np.ndarray:
    """An encoded image, or RGB pixels. DecodeError where the value is neither."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str):
        try:
            return base64.b64decode(image.rpartition(",")[2], validate=True)
        except ValueError:  # also of text that is not ASCII
            raise DecodeError(UNREADABLE, "the text is not an image in base64.") from None
    try:
        pixels = np.asarray(image)
    except ValueError:  # nested lists of different lengths
        pixels = np.zeros(0)
    whole = pixels.dtype.kind in "iu" and pixels.size and 0 <= pixels.min() and pixels.max() <= 255
    if not whole or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise DecodeError(
            UNREADABLE,
            f"an image is encoded bytes, base64 text, or whole numbers 0 to 255 of shape (height, width, 3), not "
            f"{type(image).__name__ if pixels.dtype == object else f'{pixels.dtype} of shape {pixels.shape}'}.",
        )
    pixels = pixels.astype(np.uint8)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return images.to_rgb(pixels)
    return on_grey(pixels)
