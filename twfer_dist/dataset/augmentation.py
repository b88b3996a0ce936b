"""Random changes of training images, seeded for each image and epoch."""

from typing import Literal

import cv2
import numpy as np

Augmentation = Literal["none", "mild", "arm"]
"""mild: `mild`. arm: what the public ARM code does, `as_arm`."""


def augment(pixels: np.ndarray, how: Augmentation, random: np.random.Generator) -> np.ndarray:
    """An image, uint8 RGB (S, S, 3), changed at random."""
    return {"none": lambda pixels, _: pixels, "mild": mild, "arm": as_arm}[how](pixels, random)


def mild(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Mirrored or not, rotated by at most 10 degrees, scaled by 0.9 to 1.1, shifted by at most 5 %; contrast changed by
    at most a fifth, brightness by at most 25 grey levels.
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


def as_arm(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """As the public ARM code: a quarter of the images is mirrored, another gets Gaussian noise with a variance of 30;
    then half of all lose a rectangle of 2 to 10 % of the area and an aspect ratio of 0.3 to 3.3, which takes the mean
    colour, 0 after normalisation: torchvision's RandomErasing(scale=(0.02, 0.1)) in that code's training script.
    """
    change = random.random()
    if change < 0.25:
        pixels = pixels[:, ::-1]
    elif change < 0.5:
        noise = random.normal(0, 30**0.5, pixels.shape)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return _erased(pixels, random) if random.random() < 0.5 else np.ascontiguousarray(pixels)


MEAN_COLOUR = (124, 116, 104)
"""255 times the mean that the networks' inputs are normalised by."""


def _erased(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    size, pixels = len(pixels), pixels.copy()
    for _ in range(10):  # torchvision's number of tries
        area = size * size * random.uniform(0.02, 0.1)
        ratio = np.exp(random.uniform(np.log(0.3), np.log(3.3)))
        height, width = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < height < size and 0 < width < size:
            top, left = (int(random.integers(0, size - side + 1)) for side in (height, width))
            pixels[top : top + height, left : left + width] = MEAN_COLOUR
            break
    return pixels
