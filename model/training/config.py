"""The settings that the training loop itself reads, whatever the family."""

from __future__ import annotations

from dataclasses import dataclass

from model.runtime.settings import Settings, setting


@dataclass(frozen=True)
class RunConfig(Settings):
    """What every family's settings begin with; a family may give other defaults."""

    seed: int = 0
    window_s: float = 0.0
    """Refuse shards of another window length; 0 takes any."""
    codec: str = setting("", may_change=True)
    """What --codec says: a name or a path; empty takes the codec of the shards' codes."""

    max_steps: int = setting(100_000, min=1, may_change=True)
    batch_size: int = setting(16, min=1)
    shuffle_segments: int = setting(1024, min=1)
    workers: int = setting(0, may_change=True)
    """Processes that read the data; 0 reads in the training process."""
    worker_timeout_s: float = setting(60.0, may_change=True)
    """End the run where a worker gives no batch and does nothing for so long; 0 waits for ever."""

    log_every: int = setting(50, min=1, may_change=True)
    checkpoint_every: int = setting(1000, min=1, may_change=True)
    val_every: int = setting(1000, min=1, may_change=True)
    val_segments: int = setting(128, min=1, may_change=True)
    sample_every: int = setting(5000, min=1, may_change=True)
    sample_segments: int = setting(2, min=1, may_change=True)
