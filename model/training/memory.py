"""Find the largest batch for which a training step fits in memory."""

from __future__ import annotations

import torch
from torch import Tensor

from model.data.source import Batch
from model.runtime.distributed import Team
from model.training.state import State


def step_in_memory(state: State, batch: Batch, team: Team) -> dict[str, Tensor]:
    """Take a step; if memory runs out, raise ValueError with a batch size that fits."""
    step = state.step + 1
    try:
        return state.model.step(batch)
    except torch.OutOfMemoryError as error:
        reason = str(error).partition("\n")[0]
    # Outside the handler, because its traceback keeps the tensors of the step in memory.
    message = (
        f"step {step}: out of memory on {state.device} with batches of {len(batch)} ({reason})"
    )
    if team.size > 1 and len(batch) > 1:
        raise ValueError(f"{message}; start again with --set batch_size={len(batch) // 2}")
    if not (fits := largest_fit(state, batch) if team.size == 1 else 0):
        raise ValueError(
            f"{message}; not even 1 segment fits: use a smaller network, or precision=bf16"
        )
    raise ValueError(
        f"{message}; a batch of {fits} fits, as was just tried: start again with "
        f"--set batch_size={fits} (a run can only be resumed with its original batch size)"
    )


def largest_fit(state: State, batch: Batch) -> int:
    """Return the largest half, quarter, … of a batch for which a step fits; 0 if none does.

    This takes real steps, so the state must not be used afterwards.
    """
    items = len(batch) // 2
    while items:
        for optimiser in state.model.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        if state.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            state.model.step(batch.head(items))
        except torch.OutOfMemoryError:
            items //= 2
        else:
            return items
    return 0
