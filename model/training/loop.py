"""Train a model on shards, from top to bottom, whatever its family.

What a run holds is in `state`, a step is the family's, and how the run does on held-out songs is in
`validate`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from model.audio import LogMel
from model.codecs.base import load_codec
from model.contract.dataset import load_dataset
from model.contract.kinds import D2M_GAN, FAMILIES
from model.contract.storage import Location
from model.data.integrity import check_shards
from model.data.source import Source, open_source
from model.data.stream import TrainingStream, training_batches
from model.runtime.checkpoint import BEST, LAST, read_checkpoint
from model.runtime.distributed import Team, own_device, team_of
from model.runtime.run_log import (
    SPECTROGRAMS,
    Progress,
    RunLog,
    labels,
    reported,
    samples_folder,
    write_samples,
)
from model.runtime.signals import Interrupted, next_unless, stop_requested
from model.training.config import RunConfig
from model.training.memory import step_in_memory
from model.training.state import (
    ADVICE,
    State,
    build,
    check_window,
    choose_codec,
    measure_inputs,
    random_state,
    restore,
    save,
)
from model.training.validate import sample, validate

C = TypeVar("C", bound=RunConfig)


def train(
    root: Location,
    run: Path,
    config: RunConfig,
    codec_source: str | None = None,
    resume: bool = False,
    device: torch.device | None = None,
    family: str = D2M_GAN,
) -> State:
    """Train a model of a family until `config.max_steps` and return the state.

    Writes last.pt, best.pt (of D2M-GAN: the least mel loss on the split `val`), metrics.jsonl,
    samples/ and TensorBoard events into `run`. Raises Interrupted, after saving, on SIGINT or
    SIGTERM, and ValueError where a loss or a weight is not finite, naming the step and the segments
    or weight, or where memory runs out, naming a batch size that fits.
    Under torchrun all processes train one model, and stop at the same step; where one fails, the
    others raise PeerFailed.
    """
    device = own_device(device or torch.device("cpu"))
    with team_of(device) as team:
        with team.all_or_none():
            state, stream, val = prepare(
                root, run, config, codec_source, resume, device, team, family
            )
        join(state, team, resume)
        loop(state, stream, val, run, team)
    return state


def prepare(
    root: Location,
    run: Path,
    config: RunConfig,
    codec_source: str | None,
    resume: bool,
    device: torch.device,
    team: Team,
    family: str,
) -> tuple[State, TrainingStream, Source | None]:
    """Read what there is and build the state, or restore it; return also the splits' streams.

    Makes the run's folder as soon as it is known that there is something to train on. Raises
    ValueError and OSError where shards, codec, configuration or checkpoint do not fit.
    """
    dataset = load_dataset(root)
    check_window(config, dataset, root)
    source = choose_codec(dataset, codec_source or config.codec or None, root)
    kind = FAMILIES.get(family)
    levels = kind.levels_of(config)
    codec = load_codec(source, levels, device)
    if (run / LAST).exists() and not resume:
        raise ValueError(
            f"{run}: holds a run already; go on with --resume, or choose another --out"
        )
    if resume and not (run / LAST).exists():
        raise FileNotFoundError(f"{run / LAST}: no checkpoint to resume; leave out --resume")
    inputs = kind.inputs_of(config, dataset).names
    source = open_source(root, dataset, "train", codec, levels, inputs)
    run.mkdir(parents=True, exist_ok=True)
    if team.is_main:
        check_shards(source)
    config = fit_batch(config, source, team)
    state = build(family, config, dataset, codec, device)
    if resume:
        restore(state, read_checkpoint(run / LAST), run, team)
    elif team.is_main:
        measure_inputs(state, source)
    stream = TrainingStream(
        source, config.batch_size, config.seed, config.shuffle_segments, state.position,
        team.rank, team.size,
    )  # fmt: skip
    val = replace(source, split="val") if dataset.segments("val") else None
    if team.is_main:
        announce(state, stream, val)
    return state, stream, val


def join(state: State, team: Team, resume: bool) -> None:
    """Make the processes' states one: same weights, averaged gradients, noise of their own."""
    for network in state.model.networks():
        team.share(network.state_dict().values())
    for optimiser in state.model.optimisers.values():
        team.average_gradients(optimiser)
    if not resume:
        team.seed_noise(state.config.seed)


def loop(state: State, stream: TrainingStream, val: Source | None, run: Path, team: Team) -> None:
    """Step until `max_steps`; log, save, validate and sample in process 0 as often as asked.

    Saves before it validates or samples: what fails there costs no steps, and is made up for by the
    resumed run.
    """
    config, device = state.config, state.device
    pin = device.type == "cuda"
    loader = training_batches(stream, config.workers, pin, config.worker_timeout_s)
    with (
        RunLog(run, state.step) if team.is_main else nullcontext() as log,
        stop_requested(again=team.size == 1) as stop,
        closing(loader) as batches,
    ):
        progress = Progress(state.step, config.max_steps)
        recent: list[list[str]] = []
        sums: dict[str, Tensor] = {}
        waits_s: list[float] = []
        losses = state.model.losses
        first_bad = torch.tensor(-1, device=device)

        def due(every: int) -> bool:
            return state.step % every == 0 or state.step == config.max_steps

        def look(validating: bool, sampling: bool, peers: Sequence[dict[str, Tensor]]) -> None:
            if validating:
                values = validate(state, val)
                if values[state.model.best] < state.best:
                    state.best = values[state.model.best]
                    save(state, run, BEST, peers)
                    save(state, run, peers=peers)
                log.scalars(state.step, values)
                progress.validated(state.step, values)
            if sampling:
                heard = sample(state, val or stream.source)
                write_samples(run, log, state.step, heard, LogMel())

        if state.step > 0:
            _, *peers = team.gather(random_state(device))
            with team.all_or_none():
                if team.is_main:
                    validated = val is None or reported(run, state.step, state.model.best)
                    sampled = (samples_folder(run, state.step) / SPECTROGRAMS).is_file()
                    look(
                        due(config.val_every) and not validated,
                        due(config.sample_every) and not sampled,
                        peers,
                    )
        while state.step < config.max_steps:
            began_s = time.perf_counter()
            with team.all_or_none():
                # Of several processes all must stop at one step: there a signal waits for it.
                batch = next_unless(stop, batches) if team.size == 1 else next(batches)
                stepping = batch is not None
                batch = batch.to(device) if stepping else None
            if stepping:
                waits_s.append(time.perf_counter() - began_s)
                logs = step_in_memory(state, batch, team)
                state.step += 1
                state.position = stream.after(state.position)
                recent.append(batch.keys)
                bad = torch.stack([~logs[name].isfinite() for name in losses])
                # Which loss was the first: a part of a step later it may be another process'.
                moment = len(losses) * (len(recent) - 1) + bad.int().argmax()
                first_bad = torch.where((first_bad < 0) & bad.any(), moment, first_bad)
                sums = {name: sums.get(name, 0.0) + value for name, value in logs.items()}
            stopping = team.any(stop.is_set())
            validating = stepping and val is not None and due(config.val_every)
            sampling = stepping and due(config.sample_every)
            saving = stopping or validating or sampling or due(config.checkpoint_every)
            if not (saving or due(config.log_every)):
                continue
            now, mean = {}, {}
            if recent:
                before = state.step - len(recent)
                stop_together(int(first_bad), len(losses), before, recent, team)
                now = {name: value.item() for name, value in logs.items()}
                mean = {name: (total / len(recent)).item() for name, total in sums.items()}
                now["data/wait_s"], mean["data/wait_s"] = waits_s[-1], sum(waits_s) / len(waits_s)
                mean = team.mean(mean)
            _, *peers = team.gather(random_state(device))
            with team.all_or_none():
                if team.is_main:
                    if recent:
                        log.scalars(state.step, mean)
                        progress.show(state.step, now, mean, len(recent))
                    if saving:
                        save(state, run, peers=peers)
                    look(validating, sampling, peers)
            recent, sums, waits_s = [], {}, []
            if stopping:
                raise Interrupted(f"stopped at step {state.step}; go on with --resume")


def fit_batch(config: C, source: Source, team: Team) -> C:
    """Return the configuration with batches no larger than a process' part, and say so.

    Raises ValueError where the split is empty.
    """
    if not source.segments:
        raise ValueError(f"{source.root}: split {source.split} is empty; build more videos")
    most = max(1, source.segments // team.size)
    if most >= config.batch_size:
        return config
    if team.is_main:
        print(f"batches of {most}, not {config.batch_size}: the split has no more segments")
    return replace(config, batch_size=most)


def announce(state: State, stream: TrainingStream, val: Source | None) -> None:
    """Say what is about to be trained on what, and what in it is untrained or synthetic."""
    config, dataset, model = state.config, state.dataset, state.model
    parameters = sum(p.numel() for p in model.network.parameters())
    left_out = f" ({stream.left_out} segments left out of each)" if stream.left_out else ""
    each = f" for each of {stream.processes} processes" if stream.processes > 1 else ""
    print(
        f"{dataset.name}: {stream.source.segments} segments of {dataset.window_s} s, "
        f"{stream.batches_per_epoch} batches of {config.batch_size}{each} per epoch{left_out}, "
        f"{val.segments if val else 'none'} for validation"
    )
    print(
        f"{model.describe()}: {parameters / 1e6:.2f} M parameters; "
        f"codec {state.codec.id}; {state.device}; step {state.step} of {config.max_steps}"
    )
    for line in model.announcements():
        print(line)
    for label in labels(state.codec.note, dataset.untrained):
        print(f"note: {label}")


def stop_together(
    first_bad: int, losses: int, steps_before: int, recent: list[list[str]], team: Team
) -> None:
    """Let the process that saw the first loss that is not finite say so, and all stop.

    `first_bad` counts losses, so many for each step, or is -1. With the averaged gradients what is
    not finite spreads to the others' next loss: from D2M-GAN's adversary to their generators.
    """
    earliest = team.min(first_bad if first_bad >= 0 else losses * len(recent))
    with team.all_or_none():
        stop_if_bad(first_bad // losses if first_bad == earliest else -1, steps_before, recent)


def stop_if_bad(first_bad: int, steps_before: int, recent: list[list[str]]) -> None:
    """Raise ValueError, naming the step and its segments, where `first_bad` is one of `recent`."""
    if first_bad >= 0:
        raise ValueError(
            f"step {steps_before + first_bad + 1}: a loss is not finite; its segments: "
            f"{', '.join(recent[first_bad])}; check these, or {ADVICE}"
        )
