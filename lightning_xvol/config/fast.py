"""`--fast`: training in bfloat16 on processors that have instructions for it. Nothing here imports torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from lightning_xvol.config.schema import RunConfig
from lightning_xvol.errors import UserError

SETTINGS = (
    ("train.precision", "bf16-mixed"),
    ("train.pssa_products", "float32"),
    ("train.weight_gradient", "live_taps_bfloat16"),
)
"""The fields that `--fast` sets. A field is in the id of a cell whose results it changes."""

HELP = "train in bfloat16, the products of PSSA in float32; for a processor with avx512_bf16 or AMX; changes the ids"
NOTE = f"--fast: {', '.join('='.join(pair) for pair in SETTINGS)}"

_CPUINFO = Path("/proc/cpuinfo")
_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")


def fast_settings(others: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """`SETTINGS`, for a command whose `--set` are `others`.

    Raises:
        UserError: on a processor without the instructions, or where `others` set one of the fields.
    """
    for path, value in others:
        if path in dict(SETTINGS):
            raise UserError(f"--fast sets {path}={dict(SETTINGS)[path]}, and --set {path}={value} too; leave one out")
    if not has_bfloat16():
        raise UserError(
            f"--fast needs a processor with {' or '.join(_INSTRUCTIONS)}, which this one lacks: bfloat16 would be "
            "slower here; leave --fast out"
        )
    return list(SETTINGS)


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware, as far as Linux says."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", _CPUINFO.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except OSError:
        return False
    return flags is not None and bool({*_INSTRUCTIONS} & {*flags[1].split()})


def has_float32_products(config: RunConfig) -> bool:
    """Whether `config` computes the products of PSSA in float32 where its projections are bfloat16."""
    with_pssa = config.operator.name in ("pssa", "xvolution", "xvolution_pointwise")
    train = config.train
    return train.pssa_products == "float32" and train.precision == "bf16-mixed" and with_pssa
