"""The network that identifies figures in any light, material and expression: does an animated figure keep its identity?

It is trained on rendered heads, whose figures are known, with the contrastive loss NT-Xent (Chen et al. 2020): a batch
shows each figure in two pictures, and the cosine of their embeddings must exceed that with all other pictures of the
batch. Plain PyTorch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twfer_dist.core import images
from twfer_dist.core.crop import warp_crop
from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import RENDERED
from twfer_dist.engine.artifact import Artifact
from twfer_dist.measurement import augmentation, checkpoint
from twfer_dist.measurement.analyzer import SHIPPED, open_network
from twfer_dist.measurement.augmentation import Examples, Heads
from twfer_dist.measurement.network import SIZE, FaceNetwork, standardised
from twfer_dist.measurement.training import FaceNetworkConfig, TrainingObjective
from twfer_dist.training import weights

WEIGHTS = "identity.safetensors"
EMBEDDING = 128
_INVERSE_TEMPERATURE = 10.0  # on cosines before the softmax: values in -1 to 1 alone could never give a confident one
_NECK = 64 * 49  # size of the trunk's output


class IdentityNetwork(nn.Module):
    """The trunk of the network that measures faces, and an embedding.

    forward(crop (B, 1, 112, 112), float32, each with mean 0 and standard deviation 1) gives (B, EMBEDDING), each of
    length 1.
    """

    def __init__(self) -> None:
        super().__init__()
        face = FaceNetwork()
        self.stem, self.body, self.neck = face.stem, face.body, face.neck
        # Batch norm removes what all faces share, as in ArcFace's heads: otherwise all cosines are near 1, and the
        # network does not learn.
        self.last = nn.Sequential(nn.Linear(_NECK, EMBEDDING, bias=False), nn.BatchNorm1d(EMBEDDING, affine=False))

    def forward(self, crop: Tensor) -> Tensor:
        return F.normalize(self.last(self.neck(self.body(self.stem(crop)))).float())


def new_network() -> IdentityNetwork:
    """A network on the trunk of the shipped one that measures faces: from random weights it hardly learns."""
    return network_on(open_network(SHIPPED).network)


def network_on(face: FaceNetwork) -> IdentityNetwork:
    """A network on the trunk of a network that measures faces, and a new embedding."""
    network = IdentityNetwork()
    for name in ("stem", "body", "neck"):
        getattr(network, name).load_state_dict(getattr(face, name).state_dict())
    return network


def check_distinct(rendered: Sequence[Artifact]) -> None:
    """Raise UserError where two corpora use one figure_id: the network would learn that two figures are one."""
    of_figure: dict[str, str] = {}
    for artifact in rendered:
        for figure_id in artifact.table(".", RENDERED, columns=["figure_id"])["figure_id"].unique().to_pylist():
            if figure_id in of_figure:
                raise UserError(
                    f"{of_figure[figure_id]} and {artifact.uri} share the figure {figure_id}, which may look different "
                    "in each: render each with its own seed."
                )
            of_figure[figure_id] = artifact.uri


def paired_batches(heads: Heads, config: FaceNetworkConfig) -> Callable[[int], np.ndarray]:
    """A function from a step to the heads that it shows, int64 (batch,): the second half shows the figures of the first
    half in other pictures, in the same order. Each epoch shows each figure once, in the epoch's own order. Raises
    UserError if fewer figures than half a batch have two pictures.
    """
    order = np.argsort(heads.figure_ids, kind="stable")
    _, first, number = np.unique(heads.figure_ids[order], return_index=True, return_counts=True)
    first, number = first[number > 1], number[number > 1]
    if not len(first):
        raise UserError(
            "The rendered heads show each figure once, which does not identify it: render more scenes of each."
        )
    half = config.batch // 2
    if half > len(first):
        raise UserError(
            f"A batch of {config.batch} shows {half} figures twice and there are {len(first)}: use a smaller batch."
        )

    def rows_of(step: int) -> np.ndarray:
        epoch, batch_index = divmod(step, len(first) // half)
        permutation = np.random.default_rng((config.seed, 1, epoch)).permutation(len(first))
        figures = permutation[batch_index * half : (batch_index + 1) * half]
        rng = np.random.default_rng((config.seed, 3, step))
        one = rng.integers(number[figures])
        other = (one + rng.integers(1, number[figures])) % number[figures]
        return order[np.concatenate([first[figures] + one, first[figures] + other])]

    return rows_of


def contrastive_objective(
    heads: Heads, config: FaceNetworkConfig, device: torch.device | str = "cpu"
) -> TrainingObjective:
    """The objective of this network: the cross entropy of each picture's counterpart (`paired_batches`) among all other
    pictures of the batch; several workers each compare within their own share. Pictures are shown as rendered:
    augmenting them would hide the small differences between figures.
    """

    def loss_of(embedded: Tensor, truth: Examples) -> dict[str, Tensor]:
        count, device = len(embedded), embedded.device
        itself = torch.eye(count, dtype=torch.bool, device=device)
        cosines = (embedded @ embedded.T).masked_fill(itself, -torch.inf)
        counterparts = torch.arange(count, device=device).roll(count // 2)
        return {"figures": F.cross_entropy(_INVERSE_TEMPERATURE * cosines, counterparts)}

    return TrainingObjective(paired_batches(heads, config), augmentation.jittered, loss_of)


@torch.inference_mode()
def embeddings(network: IdentityNetwork, crops: Tensor, batch: int = 64) -> np.ndarray:
    """float32 (N, EMBEDDING) of grey crops, uint8 (N, 112, 112)."""
    network.eval()
    device = next(network.parameters()).device
    parts = [
        network(standardised(piece.to(device)).contiguous(memory_format=torch.channels_last))
        for piece in crops.split(batch)
    ]
    return torch.cat(parts).cpu().numpy()


def rank1_hits(
    queries: np.ndarray, figures: np.ndarray, gallery: np.ndarray, gallery_figures: np.ndarray
) -> np.ndarray:
    """Whether the nearest embedding of the gallery shows the query's figure, bool (N,).

    queries (N, EMBEDDING) and gallery (M, EMBEDDING) are embeddings of the figures (N,) and gallery_figures (M,).
    """
    return gallery_figures[(queries @ gallery.T).argmax(1)] == figures


def scores(network: IdentityNetwork, heads: Heads) -> dict[str, float]:
    """identity_rank1: the share of figures with several pictures whose last picture is nearest to their own first one;
    figures: their number. UserError where no figure has two pictures.

    Heads are sorted by id, so a figure's first and last pictures come from different scenes if it has several.
    """
    order = np.argsort(heads.figure_ids, kind="stable")
    figures, start, number = np.unique(heads.figure_ids[order], return_index=True, return_counts=True)
    several = number > 1
    if not several.any():
        raise UserError(
            "The held-out heads show each figure once, so that none can be recognised: render more scenes of each."
        )
    figures, first, last = figures[several], order[start[several]], order[(start + number - 1)[several]]
    embedded = embeddings(network, augmentation.aligned(heads.of(np.concatenate([first, last]))).crops)
    hits = rank1_hits(embedded[len(first) :], figures, embedded[: len(first)], figures)
    return {"identity_rank1": float(hits.mean()), "figures": float(len(figures))}


@dataclass(frozen=True)
class Identity:
    """The network in inference mode, with the sha256 of its file."""

    network: IdentityNetwork
    sha256: str

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """float32 (N, EMBEDDING) of crops of faces, uint8 RGB (N, S, S, 3)."""
        crops = [images.to_grey(warp_crop(picture, whole_crop(picture.shape[0]), SIZE)) for picture in pictures]
        return embeddings(self.network, torch.from_numpy(np.stack(crops)))


def whole_crop(side: int) -> np.ndarray:
    """The matrix (2, 3) that scales a whole crop of `side` pixels to SIZE."""
    scale = SIZE / side
    return np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5]], np.float32)


def open_identity(uri: str) -> Identity:
    """The network in a file that `checkpoint.to_bytes` wrote. Raises UserError if the file is missing, broken, or
    another model's.
    """
    remedy = "name the weights of an identity-network stage"
    file = weights.read(uri, remedy)
    network = IdentityNetwork()
    checkpoint.fill(network, file.tensors, uri, remedy)
    network.eval().to(memory_format=torch.channels_last)
    return Identity(network, file.sha256)
