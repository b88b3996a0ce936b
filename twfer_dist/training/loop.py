"""What the loops of all trainings check: divergence, batches, precision."""

import math

import torch
import torch.distributed as dist

from twfer_dist.core.errors import UserError
from twfer_dist.training import precision
from twfer_dist.training.precision import Precision

FAR = 100.0
"""A training has diverged where its loss is more than this many times that of a network which has learned nothing."""


class Diverged(UserError):
    """A training that learns nothing any more."""


def check_converging(
    value: float, limit: float, where: str, setting: str, rate: float, *, updates: int, what: str = "loss"
) -> None:
    """Diverged where a loss, or another number of a training, is not finite or beyond FAR times `limit`. setting, rate:
    of the learning rate. updates: of the weights before it.
    """
    if math.isfinite(value) and value <= FAR * limit:
        return
    remedy = (
        f"lower {setting}, which is {rate:g}" if updates else "the weights it starts from are to blame, name others"
    )
    beside = f", against {limit:.3g} where nothing has been learned" if math.isfinite(value) else ""
    raise Diverged(f"The training diverged at {where}: its {what} is {value:.3g}{beside}; {remedy}.")


def check_divisible(batch: int, workers: int, what: str = "images") -> None:
    """Problem where a batch cannot be dealt to the workers of a training, of which 0 is this process."""
    if workers and batch % workers:
        raise UserError(
            f"A batch of {batch} {what} cannot be dealt to {workers} workers: make it a multiple, or take fewer "
            "workers."
        )


def agree_on_bfloat16(wanted: Precision, device: torch.device, used: list[str]) -> bool:
    """Whether all workers compute in bfloat16, noted in `used`. Problem where it is asked for and a worker would
    emulate it.
    """
    without = [precision.device_without_bfloat16(device)]
    if dist.is_initialized():
        without *= dist.get_world_size()
        dist.all_gather_object(without, without[0])
    agreed = precision.choose_precision(wanted, without)
    if agreed not in used:
        used.append(agreed)
    return agreed == "bfloat16"
