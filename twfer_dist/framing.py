"""Where a face sits in its square crop: one framing for rendered heads, detected faces and aligned data sets.

The box around the 68 points (brow to chin, ear to ear) is centred in the crop, and its longer side spans `SPAN` of
it, which is close to RAF-DB's aligned faces.
"""

import numpy as np

SPAN = 0.8


def crop_matrix(points_box: np.ndarray, size: int) -> np.ndarray:
    """The 2x3 float32 matrix (for `cv2.warpAffine`) that takes an image to its crop of `size` pixels.

    points_box: x, y, width, height in pixels of the box around the face's 68 points.
    """
    x, y, width, height = (float(v) for v in points_box)
    scale = SPAN * size / max(width, height)
    middle = size / 2
    return np.array([[scale, 0, middle - scale * (x + width / 2)], [0, scale, middle - scale * (y + height / 2)]], np.float32)
