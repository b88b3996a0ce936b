"""The accuracy of face measurement as faces get smaller, blurred, turned away, cut off and uncertain: the basis of the
limits of `measurement.quality.Gate`.

    python jobs/measure/measure_gate.py

Each line: the number of heads; the mean error of the points in interocular distances; how often it exceeds `FAILED`;
the mean correlation of the 17 Action Units; the 5th, 50th and 95th percentile of sharpness and of predicted_nme. For
heads that the image's edge cuts off, also of the share of points outside it.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from twfer_dist.core.landmarks import interocular_distance
from twfer_dist.engine import artifact
from twfer_dist.measurement import augmentation, evaluate
from twfer_dist.measurement.analyzer import SHIPPED, open_analyzer
from twfer_dist.measurement.augmentation import Heads
from twfer_dist.measurement.face import Face

FAILED = 0.08
PIXELS = (48, 32, 24, 20, 16, 12, 10, 8)
BLUR = (0.02, 0.04, 0.06, 0.1, 0.15, 0.2)
CUT = (0.0, 0.1, 0.2, 0.3, 0.4)
DEGREES = (0, 10, 20, 30, 40, 60)
PREDICTED_NME = (0, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 1)
PERCENTILES = (0.05, 0.5, 0.95)

ANALYZER = open_analyzer(SHIPPED)


def main() -> None:
    heads = augmentation.load_heads(artifact.open_artifact(evaluate.TEST))
    spans = np.array([interocular_distance(points) for points in heads.points])
    print(f"{'':<26}{'n':>6}{'points':>8}{'failed':>8}{'r':>7}   sharpness {'':<13}predicted_nme")
    faces, errors = measure(heads, list(heads.images), np.ones(len(spans)))
    print_line("as rendered", errors, faces, heads, np.arange(len(errors)))
    turned = np.abs(heads.pose[:, :2]).max(1)
    for low, high in zip(DEGREES, DEGREES[1:], strict=False):
        rows = np.flatnonzero((turned >= low) & (turned < high))
        print_line(f"turned {low} to {high} degrees", errors, faces, heads, rows)
    all_faces, all_errors = [faces], [errors]
    for name, images, ratios in degraded(heads, spans):
        faces, errors = measure(heads, images, ratios)
        print_line(name, errors, faces, heads, np.arange(len(errors)))
        all_faces.append(faces)
        all_errors.append(errors)
    print_cut_off(heads)
    print_by_predicted_nme([face for faces in all_faces for face in faces], np.concatenate(all_errors))


def measure(heads: Heads, images: list[np.ndarray], ratios: np.ndarray) -> tuple[list[Face], np.ndarray]:
    """The measured faces of `images`, which show the heads enlarged by `ratios`, and their errors."""
    truth = [(points + 0.5) * ratio - 0.5 for points, ratio in zip(heads.points, ratios, strict=True)]
    faces = [face for face in evaluate.measured(ANALYZER, images, truth) if face]
    return faces, errors_of(faces, truth)


def errors_of(faces: list[Face], truth: list[np.ndarray]) -> np.ndarray:
    pairs = zip(faces, truth, strict=True)
    return np.array([np.linalg.norm(face.points - p, axis=1).mean() / interocular_distance(p) for face, p in pairs])


def degraded(heads: Heads, spans: np.ndarray) -> Iterator[tuple[str, list[np.ndarray], np.ndarray]]:
    """The heads reduced, then blurred: a name, their images and by how much these are enlarged."""
    for pixels in PIXELS:
        images = [
            np.asarray(cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA))
            for image, ratio in zip(heads.images, pixels / spans, strict=True)
        ]
        ratios = [len(small) / len(image) for small, image in zip(images, heads.images, strict=True)]
        yield f"eyes {pixels} pixels apart", images, np.array(ratios)
    for blur in BLUR:
        images = [
            np.asarray(cv2.GaussianBlur(image, (0, 0), blur * span))
            for image, span in zip(heads.images, spans, strict=True)
        ]
        yield f"blurred by {blur} of the span", images, np.ones(len(spans))


def print_line(name: str, errors: np.ndarray, faces: list[Face], heads: Heads, rows: np.ndarray) -> None:
    if len(rows) < 30:  # too few to say anything
        return
    units = np.stack([faces[k].units for k in rows])
    r = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(units.T, heads.units[rows].T, strict=True)])
    sharpness = np.quantile([faces[k].sharpness for k in rows], PERCENTILES)
    predicted = np.quantile([faces[k].predicted_nme for k in rows], PERCENTILES)
    print(
        f"{name:<26}{len(rows):>6}{errors[rows].mean():>8.3f}{(errors[rows] > FAILED).mean():>8.3f}{r:>7.3f}   "
        f"{' '.join(f'{v:.3f}' for v in sharpness)}    {' '.join(f'{v:.3f}' for v in predicted)}"
    )


def print_cut_off(heads: Heads) -> None:
    low, high = heads.points[..., 1].min(1), heads.points[..., 1].max(1)
    for cut in CUT:
        for side in ("above", "below"):
            above = side == "above"
            edges = np.round(low + cut * (high - low) if above else high - cut * (high - low)).astype(int)
            images = [image[y:] if above else image[:y] for image, y in zip(heads.images, edges, strict=True)]
            truth = list(heads.points - edges[:, None, None] * np.array((0, 1) if above else (0, 0)))
            faces = [face for face in evaluate.measured(ANALYZER, images, truth) if face]
            print_line(f"cut off {cut:.0%} {side}", errors_of(faces, truth), faces, heads, np.arange(len(faces)))
            outside = [
                ((face.points[:, 1] < -0.5) | (face.points[:, 1] > len(image) - 0.5)).mean()
                for face, image in zip(faces, images, strict=True)
            ]
            print(f"  share of points outside: {' '.join(f'{v:.3f}' for v in np.quantile(outside, PERCENTILES))}")


def print_by_predicted_nme(faces: list[Face], errors: np.ndarray) -> None:
    predicted = np.array([face.predicted_nme for face in faces])
    print("\nAll of these except those cut off, by predicted_nme:")
    for low, high in zip(PREDICTED_NME, PREDICTED_NME[1:], strict=False):
        rows = (predicted >= low) & (predicted < high)
        if rows.any():
            failed = (errors[rows] > FAILED).mean()
            print(f"  {low} to {high}: {rows.sum():>6}   points {errors[rows].mean():.3f}   failed {failed:.3f}")


if __name__ == "__main__":
    main()
