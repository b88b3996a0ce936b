"""How much work a training is, from its settings and its data set alone."""

from twfer_dist.dataset.parts import HELD_OUT
from twfer_dist.engine.kind import Compute
from twfer_dist.engine.workload import Content, Workload
from twfer_dist.recognition.train_config import TrainConfig

FORWARD = 1 / 3
"""Of an image's forward and backward pass: the forward pass, which is all that a validation image costs."""


SMALLEST = 80
"""The side in pixels below which an image costs no less: what is left is to decode it and to update the weights."""


def expected_training(config: TrainConfig, dataset: Content, compute: Compute, work: str = "train") -> Workload:
    """The pixels that pass through the network: of training images forward and backward, of others forward.

    work: the first word of the rate's name.
    """
    train, validation = (dataset.parts.get(part, 0) for part in ("train", "validation"))
    if not validation:
        train, validation = (1 - HELD_OUT) * train, HELD_OUT * train
    images = config.epochs * (train + FORWARD * validation) + FORWARD * dataset.rows
    assumed = ("trainings run to their last epoch",) if config.patience else ()
    rate = f"{work} {config.network} {config.precision}" + (" on a GPU" if compute.gpus else "")
    model = Content(model=f"{config.network} {config.size}")
    amount = images * max(config.size, SMALLEST) ** 2 / 1e6
    return Workload(rate, amount, "megapixels", model, max(1, compute.workers), assumed)
