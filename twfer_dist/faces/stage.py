"""Photographs to faces as a stage on Ray Data."""

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import pyarrow as pa
import torch

from twfer_dist.core import images, schema
from twfer_dist.core.crop import aligned_matrix, full_frame_matrix, warp_crop
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import LOW_QUALITY, NO_FACE, OK, TOO_SMALL
from twfer_dist.corpus import formats
from twfer_dist.corpus.corpus import Corpus
from twfer_dist.engine import storage
from twfer_dist.engine.config import Range, Settings, either
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.spreadsheet import group_names, rows_to_csv
from twfer_dist.faces import copies
from twfer_dist.faces.decode import DecodeError, decode, on_grey, read
from twfer_dist.faces.detector import Detector
from twfer_dist.faces.detector_models import DETECTORS, Choice, choose
from twfer_dist.faces.finding import Found, finds, measure
from twfer_dist.faces.handout import write_handout
from twfer_dist.measurement.analyzer import SHIPPED, Face, open_analyzer
from twfer_dist.measurement.network import SIZE
from twfer_dist.measurement.quality import Gate

VERSION = 6
ALIGNED = "aligned"  # stands for a detector where there is none
OPENFACE, OURS = "openface", "network"  # where Action Units come from

_MOST_PIXELS = 178_000_000  # Pillow refuses more by itself
ROWS_PER_SHARD = 64
# photographs that are read while one is worked on: storage far away answers late, and a scan may have 100 MB
_AHEAD = 4


@dataclass(frozen=True)
class FacesConfig(Settings):
    """How faces are found, measured and cut."""

    keep: Literal["largest", "all"] = "largest"
    # the photographs are face crops already, as RAF-DB's aligned images: nothing is detected or refused
    aligned: bool = False
    size: Annotated[int, Range(16, 2048)] = 224  # pixels a side of the crop
    # shorter side of a face's box in pixels of the photograph; smaller ones are not taken
    smallest: Annotated[int, Range(1, 4096)] = 20
    # longer side of photographs in detection; null: the detector's own
    side: Annotated[int, Range(64, 4096, multiple_of=32)] | None = None
    # least score, of Haar's cascades beyond 1 too; the detector's own where null
    threshold: Annotated[float, Range(0, 100)] | None = None
    max_pixels: Annotated[int, Range(1, _MOST_PIXELS)] = 100_000_000  # of a photograph; larger ones are not decoded
    measure: bool = True  # 68 points and 17 Action Units of each face; the crop is turned upright by its points
    gate: Gate | None = field(default_factory=Gate)  # what a measured face needs; null takes every face


class FaceFinder:
    """Reads each photograph of a part, finds its faces, measures and cuts them.

    choice: None for aligned photographs. network: the weights that measure, None where nothing is measured.
    """

    def __init__(
        self, roots: Mapping[str, str], config: FacesConfig, choice: Choice | None, network: str | None
    ) -> None:
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        self.roots = roots
        self.config = config
        self.identity = choice.identity if choice else ALIGNED
        self.detector = Detector(choice, config.side, config.threshold) if choice else None
        self.analyzer = open_analyzer(network) if network else None

    def __call__(self, plan: pa.Table) -> dict[str, pa.Table]:
        photographs: list[dict[str, Any]] = []
        faces: list[dict[str, Any]] = []
        rows = plan.to_pylist()
        for planned, content in zip(rows, self._contents(rows), strict=True):
            row = planned | {"status": OK, "error": "", "content_sha256": "", "width": None, "height": None, "faces": 0}
            row |= {"note": "", "thumbnail": None}
            try:
                faces += self._faces(row, content())
            except DecodeError as refused:
                row |= {"status": refused.status, "error": f"{row['path']}: {refused}"}
            photographs.append(row)
        return {
            "photographs": pa.Table.from_pylist(photographs, schema=schema.PHOTOGRAPHS),
            "faces": pa.Table.from_pylist(faces, schema=schema.FACES),
        }

    def _contents(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[Callable[[], bytes]]:
        """For each row what gives its photograph's bytes, or raises Refused; the next ones are read meanwhile."""
        with ThreadPoolExecutor(_AHEAD) as pool:
            begun = (pool.submit(read, self.roots[row["corpus"]], row["path"], self.config.max_pixels) for row in rows)
            waiting = deque(itertools.islice(begun, _AHEAD))
            while waiting:
                yield waiting.popleft().result
                waiting.extend(itertools.islice(begun, 1))

    def _faces(self, row: dict[str, Any], data: bytes) -> list[dict[str, Any]]:
        """The rows of a photograph's faces; what is learned of the photograph is written into its `row`."""
        config = self.config
        row["content_sha256"] = storage.sha256(data)
        decoded = decode(data, config.max_pixels)
        row["note"], pixels = decoded.note, decoded.pixels
        row["height"], row["width"] = pixels.shape[:2]
        if min(pixels.shape[:2]) < config.smallest:
            raise DecodeError(
                TOO_SMALL, f"it has {row['width']} x {row['height']} pixels, and a face needs {config.smallest}."
            )
        picture = on_grey(pixels)
        row["thumbnail"] = copies.thumbnail(picture)
        if self.detector is None:
            row["faces"] = 1
            return [self._aligned(row, picture)]
        views = (
            [picture] if pixels.shape[2] == 3 else [picture, pixels[..., :3]]
        )  # a mask may hide the face itself: look beneath it
        for view in views:
            for found in finds(self.detector, view, config.smallest, every=config.keep == "all"):
                if faces := self._kept(self.detector, row, view, found):
                    return faces
        least = max(config.smallest, round(self.detector.smallest(row["height"], row["width"])))
        place = f"this photograph of {row['width']} x {row['height']} pixels"
        raise DecodeError(NO_FACE, f"{self.identity} finds no face of about {least} pixels or more in {place}.")

    def _aligned(self, row: dict[str, Any], picture: np.ndarray) -> dict[str, Any]:
        """The row of a photograph that is a crop of a face already: a picture to read in any case, with Action Units
        where its points can be trusted.
        """
        size = min(
            self.config.size, max(picture.shape[:2])
        )  # a crop that is larger than its photograph would show nothing more
        (measured,) = self.analyzer.measure(picture, [full_frame_matrix(picture, SIZE)]) if self.analyzer else [None]
        box = np.array([0, 0, row["width"], row["height"]])
        predicted_nme = (
            self.config.gate.uncertain_points(measured, row["width"], row["height"])
            if self.analyzer and self.config.gate
            else ""
        )
        face = self._face(row, 0, picture, box, None, measured, "", full_frame_matrix(picture, size), size)
        if predicted_nme and face["action_units_from"] != OPENFACE:
            face |= {"action_units": None, "action_units_from": None, "action_units_half_width_90": None}
            face["note"] = f"No Action Units are given. {predicted_nme}"
        return face

    def _kept(
        self, detector: Detector, row: dict[str, Any], picture: np.ndarray, found: list[Found]
    ) -> list[dict[str, Any]]:
        """The rows of the faces that are kept. Faces that were found in the turned photograph count only where the gate
        takes them.
        """
        config, (width, height) = self.config, (row["width"], row["height"])
        faces: list[dict[str, Any]] = []
        row["faces"] = len(found)
        for sought in found:
            if faces and config.keep != "all":
                break
            seen, measured = measure(self.analyzer, detector, picture, sought) if self.analyzer else (sought, None)
            fault = config.gate.fault(measured, width, height) if self.analyzer and config.gate else ""
            if fault and sought.quarters:
                row["faces"] -= 1
                continue
            matrix = seen.framing(detector, width, height, config.size)
            if measured and not fault:  # points that are not trusted turn nothing
                matrix = aligned_matrix(measured.points, config.size)
            face = self._face(row, len(faces), picture, seen.box, seen.score, measured, fault, matrix, config.size)
            faces.append(face | {"note": seen.note})
        return faces

    def _face(
        self,
        row: dict[str, Any],
        rank: int,
        picture: np.ndarray,
        box: np.ndarray,
        score: float | None,
        measured: Face | None,
        fault: str,
        matrix: np.ndarray,
        size: int,
    ) -> dict[str, Any]:
        given = row["action_units"] if rank == 0 else None  # someone's measurement, of one face of the photograph
        own = None if given else measured
        return {
            "face_id": f"{row['photo_id']}-{rank:02d}",
            "rank": rank,
            **{name: row[name] for name in ("photo_id", "corpus", "path", "figure_id", "split", "groups")},
            # What is known of a photograph is known of its largest face.
            "label": row["label"] if rank == 0 else None,
            "action_units": given or (own.units if own else None),
            "action_units_from": OPENFACE if given else OURS if own else None,
            "action_units_half_width_90": own.half_width_90 if own else None,
            "detector": self.identity,
            "score": score,
            "box": box,
            "landmarks68": measured.points.tolist() if measured else None,
            "landmarks_predicted_nme": measured.predicted_nme if measured else None,
            "pose": measured.pose if measured else None,
            "sharpness": measured.sharpness if measured else None,
            "crop_matrix": matrix.reshape(-1),
            "image": images.encode_jpeg(warp_crop(picture, matrix, size)),
            "width": size,
            "height": size,
            "status": LOW_QUALITY if fault else OK,
            "error": fault and f"{row['path']}: {fault}",
            "note": "",
        }


def faces_job(
    corpora: Sequence[Corpus],
    config: FacesConfig,
    *,
    detector: str = "auto",
    model: str | None = None,
    network: str = SHIPPED,
    actors: int | None = None,
) -> StageSpec:
    """The stage that finds the faces in the photographs of `corpora` and measures them.

    Tables: "photographs", one row per planned photograph, whatever became of it; "faces", as many as were found and
    kept. The faces of all copies of a picture have one figure (see `copies`). Beside the tables lie photographs.csv,
    faces.csv, sheet.jpg with the first faces and their points, and copies.csv where there are copies. `results` holds
    the detector that ran and why, the network that measured, how many copies there are, and the notes of each corpus.

    detector, model: see `choice.choose`; network: the weights that measure; actors: how many work side by side.
    """
    names = Counter(corpus.name for corpus in corpora)
    if twice := [name for name, count in names.items() if count > 1]:
        raise UserError(
            f"two corpora have the name '{twice[0]}', and ids of photographs depend on it: give one of them another "
            "name."
        )
    choice = None if config.aligned else choose(detector, model)
    if choice is not None and model is not None:
        Detector(choice, config.side)  # a wrong file is told of before workers start
    measuring = storage.absolute(network) if config.measure else None

    def do(work: StageOutput) -> None:
        roots = {corpus.name: storage.absolute(corpus.root) for corpus in corpora}
        kwargs = {"roots": roots, "config": config, "choice": choice, "network": measuring}
        plans = [
            corpus.table.append_column("fact", pa.array(map(str, corpus.facts), pa.string())) for corpus in corpora
        ]
        plan = pa.concat_tables(plans) if plans else schema.CORPUS.empty_table()
        work.results["detector"] = choice.describe() if choice else "none: the photographs are aligned crops"
        work.results["network"] = models.get("network")
        work.results["corpora"] = {corpus.name: {**corpus.notes, "said": corpus.left_out} for corpus in corpora}
        work.results["summary"] = [line for corpus in corpora for line in corpus.left_out]
        work.map(
            plan,
            [Step(FaceFinder, kwargs, actors=actors)],
            rows_per_shard=ROWS_PER_SHARD,
            reuse_key_columns=plan.column_names,
        )
        _count_copies_once(work)
        write_handout(work, group_names(plan["groups"]))

    models = {"detector": choice.identity if choice else ALIGNED, "opencv": cv2.__version__, **formats.VERSIONS}
    if measuring:
        models |= {"network": open_analyzer(measuring).sha256, "torch": torch.__version__}
    tables = {"photographs": schema.PHOTOGRAPHS, "faces": schema.FACES}
    return StageSpec("faces", VERSION, {corpus.name: corpus for corpus in corpora}, config, models, tables, do)


def _count_copies_once(work: StageOutput) -> None:
    """Give the faces of all copies of a picture one figure, and list the copies."""
    columns = ["photo_id", "corpus", "path", "figure_id", "content_sha256", "width", "height", "thumbnail"]
    empty = schema.PHOTOGRAPHS.empty_table().select(columns)
    photographs = pa.concat_tables([empty, *(part.select(columns) for part in work.pieces("photographs"))])
    found = copies.find(photographs)
    work.revise("faces", partial(copies.recount, of=copies.figure_ids(photographs, found)))
    work.results["copies"] = copies.summary(found)
    work.results["summary"] += copies.say(work.results["copies"])
    if len(found):
        work.write_file(copies.FILE, rows_to_csv(copies.COLUMNS, found.select(copies.COLUMNS).to_pylist()))


def _check(request: Request) -> None:
    if (detector := request.options.get("detector", "auto")) not in ("auto", *DETECTORS):
        raise UserError(f"'{detector}' is not a face detector: use {either(('auto', *DETECTORS))}.")


def _build(request: Request) -> StageSpec:
    return faces_job(
        request.all("corpora"),
        request.config,
        detector=request.options.get("detector", "auto"),
        model=request.files.get("model"),
        network=request.files.get("network", SHIPPED),
        actors=request.compute.actors,
    )


KIND = StageKind(
    "faces",
    config=FacesConfig,
    inputs=(Input("corpora", several=True),),
    files=(InputFile("model"), InputFile("network")),
    options=("detector",),
    build=_build,
    check=_check,
)
