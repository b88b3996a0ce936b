"""How near a generator's images come to the true ones on pairs, against copying the input."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from twfer_dist.corpus import facs
from twfer_dist.synthesis.networks import Generator, fuse, told
from twfer_dist.synthesis.pairs import Pairs
from twfer_dist.taxonomy import EXPRESSIONS, to_unit

CHANGED = 20.0
"""A pixel is in the changed region where a channel of input and truth differs by more than this, of 255, there or beside it."""

REGIONS: dict[str, Callable[[Tensor], Tensor]] = {"all": torch.ones_like, "changed": lambda region: region, "rest": torch.logical_not}


def score(generator: Generator, pairs: Pairs, count: int, device: torch.device | str = "cpu", batch: int = 16) -> dict[str, float]:
    """Scores on up to `count` pairs from the calmest image of a scene to its others.

    Keys are `<output|copy>_<psnr|ssim|l1>_<all|changed|rest>`: PSNR in dB (of the mean squared error over all pixels of the
    region), SSIM (mean over the region of the map of `ssim`), L1 in levels of 255; `copy` is the input taken as the answer.
    The changed region is where input and truth differ (`CHANGED`); `changed_share` is its share of the pixels.
    """
    draw = pairs.calm_draw(count)
    sums: dict[str, float] = {}
    pixels = dict.fromkeys(REGIONS, 0.0)
    for start in range(0, len(draw.source), batch):
        rows = slice(start, start + batch)
        image, truth, own, wanted = pairs.batch(pairs.plain(draw.source[rows], draw.target[rows]), device)
        with torch.inference_mode():
            answers = {"output": fuse(image, *generator(image, told(generator, own, wanted))), "copy": image}
        largest = F.max_pool2d((truth - image).abs().amax(dim=1, keepdim=True), 3, stride=1, padding=1)
        region = largest * 127.5 > CHANGED
        for name, part in REGIONS.items():
            inside = part(region)
            pixels[name] += inside.sum().item()
            for answer, picture in answers.items():
                error = (picture - truth) * 127.5
                values = {"se": error.square().mean(1, keepdim=True), "l1": error.abs().mean(1, keepdim=True), "ssim": ssim(picture, truth)}
                for measure, value in values.items():
                    key = f"{answer}_{measure}_{name}"
                    sums[key] = sums.get(key, 0.0) + value[inside].sum().item()
    result = {}
    for key, total in sums.items():
        answer, measure, name = key.split("_")
        mean = total / max(pixels[name], 1.0)
        result[key.replace("_se_", "_psnr_")] = 10 * np.log10(255**2 / max(mean, 1e-6)) if measure == "se" else mean
    return {"changed_share": pixels["changed"] / pixels["all"], **{key: round(float(value), 4) for key, value in sorted(result.items())}}


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """The map of structural similarity (Wang et al. 2004) of the luminance of images (B, 3, S, S) in -1..1: (B, 1, S, S).

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


def sample_sheet(generator: Generator, pairs: Pairs, scenes: int, device: torch.device | str = "cpu") -> np.ndarray:
    """A sheet for the eye, uint8 (H, W, 3) RGB: for each of some scenes a row of true images and under it the generated ones.

    The input stands first; then the strongest image of each expression that the scene has, or its seven strongest images.
    """
    strips = []
    for number in np.linspace(0, len(pairs.scenes) - 1, min(scenes, len(pairs.scenes))).round().astype(int):
        calm, *others = pairs.scenes[number]
        strongest = {int(pairs.labels[i]): i for i in others if pairs.labels[i]}  # a scene is sorted from calm to strong
        targets = [strongest[label] for label in sorted(strongest)] or others[-len(EXPRESSIONS) :]
        targets = [targets[k % len(targets)] for k in range(len(EXPRESSIONS))]
        image, truth, own, wanted = pairs.batch(pairs.plain(np.repeat(calm, len(targets)), np.array(targets)), device)
        with torch.inference_mode():
            fused = fuse(image, *generator(image, told(generator, own, wanted)))
        rows = [torch.cat([image[:1], pictures]).permute(2, 0, 3, 1).flatten(1, 2) for pictures in (truth, fused)]
        strips += rows
    return _bytes(torch.cat(strips))


def prototype_sheet(generator: Generator, pairs: Pairs, count: int, device: torch.device | str = "cpu") -> np.ndarray:
    """A sheet for the eye, uint8 (H, W, 3) RGB, where no truth is known: some images, each with the seven expressions' prototypes."""
    units = torch.from_numpy(to_unit(np.stack([facs.prototype(expression) for expression in EXPRESSIONS]))).to(device)
    strips = []
    for index in np.linspace(0, len(pairs.images) - 1, min(count, len(pairs.images))).round().astype(int):
        image, _, own, _ = pairs.batch(pairs.plain(np.repeat(index, len(units)), np.repeat(index, len(units))), device)
        with torch.inference_mode():
            fused = fuse(image, *generator(image, told(generator, own, units)))
        strips.append(torch.cat([image[:1], fused]).permute(2, 0, 3, 1).flatten(1, 2))
    return _bytes(torch.cat(strips))


def _bytes(image: Tensor) -> np.ndarray:
    return ((image.clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()
