"""Fine-tune a codec's decoder on the audio of a data set; the paper calls it the synthesizer.

The input are the codebook entries of the true codes, and the target is the true audio. Multi-scale
discriminators with the design of those for latents discriminate the audio. The authors' code for
this was not released. The losses are those of D2M-GAN's generator that apply to audio, with the
same weights. Encoder and codebook are not changed, so that all codes stay valid.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.audio import LogMel, mel_loss, wave_loss
from model.codecs.base import load_codec
from model.codecs.jukebox import VQVAE, JukeBoxCodec, find_weights, read_weights, write_weights
from model.codecs.jukebox.hparams import level_index
from model.codecs.jukebox.weights import Weights
from model.contract.dataset import Dataset, load_dataset
from model.contract.files import write_atomic
from model.contract.precision import BF16
from model.contract.storage import Location
from model.data.source import Batch, Source, open_source, spread_batches
from model.data.stream import Position, TrainingStream, training_batches
from model.families.d2m_gan.discriminators import Adversary, MultiScale
from model.families.d2m_gan.losses import weighted_total
from model.runtime.checkpoint import (
    Parts,
    check_finite,
    differences,
    load_state,
    read_checkpoint,
    save_torch,
)
from model.runtime.loop import Schedule, loop
from model.runtime.optimiser import adam, set_rate
from model.runtime.precision import as_begun, resolved
from model.runtime.resume import check_begun, other_settings, refuse_other
from model.runtime.run_log import Progress, RunLog, labels, reported, write_samples
from model.runtime.signals import stop_requested
from model.training.finetune_config import SynthesizerConfig
from model.training.shard_run import ShardRun
from model.training.state import choose_codec, data_facts, other_data

CHECKPOINT, CODEC = "checkpoint.pt", "codec.safetensors"
ADVICE = "lower lr_decoder or lr_discriminator, and --resume from the checkpoint before, if any"
PARTS: Parts = {
    **{name: (dict, ()) for name in ("config", "data", "decoder", "optimiser")},
    **{name: (float, ()) for name in ("first_mel", "best_mel")},
    "step": (int, ()),
    "codec": (dict, ("id",)),
    "position": (dict, ("epoch", "batch")),
    "adversary": (dict, ("network", "optimiser")),
}


@dataclass
class State:
    """The state of a run. `decoder` is trained; `codec` and its file `parent` are not changed."""

    config: SynthesizerConfig
    dataset: Dataset
    codec: JukeBoxCodec
    parent: Weights
    device: torch.device
    decoder: nn.Module
    adversary: Adversary
    optimiser: torch.optim.Optimizer
    log_mel: LogMel
    step: int = 0
    position: Position = field(default_factory=Position)
    first_mel: float = math.nan
    best_mel: float = math.inf


def build(
    config: SynthesizerConfig, dataset: Dataset, codec: JukeBoxCodec, parent: Weights,
    device: torch.device,
) -> State:  # fmt: skip
    """Return the initial state: a copy of the codec's decoder, and a new adversary."""
    torch.manual_seed(config.seed)
    decoder = copy.deepcopy(codec.decoder(config.level)).requires_grad_(True).train()
    network = MultiScale(
        1, config.discriminators, config.d_channels, config.d_max_channels, config.d_layers,
        config.d_first_stride, audio=True,
    ).to(device)  # fmt: skip
    adversary = Adversary(network, "none", config.lr_discriminator, config.betas, config.bf16)
    optimiser = adam(decoder.parameters(), config.lr_decoder, config.betas)
    mel = LogMel().to(device)
    return State(config, dataset, codec, parent, device, decoder, adversary, optimiser, mel)


# --- one step ------------------------------------------------------------------------------------


def train_step(state: State, batch: Batch) -> dict[str, Tensor]:
    """Train the adversary, then the decoder, on one batch; return losses by log tag."""
    fake = decode(state, batch.codes[state.config.level])
    real = batch.audio[:, : fake.shape[1]]
    part = judged(state.config, state.step, fake.shape[1])
    hinge = state.adversary.step(real[:, None, part], fake[:, None, part])
    losses = decoder_losses(state, real, fake, part)
    total = weighted_total(losses, state.config.weights)
    state.optimiser.zero_grad(set_to_none=True)
    total.backward()
    state.optimiser.step()
    state.step += 1
    logs = {f"loss/{name}": loss.detach() for name, loss in losses.items()}
    return {**logs, "loss/total": total.detach(), "adversary/hinge": hinge}


def decode(state: State, codes: Tensor) -> Tensor:
    """Map codes (B, L) to audio (B, L * hop) with the decoder that is trained."""
    entries = state.codec.embed(codes, state.config.level)
    with torch.autocast(state.device.type, torch.bfloat16, enabled=state.config.bf16):
        return state.decoder(entries).float()


def judged(config: SynthesizerConfig, step: int, samples: int) -> slice:
    """Return the part of the audio that the discriminators get in a step."""
    length = min(config.judged_samples or samples, samples)
    start = int(np.random.default_rng((config.seed, step)).integers(samples - length + 1))
    return slice(start, start + length)


def decoder_losses(state: State, real: Tensor, fake: Tensor, part: slice) -> dict[str, Tensor]:
    """Return the losses whose weight is not 0, by name; `real` and `fake` are audio (B, N)."""
    weights = state.config.weights
    losses: dict[str, Tensor] = {}
    if weights["adversarial"] or weights["feature"]:
        hinge, matching = state.adversary.losses(real[:, None, part], fake[:, None, part])
        losses |= {"adversarial": hinge, "feature": matching}
    losses["wave"] = wave_loss(fake, real)
    losses["mel"] = mel_loss(fake, real, state.log_mel)
    return {name: loss for name, loss in losses.items() if weights[name]}


# --- validate, save, restore ---------------------------------------------------------------------


@torch.no_grad()
def validate(state: State, source: Source) -> dict[str, float]:
    """Return mel and wave distance of decoded true codes, on segments spread over the split."""
    sums, count = {"val/mel": 0.0, "val/wave": 0.0}, 0
    for batch in spread_batches(source, state.config.batch_size, state.config.val_segments):
        batch = batch.to(state.device)
        sound = state.decoder(
            state.codec.embed(batch.codes[state.config.level], state.config.level)
        )
        sums["val/mel"] += mel_loss(sound, batch.audio, state.log_mel).item() * len(batch)
        sums["val/wave"] += wave_loss(sound, batch.audio).item() * len(batch)
        count += len(batch)
    return {name: total / count for name, total in sums.items()}


@torch.no_grad()
def samples(state: State, source: Source) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield keys and audio (N,) of segments spread over the split: truth, before, fine-tuned."""
    level = state.config.level
    for batch in spread_batches(source, 1, state.config.sample_segments):
        batch = batch.to(state.device)
        before, now = (
            state.codec.decode(batch.codes[level], level),
            decode(state, batch.codes[state.config.level]),
        )
        sounds = {"truth": batch.audio, "before": before, "fine-tuned": now}
        yield batch.keys[0], {name: audio[0].cpu() for name, audio in sounds.items()}


def write_codec(state: State, path: Path) -> None:
    """Write the parent codec with the trained decoder; ValueError if anything else differs.

    Encoders and codebooks are compared by hash when the file is written and whenever it is read.
    """
    parent, level = state.parent, state.config.level
    tuned = {f"decoders.{level_index(level)}.{k}": v for k, v in state.decoder.state_dict().items()}
    with torch.device("meta"):
        model = VQVAE(parent.hparams, parent.levels)
    model.load_state_dict(
        {key: tuned.get(key, value).detach().cpu() for key, value in parent.state.items()},
        assign=True,
    )
    name = parent.name.removesuffix("-tuned") + "-tuned"
    note = (
        f"{state.codec.note or parent.id}; decoder of level {level} fine-tuned {state.step} steps "
        f"on {state.dataset.name}"
    )
    write_weights(path, model, name, note, parent)


def save(state: State, run: Path) -> None:
    """Write a checkpoint for `restore`; ValueError, without writing, if weights are not finite."""
    content: dict[str, Any] = {
        "config": asdict(state.config),
        "data": data_facts(state.dataset),
        "codec": {"id": state.codec.id},
        "step": state.step,
        "position": asdict(state.position),
        "first_mel": state.first_mel,
        "best_mel": state.best_mel,
        "decoder": state.decoder.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "adversary": state.adversary.state_dict(),
    }
    check_finite(content, ("decoder", "optimiser", "adversary"), ADVICE)
    save_torch(run / CHECKPOINT, content)


def restore(state: State, run: Path) -> None:
    """Load a checkpoint into a state built with the same configuration, data and codec."""
    content = read_checkpoint(run / CHECKPOINT, PARTS)
    found = {
        "another configuration": other_settings(content["config"], state.config, str(run)),
        "other data": other_data(content["data"], data_facts(state.dataset)),
        "another codec": differences(content["codec"], {"id": state.codec.id}),
    }
    refuse_other(run, found, "--shards, --codec, --level and --set")
    load_state(state.decoder, content["decoder"], f"{run}: decoder")
    load_state(state.optimiser, content["optimiser"], f"{run}: optimiser")
    load_state(state.adversary, content["adversary"], f"{run}: adversary")
    set_rate(state.optimiser, state.config.lr_decoder)
    set_rate(state.adversary.optimiser, state.config.lr_discriminator)
    state.step, state.position = content["step"], Position(**content["position"])
    state.first_mel, state.best_mel = content["first_mel"], content["best_mel"]


# --- the run -------------------------------------------------------------------------------------


class FineTuning(ShardRun):
    """The run for the common training loop; `val` is None if there is no validation split."""

    state: State
    watched = ("adversary/hinge", "loss/total")
    advice = ADVICE

    def __init__(
        self, state: State, stream: TrainingStream, val: Source | None, folder: Path, log: RunLog
    ) -> None:
        config = state.config
        self.state, self.stream, self.val, self.folder, self._log = state, stream, val, folder, log
        val_every = config.val_every if val else 0
        self.schedule = Schedule(config.steps, config.log_every, config.save_every, val_every)
        self.progress = Progress(state.step, config.steps)

    def advance(self, batch: Batch, wait_s: float) -> dict[str, float]:
        logs = {name: value.item() for name, value in train_step(self.state, batch).items()}
        self.state.position = self.stream.after(self.state.position)
        return logs

    def save(self) -> None:
        save(self.state, self.folder)

    def validate_first(self) -> None:
        """Validate the original decoder; fine-tuned ones must have a lower distance."""
        assert self.val is not None, "called only if there is a validation split"
        values = validate(self.state, self.val)
        self.log_validation(values)
        self.state.first_mel = self.state.best_mel = values["val/mel"]

    def validate(self) -> None:
        assert self.val is not None, "without a split, val_every is 0"
        values = validate(self.state, self.val)
        if values["val/mel"] < self.state.best_mel:
            self.state.best_mel = values["val/mel"]
            write_codec(self.state, self.folder / CODEC)
            save(self.state, self.folder)
        self.log_validation(values)

    def validated(self) -> bool:
        return reported(self.folder, self.step, "val/mel")


def finetune(
    root: Location,
    run: Path,
    config: SynthesizerConfig,
    codec_source: str | None = None,
    resume: bool = False,
    device: torch.device | None = None,
) -> State:
    """Fine-tune until `config.steps` and return the state.

    Writes checkpoint.pt, metrics.jsonl, samples/, TensorBoard events and codec.safetensors into
    `run`. The codec has the decoder with the lowest mel distance on the split `val`, if lower than
    the original decoder's, or the last decoder if there is no such split. Raises Interrupted, after
    saving, on SIGINT or SIGTERM, and ValueError if a loss or a weight is not finite.
    """
    device = device or torch.device("cpu")
    check_begun(run / CHECKPOINT, resume)
    dataset = load_dataset(root)
    named = choose_codec(dataset, codec_source, root)
    codec = load_codec(named, (config.level,), device)
    source = open_source(root, dataset, "train", codec, [config.level], inputs=())
    config = replace(config, batch_size=min(config.batch_size, source.segments))
    if resume:
        saved = read_checkpoint(run / CHECKPOINT, PARTS)["config"]
        config = as_begun(config, saved, str(run))
    else:
        config = resolved(config, device.type)
    val = replace(source, split="val") if dataset.segments("val") else None
    parent = read_weights(find_weights(named)[0])
    assert isinstance(codec, JukeBoxCodec), "only JukeBox codecs have a weights file"
    state = build(config, dataset, codec, parent, device)
    if resume:
        restore(state, run)
    else:  # left by a run that was stopped before its first checkpoint
        (run / CODEC).unlink(missing_ok=True)
    stream = TrainingStream(
        source, config.batch_size, config.seed, config.shuffle_segments, state.position
    )
    announce(state, source, val)
    write_atomic(run / "config.json", (json.dumps(asdict(config), indent=1) + "\n").encode())
    pin = device.type == "cuda"
    loader = training_batches(stream, config.workers, pin, config.worker_timeout_s)
    with RunLog(run, state.step) as log, stop_requested() as stop, closing(loader):
        tuning = FineTuning(state, stream, val, run, log)
        if val is not None and not resume:
            tuning.validate_first()
        loop(tuning, (batch.to(device) for batch in loader), stop)
        if val is None:
            write_codec(state, run / CODEC)
        examples = dict(samples(state, val or source))
        write_samples(run, log, state.step, examples, state.log_mel.cpu())
    return state


def announce(state: State, source: Source, val: Source | None) -> None:
    config, codec = state.config, state.codec
    form = " in bf16" if config.precision == BF16 else ""
    count = sum(p.numel() for p in state.decoder.parameters())
    discriminators = sum(p.numel() for p in state.adversary.network.parameters())
    print(
        f"{state.dataset.name}: {source.segments} segments of {state.dataset.window_s} s, batches "
        f"of {config.batch_size}, {val.segments if val else 'none'} for validation"
    )
    print(
        f"decoder of {codec.id}, level {config.level}: {count / 1e6:.2f} M parameters, "
        f"discriminators {discriminators / 1e6:.2f} M; {state.device}{form}; step {state.step} of "
        f"{config.steps}"
    )
    for label in labels(codec.note, []):
        print(f"note: {label}")
