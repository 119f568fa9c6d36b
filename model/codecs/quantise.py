"""Quantisation to the nearest entry of a codebook, always in full float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

ROWS_PER_CHUNK = 2048
"""Rows whose distances to all entries are in memory at once (16 MiB for 2048 entries)."""


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Disable autocast, TF32 and reduced-precision products inside the block.

    TF32 convolutions change about 0.3 % of the codes, and bfloat16 convolutions 2-5 %.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(
                enabled=torch.backends.cudnn.enabled,
                benchmark=torch.backends.cudnn.benchmark,
                deterministic=torch.backends.cudnn.deterministic,
                allow_tf32=False,
            ),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def nearest(rows: Tensor, codebook: Tensor) -> Tensor:
    """Return for each row (R, C) the index of the nearest codebook entry (K, C): int64 (R,).

    |x|^2 is the same for all entries, so it is enough to minimise |k|^2 - 2 x.k. This is computed
    as one matrix product, in chunks, with |k|^2 as the weight of a constant feature.
    """
    with full_float32(codebook.device):
        codebook = codebook.float()
        weights = torch.cat((-2.0 * codebook, codebook.square().sum(1, keepdim=True)), 1).T
        chunks = F.pad(rows.float(), (0, 1), value=1.0).split(ROWS_PER_CHUNK)
        return torch.cat([(chunk @ weights).min(1).indices for chunk in chunks])
