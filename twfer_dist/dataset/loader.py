"""A data set's images in batches: the images of each split, each worker's share of them, decoding, augmentation.

A worker streams its share of the Parquet table once into a memory-mapped file, and then has random access to every
image: shuffling is complete, memory does not grow with the data set, and training never waits for a data pipeline that
has no CPU left. Everything random is seeded from ids and epochs.
"""

import hashlib
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from twfer_dist.core.errors import UserError
from twfer_dist.core.images import decode as decode_image
from twfer_dist.core.schema import DATASET, figures
from twfer_dist.core.status import OK
from twfer_dist.engine.artifact import Artifact

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the red, green and blue values, 0 to 1, as the weights of torchvision and of the public ARM expect them."""

LARGEST_SIDE = 4096
"""In pixels. Crops of faces are far smaller: a larger image is refused before it is decoded."""

HELD_OUT = 0.1
"""The share of the training figures used for validation if a data set has no validation part."""

_THREADS, _AHEAD = 4, 2  # decoding threads, and batches decoded in advance


@dataclass(frozen=True)
class Images:
    """Images of one split in the order of their ids. labels: int64 (N,), 0 to 6."""

    ids: list[str]
    labels: np.ndarray
    encoded: pa.ChunkedArray


@dataclass(frozen=True)
class Splits:
    """The ids of each split, sorted, and the figure of each. held_out: whether the validation images were taken from
    the training images.
    """

    ids: dict[str, list[str]]
    figures: dict[str, list[str]]
    held_out: bool


def splits(dataset: Artifact, *, seed: int, refit: bool = False) -> Splits:
    """The ids of the train, validation and test images that have a result.

    If a data set has no validation images (the paper's ARM-1 and ARM-2 have none), a tenth of its training figures,
    chosen by a hash, are held out: a best epoch chosen by test images would make the test worthless. UserError if no
    image is left for training or for validation. refit: the training images are those of validation too.
    """
    columns = ["image_id", "split", "corpus", "figure_id", "label"]
    rows = dataset.scan(".", DATASET).to_table(columns=columns, filter=pc.field("status") == OK)
    if rows["label"].null_count:
        raise UserError(
            f"{dataset.uri} holds images without a label: train a recogniser on a data set of labelled images."
        )
    parts = {name: rows.filter(pc.equal(rows["split"], name)) for name in ("train", "validation", "test")}
    if not len(parts["train"]):
        others = ", ".join(name for name, part in parts.items() if len(part)) or "no images"
        raise UserError(f"{dataset.uri} has no training images, only {others}: make a data set with a training part.")
    held_out = not len(parts["validation"])
    if held_out:
        chosen = _held_out(parts["train"], seed)
        parts["validation"] = parts["train"].filter(chosen)
        parts["train"] = parts["train"].filter(pc.invert(chosen))
        if not len(parts["train"]):
            raise UserError(
                f"{dataset.uri} has no validation images, and its training images show a single figure, which cannot "
                "serve both: make a data set with more figures, or with a validation part."
            )
    if refit:
        parts["train"] = pa.concat_tables([parts["train"], parts["validation"]])
    parts = {name: part.sort_by("image_id") for name, part in parts.items()}
    ids = {name: part["image_id"].to_pylist() for name, part in parts.items()}
    return Splits(ids, {name: figures(part).to_pylist() for name, part in parts.items()}, held_out)


def _held_out(train: pa.Table, seed: int) -> pa.Array:
    keys = figures(train).to_pylist()
    order = sorted(set(keys), key=lambda key: _hash(seed, key))
    chosen = set(order[: max(1, round(HELD_OUT * len(order)))])
    return pa.array([key in chosen for key in keys], pa.bool_())


def load(dataset: Artifact, ids: Sequence[str], *, rank: int = 0, world: int = 1) -> Images:
    """The share of worker `rank` out of `world` of the images with `ids` (sorted): every `world`-th one."""
    mine = list(ids[rank::world])
    scanned = dataset.scan(".", DATASET)
    kept = pa.schema([("image_id", pa.string()), ("label", pa.int8()), ("image", pa.binary())])
    wanted = pc.field("image_id").isin(pa.array(mine, pa.string()))
    batches = scanned.to_batches(
        columns=kept.names, filter=wanted, batch_size=256, batch_readahead=2, fragment_readahead=1
    )
    with tempfile.NamedTemporaryFile(suffix=".arrow") as file:
        with pa.ipc.new_file(file.name, kept) as writer:
            for batch in batches:
                writer.write_batch(batch.select(kept.names).cast(kept))
        table = pa.ipc.open_file(pa.memory_map(file.name)).read_all()  # the mapping survives the deletion of the file
    if table["image_id"].to_pylist() != mine:
        raise ValueError(f"{dataset.uri} does not hold the images that its own table lists")
    return Images(mine, table["label"].to_numpy().astype(np.int64) - 1, table["image"])


def shuffled(images: Images, count: int, batch: int, *, seed: int, epoch: int) -> list[np.ndarray]:
    """The batches of an epoch: indices of `count` images in random order, in nearly equal batches of at most `batch`.
    If the last image would be alone, which batch norm cannot learn from, one batch has one more.

    `count` is the same for all workers, which must take the same number of steps; a worker with one image fewer repeats
    one.
    """
    order = np.resize(np.random.default_rng([seed, epoch]).permutation(len(images.ids)), count)
    return np.array_split(order, max(1, min(-(-count // batch), count // 2)))


def in_order(images: Images, batch: int) -> list[np.ndarray]:
    """Batches of all images once, in the order of their ids."""
    return [np.arange(start, min(start + batch, len(images.ids))) for start in range(0, len(images.ids), batch)]


def batches(
    images: Images, order: Sequence[np.ndarray], size: int, augmentation: tuple[int, int] | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of pixels, uint8 RGB (B, size, size, 3), and labels, int64 (B,), decoded in threads ahead of time.

    order: the indices of each batch. augmentation: (seed, epoch), or None for the images as they are. UserError if an
    image cannot be decoded.
    """

    def one(index: int) -> np.ndarray:
        pixels = decode(images.encoded[index].as_buffer(), size)
        if pixels is None:
            raise UserError(
                f"The image {images.ids[index]} of the data set cannot be decoded: rerun the stages that made it."
            )
        if augmentation is None:
            return pixels
        return augment(pixels, np.random.default_rng(_hash(*augmentation, images.ids[index])))

    waiting: deque[tuple[np.ndarray, list[Future[np.ndarray]]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for indices in order:
            waiting.append((indices, [pool.submit(one, int(i)) for i in indices]))
            if len(waiting) > _AHEAD:
                ready, pixels = waiting.popleft()
                yield np.stack([p.result() for p in pixels]), images.labels[ready]
        for ready, pixels in waiting:
            yield np.stack([p.result() for p in pixels]), images.labels[ready]


def decode(encoded: bytes | pa.Buffer, size: int) -> np.ndarray | None:
    """An encoded image as uint8 RGB (size, size, 3); None if it is not an image, or too large for a face's crop."""
    image = decode_image(encoded, LARGEST_SIDE)
    return None if image is None else fit(image, size)


def fit(image: np.ndarray, size: int) -> np.ndarray:
    """An RGB image as the recognisers take it: uint8 (size, size, 3)."""
    shrinks = min(image.shape[:2]) > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def augment(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A mild augmentation of uint8 (S, S, 3): mirrored or not, rotated by at most 10 degrees, scaled by 0.9 to 1.1,
    shifted by at most 5 %; contrast changed by at most a fifth, brightness by at most 25 grey levels.
    """
    size = len(pixels)
    mirrored = random.random() < 0.5
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), random.uniform(-10, 10), random.uniform(0.9, 1.1))
    matrix[:, 2] = matrix[:, 2] + random.uniform(-0.05, 0.05, 2) * size
    gain, offset = random.uniform(0.8, 1.2), random.uniform(-25, 25)
    if mirrored:
        pixels = pixels[:, ::-1]
    moved = cv2.warpAffine(np.ascontiguousarray(pixels), matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101)
    return np.clip(gain * (moved.astype(np.float32) - 128) + 128 + offset, 0, 255).astype(np.uint8)


def normalise(pixels: np.ndarray, device: torch.device | str) -> Tensor:
    """uint8 RGB (B, S, S, 3) as the networks take it: float32 (B, 3, S, S) in channels-last memory, minus MEAN,
    divided by DEVIATION.
    """
    images = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
    mean, deviation = (torch.tensor(v, device=images.device)[:, None, None] for v in (MEAN, DEVIATION))
    return ((images - mean) / deviation).contiguous(memory_format=torch.channels_last)


def _hash(*words: int | str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(map(str, words)).encode()).digest()[:8], "big")
