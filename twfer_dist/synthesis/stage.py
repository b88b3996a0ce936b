"""The stage that animates faces on Ray Data: every neutral face to seven expressions at graded intensities."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import ANIMATED, FACES
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS, NEUTRAL
from twfer_dist.engine import ray_cluster, storage
from twfer_dist.engine.artifact import WORK, Artifact
from twfer_dist.engine.config import Range, Settings
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.reuse import row_digests
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.synthesis import checkpoints, references
from twfer_dist.synthesis.animate import animate, intensities
from twfer_dist.synthesis.frames import decode, encode
from twfer_dist.training import precision
from twfer_dist.training.precision import Precision

VERSION = 4

ROWS_PER_SHARD = 256  # at most
LEAST_PARTS = 32  # where there are rows enough, so that a small study keeps many workers busy to its end
DECIDE = ("image_id", "figure_id", "corpus", "reference_id", "groups", "action_units", "own", "content", "precision")
PLAIN = ["face_id", "corpus", "figure_id", "label", "groups", "action_units", "status"]


@dataclass(frozen=True)
class AnimateConfig(Settings):
    """Which faces are animated, from how many references, in how many steps, and how the images are kept."""

    size: Annotated[int, Range(16, 2048)] = 112  # pixels of the animated images; crops are resized to it
    levels: Annotated[int, Range(1, 100)] = 5  # steps from the figure's Action Units to the reference's
    drop_last: bool = True  # the strongest level is not planned
    references: Annotated[int, Range(1, 1000)] = 1  # of each expression
    per_expression: Annotated[int, Range(1, 10**7)] | None = None  # images, spread evenly; every combination where null
    reference_corpora: tuple[str, ...] = ()  # where references may come from; all where empty
    # "unlabelled": neutral faces and those without a label
    select: Literal["neutral", "unlabelled", "all"] = "neutral"
    batch: Annotated[int, Range(1, 4096)] = 16  # rows that the generator sees together
    precision: Precision = "float32"  # of the generator's convolutions; bfloat16 is faster, see `animate`
    quality: Annotated[int, Range(1, 100)] = 95  # of the JPEG images

    def agree(self) -> None:
        if self.levels == 1 and self.drop_last:
            raise ValueError(
                "levels is 1 and drop_last leaves the strongest out, so that none remains; use 2 or more, or "
                "drop_last: false"
            )


def animate_job(
    faces: Sequence[Artifact], config: AnimateConfig, generator: str, *, actors: int | None = None, gpus: float = 0
) -> StageSpec:
    """Animate the faces with status ok that `config.select` names: table ANIMATED, ids
    `<face_id>-<expression>-<reference number>-<level>`.

    A face that was not found has no image to animate and no row here. A crop that cannot be decoded gives rows with
    status "unreadable". A face without Action Units of its own starts from zeros; `results` counts those, names the
    references, and says in which `precision` was computed. generator: a checkpoint, ours or public. gpus: of each
    actor; an actor that asks for one computes on it. Problem where there is no face to animate.
    """
    generator = storage.absolute(generator)
    loaded = checkpoints.load_generator(generator)

    def do(work: StageOutput) -> None:
        tables = [_plain(finished) for finished in faces]
        chosen = references.choose(tables, config.references, config.reference_corpora)
        source_faces = pa.concat_tables(
            table.append_column("input", pa.array(np.full(len(table), k, np.int16))) for k, table in enumerate(tables)
        )
        source_faces = source_faces.filter(_wanted(source_faces, config))
        if not len(source_faces):
            raise UserError(
                f"No face to animate: no row of {', '.join(f.uri for f in faces)} is ok and {config.select}; "
                "set figures to unlabelled or all."
            )
        steps = intensities(config.levels, config.drop_last)
        work.results |= {
            "faces": len(source_faces),
            "faces_without_own_action_units": source_faces["action_units"].null_count,
            "intensities": steps,
            "reference_rule": references.RULE,
            "references": [asdict(reference) for reference in chosen],
            "generator_size": loaded.size,
            "precision": (computed := _precision(work, config.precision, gpus)),
        }
        planned = plan(source_faces, chosen, steps, config.per_expression)
        planned = planned.append_column("precision", pa.array([computed] * len(planned), pa.string()))
        work.map(
            planned,
            [
                Step(decode, {"faces": tuple(faces), "size": config.size}),
                Step(
                    Animator,
                    {"generator": generator, "batch": config.batch, "gpus": gpus, "bfloat16": computed == "bfloat16"},
                    gpus=gpus,
                    actors=actors,
                ),
                Step(encode, {"size": config.size, "quality": config.quality}),
            ],
            rows_per_shard=_rows_per_shard(len(planned), config.batch),
            reuse_key_columns=DECIDE,
        )

    models = {"generator": loaded.sha256, "torch": torch.__version__, "opencv": cv2.__version__}
    inputs = {f"faces_{k}": finished for k, finished in enumerate(faces)}
    return StageSpec("animate", VERSION, inputs, config, models, {".": ANIMATED}, do)


def _precision(work: StageOutput, wanted: Precision, gpus: float) -> str:
    """float32 or bfloat16, the same on all nodes, and in all starts of this work: parts that were made in the other are
    made again.
    """
    if wanted == "float32":
        return wanted
    ray_cluster.start()
    if gpus:
        ray_cluster.check_gpus(gpus)
    computed = precision.choose_precision(wanted, _lacking_on_nodes(gpus))
    note = storage.join(work.directory, WORK, "precision.txt")
    if storage.exists(note) and storage.read_bytes(note).decode() != computed:
        storage.delete_folder(storage.join(work.directory, WORK))
    storage.write_bytes(note, computed.encode())
    return computed


def _lacking_on_nodes(gpus: float) -> list[str]:
    """`precision.lacking` of the devices that animate, of each node that has any."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote(num_cpus=0, num_gpus=gpus)
    def look() -> str:
        return precision.device_without_bfloat16("cuda" if gpus else "cpu")

    wanted = ("GPU", gpus) if gpus else ("CPU", 1)
    nodes = [
        node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get(wanted[0], 0) >= wanted[1]
    ]
    return ray.get(
        [look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote() for node in nodes]
    )


def _rows_per_shard(rows: int, batch: int) -> int:
    """A multiple of the network's batch."""
    return batch * max(1, min(ROWS_PER_SHARD, rows // LEAST_PARTS) // batch)


def _plain(faces: Artifact) -> pa.Table:
    """The faces without their images, and `content`: what stands for each image."""
    images = row_digests(faces, "faces", FACES, ["image"])  # in the order of the ids, as the table
    return faces.table("faces", FACES, columns=PLAIN).append_column("content", images["content"])


def _wanted(faces: pa.Table, config: AnimateConfig) -> pa.Array:
    fine = pc.equal(faces["status"], OK)
    if config.select == "all":
        return fine
    neutral = pc.equal(faces["label"], NEUTRAL)
    return pc.and_(fine, pc.fill_null(neutral, config.select == "unlabelled"))


def plan(
    source_faces: pa.Table,
    chosen: Sequence[references.Reference],
    steps: Sequence[float],
    per_expression: int | None = None,
) -> pa.Table:
    """The rows of ANIMATED without images, `input`, `content`, and `own`: the Action Units that the figure shows.

    Each of `figures` (FACES rows) meets each reference at each intensity, or, where `per_expression` is given, so many
    of these combinations of each expression that every figure, and every reference at every intensity, is taken equally
    often or once more.
    """
    per_face = [(reference, level, step) for level, step in enumerate(steps, start=1) for reference in chosen]
    face, way = _combinations(
        len(source_faces), np.array([reference.label for reference, _, _ in per_face]), per_expression
    )
    own = np.array([values or [0.0] * 17 for values in source_faces["action_units"].to_pylist()], np.float32).reshape(
        -1, 17
    )[face]
    targets = np.array([reference.action_units for reference, _, _ in per_face], np.float32)[way]
    amounts = np.array([step for _, _, step in per_face], np.float32)[way, None]
    names = [f"{EXPRESSIONS[r.label - 1]}-{r.number}-{level}" for r, level, _ in per_face]
    repeated = source_faces.take(pa.array(face))

    def of_way(values: list, kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind).take(pa.array(way))

    return pa.table(
        {
            "image_id": pc.binary_join_element_wise(repeated["face_id"], of_way(names, pa.string()), "-"),
            "face_id": repeated["face_id"],
            "corpus": repeated["corpus"],
            "figure_id": repeated["figure_id"],
            "label": of_way([r.label for r, _, _ in per_face], pa.int8()),
            "level": of_way([level for _, level, _ in per_face], pa.int16()),
            "intensity": of_way([step for _, _, step in per_face], pa.float32()),
            "reference_id": of_way([r.reference_id for r, _, _ in per_face], pa.string()),
            "groups": repeated["groups"],
            "action_units": pa.FixedSizeListArray.from_arrays(
                pa.array((own + amounts * (targets - own)).reshape(-1)), 17
            ),
            "own": pa.FixedSizeListArray.from_arrays(pa.array(own.reshape(-1)), 17),
            "input": repeated["input"],
            "content": repeated["content"],
        }
    )


def _combinations(source_faces: int, labels: np.ndarray, per_expression: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Which figure meets which way (a reference at an intensity; labels: of its expression): indices, both (N,).

    Problem where there are fewer combinations than are asked for.
    """
    if per_expression is None:
        return np.repeat(np.arange(source_faces), len(labels)), np.tile(np.arange(len(labels)), source_faces)
    faces, ways = [], []
    for label in np.unique(labels):
        of_label = np.flatnonzero(labels == label)
        if per_expression > source_faces * len(of_label):
            raise UserError(
                f"{per_expression} images of {EXPRESSIONS[label - 1]} are asked for, and {source_faces} faces, "
                f"{len(of_label)} ways each, give "
                f"{source_faces * len(of_label)}: ask for fewer, or for more references or levels."
            )
        row = np.arange(
            per_expression
        )  # down a diagonal of the table of figures and ways, and when it closes, the next one
        faces.append(row % source_faces)
        ways.append(of_label[(row + row // math.lcm(source_faces, len(of_label))) % len(of_label)])
    return np.concatenate(faces), np.concatenate(ways)


class Animator:
    """An actor: the generator on fixed groups of `batch` rows of a part, one thread; `pixels` become the animated
    ones.
    """

    def __init__(self, generator: str, batch: int, gpus: float, bfloat16: bool) -> None:
        torch.set_num_threads(1)
        self.device = ray_cluster.device(gpus)
        if bfloat16:
            precision.choose_precision(
                "bfloat16", [precision.device_without_bfloat16(self.device)]
            )  # a node that came after all were asked
        self.generator = checkpoints.load_generator(generator)
        self.generator.network.to(self.device)
        self.batch, self.bfloat16 = batch, bfloat16

    def __call__(self, rows: pa.Table) -> pa.Table:
        pixels = rows["pixels"].to_pylist()
        size = max((round((len(p) // 3) ** 0.5) for p in pixels if p), default=self.generator.size)
        wanted, own = (np.array(rows[name].to_pylist(), np.float32) for name in ("action_units", "own"))
        answers: list[bytes] = []
        black = bytes(3 * size * size)
        for start in range(0, len(pixels), self.batch):
            group = slice(start, start + self.batch)
            missing = self.batch - len(pixels[group])
            # An unreadable crop, and a place without a row, take part as black: the size of a batch shows in an image's
            # last bits.
            filled = [p or black for p in pixels[group]] + [black] * missing
            crops = np.stack([np.frombuffer(p, np.uint8).reshape(size, size, 3) for p in filled])
            before, after = (np.pad(values[group], ((0, missing), (0, 0))) for values in (own, wanted))
            animated = animate(self.generator, crops, before, after, self.device, bfloat16=self.bfloat16)
            answers += [image.tobytes() for image in animated[: self.batch - missing]]
        kept = [answer if p else None for p, answer in zip(pixels, answers, strict=True)]
        return rows.set_column(rows.column_names.index("pixels"), "pixels", pa.array(kept, pa.large_binary()))


def _build(request: Request) -> StageSpec:
    compute = request.compute
    return animate_job(
        request.all("faces"), request.config, request.files["generator"], gpus=compute.gpus, actors=compute.actors
    )


KIND = StageKind(
    "animate",
    config=AnimateConfig,
    inputs=(Input("faces", ("faces", "corrected"), several=True),),
    files=(InputFile("generator", "name a checkpoint, such as package:weights/generator.safetensors"),),
    build=_build,
)
