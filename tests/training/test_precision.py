"""Which precision a computation runs in."""

import pytest

from twfer_dist.core.errors import UserError
from twfer_dist.training import precision


@pytest.mark.parametrize(
    ("capabilities", "has"),
    [
        ({"avx2", "avx512_f", "avx512_bw", "avx512_vnni", "fma3"}, False),  # Zen 3 and Skylake
        ({"avx512_f", "avx512_bf16"}, True),  # Zen 4, Cooper Lake
        ({"avx512_f", "amx_bf16"}, True),  # Sapphire Rapids
        ({"neon", "fp16_arith", "dot"}, False),  # Apple M1, Graviton 2
        ({"neon", "bf16"}, True),  # Graviton 3
        ({"amx_tile", "amx_int8", "avx_ne_convert"}, False),
        (set(), False),
    ],
)
def test_bfloat16_is_asked_of_the_processor(capabilities: set[str], has: bool) -> None:
    assert precision.multiplies_bfloat16(capabilities) is has


def test_bfloat16_where_it_is_emulated_is_refused_by_name() -> None:
    assert precision.choose_precision("auto", ["", ""]) == precision.choose_precision("bfloat16", [""]) == "bfloat16"
    assert (
        precision.choose_precision("auto", ["", "AMD EPYC 7763"])
        == precision.choose_precision("float32", [""])
        == "float32"
    )
    with pytest.raises(
        UserError, match="precision is bfloat16, and AMD EPYC 7763 would emulate it a hundred times slower: use auto"
    ):
        precision.choose_precision("bfloat16", ["", "AMD EPYC 7763"])
