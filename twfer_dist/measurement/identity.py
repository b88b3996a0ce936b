"""The network that tells figures apart, in whatever light, material and expression they are shown: is an animated
figure still itself?

It learns from rendered heads, whose figures are known: of each figure of a batch two pictures are shown, and each must
be told from all others of the batch by its embedding's cosine with the other's (Chen et al. 2020, NT-Xent). Plain
PyTorch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twfer_dist.core import images
from twfer_dist.core.crop import warp_crop
from twfer_dist.core.errors import UserError
from twfer_dist.measurement import augmentation, checkpoint
from twfer_dist.measurement.analyzer import SHIPPED, open_network
from twfer_dist.measurement.augmentation import Examples, Heads
from twfer_dist.measurement.network import SIZE, FaceNetwork, standardised
from twfer_dist.measurement.training import FaceNetworkConfig, TrainingObjective

WEIGHTS = "identity.safetensors"
EMBEDDING = 128
_SHARPNESS = 10.0  # cosines are multiplied by it before the softmax, which could not become sure of -1 to 1 otherwise
_NECK = 64 * 49  # numbers of the trunk's output


class IdentityNetwork(nn.Module):
    """The trunk of the network that measures faces, and an embedding.

    forward(crop (B, 1, 112, 112), float32, each with mean 0 and deviation 1) gives (B, EMBEDDING), each of length 1:
    what a figure's pictures have in common.
    """

    def __init__(self) -> None:
        super().__init__()
        face = FaceNetwork()
        self.stem, self.body, self.neck = face.stem, face.body, face.neck
        # What all faces have in common is taken away: else all cosines are near 1, and nothing is learned (as in
        # ArcFace's heads).
        self.last = nn.Sequential(nn.Linear(_NECK, EMBEDDING, bias=False), nn.BatchNorm1d(EMBEDDING, affine=False))

    def forward(self, crop: Tensor) -> Tensor:
        return F.normalize(self.last(self.neck(self.body(self.stem(crop)))).float())


def new_network() -> IdentityNetwork:
    """A network on the trunk of the shipped one that measures faces: from random weights it hardly begins to learn."""
    network, face = IdentityNetwork(), open_network(SHIPPED).network
    for name in ("stem", "body", "neck"):
        getattr(network, name).load_state_dict(getattr(face, name).state_dict())
    return network


def paired_batches(heads: Heads, config: FaceNetworkConfig) -> Callable[[int], np.ndarray]:
    """Which heads a step shows: a function of the step to int64 (batch,), of which the second half shows the figures of
    the first half again, in the same order. Each epoch shows each figure once, in its own order. Problem where no
    figure has two pictures, or too few have.
    """
    order = np.argsort(heads.figure_ids, kind="stable")
    _, first, number = np.unique(heads.figure_ids[order], return_index=True, return_counts=True)
    first, number = first[number > 1], number[number > 1]
    if not len(first):
        raise UserError(
            "The rendered heads show each figure once, and nothing tells what makes it itself: render more scenes "
            "of each."
        )
    half = config.batch // 2
    if half > len(first):
        raise UserError(
            f"A batch of {config.batch} shows {half} figures twice and there are {len(first)}: choose a smaller batch."
        )

    def rows(step: int) -> np.ndarray:
        epoch, place = divmod(step, len(first) // half)
        figures = np.random.default_rng((config.seed, 1, epoch)).permutation(len(first))[
            place * half : (place + 1) * half
        ]
        rng = np.random.default_rng((config.seed, 3, step))
        one = rng.integers(number[figures])
        other = (one + rng.integers(1, number[figures])) % number[figures]
        return order[np.concatenate([first[figures] + one, first[figures] + other])]

    return rows


def contrastive_objective(
    heads: Heads, config: FaceNetworkConfig, device: torch.device | str = "cpu"
) -> TrainingObjective:
    """The lesson of this network: the cross entropy of each picture's other one (`two_of_each`) among all other
    pictures of the batch. Each of several workers tells its own share of the batch apart. The pictures stay as they
    were rendered: what else a photograph would do to them hides the little by which figures differ.
    """

    def loss_of(found: Tensor, truth: Examples) -> dict[str, Tensor]:
        same = torch.eye(len(found), dtype=torch.bool, device=found.device)
        cosines = (found @ found.T).masked_fill(same, -torch.inf)
        return {
            "figures": F.cross_entropy(
                _SHARPNESS * cosines, torch.arange(len(found), device=found.device).roll(len(found) // 2)
            )
        }

    return TrainingObjective(paired_batches(heads, config), augmentation.jittered, loss_of)


@torch.inference_mode()
def embeddings(network: IdentityNetwork, crops: Tensor, batch: int = 64) -> np.ndarray:
    """float32 (N, EMBEDDING) of grey crops, uint8 (N, 112, 112)."""
    network.eval()
    device = next(network.parameters()).device
    parts = [
        network(standardised(some.to(device)).contiguous(memory_format=torch.channels_last))
        for some in crops.split(batch)
    ]
    return torch.cat(parts).cpu().numpy()


def rank1_hits(asked: np.ndarray, figures: np.ndarray, gallery: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Whether the nearest of the gallery is of the same figure (rank 1), bool (N,).

    asked (N, EMBEDDING) and gallery (M, EMBEDDING) are embeddings, figures (N,) and known (M,) whose they are.
    """
    return known[(asked @ gallery.T).argmax(1)] == figures


def scores(network: IdentityNetwork, heads: Heads) -> dict[str, float]:
    """identity_rank1: of the figures of `heads`, the share whose last picture is nearest to their own first one;
    figures: how many.

    The rows of `heads` are sorted by id: a figure's first and last pictures are of different scenes, where it has
    several.
    """
    known, first, number = np.unique(heads.figure_ids, return_index=True, return_counts=True)
    last = first + number - 1
    found = embeddings(network, augmentation.aligned(heads.of(np.concatenate([first, last]))).crops)
    hits = rank1_hits(found[len(first) :], known, found[: len(first)], known)
    return {"identity_rank1": float(hits.mean()), "figures": float(len(known))}


@dataclass(frozen=True)
class Identity:
    """The network in inference mode, and the sha256 of its file."""

    network: IdentityNetwork
    sha256: str

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """float32 (N, EMBEDDING) of crops of faces, uint8 RGB (N, S, S, 3)."""
        crops = [images.to_grey(warp_crop(picture, whole_crop(picture.shape[0]), SIZE)) for picture in pictures]
        return embeddings(self.network, torch.from_numpy(np.stack(crops)))


def whole_crop(side: int) -> np.ndarray:
    """The matrix (2, 3) that takes a crop of `side` pixels to one of SIZE: both show the same."""
    scale = SIZE / side
    return np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5]], np.float32)


def open_identity(uri: str) -> Identity:
    """The network in a file that `checkpoint.to_bytes` made. Problem where the file is missing, broken or of another
    model.
    """
    remedy = "name the weights of an identity-network stage"
    state, sha256 = checkpoint.read(uri, remedy)
    network = IdentityNetwork()
    checkpoint.fill(network, state, uri, remedy)
    network.eval().to(memory_format=torch.channels_last)
    return Identity(network, sha256)
