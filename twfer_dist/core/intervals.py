"""95 % confidence intervals for shares and for means of shares, valid for small samples and for clustered images.

Images of one figure (at several intensities, say) are not independent, so a share's interval is Wilson's with the
*effective* number of images: n divided by the design effect of sampling whole figures (Kish 1965). With one image per
figure this is Wilson's interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special  # not scipy.stats: every worker imports this, and it takes half a second more

Z = float(special.ndtri(0.975))
"""The normal quantile of one 95 % interval."""


def simultaneous(shares: int) -> float:
    """The normal quantile for simultaneous 95 % intervals of the `shares` shares of one distribution (Goodman 1965)."""
    return float(special.ndtri(1 - 0.05 / shares / 2))


@dataclass(frozen=True)
class Share:
    """k of n, its 95 % interval [low, high] in 0 to 1, and the number of figures that the n images show."""

    k: int
    n: int
    low: float
    high: float
    figures: int

    @property
    def value(self) -> float | None:
        """k / n; None where n is 0."""
        return self.k / self.n if self.n else None


@dataclass(frozen=True)
class Mean:
    """The mean of the shares of the `classes` classes that have images, of n images, with its 95 % interval."""

    value: float
    low: float
    high: float
    classes: int
    n: int


def wilson(k: float, n: float, z: float = Z) -> tuple[float, float]:
    """Wilson's (1927) score interval for k of n; n may be an effective number. (0, 1) where n is 0."""
    if n <= 0:
        return 0.0, 1.0
    p = k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def effective_size(k: np.ndarray, n: np.ndarray) -> float:
    """The number of independent images that would give the common share the same precision.

    k, n: [figures] integers, k of a figure's n images; n > 0. The design effect is the ratio estimator's variance over
    figures divided by the binomial one, clipped between 1 and its value for figures without internal variation. The
    latter also applies where all images agree and nothing can be estimated.
    """
    total = float(n.sum())
    share = float(k.sum()) / total
    most = float((n.astype(float) ** 2).sum()) / total  # images of one figure all alike
    figures = len(n)
    if figures < 2 or share in (0.0, 1.0):
        return total / most
    variance = figures / (figures - 1) * float(((k - share * n) ** 2).sum()) / total**2
    return total / float(np.clip(variance / (share * (1 - share) / total), 1.0, most))


def design_effect(counts: np.ndarray) -> float:
    """The number of images that are worth one independent image. counts: [rows, figures, classes] images, pooled over
    rows.

    `effective_size` for several classes: where nothing varies, the images of one figure count as one.
    """
    among, within, most = 0.0, 0.0, 1.0
    for row in counts.astype(float):
        n = row.sum(1)
        row, n = row[n > 0], n[n > 0]
        if not len(n):
            continue
        total, shares = n.sum(), row.sum(0) / n.sum()
        most = max(most, float((n**2).sum() / total))
        if len(n) > 1:
            among += len(n) / (len(n) - 1) * float(((row - shares * n[:, None]) ** 2).sum()) / total
            within += float((shares * (1 - shares)).sum())
    return float(np.clip(among / within, 1.0, most)) if within > 0 else most


def share(k: np.ndarray, n: np.ndarray, z: float = Z) -> Share:
    """The share of k of n, given by figure: [figures] integers each; figures with n = 0 do not count."""
    k, n = np.asarray(k, np.int64), np.asarray(n, np.int64)
    k, n = k[n > 0], n[n > 0]
    right, total = int(k.sum()), int(n.sum())
    if not total:
        return Share(0, 0, 0.0, 1.0, 0)
    effective = effective_size(k, n)
    low, high = wilson(right / total * effective, effective, z)
    return Share(right, total, low, high, len(n))


def share_of(hits: np.ndarray, figures: Sequence[str] | np.ndarray) -> Share:
    """The share of true values of `hits` (N,) bool, whose figures are `figures` (N,)."""
    _, number = np.unique(np.asarray(figures, np.str_), return_inverse=True)
    return share(np.bincount(number, hits).astype(np.int64), np.bincount(number))


def of_resamples(value: float, resampled: np.ndarray, figures: int) -> tuple[float, float]:
    """The 95 % interval of a statistic from its values (B,) on bootstrap samples of whole figures.

    Student's, with the bias and the standard error of the samples. For Fleiss' kappa it covers the true value in 94 to
    95 % of simulated draws of 20 and 50 figures; plain bootstrap percentiles do in 90 to 94 %. NaN does not count.
    """
    centre = 2 * value - float(np.nanmean(resampled))
    spread = float(np.nanstd(resampled, ddof=1)) * np.sqrt(figures / (figures - 1))
    half = float(special.stdtrit(figures - 1, 0.975)) * float(spread)
    return centre - half, centre + half


def balanced_accuracy(shares: Sequence[Share]) -> Mean | None:
    """The mean share of the classes that have images; None where none has.

    The interval is recovered from those of the classes, taken as independent (MOVER: Zou, Huang and Zhang 2009).
    """
    held = [s for s in shares if s.n]
    if not held:
        return None
    values = np.array([s.k / s.n for s in held])
    value = float(values.mean())
    below = float(np.sqrt(((values - [s.low for s in held]) ** 2).sum())) / len(held)
    above = float(np.sqrt((([s.high for s in held] - values) ** 2).sum())) / len(held)
    return Mean(value, max(0.0, value - below), min(1.0, value + above), len(held), sum(s.n for s in held))


def difference(first: Share, second: Share) -> tuple[float, float]:
    """The interval of the difference of two independent shares, recovered from theirs (Newcombe 1998, method 10).

    Its level is theirs; (-1, 1) where one of them has no images.
    """
    if first.value is None or second.value is None:
        return -1.0, 1.0
    value = first.value - second.value
    below = np.hypot(first.value - first.low, second.high - second.value)
    above = np.hypot(first.high - first.value, second.value - second.low)
    return max(-1.0, float(value - below)), min(1.0, float(value + above))


def as_dict(value: Share | Mean | None) -> dict[str, int | float | None]:
    """A share or a mean as JSON data; empty for None."""
    if value is None:
        return {}
    rounded = {"low": round(value.low, 6), "high": round(value.high, 6)}
    if isinstance(value, Mean):
        return {"value": round(value.value, 6), **rounded, "classes": value.classes, "n": value.n}
    rate = None if value.value is None else round(value.value, 6)
    return {"k": value.k, "n": value.n, "share": rate, **rounded, "figures": value.figures}
