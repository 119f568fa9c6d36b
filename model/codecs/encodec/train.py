"""Training of an EnCodec (Défossez et al. 2022) without its adversary.

The losses are those of the JukeBox trainer. Each codebook is the moving average of what the
codebooks before it left over (section 3.2), with a commitment loss for each (section 3.4). The
resulting codec has the moving average of the weights.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from model.codecs.encodec.codec import LEVEL, EncodecCodec, bandwidth_of
from model.codecs.encodec.config import EncodecTrainingConfig
from model.codecs.encodec.resample import resample
from model.codecs.encodec.weights import ENCODEC, config_of, entries_of, write_encodec
from model.codecs.quantise import nearest
from model.codecs.training import run as shared
from model.codecs.training.corpus import Corpus, check_music
from model.codecs.training.ema import CodebookEMA
from model.codecs.training.losses import (
    Bandwidth,
    commitment,
    reconstruction,
    straight_through,
)
from model.codecs.training.run import ADVICE, CodecRun
from model.contract.files import write_atomic
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.storage import Location
from model.runtime.checkpoint import Parts, check_finite, load_state, read_checkpoint, save_torch
from model.runtime.hugging_face import need_transformers
from model.runtime.loop import loop
from model.runtime.resume import check_begun
from model.runtime.signals import stop_requested

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter
    from transformers import EncodecModel

CHECKPOINT, CODEC = "checkpoint.pt", "codec"
PARTS: Parts = {
    "step": (int, ()),
    **{name: (dict, ()) for name in ("model", "average", "optimiser")},
    **{name: (Tensor, ()) for name in ("k_sum", "k_elem")},
    "bandwidth": (dict, ("l2", "l1", "spec")),
}
"""The parts of a checkpoint, whose format has no number."""


@dataclass
class State:
    """The state of training; `codebooks` has the averages of each, from the first step on."""

    model: EncodecModel
    optimiser: torch.optim.Adam
    average: dict[str, Tensor]
    bandwidth: Bandwidth
    codebooks: list[CodebookEMA] = field(default_factory=list)
    step: int = 0

    @property
    def entries(self) -> list[Tensor]:
        """The entries (K, C) of each codebook: buffers of the model."""
        return entries_of(self.model)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def train(
    config: EncodecTrainingConfig,
    audio: Path | None,
    shards: Location | None,
    out: Path,
    resume: bool = False,
) -> Path:
    """Train on the music of a folder or a data set; return the codec's folder, `out`/codec.

    Raises FileExistsError if `out` holds a run and `resume` is False, FileNotFoundError if there is
    no run to resume, ValueError if music, settings or checkpoint are invalid, or a loss or a weight
    is not finite, and Interrupted, after saving, on SIGINT or SIGTERM.
    """
    from torch.utils.tensorboard import SummaryWriter

    need_transformers(ENCODEC)
    check_music(audio, shards)
    if config.threads:
        torch.set_num_threads(config.threads)
    check_begun(out / CHECKPOINT, resume)
    corpus = shared.read_corpus(audio, shards, config.crop_samples)
    config = shared.begun_with(config, shared.pick_device(config), out, resume)
    state = build(config, corpus)
    if resume:
        restore(state, config, out / CHECKPOINT)
    write_atomic(out / shared.CONFIG, config.dumps().encode())
    with SummaryWriter(str(out / "tensorboard")) as log, stop_requested() as stop:
        run = EncodecRun(state, config, corpus, out, log)
        loop(run, shared.crops(config, corpus, state.step), stop)
    return out / CODEC


class EncodecRun(CodecRun):
    """The training of an EnCodec, for the common training loop."""

    title = "encodec"

    def __init__(
        self, state: State, config: EncodecTrainingConfig, corpus: Corpus, out: Path,
        log: SummaryWriter,
    ) -> None:  # fmt: skip
        super().__init__(config, log)
        self.state, self.settings, self.corpus, self.out = state, config, corpus, out

    @property
    def step(self) -> int:
        return self.state.step

    def advance(self, batch: Tensor, wait_s: float) -> dict[str, float]:
        return train_step(self.state, self.settings, batch)

    def save(self) -> None:
        if not self.state.codebooks:
            raise KeyboardInterrupt  # stopped before the first step: nothing to save
        save(self.state, self.settings, self.out)

    def validate(self) -> None:
        self.scalars(validate(self.state, self.settings, self.corpus, self.out))


def new_model(config: EncodecTrainingConfig) -> EncodecModel:
    """Return an EnCodec of these sizes with random weights and empty codebooks."""
    transformers = need_transformers(ENCODEC)
    sizes = config_of(
        sampling_rate=config.rate_hz,
        upsampling_ratios=list(config.ratios),
        num_filters=config.filters,
        hidden_size=config.width,
        codebook_dim=config.width,
        codebook_size=config.entries,
        num_lstm_layers=config.lstm_layers,
        num_residual_layers=config.residual_layers,
        use_causal_conv=config.causal,
        use_conv_shortcut=False,
    )
    sizes.target_bandwidths = [bandwidth_of(sizes, config.codebooks)]
    return transformers.EncodecModel(sizes)


def build(config: EncodecTrainingConfig, corpus: Corpus) -> State:
    """Return the initial state, with random weights; the first step fills the codebooks."""
    torch.manual_seed(config.seed)
    model = new_model(config).to(shared.pick_device(config))
    optimiser = torch.optim.Adam(model.parameters(), config.lr)
    average = {name: value.detach().clone() for name, value in model.named_parameters()}
    crops = resample(shared.bandwidth_crops(config, corpus), SAMPLE_RATE_HZ, config.rate_hz)
    return State(model, optimiser, average, shared.bandwidth_of(crops))


def train_step(state: State, config: EncodecTrainingConfig, audio: Tensor) -> dict[str, float]:
    """Take one step on crops (B, N) at 22 050 Hz; return the losses and the codebooks' metrics.

    Raises ValueError, before any weight is changed, if the loss is not finite.
    """
    model = state.model
    audio = resample(audio, SAMPLE_RATE_HZ, config.rate_hz).to(state.device)
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + state.step)
    for group in state.optimiser.param_groups:
        group["lr"] = config.lr_at(state.step)
    with torch.autocast(audio.device.type, torch.bfloat16, enabled=config.bf16):
        latents = model.encoder(audio[:, None])
    latents = latents.float()
    rows = latents.transpose(1, 2).reshape(-1, latents.shape[1])
    quantised, commit, stages = quantise(state, config, rows, generator)
    quantised = quantised.view(len(latents), latents.shape[2], -1).transpose(1, 2)
    with torch.autocast(audio.device.type, torch.bfloat16, enabled=config.bf16):
        output = model.decoder(straight_through(latents, quantised))[:, 0]
    loss, terms = reconstruction(audio, output, state.bandwidth, config)
    terms["commit"] = commit
    loss = loss + config.commit * commit
    if not torch.isfinite(loss):
        raise ValueError(f"step {state.step}: loss is {loss.item()}; {ADVICE}")
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    state.optimiser.step()
    metrics = {f"loss/{name}": value.item() for name, value in terms.items()}
    for i, (left, codes) in enumerate(stages):
        entries = state.entries[i]
        new, _, usage = state.codebooks[i].update(entries, left, codes, generator)
        entries.copy_(new)
        metrics |= {f"codebook{i}/{name}": usage[name] for name in ("entropy", "usage", "fit")}
    decay = shared.average_decay(state.step, config.average_mu)
    shared.average_into(state.average, model, decay)
    state.step += 1
    return {"loss/total": loss.item(), "gradient_norm": norm.item(), **metrics}


def quantise(
    state: State, config: EncodecTrainingConfig, rows: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
    """Quantise latents (R, C) by each codebook in turn; the first step fills the codebooks.

    Returns the sums of the entries (R, C), the commitment loss over all codebooks, and for each
    what was left for it (R, C) and its codes (R,).
    """
    rest, commit, stages = rows, rows.new_zeros(()), []
    for i, entries in enumerate(state.entries):
        left = rest.detach()
        if i == len(state.codebooks):
            state.codebooks.append(
                CodebookEMA.begin(
                    left, len(entries), generator, config.l_mu, config.revival_threshold
                )
            )
            entries.copy_(state.codebooks[i].k_sum)
        codes = nearest(left, entries)
        chosen = F.embedding(codes, entries)
        commit = commit + commitment(rest, chosen)
        rest = rest - chosen
        stages.append((left, codes))
    return rows.detach() - rest.detach(), commit, stages


def averaged(state: State, config: EncodecTrainingConfig) -> EncodecModel:
    """Return a copy of the model with the averaged weights and the present codebooks.

    The codebooks' averages go into the buffers that EnCodec has for them.
    """
    model = new_model(config)
    model.load_state_dict({**state.model.state_dict(), **state.average})
    for layer, book in zip(model.quantizer.layers, state.codebooks, strict=True):
        layer.codebook.embed_avg.copy_(book.k_sum)
        layer.codebook.cluster_size.copy_(book.k_elem)
    return model.to(state.device).eval()


def save(state: State, config: EncodecTrainingConfig, out: Path) -> None:
    """Write the checkpoint to resume from and the codec so far, each file atomically.

    Raises ValueError, and writes nothing, if a weight is not finite.
    """
    contents = {
        "step": state.step,
        "model": state.model.state_dict(),
        "average": state.average,
        "optimiser": state.optimiser.state_dict(),
        "k_sum": torch.stack([book.k_sum for book in state.codebooks]),
        "k_elem": torch.stack([book.k_elem for book in state.codebooks]),
        "bandwidth": asdict(state.bandwidth),
    }
    check_finite(contents, ("model", "average", "optimiser", "k_sum", "k_elem"), ADVICE)
    write_encodec(out / CODEC, averaged(state, config), config.note)
    save_torch(out / CHECKPOINT, contents, number=None)


def restore(state: State, config: EncodecTrainingConfig, path: Path) -> None:
    """Restore the state from a checkpoint.

    Raises ValueError if the file cannot be read, or is from a network of other sizes.
    """
    device = state.device
    # Adam's step counters stay on the CPU: on a GPU, training would wait for each of them.
    saved = read_checkpoint(path, PARTS, number=None)
    load_state(state.model, saved["model"], f"{path}: the network")
    state.optimiser.load_state_dict(saved["optimiser"])
    state.average = {name: value.to(device) for name, value in saved["average"].items()}
    state.bandwidth = Bandwidth(**saved["bandwidth"])
    sums, counts = saved["k_sum"].to(device), saved["k_elem"].to(device)
    state.codebooks = [
        CodebookEMA(k_sum, k_elem, config.l_mu, config.revival_threshold)
        for k_sum, k_elem in zip(sums, counts, strict=True)
    ]
    state.step = saved["step"]


def validate(
    state: State, config: EncodecTrainingConfig, corpus: Corpus, out: Path
) -> dict[str, float]:
    """Reconstruct held-out music; return losses and the fraction of entries used, by log tag.

    Writes wav files and spectrograms below `out`/samples.
    """
    codec = EncodecCodec.from_module(averaged(state, config), note=config.note)
    title = f"step {state.step}"
    target, output, codes = shared.reconstruct(
        codec, LEVEL, corpus, config.crop_samples, out, title
    )
    length = min(target.shape[1], output.shape[1])
    _, terms = reconstruction(target[:, :length], output[:, :length], state.bandwidth, config)
    books = codes[:, None] if config.codebooks == 1 else codes
    used = [len(books[:, q].unique()) / config.entries for q in range(config.codebooks)]
    shares = {f"held_out/used_share{q}": share for q, share in enumerate(used)}
    return {f"held_out/{name}": value.item() for name, value in terms.items()} | shares
