"""Pictures of animated faces: strips, sheets, GIFs, and faces pasted back into their photographs. uint8 RGB."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from twfer_dist.core import images
from twfer_dist.core.taxonomy import EXPRESSIONS

FRAME_MS, REST_MS = 90, 700  # of a GIF: while the face moves, and at rest and at full strength
_FEATHER = 0.08  # of the crop's side: the width over which a change fades out towards the edge


def strip(source: np.ndarray, frames: Mapping[int, Sequence[np.ndarray]]) -> np.ndarray:
    """A row for each expression: its name, the face itself, and its frames from weak to strong. uint8 (H, W, 3).

    source and frames: uint8 (side, side, 3). frames: by label, 1 to 7.
    """
    side = len(source)
    longest = max(map(len, frames.values()))
    rows = []
    for label, steps in frames.items():
        name = np.full((side, side, 3), 255, np.uint8)
        origin, scale, colour = (4, side // 2), side / 230, (40, 40, 40)
        cv2.putText(name, EXPRESSIONS[label - 1], origin, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
        blank = [np.full_like(source, 255)] * (longest - len(steps))
        rows.append(np.concatenate([name, source, *steps, *blank], axis=1))
    return np.concatenate(rows)


def sheet(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of pictures, uint8 (side, width, 3) each, stacked; in two columns from eight rows on."""
    widest = max(row.shape[1] for row in rows)
    even = [
        cv2.copyMakeBorder(row, 0, 0, 0, widest - row.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255))
        for row in rows
    ]
    if len(even) < 8:
        return np.concatenate(even)
    even += [np.full_like(even[0], 255)] * (len(even) % 2)
    gap = np.full((len(even) // 2 * len(even[0]), 8, 3), 255, np.uint8)
    return np.concatenate([np.concatenate(even[: len(even) // 2]), gap, np.concatenate(even[len(even) // 2 :])], axis=1)


def gif(source: np.ndarray, frames: Mapping[int, Sequence[np.ndarray]]) -> bytes:
    """An endless GIF in which the face goes to each expression and back. source, frames: as in `strip`."""
    pictures, times = [source], [REST_MS]
    for steps in frames.values():
        pictures += [*steps, *reversed(steps[:-1]), source]
        times += [FRAME_MS] * (len(steps) - 1) + [REST_MS] + [FRAME_MS] * (len(steps) - 1) + [REST_MS]
    return images.encode_gif(pictures, times)


def paste(photograph: np.ndarray, face: Mapping[str, Any], animated: np.ndarray) -> np.ndarray:
    """The photograph (uint8 RGB) with its face animated.

    face: a row of FACES. animated: its animated crop, uint8 (S, S, 3). Only the *difference* of the crops is warped
    back, fading out towards their edge: no seam can show, and unchanged pixels of the photograph stay as they are.
    """
    side = len(animated)
    change = animated.astype(np.float32) - decode(face["image"], side)
    middle = np.arange(side, dtype=np.float32) + 0.5
    fade = np.clip(np.minimum(middle, side - middle) / (_FEATHER * side), 0, 1)
    change *= (fade[:, None] * fade[None, :])[..., None]
    matrix = np.array(face["crop_matrix"], np.float32).reshape(2, 3) * (side / face["width"])
    matrix[:, 2] += 0.5 * side / face["width"] - 0.5  # pixel centres have integer coordinates
    height, width = photograph.shape[:2]
    corners = np.array([(x, y) for x in (-1, side) for y in (-1, side)]) - matrix[:, 2]
    corners = corners @ np.linalg.inv(matrix[:, :2]).T
    x0, y0 = np.floor(corners.min(0)).astype(int).clip(0, (width - 1, height - 1))
    x1, y1 = (np.ceil(corners.max(0)).astype(int) + 1).clip((x0 + 1, y0 + 1), (width, height))
    matrix[:, 2] += matrix[:, :2] @ (x0, y0)
    size = int(x1 - x0), int(y1 - y0)
    warped = cv2.warpAffine(change, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    pasted = photograph.copy()
    pasted[y0:y1, x0:x1] = np.clip(photograph[y0:y1, x0:x1] + warped + 0.5, 0, 255).astype(np.uint8)
    return pasted


def decode(data: bytes, side: int) -> np.ndarray:
    """An encoded crop as uint8 (side, side, 3)."""
    image = images.decode(data)
    assert image is not None  # from our own tables
    return images.resize_square(image, side)
