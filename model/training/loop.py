"""Train a model of any family on shards: the complete run.

`state` defines what a run holds, the family defines a step, and `validate` measures the model on
held-out songs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from model.audio import LogMel
from model.codecs.base import NO_CODEC, load_codec
from model.contract.kinds import D2M_GAN, FAMILIES
from model.contract.storage import Url, to_location
from model.contract.weighted import Weighted
from model.data.integrity import check_shards
from model.data.several import (
    Loaded,
    Several,
    check_alike,
    check_codes,
    check_levels,
    check_settled,
    joined,
    labels_of,
    load_all,
)
from model.data.songs import shared_songs
from model.data.source import Batch, Segments, open_source
from model.data.stream import TrainingStream, epoch_counts, training_batches
from model.families.base import Model
from model.runtime.checkpoint import BEST, LAST, read_checkpoint
from model.runtime.distributed import Team, own_device, team_of
from model.runtime.loop import Logs, Schedule, loop
from model.runtime.precision import as_begun, resolved
from model.runtime.resume import check_begun
from model.runtime.run_log import (
    SPECTROGRAMS,
    Progress,
    RunLog,
    labels,
    reported,
    samples_folder,
    write_samples,
)
from model.runtime.signals import stop_requested
from model.training.config import RunConfig
from model.training.memory import step_in_memory
from model.training.shard_run import ShardRun
from model.training.state import (
    State,
    advice,
    begin,
    build,
    check_window,
    choose_codec,
    random_state,
    restore,
    save,
)
from model.training.validate import sample, validate

C = TypeVar("C", bound=RunConfig)
Address = str | os.PathLike[str] | Url


def train(
    root: Address | Sequence[Address | Weighted],
    run: str | os.PathLike[str],
    config: RunConfig,
    codec_source: str | None = None,
    resume: bool = False,
    device: torch.device | None = None,
    family: str = D2M_GAN,
) -> State:
    """Train a model of a family until `config.max_steps` and return the state.

    `root` is a data set, or several with the same features and codes: an epoch passes over each as
    often as its weight says (1 if none is given).
    Writes last.pt, best.pt (for D2M-GAN: the lowest mel loss on the split `val`), metrics.jsonl,
    samples/ and TensorBoard events into `run`. Raises Interrupted, after saving, on SIGINT or
    SIGTERM. Raises ValueError if a loss or a weight is not finite, with the step and the segments
    or the weight, and if memory runs out, with a batch size that fits.
    Under torchrun all processes train one model and stop at the same step; if one fails, the others
    raise PeerFailed.
    """
    run = Path(run)
    device = own_device(device or torch.device("cpu"))
    with team_of(device) as team:
        config = config if resume else resolved(config, device.type, team.min)
        with team.all_or_none():
            state, stream, val = prepare(
                weighted(root), run, config, codec_source, resume, device, team, family
            )
        join(state, team, resume)
        loader = training_batches(
            stream, config.workers, device.type == "cuda", config.worker_timeout_s
        )
        with (
            RunLog(run, state.step) if team.is_main else nullcontext() as log,
            stop_requested(again=team.size == 1) as stop,
            closing(loader) as batches,
        ):
            training = Training(state, stream, val, run, team, log)
            loop(training, (batch.to(device) for batch in batches), stop, team)
    return state


def weighted(root: Address | Sequence[Address | Weighted]) -> list[Weighted]:
    """Return one data set, or several, with weights. Raises ValueError if there is none."""
    several = [root] if isinstance(root, str | os.PathLike | Url) else root
    if not several:
        raise ValueError("no data set to train on; give at least one")
    return [each if isinstance(each, Weighted) else Weighted(to_location(each)) for each in several]


def prepare(
    given: Sequence[Weighted],
    run: Path,
    config: RunConfig,
    codec_source: str | None,
    resume: bool,
    device: torch.device,
    team: Team,
    family: str,
) -> tuple[State, TrainingStream, Segments | None]:
    """Build or restore the state; return it with the training stream and the validation data.

    Creates the run's folder once it is certain that there is data to train on. Raises ValueError
    and OSError if shards, codec, configuration or checkpoint are invalid or do not fit.
    """
    loaded = load_all(given)
    root, dataset = loaded[0][0].root, loaded[0][1]
    check_window(config, dataset, root)
    kind: type[Model] = FAMILIES.get(family)
    config = settle(kind, config, loaded)
    asked = NO_CODEC if kind.makes_sound else codec_source or config.codec or None
    named = choose_codec(dataset if asked else check_codes(loaded), asked, root)
    levels = kind.levels_of(config)
    codec = load_codec(named, levels, device)
    check_begun(run / LAST, resume)
    begun = read_checkpoint(run / LAST) if resume else None
    config = as_begun(config, begun["config"], str(run)) if begun else config
    inputs = kind.inputs_of(config, dataset).names
    sources = [
        replace(open_source(each.root, one, "train", codec, levels, inputs), label=label)
        for (each, one), label in zip(loaded, labels_of(loaded), strict=True)
    ]
    check_levels(sources)
    source: Segments = sources[0]
    if len(sources) > 1:
        source = Several(sources, [each.weight for each in given])
    run.mkdir(parents=True, exist_ok=True)
    if team.is_main:
        for one in sources:
            check_shards(one)
    config = fit_batch(config, source, team)
    state = build(family, config, dataset, codec, device)
    state.data = loaded
    if begun:
        restore(state, begun, run, team)
    elif team.is_main:
        begin(state, source)
    stream = TrainingStream(
        source, config.batch_size, config.seed, config.shuffle_segments, state.position,
        team.rank, team.size,
    )  # fmt: skip
    val = source.of_split("val")
    state.model.read_music(source)
    if team.is_main:
        announce(state, stream, val)
        for line in shared_songs(sources):
            print(line)
    return state, stream, val


def settle(kind: type[Model], config: C, loaded: Sequence[Loaded]) -> C:
    """Return the configuration with all that the data decide.

    Raises ValueError, with two data sets and what differs, if they decide or hold different things.
    """
    config = kind.settled(config, loaded[0][1], loaded[0][0].root)
    others = [kind.settled(config, dataset, each.root) for each, dataset in loaded[1:]]
    check_settled(loaded, config, others)
    check_alike(loaded, [kind.inputs_of(config, dataset).names for _, dataset in loaded])
    return config


def join(state: State, team: Team, resume: bool) -> None:
    """Prepare distributed training: equal weights, averaged gradients, different noise."""
    for network in state.model.networks():
        team.share(network.state_dict().values())
    for optimiser in state.model.optimisers.values():
        team.average_gradients(optimiser)
    if not resume:
        team.seed_noise(state.config.seed)


class Training(ShardRun):
    """The run for the common training loop; `val` is None if there is no validation split."""

    state: State

    def __init__(
        self, state: State, stream: TrainingStream, val: Segments | None, folder: Path, team: Team,
        log: RunLog | None,
    ) -> None:  # fmt: skip
        config = state.config
        self.state, self.stream, self.val, self.folder = state, stream, val, folder
        self.team, self._log = team, log
        self.watched, self.advice = state.model.losses, advice(state.model)
        val_every = config.val_every if val else 0
        self.schedule = Schedule(
            config.max_steps, config.log_every, config.checkpoint_every, val_every,
            config.sample_every,
        )  # fmt: skip
        self.progress = Progress(state.step, config.max_steps)
        self.peers: Sequence[dict[str, Tensor]] = ()

    def advance(self, batch: Batch, wait_s: float) -> Logs:
        logs = step_in_memory(self.state, batch, self.team)
        self.state.step += 1
        self.state.position = self.stream.after(self.state.position)
        return {**logs, "data/wait_s": wait_s}

    def gather(self, team: Team) -> None:
        _, *self.peers = team.gather(random_state(self.state.device))

    def reports(self, saving: bool, stopping: bool) -> bool:
        return saving or self.due(self.schedule.log_every)

    def save(self) -> None:
        save(self.state, self.folder, peers=self.peers)

    def validate(self) -> None:
        assert self.val is not None, "without a split, val_every is 0"
        values, best = validate(self.state, self.val), self.state.model.best
        if values[best] < self.state.best:
            self.state.best = values[best]
            save(self.state, self.folder, BEST, self.peers)
            self.save()
        self.log_validation(values)

    def sample(self) -> None:
        examples = sample(self.state, self.val or self.stream.source)
        write_samples(self.folder, self.log, self.step, examples, LogMel())

    def validated(self) -> bool:
        return reported(self.folder, self.step, self.state.model.best)

    def sampled(self) -> bool:
        return (samples_folder(self.folder, self.step) / SPECTROGRAMS).is_file()


def fit_batch(config: C, source: Segments, team: Team) -> C:
    """Return the configuration with the batch size reduced to a process's part; report the change.

    Raises ValueError if the split is empty.
    """
    if not source.segments:
        raise ValueError(f"{source.address}: split {source.split} is empty; build more videos")
    most = max(1, sum(epoch_counts(source, team.size)))
    if most >= config.batch_size:
        return config
    if team.is_main:
        print(f"batches of {most}, not {config.batch_size}: the split has no more segments")
    return replace(config, batch_size=most)


def announce(state: State, stream: TrainingStream, val: Segments | None) -> None:
    """Print the model and data of the training, and what in them is untrained or synthetic."""
    config, dataset, model = state.config, joined(state.data), state.model
    parameters = sum(p.numel() for p in model.network.parameters())
    left_out = f" ({stream.left_out} segments left out of each)" if stream.left_out else ""
    each = f" for each of {stream.processes} processes" if stream.processes > 1 else ""
    print(
        f"{dataset.name}: {stream.source.segments} segments of {dataset.window_s} s, "
        f"{stream.batches_per_epoch} batches of {config.batch_size}{each} per epoch{left_out}, "
        f"{val.segments if val else 'none'} for validation"
    )
    if len(state.data) > 1:
        counts = epoch_counts(stream.source)
        for (one, _), part, count in zip(state.data, stream.source.sources, counts, strict=True):
            print(f"  {one}: {part.segments} segments, {count} of an epoch's {sum(counts)}")
    codec = f"codec {state.codec.id}; " if model.levels else ""
    form = " in bf16" if getattr(config, "bf16", False) else ""
    print(
        f"{model.describe()}: {parameters / 1e6:.2f} M parameters; "
        f"{codec}{state.device}{form}; step {state.step} of {config.max_steps}"
    )
    for line in model.announcements():
        print(line)
    for label in labels(state.codec.note, dataset.untrained):
        print(f"note: {label}")
