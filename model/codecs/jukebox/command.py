"""What `model train-codec` does for a JukeBox VQ-VAE: one process per level."""

from __future__ import annotations

import argparse
import signal
import sys
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING

from model.codecs.jukebox.config import CodecConfig
from model.codecs.training.config import LOWER
from model.contract.exit_codes import UsageError, exits
from model.runtime.settings import load
from model.runtime.signals import Interrupted, next_unless, stop_requested

if TYPE_CHECKING:
    from model.contract.storage import Location

    Job = tuple[CodecConfig, str, Path | None, Location | None, Path, bool]
    """The arguments of `train_level`: settings, level, music, shards, folder, whether to resume."""


def run(args: argparse.Namespace) -> None:
    """Train the levels and write `codec.safetensors`, as `model train-codec` asks."""
    settings = list(args.settings)
    if args.levels:
        if given := [setting for setting in settings if setting.startswith("levels=")]:
            raise UsageError(f"--levels {' '.join(args.levels)} and --set {given[0]}: give one")
        settings.append(f"levels={','.join(args.levels)}")
    train(load(CodecConfig(), settings), args.audio, args.shards, args.out, args.resume)


def train(
    config: CodecConfig,
    audio: Path | None,
    shards: Location | None,
    out: Path,
    resume: bool = False,
) -> Path:
    """Train each level separately and return the path of the codec with all levels.

    In parallel training, a failing level stops the others; ValueError names it. To resume, the
    checkpoint of one level is enough, because a run that was stopped early may have none of the
    others. Raises FileNotFoundError and ValueError, before any training, if music is missing.
    """
    from model.codecs.jukebox.train import CHECKPOINT, CODEC, merge, train_level
    from model.codecs.training.corpus import check_music

    check_music(audio, shards)
    started = {level for level in config.levels if (out / level / CHECKPOINT).exists()}
    if resume and not started:
        raise FileNotFoundError(f"{out}: nothing to resume; run without --resume")
    jobs: dict[str, Job] = {
        level: (config, level, audio, shards, out / level, resume and level in started)
        for level in config.levels
    }
    if not config.parallel or len(jobs) == 1:
        for job in jobs.values():
            train_level(*job)
    else:
        _train_together(jobs)
    merge([out / level / CODEC for level in jobs], out / CODEC, config.name, config.note)
    print(f"wrote {out / CODEC}")
    return out / CODEC


def _train_together(jobs: dict[str, Job]) -> None:
    """Train each level in its own process; one that fails, or a signal, ends them all."""
    context = get_context("spawn")
    running = {
        level: context.Process(target=_train_one, args=job, name=level, daemon=True)
        for level, job in jobs.items()
    }
    with stop_requested() as stop:
        for process in running.values():
            process.start()
        sentinels = iter(lambda: wait([p.sentinel for p in running.values()]), None)
        try:
            while running:
                if next_unless(stop, sentinels) is None:
                    raise KeyboardInterrupt
                for level in [level for level, p in running.items() if not p.is_alive()]:
                    process = running.pop(level)
                    process.join()
                    if process.exitcode:
                        raise ValueError(f"level {level} stopped {how(process.exitcode)}")
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.join()  # it saves a checkpoint


def how(code: int) -> str:
    """Return a message about how a process ended, from its exit code, with advice."""
    if code == -signal.SIGKILL:
        return (
            "(killed by SIGKILL), probably by the system because memory ran out; give more memory, "
            f"or {LOWER}, or train one level after the other (parallel=false); go on with --resume"
        )
    how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"({how}); see its messages above"


def _train_one(*job: *Job) -> None:
    from model.codecs.jukebox.train import train_level
    from model.data.workers import end_with_parent

    end_with_parent()
    with exits(LOWER):
        try:
            train_level(*job)
        except Interrupted as stop:
            print(f"level {job[1]}: {stop}", file=sys.stderr)
            raise SystemExit(130) from None
