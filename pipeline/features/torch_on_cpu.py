"""What makes torch faster on a CPU, with the same results: figures in benchmarks/README.md."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of the C library's `mallopt`."""
MAPPED_BYTES, KEPT_BYTES = 32 << 20, 512 << 20
"""The activations of an I3D clip are arrays below the first; together they are below the second."""
MOST_BYTES = (1 << 31) - 1
"""`mallopt` takes no larger number."""


def keep_memory(at_once: int = 1) -> None:
    """Let the C library keep the memory of freed arrays for the next ones.

    Otherwise it returns each large array to the system, and the system clears each new one: a fifth
    of the networks' time. All threads share one such store, because it keeps less in one for each.
    `at_once` is how many batches use memory at the same time. Where the C library has no such
    setting, nothing is done.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_ARENA_MAX, 1)
        library.mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, min(at_once * KEPT_BYTES, MOST_BYTES))


def by_onednn(net: nn.Module) -> nn.Module:
    """Return a float32 network whose 3D convolutions of 1 x 1 pixels run by oneDNN, as larger do.

    With one thread, torch runs these by copying all inputs into a matrix, which takes longer.
    """
    import torch
    from torch import nn

    if not torch.backends.mkldnn.is_available():
        return net

    class Direct(nn.Module):
        def __init__(self, conv: Any) -> None:
            super().__init__()
            self.weight, self.bias = conv.weight, conv.bias
            self.how = (conv.padding, conv.stride, conv.dilation, conv.groups)

        def forward(self, x: Tensor) -> Tensor:
            return torch.mkldnn_convolution(x, self.weight, self.bias, *self.how)

    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv3d) and child.kernel_size[1:] == (1, 1):
                setattr(module, name, Direct(child))
    return net
