"""How measurement degrades as faces get smaller, blurred, turned, cut off and uncertain: the basis of the limits of
`measurement.quality.Gate`.

    python jobs/measure/measure_gate.py

Each line: how many heads; the mean error of the points in distances between the eyes' outer corners; how often it
exceeds `FAILED`; the mean correlation of the 17 Action Units; the 5th, 50th and 95th percentile of sharpness and of
predicted_nme. For heads cut off by the edge of the image, also the share of points outside it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from twfer_dist.engine import artifact
from twfer_dist.measurement import augmentation, evaluate
from twfer_dist.measurement.analyzer import SHIPPED, Face, FaceAnalyzer, open_analyzer

FAILED = 0.08
PIXELS = (48, 32, 24, 20, 16, 12, 10, 8)
BLUR = (0.02, 0.04, 0.06, 0.1, 0.15, 0.2)
CUT = (0.0, 0.1, 0.2, 0.3, 0.4)
DEGREES = (0, 10, 20, 30, 40, 60)
PREDICTED_NME = (0, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 1)


QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Measured:
    """Faces, the mean error of each one's points in distances between the eyes' outer corners, and the truth."""

    faces: list[Face]
    errors: np.ndarray
    units: np.ndarray

    @classmethod
    def of(
        cls, analyzer: FaceAnalyzer, images: list[np.ndarray], points: list[np.ndarray], units: np.ndarray
    ) -> "Measured":
        faces = [face for face in evaluate.measured(analyzer, images, points) if face]
        errors = [
            np.linalg.norm(face.points - truth, axis=1).mean() / np.linalg.norm(truth[45] - truth[36])
            for face, truth in zip(faces, points, strict=True)
        ]
        return cls(faces, np.array(errors), units)

    @property
    def predicted(self) -> np.ndarray:
        return np.array([face.predicted_nme for face in self.faces])

    def print(self, words: str, rows: np.ndarray | None = None) -> None:
        """The line of all faces or of some rows, if there are at least ten."""
        rows = np.arange(len(self.faces)) if rows is None else rows
        if len(rows) < 10:
            return
        units = np.stack([self.faces[k].units for k in rows])
        r = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(units.T, self.units[rows].T, strict=True)])
        sharpness = [self.faces[k].sharpness for k in rows]
        print(
            f"{words:<26}{len(rows):>6}{self.errors[rows].mean():>8.3f}{(self.errors[rows] > FAILED).mean():>8.3f}"
            f"{r:>7.3f}   {_quantiles(sharpness)}    {_quantiles(self.predicted[rows])}"
        )


def _quantiles(values: list[float] | np.ndarray) -> str:
    return " ".join(f"{value:.3f}" for value in np.quantile(values, QUANTILES))


def degraded(heads: augmentation.Heads, spans: np.ndarray) -> Iterator[tuple[str, list[np.ndarray], np.ndarray]]:
    """(name, images, how much each is enlarged) of the heads as rendered, smaller and blurred."""
    ones = np.ones(len(spans))
    yield "as rendered", list(heads.images), ones
    for pixels in PIXELS:
        smaller = [
            cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
            for image, ratio in zip(heads.images, pixels / spans, strict=True)
        ]
        ratios = [len(small) / len(image) for small, image in zip(smaller, heads.images, strict=True)]
        yield f"eyes span {pixels} pixels", smaller, np.array(ratios)
    for blur in BLUR:
        blurred = [
            cv2.GaussianBlur(image, (0, 0), blur * span) for image, span in zip(heads.images, spans, strict=True)
        ]
        yield f"blurred by {blur} of the span", blurred, ones


def print_cut_off(analyzer: FaceAnalyzer, heads: augmentation.Heads, cut: float, side: str) -> None:
    """The line of heads of which `cut` of the points' height lies above or below the image."""
    low, high = heads.points[..., 1].min(1), heads.points[..., 1].max(1)
    edges = np.round(low + cut * (high - low) if side == "above" else high - cut * (high - low)).astype(int)
    images = [image[y:] if side == "above" else image[:y] for image, y in zip(heads.images, edges, strict=True)]
    shift = edges[:, None] * ((0, 1) if side == "above" else (0, 0))
    measured = Measured.of(analyzer, images, list(heads.points - shift[:, None]), heads.units)
    measured.print(f"cut off {cut:.0%} {side}")
    outside = [
        ((face.points[:, 1] < -0.5) | (face.points[:, 1] > len(image) - 0.5)).mean()
        for face, image in zip(measured.faces, images, strict=True)
    ]
    print(f"  share of points outside: {_quantiles(outside)}")


def main() -> None:
    analyzer = open_analyzer(SHIPPED)
    heads = augmentation.load_heads(artifact.open_artifact(evaluate.TEST))
    spans = np.linalg.norm(heads.points[:, 45] - heads.points[:, 36], axis=1)
    turned = np.abs(heads.pose[:, :2]).max(1)
    print(f"{'':<26}{'n':>6}{'points':>8}{'failed':>8}{'r':>7}   sharpness {'':<13}predicted_nme")
    series: list[Measured] = []
    for words, images, ratios in degraded(heads, spans):
        points = [(p + 0.5) * ratio - 0.5 for p, ratio in zip(heads.points, ratios, strict=True)]
        series.append(Measured.of(analyzer, images, points, heads.units))
        series[-1].print(words)
        if words == "as rendered":
            for low, high in zip(DEGREES, DEGREES[1:], strict=False):
                rows = np.flatnonzero((turned >= low) & (turned < high))
                series[-1].print(f"turned {low} to {high} degrees", rows)
    for cut in CUT:
        for side in ("above", "below"):
            print_cut_off(analyzer, heads, cut, side)
    errors = np.concatenate([measured.errors for measured in series])
    predicted = np.concatenate([measured.predicted for measured in series])
    print("\nAll of these but the cut off ones, by predicted_nme:")
    for least, most in zip(PREDICTED_NME, PREDICTED_NME[1:], strict=False):
        if (chosen := errors[(predicted >= least) & (predicted < most)]).size:
            failed = (chosen > FAILED).mean()
            print(f"  {least} to {most}: {chosen.size:>6}   points {chosen.mean():.3f}   failed {failed:.3f}")


if __name__ == "__main__":
    main()
