"""The settings that the training loop reads, for every family."""

from __future__ import annotations

from dataclasses import dataclass

from model.runtime.settings import Settings, setting


@dataclass(frozen=True)
class RunConfig(Settings):
    """The settings that all families share; a family may have other defaults."""

    seed: int = 0
    window_s: float = 0.0
    """Required window length of the shards; 0 accepts any."""
    codec: str = setting("", may_change=True)
    """As --codec: a name or a path; "" means the codec of the shards' codes."""

    init: str = ""
    """As --init: a run whose weights training begins with, as far as they fit; "": none."""
    max_steps: int = setting(100_000, min=1, may_change=True)
    batch_size: int = setting(16, min=1)
    shuffle_segments: int = setting(1024, min=1)
    workers: int = setting(0, may_change=True)
    """Number of processes that read the data; with 0 the training process reads it."""
    worker_timeout_s: float = setting(60.0, may_change=True)
    """Stop the run with an error if a worker sends no batch and is idle for this time; 0 waits
    forever."""

    log_every: int = setting(50, min=1, may_change=True)
    checkpoint_every: int = setting(1000, min=1, may_change=True)
    val_every: int = setting(1000, min=1, may_change=True)
    val_segments: int = setting(128, min=1, may_change=True)
    sample_every: int = setting(5000, min=1, may_change=True)
    sample_segments: int = setting(2, min=1, may_change=True)
