"""How similar generated images are to the true ones, compared with copying the input; and sample sheets."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.taxonomy import EXPRESSIONS, to_unit
from twfer_dist.synthesis.networks import AnyGenerator, conditioning, fuse
from twfer_dist.synthesis.pairs import Pairs

CHANGED = 20.0
"""A pixel is in the changed region if a channel of input and truth differs by more than this, of 255, at it or at a
neighbour.
"""

REGIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "all": torch.ones_like,
    "changed": lambda region: region,
    "rest": torch.logical_not,
}


class SimilarityScores:
    """How similar pictures are to the true ones: means over the pixels of a region (`REGIONS`) in all added pairs.

    The changed region is where input and truth differ (`CHANGED`). Measures are squared errors (`se`) and absolute
    errors (`l1`), both in levels of 255, `ssim`, and any in `measures`: functions (picture, truth) -> map (B, 1, S, S).
    """

    def __init__(self, measures: Mapping[str, Callable[[Tensor, Tensor], Tensor]] | None = None) -> None:
        self._measures = {"se": _squared_error, "l1": _absolute_error, "ssim": ssim, **(measures or {})}
        self._sums: dict[tuple[str, str, str], float] = {}
        self.pixels = dict.fromkeys(REGIONS, 0.0)

    def add(self, image: Tensor, truth: Tensor, pictures: Mapping[str, Tensor]) -> None:
        """Inputs, truths and, by name, pictures to compare with the truths: all (B, 3, S, S) in -1..1."""
        largest = F.max_pool2d((truth - image).abs().amax(dim=1, keepdim=True), 3, stride=1, padding=1)
        regions = {name: part(largest * 127.5 > CHANGED) for name, part in REGIONS.items()}
        for region, inside in regions.items():
            self.pixels[region] += inside.sum().item()
        for name, picture in pictures.items():
            for measure, map_of in self._measures.items():
                values = map_of(picture, truth)
                for region, inside in regions.items():
                    key = name, measure, region
                    self._sums[key] = self._sums.get(key, 0.0) + values[inside].sum().item()

    def mean(self, name: str, measure: str, region: str) -> float:
        """The mean of a measure; `psnr` is that of the mean squared error, in dB."""
        if measure == "psnr":
            return float(10 * np.log10(255**2 / max(self.mean(name, "se", region), 1e-6)))
        return self._sums[name, measure, region] / max(self.pixels[region], 1.0)


def _squared_error(picture: Tensor, truth: Tensor) -> Tensor:
    return ((picture - truth) * 127.5).square().mean(1, keepdim=True)


def _absolute_error(picture: Tensor, truth: Tensor) -> Tensor:
    return ((picture - truth) * 127.5).abs().mean(1, keepdim=True)


def score(
    generator: AnyGenerator, pairs: Pairs, count: int, device: torch.device | str = "cpu", batch: int = 16
) -> dict[str, float]:
    """Scores on up to `count` pairs from a scene's neutral image to its others.

    Keys are `<output|copy>_<psnr|ssim|l1>_<all|changed|rest>`, see `SimilarityScores`; `copy` is the unchanged input.
    `changed_share` is the changed region's share of the pixels.
    """
    chosen = pairs.neutral_batch(count)
    similarity = SimilarityScores()
    for start in range(0, len(chosen.source), batch):
        rows = slice(start, start + batch)
        part = pairs.unaugmented(chosen.source[rows], chosen.target[rows])
        image, truth, own, wanted = pairs.batch(part, device)
        with torch.inference_mode():
            output = fuse(image, *generator(image, conditioning(generator, own, wanted)))
            similarity.add(image, truth, {"output": output, "copy": image})
    means = {
        f"{name}_{measure}_{region}": round(similarity.mean(name, measure, region), 4)
        for name in ("copy", "output")
        for measure in ("l1", "psnr", "ssim")
        for region in REGIONS
    }
    return {"changed_share": similarity.pixels["changed"] / similarity.pixels["all"], **means}


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """The structural similarity map (B, 1, S, S) of the luminance of images (B, 3, S, S) in -1..1 (Wang et al. 2004).

    Gaussian window of 11 pixels, sigma 1.5; constants (0.01 L)^2 and (0.03 L)^2 with L = 2.
    """
    grey = torch.tensor([0.299, 0.587, 0.114], device=a.device).view(1, 3, 1, 1)
    x, y = (a * grey).sum(1, keepdim=True), (b * grey).sum(1, keepdim=True)
    ramp = torch.exp(-((torch.arange(11.0, device=a.device) - 5) ** 2) / (2 * 1.5**2))
    window = (ramp[:, None] * ramp[None, :] / ramp.sum() ** 2).view(1, 1, 11, 11)

    def blur(image: Tensor) -> Tensor:
        return F.conv2d(F.pad(image, (5, 5, 5, 5), mode="reflect"), window)

    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    return (2 * mx * my + 4e-4) * (2 * vxy + 36e-4) / ((mx * mx + my * my + 4e-4) * (vx + vy + 36e-4))


def sample_sheet(generator: AnyGenerator, pairs: Pairs, scenes: int, device: torch.device | str = "cpu") -> np.ndarray:
    """A sheet to look at, uint8 (H, W, 3) RGB: for each of some scenes a row of true images above the generated ones.

    The first column is the input; then comes the strongest image of each expression in the scene, or its seven
    strongest images.
    """
    rows = []
    for number in np.linspace(0, len(pairs.scenes) - 1, min(scenes, len(pairs.scenes))).round().astype(int):
        neutral, *others = pairs.scenes[number]
        # A scene is sorted from neutral to strong, so that the last image of a label is its strongest.
        strongest = {int(pairs.labels[i]): i for i in others if pairs.labels[i]}
        targets = [strongest[label] for label in sorted(strongest)] or others[-len(EXPRESSIONS) :]
        targets = [targets[k % len(targets)] for k in range(len(EXPRESSIONS))]
        part = pairs.unaugmented(np.repeat(neutral, len(targets)), np.array(targets))
        image, truth, own, wanted = pairs.batch(part, device)
        with torch.inference_mode():
            fused = fuse(image, *generator(image, conditioning(generator, own, wanted)))
        rows += [torch.cat([image[:1], pictures]).permute(2, 0, 3, 1).flatten(1, 2) for pictures in (truth, fused)]
    return _to_uint8(torch.cat(rows))


def prototype_sheet(
    generator: AnyGenerator, pairs: Pairs, count: int, device: torch.device | str = "cpu"
) -> np.ndarray:
    """A sheet to look at, uint8 (H, W, 3) RGB, where no truth is known: some images, animated to the prototype of each
    of the seven expressions.
    """
    units = torch.from_numpy(to_unit(np.stack([prototype(expression) for expression in EXPRESSIONS]))).to(device)
    rows = []
    for index in np.linspace(0, len(pairs.images) - 1, min(count, len(pairs.images))).round().astype(int):
        repeated = np.repeat(index, len(units))
        image, _, own, _ = pairs.batch(pairs.unaugmented(repeated, repeated), device)
        with torch.inference_mode():
            fused = fuse(image, *generator(image, conditioning(generator, own, units)))
        rows.append(torch.cat([image[:1], fused]).permute(2, 0, 3, 1).flatten(1, 2))
    return _to_uint8(torch.cat(rows))


def _to_uint8(image: Tensor) -> np.ndarray:
    return ((image.clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()
