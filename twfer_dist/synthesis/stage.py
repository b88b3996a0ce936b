"""The stage that animates faces on Ray Data: every neutral face to seven expressions at graded intensities."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import cv2
import numpy as np
import pyarrow as pa
import torch

from twfer_dist.core.schema import ANIMATED
from twfer_dist.core.taxonomy import EXPRESSIONS, NEUTRAL
from twfer_dist.engine import ray_cluster, resources, storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Range, Settings
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.workload import Content, Workload, joined
from twfer_dist.synthesis import checkpoints, references
from twfer_dist.synthesis.animate import animate, intensities
from twfer_dist.synthesis.frames import decode, encode
from twfer_dist.synthesis.plan import Ways, plan, reachable
from twfer_dist.synthesis.source_faces import Select, SourceFaces, find_references, find_source_faces
from twfer_dist.training import precision
from twfer_dist.training.precision import Precision

VERSION = 4

MAX_ROWS_PER_SHARD = 256
MIN_SHARDS = 32  # where there are enough rows, so that a small study keeps many workers busy until its end
REUSE_KEY_COLUMNS = ("image_id", "face_digest", "way_digest", "precision")


@dataclass(frozen=True)
class AnimateConfig(Settings):
    """Which faces are animated, from how many references, in how many steps, and how the images are stored."""

    size: Annotated[int, Range(16, 2048)] = 112  # pixels of the animated images; crops are resized to it
    levels: Annotated[int, Range(1, 100)] = 5  # steps from the figure's Action Units to the reference's
    drop_last: bool = True  # omit the strongest level
    references: Annotated[int, Range(0, 1000)] = 1  # faces of each expression that are copied; 0: its prototype
    per_expression: Annotated[int, Range(1, 10**7)] | None = None  # images, spread evenly; every combination if null
    at_most: Annotated[int, Range(1, 10**7)] | None = None  # as per_expression, or fewer where there are fewer
    reference_corpora: tuple[str, ...] = ()  # where references may come from; all corpora if empty
    # "unlabelled": neutral faces and those without a label; "calm": neutral faces and the calmer half of those without
    select: Select = "neutral"
    batch: Annotated[int, Range(1, 4096)] = 16  # rows that the generator processes together
    precision: Precision = "float32"  # of the generator's convolutions; bfloat16 is about twice as fast
    quality: Annotated[int, Range(1, 100)] = 95  # of the JPEG images

    def agree(self) -> None:
        if self.per_expression and self.at_most:
            raise ValueError("per_expression and at_most are both given; use one of them")
        if self.levels == 1 and self.drop_last:
            raise ValueError(
                "levels is 1 and drop_last leaves the strongest out, so none remains; use 2 or more, or "
                "drop_last: false"
            )


def animate_spec(
    faces: Sequence[Artifact],
    config: AnimateConfig,
    generator: str,
    *,
    reference_faces: Sequence[Artifact] = (),
    actors: int | None = None,
    gpus: float = 0,
) -> StageSpec:
    """Animate the faces with status ok that `config.select` names: table ANIMATED, ids
    `<face_id>-<expression>-<reference number>-<level>`.

    A face that was not found has no image, and so no row here. A crop that cannot be decoded gives rows with status
    "unreadable". A face without Action Units starts from zeros; `results` counts those, lists the references, and names
    the `precision` of the computation. generator: a checkpoint, ours or public. reference_faces: where references come
    from, if not from `faces` themselves. gpus: for each actor; an actor with a GPU computes on it. Raises UserError
    where there is no face to animate.
    """
    generator = storage.absolute(generator)
    loaded = checkpoints.load_generator(generator)

    def do(output: StageOutput) -> None:
        source, ways = _chosen(output, faces, reference_faces or faces, config)
        precision_used = _precision_of_cluster(output, config.precision, gpus)
        output.results |= {"generator_size": loaded.size, "precision": precision_used}
        actor = {"batch": config.batch, "gpus": gpus, "bfloat16": precision_used == "bfloat16"}
        animator = Step(Animator, {"generator": generator, **actor}, gpus=gpus, actors=actors)
        rows, steps = rows_per_shard(ways.images(source.faces), config.batch), _around(animator, faces, config)
        planned = plan(source, ways, precision_used)
        output.map(planned, steps, rows_per_shard=rows, reuse_key_columns=REUSE_KEY_COLUMNS)

    models = {"generator": loaded.sha256, "torch": torch.__version__, "opencv": cv2.__version__}
    inputs = {f"faces_{k}": artifact for k, artifact in enumerate(faces)}
    inputs |= {f"reference_faces_{k}": artifact for k, artifact in enumerate(reference_faces)}
    return StageSpec("animate", VERSION, inputs, config, models, {".": ANIMATED}, do)


def _chosen(
    output: StageOutput, faces: Sequence[Artifact], reference_faces: Sequence[Artifact], config: AnimateConfig
) -> tuple[SourceFaces, Ways]:
    """The faces to animate, and what is made of each; the results of `output` say what these are."""
    source = find_source_faces(faces, config.select)
    chosen = find_references(reference_faces, config.references, config.reference_corpora)
    steps = intensities(config.levels, config.drop_last)
    output.results |= {
        "faces": source.faces,
        "faces_without_own_action_units": sum(found.without_units for found in source.ranges),
        "intensities": steps,
        "reference_rule": references.RULE,
        "references": [asdict(reference) for reference in chosen],
    }
    per_expression = config.per_expression
    if config.at_most:
        per_expression = reachable(config.at_most, source.faces, chosen, len(steps))
    return source, Ways(chosen, steps, per_expression)


def _around(animator: Step, faces: Sequence[Artifact], config: AnimateConfig) -> list[Step]:
    """Crops are decoded before and images encoded after, on CPU workers."""
    before = Step(decode, {"faces": tuple(faces), "size": config.size})
    return [before, animator, Step(encode, {"size": config.size, "quality": config.quality})]


def _precision_of_cluster(output: StageOutput, wanted: Precision, gpus: float) -> str:
    """float32 or bfloat16, the same on all nodes and in all runs that resume this output.

    Shards that an earlier run computed in the other precision are computed again.
    """
    if wanted == "float32":
        return wanted
    ray_cluster.start()
    if gpus:
        resources.await_gpus(gpus)
    chosen = precision.choose_precision(wanted, _devices_without_bfloat16(gpus))
    note = output.scratch("precision.txt")
    if storage.exists(note) and storage.read_bytes(note).decode() != chosen:
        storage.delete_folder(output.scratch())
    storage.write_bytes(note, chosen.encode())
    return chosen


def _devices_without_bfloat16(gpus: float) -> list[str]:
    """`precision.device_without_bfloat16` for the devices that animate on each node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote(num_cpus=0, num_gpus=gpus)
    def probe() -> str:
        return precision.device_without_bfloat16("cuda" if gpus else "cpu")

    resource, amount = ("GPU", gpus) if gpus else ("CPU", 1)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get(resource, 0) >= amount]
    strategies = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    return ray.get([probe.options(scheduling_strategy=strategy).remote() for strategy in strategies])


def rows_per_shard(rows: int, batch: int) -> int:
    """A multiple of the network's batch."""
    return batch * max(1, min(MAX_ROWS_PER_SHARD, rows // MIN_SHARDS) // batch)


class Animator:
    """An actor with the generator, on one thread: replaces `pixels` with the animated ones, `batch` rows at a time."""

    def __init__(self, generator: str, batch: int, gpus: float, bfloat16: bool) -> None:
        torch.set_num_threads(1)
        self.device = resources.device(gpus)
        if bfloat16:  # this node may have joined after the others were probed
            precision.choose_precision("bfloat16", [precision.device_without_bfloat16(self.device)])
        self.generator = checkpoints.load_generator(generator)
        self.generator.network.to(self.device)
        self.batch, self.bfloat16 = batch, bfloat16

    def __call__(self, rows: pa.Table) -> pa.Table:
        pixels = rows["pixels"].to_pylist()
        size = max((round((len(p) // 3) ** 0.5) for p in pixels if p), default=self.generator.size)
        wanted, own = (np.array(rows[name].to_pylist(), np.float32) for name in ("action_units", "own"))
        animated: list[bytes] = []
        black = bytes(3 * size * size)
        for start in range(0, len(pixels), self.batch):
            group = slice(start, start + self.batch)
            missing = self.batch - len(pixels[group])
            # Unreadable crops and missing rows are filled with black: the batch size shows in an image's last bits.
            filled = [p or black for p in pixels[group]] + [black] * missing
            crops = np.stack([np.frombuffer(p, np.uint8).reshape(size, size, 3) for p in filled])
            before, after = (np.pad(values[group], ((0, missing), (0, 0))) for values in (own, wanted))
            images = animate(self.generator, crops, before, after, self.device, bfloat16=self.bfloat16)
            animated += [image.tobytes() for image in images[: self.batch - missing]]
        kept = [image if p else None for p, image in zip(pixels, animated, strict=True)]
        return rows.set_column(rows.column_names.index("pixels"), "pixels", pa.array(kept, pa.large_binary()))


def _build(request: Request) -> StageSpec:
    compute = request.compute
    return animate_spec(
        request.all("faces"),
        request.config,
        request.files["generator"],
        reference_faces=request.all("reference_faces"),
        gpus=compute.gpus,
        actors=compute.actors,
    )


def _workload(request: Request) -> Workload:
    config, faces = request.config, joined(request.all("faces"))
    unlabelled = {"neutral": 0.0, "calm": 0.5, "unlabelled": 1.0}
    source = faces.rows
    if config.select != "all":
        source = faces.labels.get(NEUTRAL, 0) + unlabelled[config.select] * faces.labels.get(None, 0)
    of_each = source * max(1, config.references) * len(intensities(config.levels, config.drop_last))
    of_each = config.per_expression or min(of_each, config.at_most or of_each)
    content = Content(dict.fromkeys(range(1, len(EXPRESSIONS) + 1), of_each))
    rate = f"animate {config.precision}" + (" on a GPU" if request.compute.gpus else "")
    return Workload(rate, content.rows, "images", content, request.compute.actors)


KIND = StageKind(
    "animate",
    makes="faces animated to the seven expressions at graded intensities",
    config=AnimateConfig,
    inputs=(
        Input("faces", ("faces", "corrected"), several=True),
        Input("reference_faces", ("faces", "corrected"), several=True, optional=True),
    ),
    files=(
        InputFile(
            "generator", "weights of a generator", "name a checkpoint, such as package:weights/generator.safetensors"
        ),
    ),
    build=_build,
    workload=_workload,
)
