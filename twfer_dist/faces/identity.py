"""The network that tells figures apart, in whatever light, material and expression they are shown: is an animated figure still itself?

It learns from rendered heads, whose figures are known: each is a class, and the cosine between a picture's embedding and the
class's own direction is its score (Wang et al. 2017, NormFace). The classes are left behind; what is kept is the embedding.
Plain PyTorch.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from twfer_dist import storage
from twfer_dist.errors import Problem
from twfer_dist.faces import examples
from twfer_dist.faces.crop import cut
from twfer_dist.faces.examples import Examples, Heads
from twfer_dist.faces.learning import LossOf
from twfer_dist.faces.network import SIZE, FaceNetwork, standardised

WEIGHTS = "identity.safetensors"
EMBEDDING = 128
_SHARPNESS = 20.0  # cosines are multiplied by it before the softmax, which could not become sure of -1 to 1 otherwise
_NECK = 64 * 49  # numbers of the trunk's output
_FIGURES = "figures"


class IdentityNetwork(nn.Module):
    """The trunk of the network that measures faces, an embedding, and the directions of the figures to learn.

    forward(crop (B, 1, 112, 112), float32, each with mean 0 and deviation 1) gives the cosines (B, figures).
    """

    def __init__(self, figures: int) -> None:
        super().__init__()
        face = FaceNetwork()
        self.stem, self.body, self.neck = face.stem, face.body, face.neck
        self.last = nn.Linear(_NECK, EMBEDDING)
        self.figures = nn.Parameter(torch.randn(figures, EMBEDDING))

    def embed(self, crop: Tensor) -> Tensor:
        """(B, EMBEDDING), each of length 1: what a figure's pictures have in common."""
        return F.normalize(self.last(self.neck(self.body(self.stem(crop)))).float())

    def forward(self, crop: Tensor) -> Tensor:
        return self.embed(crop) @ F.normalize(self.figures).T


def network_for(heads: Heads) -> IdentityNetwork:
    """A network with random weights for the figures of `heads`. Problem where no figure has two pictures."""
    figures = np.unique(heads.sources)
    if len(figures) == len(heads.sources):
        raise Problem("The rendered heads show each figure once, and nothing tells what makes it itself: render more scenes of each.")
    return IdentityNetwork(len(figures))


def telling_apart(heads: Heads, device: torch.device | str = "cpu") -> LossOf:
    """The loss of the network on examples of `heads`: the cross entropy of the figures."""
    numbers = torch.from_numpy(np.unique(heads.sources, return_inverse=True)[1]).to(device)

    def loss_of(cosines: Tensor, truth: Examples, rows: np.ndarray) -> dict[str, Tensor]:
        return {"figures": F.cross_entropy(_SHARPNESS * cosines, numbers[torch.from_numpy(rows).to(device)])}

    return loss_of


@torch.inference_mode()
def embeddings(network: IdentityNetwork, crops: Tensor, batch: int = 64) -> np.ndarray:
    """float32 (N, EMBEDDING) of grey crops, uint8 (N, 112, 112)."""
    network.eval()
    device = next(network.parameters()).device
    parts = [network.embed(standardised(some.to(device)).contiguous(memory_format=torch.channels_last)) for some in crops.split(batch)]
    return torch.cat(parts).cpu().numpy()


def retrieved(asked: np.ndarray, figures: np.ndarray, gallery: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Whether the nearest of the gallery is of the same figure (rank 1), bool (N,).

    asked (N, EMBEDDING) and gallery (M, EMBEDDING) are embeddings, figures (N,) and known (M,) whose they are.
    """
    return known[(asked @ gallery.T).argmax(1)] == figures


def scores(network: IdentityNetwork, heads: Heads) -> dict[str, float]:
    """identity_rank1: of the figures of `heads`, the share whose last picture is nearest to their own first one; figures: how many.

    The rows of `heads` are sorted by id: a figure's first and last pictures are of different scenes, where it has several.
    """
    known, first, number = np.unique(heads.sources, return_index=True, return_counts=True)
    last = first + number - 1
    found = embeddings(network, examples.plain(heads.of(np.concatenate([first, last]))).crops)
    hits = retrieved(found[len(first) :], known, found[: len(first)], known)
    return {"identity_rank1": float(hits.mean()), "figures": float(len(known))}


def to_bytes(network: nn.Module, *, recipe: str) -> bytes:
    """What the embedding needs, in half precision, as a safetensors file with the recipe's digest."""
    state = {name: value for name, value in network.state_dict().items() if name != _FIGURES}
    half = {name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in state.items()}
    return safetensors.torch.save(half, metadata={"recipe": recipe})


@dataclass(frozen=True)
class Identity:
    """The network in inference mode, and the sha256 of its file."""

    network: IdentityNetwork
    sha256: str

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """float32 (N, EMBEDDING) of crops of faces, uint8 RGB (N, S, S, 3)."""
        crops = [cv2.cvtColor(cut(picture, whole_crop(picture.shape[0]), SIZE), cv2.COLOR_RGB2GRAY) for picture in pictures]
        return embeddings(self.network, torch.from_numpy(np.stack(crops)))


def whole_crop(side: int) -> np.ndarray:
    """The matrix (2, 3) that takes a crop of `side` pixels to one of SIZE: both show the same."""
    scale = SIZE / side
    return np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5]], np.float32)


def open_identity(uri: str) -> Identity:
    """The network in a file that `to_bytes` made. Problem where the file is missing, broken or of another model."""
    remedy = "name the weights of an identity-network stage"
    try:
        data = storage.read_bytes(uri)
        state = safetensors.torch.load(data)
    except (FileNotFoundError, IsADirectoryError):
        raise Problem(f"{uri} is not there: {remedy}.") from None
    except (SafetensorError, ValueError) as error:
        raise Problem(f"{uri} is not a safetensors file ({error}): {remedy}.") from None
    network = IdentityNetwork(1)
    state[_FIGURES] = network.figures.detach()
    try:
        network.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in state.items()})
    except RuntimeError:
        raise Problem(f"{uri} holds the weights of another model: {remedy}.") from None
    network.eval().to(memory_format=torch.channels_last)
    return Identity(network, storage.sha256(data))
