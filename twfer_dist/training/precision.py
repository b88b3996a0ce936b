"""The precision a network computes in: bfloat16 is twice as fast on hardware that supports it, and a hundred times
slower on hardware that emulates it.
"""

from collections.abc import Collection, Iterable
from typing import Literal

import torch

from twfer_dist.core.errors import UserError
from twfer_dist.training.distributed import gather

Precision = Literal["auto", "float32", "bfloat16"]
"""auto: bfloat16 if all participating hardware supports it."""

BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16", "sve_bf16"}
"""Processor capabilities under PyTorch's names, x86 and ARM: each of them means native bfloat16 products."""


def multiplies_bfloat16(capabilities: Collection[str]) -> bool:
    """Whether a processor with these capabilities computes bfloat16 products natively."""
    return not BFLOAT16.isdisjoint(capabilities)


def device_without_bfloat16(device: torch.device | str) -> str:
    """The name of a device of this machine that would emulate bfloat16; empty if it supports it."""
    device = torch.device(device)
    if device.type == "cuda":
        return "" if torch.cuda.is_bf16_supported(including_emulation=False) else torch.cuda.get_device_name(device)
    known = torch.cpu.get_capabilities()
    if multiplies_bfloat16([name for name, supported in known.items() if supported is True]):
        return ""
    return f"the processor {known.get('cpu_name', '')}".rstrip()


def choose_precision(wanted: Precision, without: Iterable[str]) -> Literal["float32", "bfloat16"]:
    """The precision to compute in. without: `device_without_bfloat16` of each participating device. Raises UserError if
    bfloat16 is requested and one of them would emulate it.
    """
    names = sorted({name for name in without if name})
    if wanted == "bfloat16" and names:
        raise UserError(
            f"precision is bfloat16, and {names[0]} would emulate it a hundred times slower: use auto or float32."
        )
    return "float32" if wanted == "float32" or names else "bfloat16"


def agree_on_bfloat16(wanted: Precision, device: torch.device, used: list[str]) -> bool:
    """Whether all workers of a training compute in bfloat16; the precision is added to `used`. Raises UserError as
    `choose_precision`.
    """
    precision = choose_precision(wanted, gather(device_without_bfloat16(device)))
    if precision not in used:
        used.append(precision)
    return precision == "bfloat16"
