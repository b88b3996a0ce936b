"""Stored images to batches of pixels: decoding and augmentation ahead of the step that uses them, in processes beside
it or in threads.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from twfer_dist.core.errors import UserError
from twfer_dist.core.images import decode as decode_image
from twfer_dist.dataset.augmentation import Augmentation, augment
from twfer_dist.dataset.parts import hash_of
from twfer_dist.dataset.stream import Encoded, read_ahead

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the red, green and blue values, 0 to 1, as the weights of torchvision and of the public ARM expect them."""

LARGEST_SIDE = 4096
"""In pixels. Crops of faces are far smaller: a larger image is refused before it is decoded."""

_THREADS, _AHEAD = 4, 2  # decoding threads, and batches decoded in advance by them
_PREFETCH = 4  # batches decoded in advance by each process


class Batch(NamedTuple):
    """Decoded images: pixels uint8 RGB (B, S, S, 3), labels int64 (B,), lanes int64 (B,) (see `order`)."""

    pixels: Tensor
    labels: Tensor
    lanes: Tensor


@dataclass(frozen=True)
class Decoding:
    """How images become pixels: at `size`, changed as `augmentation` says, by random numbers from `seed`, the epoch and
    the id of each image.
    """

    size: int
    augmentation: Augmentation = "none"
    seed: int = 0

    def image(self, encoded: bytes, image_id: str, epoch: int) -> np.ndarray:
        """One image, uint8 RGB (size, size, 3). UserError if it cannot be decoded."""
        pixels = decode(encoded, self.size)
        if pixels is None:
            raise UserError(f"The image {image_id} of the data set cannot be decoded: rerun the stages that made it.")
        if self.augmentation == "none":
            return pixels
        return augment(pixels, self.augmentation, np.random.default_rng(hash_of(self.seed, epoch, image_id)))

    def batch(self, encoded: Encoded, images: Iterable[np.ndarray]) -> Batch:
        pixels = np.empty((len(encoded.images), self.size, self.size, 3), np.uint8)
        for number, image in enumerate(images):
            pixels[number] = image
        return Batch(torch.from_numpy(pixels), torch.tensor(encoded.labels), torch.tensor(encoded.lanes))


class _Decoder(Dataset):
    """What a process beside the step does: `decoder[encoded]`. A UserError is returned, as it could not be raised
    across processes unchanged.
    """

    def __init__(self, decoding: Decoding) -> None:
        self.decoding = decoding

    def __getitem__(self, encoded: Encoded) -> Batch | str:
        cv2.setNumThreads(0)
        try:
            return self.decoding.batch(encoded, map(self.decoding.image, *_arguments(encoded)))
        except UserError as error:
            return str(error)


def batches(
    encoded: Iterator[Encoded], decoding: Decoding, *, processes: int = 0, pinned: bool = False
) -> Iterator[Batch]:
    """The decoded batches, in the same order. UserError if an image cannot be decoded.

    processes: that decode beside this one; 0 decodes in threads of it. pinned: in memory that a GPU copies from while
    it computes.
    """
    if not processes:
        yield from _in_threads(read_ahead(encoded), decoding)
        return
    loaded = DataLoader(
        _Decoder(decoding),
        sampler=read_ahead(encoded),
        batch_size=None,
        num_workers=processes,
        prefetch_factor=_PREFETCH,
        multiprocessing_context="forkserver",  # a fork would inherit locks that threads of this process hold
        pin_memory=pinned,
    )
    for batch in loaded:
        if isinstance(batch, str):
            raise UserError(batch)
        yield batch


def _in_threads(encoded: Iterator[Encoded], decoding: Decoding) -> Iterator[Batch]:
    waiting: deque[tuple[Encoded, list[Future[np.ndarray]]]] = deque()

    def first() -> Batch:
        batch, images = waiting.popleft()
        return decoding.batch(batch, (image.result() for image in images))

    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in encoded:
            waiting.append((batch, [pool.submit(decoding.image, *one) for one in zip(*_arguments(batch), strict=True)]))
            if len(waiting) > _AHEAD:
                yield first()
        while waiting:
            yield first()


def _arguments(encoded: Encoded) -> tuple[list[bytes], list[str], list[int]]:
    return encoded.images, encoded.ids, [encoded.epoch] * len(encoded.ids)


def decode(encoded: bytes | pa.Buffer, size: int) -> np.ndarray | None:
    """An encoded image as uint8 RGB (size, size, 3); None if it is not an image, or too large for a face's crop."""
    image = decode_image(encoded, LARGEST_SIDE)
    return None if image is None else fit(image, size)


def fit(image: np.ndarray, size: int) -> np.ndarray:
    """An RGB image as the recognisers take it: uint8 (size, size, 3)."""
    shrinks = min(image.shape[:2]) > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def normalise(pixels: np.ndarray | Tensor, device: torch.device | str) -> Tensor:
    """uint8 RGB (B, S, S, 3) as the networks take it: float32 (B, 3, S, S) in channels-last memory, minus MEAN,
    divided by DEVIATION.
    """
    images = torch.as_tensor(pixels).to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
    mean, deviation = (torch.tensor(v, device=images.device)[:, None, None] for v in (MEAN, DEVIATION))
    return ((images - mean) / deviation).contiguous(memory_format=torch.channels_last)
