"""The settings of a recogniser's training, and what follows from them alone: losses and learning rates."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset.augmentation import Augmentation
from twfer_dist.engine.config import Range, Settings
from twfer_dist.recognition.arm import SMALLEST
from twfer_dist.recognition.focal import sigmoid_focal, softmax_focal
from twfer_dist.recognition.recogniser import Architecture
from twfer_dist.training.precision import Precision

CLASSES = len(EXPRESSIONS)


@dataclass(frozen=True)
class TrainConfig(Settings):
    """What is trained, and how. The defaults are the paper's, with the decay of the public ARM code."""

    network: Architecture = "arm"  # ARM and AU-ResNet are described in docs/training.md
    size: Annotated[int, Range(32, 1024)] = 224  # pixels a side of the images; ARM needs 96 or more
    # the focal loss over the softmax, or over one sigmoid for each expression
    loss: Literal["softmax", "sigmoid"] = "sigmoid"
    # of the focal loss: the larger, the less images count that are right already; 0 is cross-entropy
    gamma: Annotated[float, Range(0, 20)] = 2.0
    # of the sigmoid loss: the weight of the true expression against the others
    alpha: Annotated[float, Range(0, 1)] = 0.25
    # of the softmax loss: the weight of each expression, surprise to neutral; only their ratios matter
    class_alphas: tuple[Annotated[float, Range(0, 1000)], ...] = (1.0,) * CLASSES
    epochs: Annotated[int, Range(1, 100_000)] = 40  # passes over the training images, at most
    # epochs without a better one after which a training ends early; null: never
    patience: Annotated[int, Range(1, 100_000)] | None = None
    batch: Annotated[int, Range(2, 65_536)] = 32  # images of an update of the weights, over all workers
    # parts that each batch is computed in, one after the other, where memory is short; batch norm sees one part
    accumulate: Annotated[int, Range(1, 1024)] = 1
    learning_rate: Annotated[float, Range(0, 1, above=True)] = 1e-4  # of Adam
    weight_decay: Annotated[float, Range(0, 1)] = 0.0  # of Adam: times each weight it is added to the gradient
    # how it falls: by `decay` after each epoch, or along half a cosine to 0 at the last update
    schedule: Literal["decay", "cosine"] = "decay"
    decay: Annotated[float, Range(0, 1, above=True)] = 0.9  # of the learning rate, after each epoch
    warmup: Annotated[float, Range(0, 1000)] = 0.0  # epochs in which the learning rate rises from 0
    # how much of the moving average of the weights is kept at each update; the average is what is scored and kept
    ema: Annotated[float, Range(0, 0.99999)] | None = None
    # random changes: mild (mirrored, moved, contrast), or as the public ARM code (mirrored, noise, a part erased)
    augment: Augmentation = "mild"
    # blends images of a batch, and their labels
    mix: Literal["none", "mixup", "cutmix"] = "none"
    # of mixup and cutmix: their Beta(a, a); near 0 few images are blended, and at 1 by any share
    mix_alpha: Annotated[float, Range(0, 100, above=True)] = 1.0
    precision: Precision = "float32"  # of the products during training; auto: bfloat16 if the hardware supports it
    compile: bool = False  # torch.compile, which needs a C++ compiler on each machine and takes a minute to start
    # share of correct answers wanted among those that are accepted; held-out images decide from which confidence on
    accuracy_target: Annotated[float, Range(0, 1)] = 0.8
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0  # of the first weights, the order of images and their random changes

    def agree(self) -> None:
        if len(self.class_alphas) != CLASSES:
            raise ValueError(
                f"class_alphas has {len(self.class_alphas)} numbers and there are {CLASSES} expressions; use one "
                "for each"
            )
        if not any(self.class_alphas):
            raise ValueError("class_alphas are all 0, so that no image has a loss; use some weights above 0")
        if self.network == "arm" and self.size < SMALLEST:
            raise ValueError(f"size is {self.size}, and ARM needs {SMALLEST} or more; use that, or network: resnet18")
        if self.batch < 2 * self.accumulate:
            raise ValueError(
                f"a batch of {self.batch} in {self.accumulate} parts has fewer than 2 images in each; use fewer parts"
            )
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup is {self.warmup:g} epochs of {self.epochs}; use fewer")

    def losses_of(self, logits: Tensor, target: Tensor) -> Tensor:
        """The configured loss of each image, (B,). target: labels (B,), or shares of the expressions, float (B, 7)."""
        if self.loss == "softmax":
            return softmax_focal(logits, target, gamma=self.gamma, alpha=self.class_alphas)
        return sigmoid_focal(logits, target, gamma=self.gamma, alpha=self.alpha)

    def untrained_loss(self, target: Tensor) -> float:
        """An untrained network's loss on labels (B,): every expression is equally likely, and gamma is left out."""
        logits = torch.zeros(len(target), CLASSES, device=target.device)
        return float(dataclasses.replace(self, gamma=0.0).losses_of(logits, target).mean())

    def rate(self, epoch: int, update: int, updates: int) -> float:
        """The learning rate of an update. epoch: from 1. update: from 0 to `updates` - 1, those of an epoch."""
        done = epoch - 1 + update / updates
        if self.schedule == "decay":
            rate = self.learning_rate * self.decay ** (epoch - 1)
        else:
            rest = max(0.0, done - self.warmup) / (self.epochs - self.warmup)
            rate = self.learning_rate * (1 + math.cos(math.pi * rest)) / 2
        return rate * min(1.0, (done + 1 / updates) / self.warmup) if self.warmup else rate
