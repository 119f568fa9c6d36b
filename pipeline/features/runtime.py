"""The library that runs the networks of features: torch, or OpenVINO, which is faster on CPUs.

OpenVINO gets the same modules, converted in this process, and computes in the precision that is
asked for, with one thread, as torch does in the workers. Its results differ from torch's in the
last digits. docs/reference/features.md tells the tolerance, benchmarks/README.md the gain.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from model.contract.precision import BF16
from pipeline.features.torch_on_cpu import keep_memory

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

T = TypeVar("T")
TORCH, OPENVINO = "torch", "openvino"
RUNTIMES = (TORCH, OPENVINO)
MOST_AT_ONCE = 8
"""No more, because each batch takes memory: a clip of I3D 150 MB."""
INSTALL = "uv pip install -c constraints.txt -e '.[openvino]'"


def check_installed(runtime: str) -> None:
    """Raise ValueError if the library is missing; the message has the command that installs it."""
    if runtime == OPENVINO and find_spec("openvino") is None:
        raise ValueError(
            "--runtime openvino needs OpenVINO, which is not installed; in the project run: "
            f"{INSTALL}; or leave --runtime out"
        )


def runtime_facts(runtime: str) -> dict[str, str]:
    """Return the runtime as keys and dataset.json have it: nothing for torch."""
    return {} if runtime == TORCH else {"runtime": runtime}


def runtime_of(kind: Any, name: str, runtime: str) -> dict[str, str]:
    """Return the argument `runtime` for a class of networks; none for torch, which all have.

    A class names other runtimes in `RUNTIMES`. Raises ValueError if it does not have this one.
    """
    if runtime == TORCH:
        return {}
    if runtime not in getattr(kind, "RUNTIMES", ()):
        raise ValueError(
            f"--runtime {runtime}: {name} runs by torch only; choose another network, or leave "
            "--runtime out"
        )
    return {"runtime": runtime}


def device_of(runtime: str) -> str:
    """Return where networks compute: torch's on a GPU, if there is one; OpenVINO's on the CPU."""
    import torch

    return "cuda" if runtime == TORCH and torch.cuda.is_available() else "cpu"


def runner(net: nn.Module, runtime: str, precision: str) -> Callable[[Tensor], Sequence[Tensor]]:
    """Return what runs a network of one input, and gives its outputs as a sequence."""
    if runtime == OPENVINO:
        return Compiled(net, precision)
    keep_memory(batches_at_once(TORCH, "cpu"))

    def run(x: Tensor) -> Sequence[Tensor]:
        found = net(x)
        return found if isinstance(found, tuple) else (found,)

    return run


def batches_at_once(runtime: str, device: str) -> int:
    """Return how many batches a network computes at the same time: one for each core, at most 8.

    Each has one thread, so the results are the same for any number. OMP_NUM_THREADS limits it; the
    workers of Ray, which share the cores, set it to 1.
    """
    if (runtime, device) != (TORCH, "cpu"):
        return 1
    named = os.environ.get("OMP_NUM_THREADS", "")
    if named.isdecimal() and int(named):
        cores = int(named)
    elif hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(cores, MOST_AT_ONCE)


def each_batch(
    run: Callable[[np.ndarray], T], items: np.ndarray, size: int, runtime: str, device: str
) -> list[T]:
    """Return what `run` gives for each batch of at most `size` items, in their order.

    Where several batches are computed at the same time, each has a thread of its own.
    """
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    at_once = batches_at_once(runtime, device)
    if min(at_once, len(parts)) < 2:
        return [run(part) for part in parts]
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(run, parts))


class Compiled:
    """A torch module that OpenVINO runs on the CPU, called with one tensor.

    It is converted at the first call with each shape. The sides on the `free` axes may vary
    without another conversion; the module must then not compute with them in Python.
    """

    def __init__(self, net: nn.Module, precision: str, free: Sequence[int] = ()) -> None:
        self._net, self._precision, self._free = net, precision, free
        self._requests: dict[tuple[int, ...], Any] = {}

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the module as a tuple, float32."""
        import torch

        shape = tuple(-1 if axis in self._free else side for axis, side in enumerate(x.shape))
        if shape not in self._requests:
            self._requests[shape] = self._converted(x, shape)
        found = self._requests[shape].infer([x.contiguous().numpy()], share_inputs=True)
        return tuple(torch.from_numpy(array) for array in found.values())

    def _converted(self, x: Tensor, shape: tuple[int, ...]) -> Any:
        import openvino
        import torch

        with torch.no_grad(), warnings.catch_warnings():
            # What the module computes in Python is constant for this shape.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            model = openvino.convert_model(self._net, example_input=x, input=[shape])
        settings = {
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "bf16" if self._precision == BF16 else "f32",
        }
        with same_signal_stack():
            return openvino.compile_model(model, "CPU", settings).create_infer_request()


@contextmanager
def same_signal_stack() -> Iterator[None]:
    """Give this thread back the stack that it had for signals.

    OpenVINO sets a stack of its own for each network. When a network is freed, OpenVINO sets the
    stack from before that network again. If that one belonged to a network that is already freed,
    the next signal ends the process with a segmentation fault.
    """
    library, before = ctypes.CDLL(None), ctypes.create_string_buffer(64)  # holds a `stack_t`
    if not hasattr(library, "sigaltstack"):
        yield
        return
    library.sigaltstack(None, before)
    try:
        yield
    finally:
        library.sigaltstack(before, None)
