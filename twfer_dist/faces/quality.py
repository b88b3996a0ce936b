"""The gate of the paper: a face is taken only where its points can be trusted."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from twfer_dist.faces.measure import Face
from twfer_dist.settings import Range, Settings

LOW_QUALITY = "low_quality"
"""The status of a face that was found and measured, and is not fit to be read."""


@dataclass(frozen=True)
class Gate(Settings):
    """What a face needs to be read; README.md says how these limits were found."""

    eyes: Annotated[float, Range(0, 10_000)] = 16.0  # least distance between the outer corners of the eyes, in pixels of the photograph
    sharpness: Annotated[float, Range(0, 10)] = 0.07  # least `measure.sharpness`
    turned: Annotated[float, Range(0, 180)] = 40.0  # most degrees that the head may be turned, sideways or up and down
    doubt: Annotated[float, Range(0, 10)] = 0.06  # most that the points may be expected to be off, in distances between these corners

    def fault(self, face: Face | None) -> str:
        """Why a face is not fit to be read, in a sentence; empty where it is. None: its points were not found."""
        if face is None:
            return "The face's points were not found."
        eyes = float(np.linalg.norm(face.points[45] - face.points[36]))
        yaw, pitch = (float(abs(angle)) for angle in face.pose[:2])
        if eyes < self.eyes:
            return f"The face is too small: its eyes span {eyes:.1f} pixels, and {self.eyes:.0f} are needed."
        if face.sharpness < self.sharpness:
            return f"The face is too blurred: its sharpness is {face.sharpness:.3f}, and {self.sharpness:.3f} is needed."
        if max(yaw, pitch) > self.turned:
            return f"The face is turned away: {yaw:.0f} degrees sideways and {pitch:.0f} up or down, where {self.turned:.0f} may be."
        if face.doubt > self.doubt:
            return f"The face's points are uncertain: about {face.doubt:.3f} of the eyes' distance off, where {self.doubt:.3f} may be."
        return ""
