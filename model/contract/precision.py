"""The number format in which networks compute: float32, or bfloat16 where that is faster.

`auto` is float32, except on hardware that multiplies matrices of bfloat16 several times faster: a
GPU that has bfloat16, or a CPU with AMX. Without it, bfloat16 takes longer than float32, because
the numbers are converted to and fro. Whoever begins a build or a run resolves `auto`, once, and
records what it is.
"""

from __future__ import annotations

from pathlib import Path

AUTO, FLOAT32, BF16 = "auto", "float32", "bf16"
PRECISIONS = (AUTO, FLOAT32, BF16)
AMX = "amx_bf16"
"""The CPU flag of tiles of bfloat16, as Linux names it once programs may use them."""
CPU_FACTS = Path("/proc/cpuinfo")


def usual(device: str) -> str:
    """Return what `auto` is for networks on this machine's `cpu` or `cuda`."""
    return BF16 if fast_bf16(device) else FLOAT32


def fast_bf16(device: str) -> bool:
    """Return whether this machine's `cpu` or `cuda` computes faster in bfloat16 than in float32."""
    if device != "cuda":
        return AMX in cpu_flags()
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def cpu_flags() -> frozenset[str]:
    """Return the flags of the first CPU; none where the system does not tell them."""
    try:
        text = CPU_FACTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    lines = (line.partition(":") for line in text.splitlines())
    return frozenset(next((v.split() for name, _, v in lines if name.strip() == "flags"), ()))
