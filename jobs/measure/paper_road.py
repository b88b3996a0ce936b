"""The parts of `measure_paper_road.py`: faces in one file, their animated images, augmentation, training and reading.

Everything stays on one device: a few hundred faces animated some thirty times each fit any GPU.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from paper_road_settings import Road
from torch import Tensor, nn
from torch.nn import functional as F

from twfer_dist.core.images import decode, resize_square
from twfer_dist.core.prototypes import prototype
from twfer_dist.core.schema import FACES, figures
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS, NEUTRAL
from twfer_dist.dataset.loader import DEVIATION, MEAN
from twfer_dist.engine import artifact, storage
from twfer_dist.measurement.analyzer import SHIPPED, open_network
from twfer_dist.measurement.network import SIZE, standardised
from twfer_dist.recognition.focal import softmax_focal
from twfer_dist.recognition.recogniser import build
from twfer_dist.rendering.facs import performed, possible
from twfer_dist.synthesis.animate import animate
from twfer_dist.synthesis.checkpoints import LoadedGenerator
from twfer_dist.synthesis.references import clearness

CHUNK = 280  # images that are animated or read at once
GREY = (0.299, 0.587, 0.114)  # of red, green and blue


@dataclass(frozen=True)
class Faces:
    """N faces in memory."""

    crops: np.ndarray  # uint8 (N, 112, 112, 3), RGB
    units: np.ndarray  # float32 (N, 17), 0 to 5; 0 where the face could not be measured
    measured: np.ndarray  # bool (N,)
    labels: np.ndarray  # int64 (N,), 1 to 7; 0 where there is none
    figures: np.ndarray  # str (N,)
    test: np.ndarray  # bool (N,): of the corpus's test part

    def of(self, rows: np.ndarray) -> "Faces":
        return Faces(*(value[rows] for value in vars(self).values()))

    def __len__(self) -> int:
        return len(self.labels)


def export(output: str, path: str) -> None:
    """Write the faces of a faces output into one .npz file."""
    table = artifact.open_artifact(storage.absolute(output)).table("faces", FACES)
    rows = [row | {"figure": figure} for row, figure in zip(table.to_pylist(), figures(table).to_pylist(), strict=True)]
    rows = sorted((row for row in rows if row["image"] is not None), key=lambda row: row["face_id"])
    data = [np.frombuffer(row["image"], np.uint8) for row in rows]
    np.savez(
        path,
        jpeg=np.concatenate(data),
        ends=np.cumsum([len(one) for one in data]),
        face_ids=np.array([row["face_id"] for row in rows]),
        units=np.array([row["action_units"] or [0.0] * len(ACTION_UNITS) for row in rows], np.float32),
        measured=np.array([row["action_units"] is not None for row in rows]),
        labels=np.array([row["label"] or 0 for row in rows], np.int64),
        figures=np.array([row["figure"] for row in rows]),
        test=np.array([row["split"] == "test" for row in rows]),
    )


def load(path: str) -> Faces:
    """The faces in a file of `export`."""
    with np.load(path) as file:
        data = {name: file[name] for name in file.files}
    crops = [decode(one.tobytes()) for one in np.split(data["jpeg"], data["ends"][:-1])]
    pixels = np.stack([resize_square(crop, SIZE) for crop in crops if crop is not None])
    return Faces(pixels, *(data[name] for name in ("units", "measured", "labels", "figures", "test")))


def clearest(faces: Faces, count: int) -> list[np.ndarray]:
    """For each expression the Action Units, float32 (count, 17), of the clearest labelled faces (`references.RULE`)."""
    chosen = []
    for label in range(1, len(EXPRESSIONS) + 1):
        units = faces.units[faces.measured & (faces.labels == label)]
        order = np.argsort(-clearness(units.astype(np.float64), label), kind="stable")[:count]
        chosen.append(units[order] if len(order) else prototype(EXPRESSIONS[label - 1])[None])
    return chosen


@dataclass(frozen=True)
class Animated:
    """Animated faces: images uint8 (N, 3, S, S) and labels int64 (N,), 0 to 6, on a device; the figure of each."""

    images: Tensor
    labels: Tensor
    figures: np.ndarray


class Animator:
    """Animates faces on a device, with Action Units of `references` (`clearest`) where a road asks for them."""

    def __init__(self, generator: LoadedGenerator, references: list[np.ndarray], device: torch.device) -> None:
        self.generator, self.references, self.device = generator, references, device
        generator.network.to(device)

    def __call__(self, faces: Faces, road: Road, seed: int) -> Animated:
        """Every face with every expression at each level, `draws` times."""
        rng = np.random.default_rng(seed)
        ways = [(label, level) for label in range(len(EXPRESSIONS)) for level in road.levels for _ in range(road.draws)]
        face = np.repeat(np.arange(len(faces)), len(ways))
        labels = np.tile([label for label, _ in ways], len(faces))
        own = faces.units[face]
        wanted = np.stack([self._wanted(faces.units[k], *way, road, rng) for k in range(len(faces)) for way in ways])
        parts = []
        for start in range(0, len(face), CHUNK):
            rows = slice(start, start + CHUNK)
            crops, before = faces.crops[face[rows]], own[rows]
            if road.round_trip:
                crops, before = self._away(crops, before, labels[rows] == NEUTRAL - 1, rng)
            parts.append(torch.from_numpy(self._animate(crops, before, wanted[rows])).to(self.device))
        images = torch.cat(parts).permute(0, 3, 1, 2)
        return Animated(images, torch.from_numpy(labels).to(self.device), faces.figures[face])

    def _animate(self, crops: np.ndarray, own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        return animate(self.generator, crops, own, wanted, self.device, bfloat16=self.device.type == "cuda")

    def _wanted(self, own: np.ndarray, label: int, level: float, road: Road, rng: np.random.Generator) -> np.ndarray:
        """The Action Units to ask for, at `level` between a face's own and those of the expression."""
        if road.target == "prototype":
            goal = prototype(EXPRESSIONS[label])
        elif road.target == "clearest":
            goal = self.references[label][rng.integers(len(self.references[label]))]
        else:
            # From a little below the level to a little above it, so that the levels leave no gaps.
            step = float(np.clip(level + rng.uniform(-0.1, 0.1), 0.05, 1.1))
            return possible((1 - min(1.0, step)) * own + performed(EXPRESSIONS[label], step, rng))
        return own + np.float32(level) * (goal - own)

    def _away(
        self, crops: np.ndarray, own: np.ndarray, chosen: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The crops and their Action Units, after the chosen ones have been given some expression."""
        if not chosen.any():
            return crops, own
        units = [
            performed(EXPRESSIONS[rng.integers(NEUTRAL - 1)], rng.uniform(0.3, 1), rng) for _ in range(sum(chosen))
        ]
        crops, own = crops.copy(), own.copy()
        crops[chosen] = self._animate(crops[chosen], own[chosen], np.stack(units))
        own[chosen] = np.stack(units)
        return crops, own


class Measuring(nn.Module):
    """The network that measures faces with seven outputs in place of its own: it has learned from rendered heads."""

    def __init__(self, frozen: bool) -> None:
        super().__init__()
        self.face = open_network(SHIPPED).network
        self.frozen = frozen
        self.fc = nn.Linear(self.face.units.in_features, len(EXPRESSIONS))
        for parameter in self.face.parameters():
            parameter.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> "Measuring":
        super().train(mode)
        if self.frozen:
            self.face.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 7) of `standardised` grey crops (B, 1, 112, 112)."""
        face = self.face
        return self.fc(face.hidden(face.neck(face.body(face.stem(images)))))


def prepared(images: Tensor, road: Road) -> Tensor:
    """Images, 0 to 255 (B, 3, S, S), as the road's network takes them."""
    images = images.float()
    if road.strong or road.network == "measuring":
        images = (images * images.new_tensor(GREY)[:, None, None]).sum(1, keepdim=True)
    if road.network == "measuring":
        return standardised(images[:, 0]).contiguous(memory_format=torch.channels_last)
    images = images.expand(-1, 3, -1, -1)
    if images.shape[-1] != road.size:
        images = F.interpolate(images, (road.size, road.size), mode="bilinear", antialias=True, align_corners=False)
    mean, deviation = (images.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    return ((images / 255 - mean) / deviation).contiguous(memory_format=torch.channels_last)


def augmented(images: Tensor, road: Road) -> Tensor:
    """Images, uint8 (B, 3, S, S), as float32 with the changes of `dataset.augmentation.mild`; if strong, with more."""
    x, count, device = images.float(), len(images), images.device

    def draw(low: float, high: float) -> Tensor:
        return torch.empty(count, device=device).uniform_(low, high)

    reach = 1.5 if road.strong else 1.0
    angle, scale = torch.deg2rad(draw(-10, 10) * reach), 1 / (1 + reach * draw(-0.1, 0.1))
    mirror = torch.where(draw(0, 1) < 0.5, -1.0, 1.0)
    cosine, sine, zero = scale * torch.cos(angle), scale * torch.sin(angle), torch.zeros_like(angle)
    shift = [reach * draw(-0.1, 0.1) for _ in range(2)]  # in halves of the side
    matrix = torch.stack([mirror * cosine, -mirror * sine, shift[0] + zero, sine, cosine, shift[1] + zero], 1)
    grid = F.affine_grid(matrix.view(-1, 2, 3), list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    gain, offset = (v[:, None, None, None] for v in (1 + 2 * reach * draw(-0.1, 0.1), reach * draw(-25, 25)))
    x = (gain * (x - 128) + 128 + offset).clamp(0, 255)
    return _photographed(x) if road.strong else x


def _photographed(x: Tensor) -> Tensor:
    """Images, 0 to 255, under uneven light, at a lower resolution, blurred and with noise, each or none of them."""
    count, side = len(x), x.shape[-1]
    light = F.interpolate(torch.randn(count, 1, 3, 3, device=x.device), (side, side), mode="bicubic")
    x = x * torch.exp(0.25 * light * (torch.rand(count, 1, 1, 1, device=x.device) < 0.5))
    few = int(torch.randint(24, side, ()))
    coarse = F.interpolate(x, (few, few), mode="bilinear", antialias=True, align_corners=False)
    coarse = F.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)
    x = torch.where(torch.rand(count, 1, 1, 1, device=x.device) < 0.6, coarse, x)
    x = x + torch.randn_like(x[:, :1]) * 10 * torch.rand(count, 1, 1, 1, device=x.device)
    return x.clamp(0, 255)


def new_network(road: Road, trunk: dict[str, Tensor] | None, device: torch.device) -> nn.Module:
    """The road's network before training. trunk: the state of a ResNet-18's `features`; random weights where None."""
    if road.network == "measuring":
        return Measuring(road.frozen).to(device)
    network = build(road.network, road.size)
    if trunk is not None:
        network.features.load_state_dict(trunk)
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def fit(network: nn.Module, road: Road, images: Tensor, labels: Tensor) -> None:
    """Train to the last epoch, as `recognition.training` does: Adam, a rate that falls by a tenth after each epoch."""
    device = images.device
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, road.rate, fused=device.type == "cuda")
    network.train()
    for epoch in range(road.epochs):
        for group in optimizer.param_groups:
            group["lr"] = road.rate * 0.9**epoch
        for rows in _batches(len(images), road.batch, device):
            batch = prepared(augmented(images[rows], road), road)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = network(batch)
            if road.smoothing:
                loss = F.cross_entropy(logits.float(), labels[rows], label_smoothing=road.smoothing)
            else:
                loss = softmax_focal(logits.float(), labels[rows], gamma=2.0, alpha=[1.0] * len(EXPRESSIONS)).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()


def _batches(count: int, size: int, device: torch.device) -> Iterator[Tensor]:
    """The indices of all images in random order, in batches of nearly equal size."""
    order = torch.randperm(count, device=device)
    yield from order.tensor_split(max(1, -(-count // size)))


@torch.no_grad()
def adapt(network: nn.Module, road: Road, images: Tensor) -> None:
    """Give batch norm the statistics of these images, uint8 (N, 3, S, S), without labels and without training."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    nn.Module.train(network)
    for rows in _batches(len(images), 128, images.device):
        network(prepared(images[rows], road))


@torch.no_grad()
def read(network: nn.Module, road: Road, images: Tensor) -> np.ndarray:
    """Probabilities, float32 (N, 7), of images uint8 (N, 3, S, S)."""
    network.eval()
    logits = [network(prepared(part, road)).float().softmax(1).cpu() for part in images.split(CHUNK)]
    return torch.cat(logits).numpy()
