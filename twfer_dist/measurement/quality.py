"""The quality gate of the paper: a face is accepted only where its points can be trusted."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from twfer_dist.core.landmarks import (
    AROUND_CHIN,
    LEFT_BROW,
    LEFT_EYE,
    MOUTH,
    NOSE,
    RIGHT_BROW,
    RIGHT_EYE,
    interocular_distance,
)
from twfer_dist.engine.config import Range, Settings
from twfer_dist.measurement.face import Face

_PARTS = {"brow": (RIGHT_BROW, LEFT_BROW), "eye": (RIGHT_EYE, LEFT_EYE)}
_SINGLE = {"the nose": NOSE, "the mouth": MOUTH, "the chin": AROUND_CHIN}

_ESSENTIAL = ("the eyes", "one eye", "the mouth")
"""Without these a face is not measured, however its crop was chosen."""


@dataclass(frozen=True)
class Gate(Settings):
    """What a face needs to be measured; docs/photographs.md says how these limits were found."""

    # least distance between the outer corners of the eyes, in pixels of the photograph
    eyes: Annotated[float, Range(0, 10_000)] = 16.0
    sharpness: Annotated[float, Range(0, 10)] = 0.07  # least sharpness of the face, a column of the table
    turned: Annotated[float, Range(0, 180)] = 40.0  # largest yaw or pitch of the head in degrees
    # largest expected error of the points, in distances between the outer corners of the eyes
    predicted_nme: Annotated[float, Range(0, 10)] = 0.06
    outside: Annotated[float, Range(0, 1)] = 0.08  # largest share of the points that may lie outside the photograph

    def fault(self, face: Face | None, width: int, height: int) -> str:
        """Why a face cannot be measured reliably, in a sentence; empty where it can. None: its points were not found.

        width, height: of the photograph.
        """
        if face is None:
            return "The face's points were not found."
        outside = _outside(face, width, height)
        eyes = interocular_distance(face.points)
        yaw, pitch = (float(abs(angle)) for angle in face.pose[:2])
        if outside.mean() > self.outside:
            return _cut_off(outside)
        if eyes < self.eyes:
            return f"The face is too small: its eyes are {eyes:.1f} pixels apart, and {self.eyes:.0f} are needed."
        if face.sharpness < self.sharpness:
            return (
                f"The face is too blurred: its sharpness is {face.sharpness:.3f}, and {self.sharpness:.3f} is needed."
            )
        if max(yaw, pitch) > self.turned:
            return (
                f"The face is turned away: {yaw:.0f} degrees sideways and {pitch:.0f} up or down, more than "
                f"{self.turned:.0f}."
            )
        return self._uncertain(face)

    def uncertain_points(self, face: Face | None, width: int, height: int) -> str:
        """Why the points of an aligned face cannot be trusted, in a sentence; empty where they can.

        Size, sharpness and how much of forehead and chin is visible are not checked: they were chosen by the people who
        aligned it.
        """
        if face is None:
            return "The face's points were not found."
        outside = _outside(face, width, height)
        if any(part in _ESSENTIAL for part in _missing(outside)):
            return _cut_off(outside)
        return self._uncertain(face)

    def _uncertain(self, face: Face) -> str:
        if face.predicted_nme <= self.predicted_nme:
            return ""
        return (
            f"The face's points are uncertain: the expected error is {face.predicted_nme:.3f} of the distance between "
            f"the eyes, more than {self.predicted_nme:.3f}."
        )


def _outside(face: Face, width: int, height: int) -> np.ndarray:
    """bool (68,): the points outside the photograph, whose pixel centres have whole-number coordinates."""
    return np.any((face.points < -0.5) | (face.points > (width - 0.5, height - 0.5)), axis=1)


def _missing(outside: np.ndarray) -> list[str]:
    """The parts of a face with half of their points or more outside."""
    parts = []
    for name, both in _PARTS.items():
        gone = sum(outside[part].mean() >= 0.5 for part in both)
        if gone:
            parts.append(f"one {name}" if gone == 1 else f"the {name}s")
    return parts + [name for name, part in _SINGLE.items() if outside[part].mean() >= 0.5]


def _cut_off(outside: np.ndarray) -> str:
    *others, last = _missing(outside) or ["a part of the face"]
    what = f"{', '.join(others)} and {last}" if others else last
    return f"The photograph cuts off {what}: {100 * outside.mean():.0f} % of the points lie outside it."
