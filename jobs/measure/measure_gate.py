"""How well faces are measured as they get smaller, blurred, turned away, cut off and unsure: what the limits of
`faces.quality.Gate` stand on.

    python jobs/measure/measure_gate.py

Each line: how many heads; the mean distance of the points in distances between the eyes' outer corners; how often it is
over `FAILED`; the mean correlation of the 17 Action Units; the sharpness and the predicted_nme that 1 in 20 is under,
half are under, 19 in 20 are under. Of heads that the picture's edge cuts off, also the share of points outside it.
"""

import cv2
import numpy as np

from twfer_dist.engine import artifact
from twfer_dist.measurement import augmentation, evaluate
from twfer_dist.measurement.analyzer import SHIPPED, Face, open_analyzer

FAILED = 0.08
PIXELS = (48, 32, 24, 20, 16, 12, 10, 8)
BLUR = (0.02, 0.04, 0.06, 0.1, 0.15, 0.2)
CUT = (0.0, 0.1, 0.2, 0.3, 0.4)
DEGREES = (0, 10, 20, 30, 40, 60)
PREDICTED_NME = (0, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 1)


def main() -> None:
    shipped = open_analyzer(SHIPPED)
    heads = augmentation.load_heads(artifact.open_artifact(evaluate.TEST))
    spans = np.linalg.norm(heads.points[:, 45] - heads.points[:, 36], axis=1)
    print(f"{'':<26}{'n':>6}{'points':>8}{'failed':>8}{'r':>7}   sharpness {'':<13}predicted_nme")

    def tell(words: str, images: list[np.ndarray], ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The errors and predicted of the heads as `images`, which are enlarged by `ratios`."""
        points = [(p + 0.5) * ratio - 0.5 for p, ratio in zip(heads.points, ratios, strict=True)]
        found = [face for face in evaluate.measured(shipped, images, points) if face]
        pairs = zip(found, points, spans * ratios, strict=True)
        errors = np.array([np.linalg.norm(face.points - p, axis=1).mean() / span for face, p, span in pairs])
        predicted = np.array([face.predicted_nme for face in found])
        line(words, errors, found, np.arange(len(errors)))
        if words == "as rendered":
            turned = np.abs(heads.pose[:, :2]).max(1)
            for low, high in zip(DEGREES, DEGREES[1:], strict=False):
                line(
                    f"turned {low} to {high} degrees", errors, found, np.flatnonzero((turned >= low) & (turned < high))
                )
        return errors, predicted

    def line(words: str, errors: np.ndarray, found: list[Face], rows: np.ndarray) -> None:
        if len(rows) < 10:
            return
        units = np.stack([found[k].units for k in rows])
        r = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(units.T, heads.units[rows].T, strict=True)])
        sharp, predicted_nme = (
            np.quantile([getattr(found[k], name) for k in rows], (0.05, 0.5, 0.95))
            for name in ("sharpness", "predicted_nme")
        )
        print(
            f"{words:<26}{len(rows):>6}{errors[rows].mean():>8.3f}{(errors[rows] > FAILED).mean():>8.3f}{r:>7.3f}   "
            f"{' '.join(f'{v:.3f}' for v in sharp)}    {' '.join(f'{v:.3f}' for v in predicted_nme)}"
        )

    ones = np.ones(len(spans))
    told = [tell("as rendered", list(heads.images), ones)]
    for pixels in PIXELS:
        ratios = pixels / spans
        smaller = [
            cv2.resize(i, None, fx=r, fy=r, interpolation=cv2.INTER_AREA)
            for i, r in zip(heads.images, ratios, strict=True)
        ]
        told.append(
            tell(
                f"eyes span {pixels} pixels",
                smaller,
                np.array([len(s) / len(i) for s, i in zip(smaller, heads.images, strict=True)]),
            )
        )
    for blur in BLUR:
        blurred = [
            cv2.GaussianBlur(image, (0, 0), blur * span) for image, span in zip(heads.images, spans, strict=True)
        ]
        told.append(tell(f"blurred by {blur} of the span", blurred, ones))
    low, high = heads.points[..., 1].min(1), heads.points[..., 1].max(1)
    for cut in CUT:
        for side in ("above", "below"):
            edges = np.round(low + cut * (high - low) if side == "above" else high - cut * (high - low)).astype(int)
            kept = [image[y:] if side == "above" else image[:y] for image, y in zip(heads.images, edges, strict=True)]
            shift = edges[:, None] * ((0, 1) if side == "above" else (0, 0))
            points = heads.points - shift[:, None]
            found = [face for face in evaluate.measured(shipped, kept, points) if face]
            off = [
                np.linalg.norm(face.points - p, axis=1).mean() / span
                for face, p, span in zip(found, points, spans, strict=True)
            ]
            line(f"cut off {cut:.0%} {side}", np.array(off), found, np.arange(len(off)))
            outside = [
                ((face.points[:, 1] < -0.5) | (face.points[:, 1] > len(k) - 0.5)).mean()
                for face, k in zip(found, kept, strict=True)
            ]
            print(f"  share of points outside: {' '.join(f'{v:.3f}' for v in np.quantile(outside, (0.05, 0.5, 0.95)))}")
    errors, predicted = (np.concatenate(values) for values in zip(*told, strict=True))
    print("\nOf all of these together, by predicted_nme:")
    for low, high in zip(PREDICTED_NME, PREDICTED_NME[1:], strict=False):
        rows = (predicted >= low) & (predicted < high)
        if rows.any():
            print(
                f"  {low} to {high}: {rows.sum():>6}   points {errors[rows].mean():.3f}   failed "
                f"{(errors[rows] > FAILED).mean():.3f}"
            )


if __name__ == "__main__":
    main()
