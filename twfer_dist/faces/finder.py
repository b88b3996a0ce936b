"""The worker of the faces stage: reads photographs, finds their faces, measures and crops them."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import pyarrow as pa
import torch

from twfer_dist.core import images, schema
from twfer_dist.core.crop import aligned_matrix, full_frame_matrix, warp_crop
from twfer_dist.core.status import LOW_QUALITY, NO_FACE, OK, TOO_SMALL
from twfer_dist.engine import storage
from twfer_dist.engine.config import Range, Settings
from twfer_dist.faces import copies
from twfer_dist.faces.decode import DecodeError, decode, on_grey, read
from twfer_dist.faces.detection import Detection, detections, measure_upright
from twfer_dist.faces.detector import Detector
from twfer_dist.faces.detector_models import Choice
from twfer_dist.faces.rendered import RenderedHeads
from twfer_dist.measurement.analyzer import open_analyzer
from twfer_dist.measurement.face import Face
from twfer_dist.measurement.network import SIZE
from twfer_dist.measurement.quality import Gate

ALIGNED = "aligned"  # in the place of a detector's name where none runs
OPENFACE, OURS = "openface", "network"  # the origin of Action Units

_MAX_PIXELS = 178_000_000  # beyond this Pillow refuses
_READ_AHEAD = 4  # photographs read while one is processed: remote storage is slow, and a scan may have 100 MB


@dataclass(frozen=True)
class FacesConfig(Settings):
    """How faces are found, measured and cropped."""

    keep: Literal["largest", "all"] = "largest"  # which faces of a photograph
    # the photographs are face crops already, as RAF-DB's aligned images: nothing is detected, no face refused
    aligned: bool = False
    size: Annotated[int, Range(16, 2048)] = 224  # pixels a side of the crop
    # shorter side of a face's box in pixels of the photograph; smaller faces are ignored
    smallest: Annotated[int, Range(1, 4096)] = 20
    # longer side of photographs in detection; null: the detector's default
    side: Annotated[int, Range(64, 4096, multiple_of=32)] | None = None
    # least score (above 1 too for Haar cascades); null: the detector's default
    threshold: Annotated[float, Range(0, 100)] | None = None
    max_pixels: Annotated[int, Range(1, _MAX_PIXELS)] = 100_000_000  # larger photographs are not decoded
    measure: bool = True  # 68 points and 17 Action Units of each face; the points turn the crop upright
    gate: Gate | None = field(default_factory=Gate)  # what a measured face needs; null accepts every face


class FaceFinder:
    """Reads each photograph of a shard, finds its faces, measures and crops them.

    roots: the folder or URI of each corpus. choice: None for aligned photographs. network: the weights that measure,
    None where nothing is measured. heads: a corpus of rendered heads.
    """

    def __init__(
        self,
        roots: Mapping[str, str],
        config: FacesConfig,
        choice: Choice | None,
        network: str | None,
        heads: RenderedHeads | None = None,
    ) -> None:
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        self.roots = roots
        self.config = config
        self.identity = choice.identity if choice else ALIGNED
        self.detector = Detector(choice, config.side, config.threshold) if choice else None
        self.analyzer = open_analyzer(network) if network else None
        self.heads = heads

    def __call__(self, plan: pa.Table) -> dict[str, pa.Table]:
        photographs: list[dict[str, Any]] = []
        faces: list[dict[str, Any]] = []
        rows = plan.to_pylist()
        for planned, content in zip(rows, self._contents(rows), strict=True):
            row, found = self.photograph(planned, content)
            photographs.append(row)
            faces += found
        return {
            "photographs": pa.Table.from_pylist(photographs, schema=schema.PHOTOGRAPHS),
            "faces": pa.Table.from_pylist(faces, schema=schema.FACES),
        }

    def photograph(
        self, planned: Mapping[str, Any], content: Callable[[], bytes]
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The rows of PHOTOGRAPHS and of FACES of one photograph.

        planned: its row of CORPUS. content: returns the file, or raises DecodeError.
        """
        row = {**planned, "status": OK, "error": "", "content_sha256": "", "width": None, "height": None, "faces": 0}
        row |= {"note": "", "thumbnail": None}
        try:
            return row, self._faces(row, content())
        except DecodeError as error:
            return row | {"status": error.status, "error": f"{row['path']}: {error}"}, []

    def _contents(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[Callable[[], bytes]]:
        """For each row a function that returns its photograph's bytes or raises DecodeError; the next ones are read
        meanwhile.
        """
        renders = self.heads.images(rows) if self.heads else {}

        def content(row: Mapping[str, Any]) -> bytes:
            return renders.get(row["photo_id"]) or read(self.roots[row["corpus"]], row["path"], self.config.max_pixels)

        with ThreadPoolExecutor(_READ_AHEAD) as pool:
            reads = (pool.submit(content, row) for row in rows)
            waiting = deque(itertools.islice(reads, _READ_AHEAD))
            while waiting:
                yield waiting.popleft().result
                waiting.extend(itertools.islice(reads, 1))

    def _faces(self, row: dict[str, Any], data: bytes) -> list[dict[str, Any]]:
        """The rows of a photograph's faces; facts about the photograph are written into its `row`."""
        config = self.config
        row["content_sha256"] = storage.sha256(data)
        decoded = decode(data, config.max_pixels)
        row["note"], pixels = decoded.note, decoded.pixels
        row["height"], row["width"] = pixels.shape[:2]
        size = f"{row['width']} x {row['height']} pixels"
        if min(pixels.shape[:2]) < config.smallest:
            raise DecodeError(TOO_SMALL, f"the photograph has {size}, and a face needs at least {config.smallest}.")
        image = on_grey(pixels)
        row["thumbnail"] = copies.thumbnail(image)
        if self.detector is None:
            row["faces"] = 1
            return [self._aligned(row, image)]
        # A transparency mask may hide the face itself: search the colours beneath it too.
        views = [image] if pixels.shape[2] == 3 else [image, pixels[..., :3]]
        for view in views:
            for found in detections(self.detector, view, config.smallest, every=config.keep == "all"):
                if faces := self._accepted(self.detector, row, view, found):
                    return faces
        least = max(config.smallest, round(self.detector.min_face(row["height"], row["width"])))
        raise DecodeError(NO_FACE, f"{self.identity} found no face of about {least} pixels or larger in {size}.")

    def _aligned(self, row: dict[str, Any], image: np.ndarray) -> dict[str, Any]:
        """The row of a photograph that is a face crop already: accepted in any case, with Action Units where its points
        can be trusted.
        """
        size = min(self.config.size, max(image.shape[:2]))  # enlarging a crop adds nothing
        (measured,) = self.analyzer.measure(image, [full_frame_matrix(image, SIZE)]) if self.analyzer else [None]
        fault = ""
        if self.analyzer and self.config.gate:
            fault = self.config.gate.uncertain_points(measured, row["width"], row["height"])
        box = np.array([0, 0, row["width"], row["height"]])
        face = self._face(row, 0, image, box, None, measured, "", full_frame_matrix(image, size), size)
        if fault and face["action_units_from"] != OPENFACE:
            face |= {"action_units": None, "action_units_from": None, "action_units_half_width_90": None}
            face["note"] = f"No Action Units are given. {fault}"
        return face

    def _accepted(
        self, detector: Detector, row: dict[str, Any], image: np.ndarray, found: list[Detection]
    ) -> list[dict[str, Any]]:
        """The rows of the faces that are kept. Faces found only in a turned photograph count only if they pass the
        gate.
        """
        config, (width, height) = self.config, (row["width"], row["height"])
        faces: list[dict[str, Any]] = []
        row["faces"] = len(found)
        for detection in found:
            if faces and config.keep != "all":
                break
            upright, measured = detection, None
            if self.analyzer:
                upright, measured = measure_upright(self.analyzer, detector, image, detection)
            fault = config.gate.fault(measured, width, height) if self.analyzer and config.gate else ""
            if fault and detection.quarters:
                row["faces"] -= 1
                continue
            matrix = upright.framing(detector, width, height, config.size)
            if measured and not fault:  # points that are not trusted do not turn the crop
                matrix = aligned_matrix(measured.points, config.size)
            face = self._face(row, len(faces), image, upright.box, upright.score, measured, fault, matrix, config.size)
            faces.append(face | {"note": upright.note})
        return faces

    def _face(
        self,
        row: dict[str, Any],
        rank: int,
        image: np.ndarray,
        box: np.ndarray,
        score: float | None,
        measured: Face | None,
        fault: str,
        matrix: np.ndarray,
        size: int,
    ) -> dict[str, Any]:
        # Labels and Action Units of the corpus describe a photograph's largest face.
        from_corpus = row["action_units"] if rank == 0 else None
        own = None if from_corpus else measured
        return {
            "face_id": f"{row['photo_id']}-{rank:02d}",
            "rank": rank,
            **{name: row[name] for name in ("photo_id", "corpus", "path", "figure_id", "split", "groups")},
            "label": row["label"] if rank == 0 else None,
            "action_units": from_corpus or (own.units if own else None),
            "action_units_from": OPENFACE if from_corpus else OURS if own else None,
            "action_units_half_width_90": own.half_width_90 if own else None,
            "detector": self.identity,
            "score": score,
            "box": box,
            "landmarks68": measured.points.tolist() if measured else None,
            "landmarks_predicted_nme": measured.predicted_nme if measured else None,
            "pose": measured.pose if measured else None,
            "sharpness": measured.sharpness if measured else None,
            "crop_matrix": matrix.reshape(-1),
            "image": images.encode_jpeg(warp_crop(image, matrix, size)),
            "width": size,
            "height": size,
            "status": LOW_QUALITY if fault else OK,
            "error": fault and f"{row['path']}: {fault}",
            "note": "",
        }
