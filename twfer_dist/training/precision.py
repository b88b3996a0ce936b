"""In which numbers a network computes: bfloat16 is twice as fast where the hardware has it, and a hundred times slower
where it has not.
"""

from collections.abc import Collection, Iterable
from typing import Literal

import torch

from twfer_dist.core.errors import UserError

Precision = Literal["auto", "float32", "bfloat16"]
"""auto: bfloat16 where all hardware that takes part has it."""

BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16", "sve_bf16"}
"""Capabilities of processors, as PyTorch names them, any of which multiplies bfloat16 numbers: x86's and ARM's."""


def multiplies_bfloat16(capabilities: Collection[str]) -> bool:
    """Whether a processor with these capabilities multiplies bfloat16 numbers itself."""
    return not BFLOAT16.isdisjoint(capabilities)


def device_without_bfloat16(device: torch.device | str) -> str:
    """The name of a device of this machine that would emulate bfloat16; empty where it has it."""
    device = torch.device(device)
    if device.type == "cuda":
        return "" if torch.cuda.is_bf16_supported(including_emulation=False) else torch.cuda.get_device_name(device)
    known = torch.cpu.get_capabilities()
    if multiplies_bfloat16([name for name, there in known.items() if there is True]):
        return ""
    return f"the processor {known.get('cpu_name', '')}".rstrip()


def choose_precision(wanted: Precision, without: Iterable[str]) -> Literal["float32", "bfloat16"]:
    """What is computed in. without: `lacking` of each device that takes part. Problem where bfloat16 is asked of one
    that lacks it.
    """
    names = sorted({name for name in without if name})
    if wanted == "bfloat16" and names:
        raise UserError(
            f"precision is bfloat16, and {names[0]} would emulate it a hundred times slower: use auto or float32."
        )
    return "float32" if wanted == "float32" or names else "bfloat16"
