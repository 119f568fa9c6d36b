"""Training of one level of a JukeBox VQ-VAE (Dhariwal et al. 2020, section 4).

Levels share no weights, so each is trained separately: encoder and decoder by Adam, the codebook by
moving averages. The resulting codec has the moving average of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.codecs.jukebox.codec import JukeBoxCodec, find_weights
from model.codecs.jukebox.config import CodecConfig
from model.codecs.jukebox.hparams import LEVEL_NAME, level_index
from model.codecs.jukebox.vqvae import VQVAE
from model.codecs.jukebox.weights import read_weights, select, write_weights
from model.codecs.quantise import nearest
from model.codecs.training.corpus import Corpus
from model.codecs.training.ema import CodebookEMA
from model.codecs.training.losses import (
    Bandwidth,
    commitment,
    reconstruction,
    straight_through,
)
from model.codecs.training.run import (
    ADVICE,
    CONFIG,
    CodecRun,
    average_decay,
    average_into,
    bandwidth_crops,
    bandwidth_of,
    begun_with,
    crops,
    pick_device,
    read_corpus,
    reconstruct,
)
from model.contract.files import write_atomic
from model.contract.storage import Location
from model.runtime.checkpoint import Parts, check_finite, read_checkpoint, save_torch
from model.runtime.loop import loop
from model.runtime.resume import check_begun
from model.runtime.signals import stop_requested

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CHECKPOINT, CODEC = "checkpoint.pt", "codec.safetensors"
PARTS: Parts = {
    "step": (int, ()),
    **{name: (dict, ()) for name in ("model", "average", "optimiser")},
    **{name: (Tensor, ()) for name in ("k_sum", "k_elem")},
    "bandwidth": (dict, ("l2", "l1", "spec")),
}
"""The parts of a checkpoint, whose format has no number."""


@dataclass
class State:
    """The state of training one level, whose number is `index`."""

    index: int
    model: VQVAE
    optimiser: torch.optim.Adam
    average: dict[str, Tensor]
    bandwidth: Bandwidth
    codebook: CodebookEMA | None = None
    step: int = 0


def train_level(
    config: CodecConfig,
    level: str,
    audio: Path | None,
    shards: Location | None,
    out: Path,
    resume: bool = False,
) -> Path:
    """Train `level` on the music of a folder or a data set; return the codec file of this level.

    Raises FileExistsError if `out` holds a run and `resume` is False, FileNotFoundError if there is
    no run to resume, ValueError if music, settings or checkpoint are invalid, or a loss or a weight
    is not finite, and Interrupted, after saving, on SIGINT or SIGTERM.
    """
    from torch.utils.tensorboard import SummaryWriter

    if config.threads:
        torch.set_num_threads(config.threads)
    check_begun(out / CHECKPOINT, resume)
    corpus = read_corpus(audio, shards, config.crop_samples)
    config = begun_with(config, pick_device(config), out, resume)
    state = build(config, level_index(level), corpus)
    if resume:
        restore(state, config, out / CHECKPOINT)
    write_atomic(out / CONFIG, config.dumps().encode())
    with SummaryWriter(str(out / "tensorboard")) as log, stop_requested() as stop:
        run = LevelTraining(state, config, corpus, out, log)
        loop(run, crops(config, corpus, state.step), stop)
    return out / CODEC


class LevelTraining(CodecRun):
    """The training of one level, for the common training loop."""

    def __init__(
        self, state: State, config: CodecConfig, corpus: Corpus, out: Path, log: SummaryWriter
    ) -> None:
        super().__init__(config, log)
        self.state, self.settings, self.corpus, self.out = state, config, corpus, out
        self.title = LEVEL_NAME[state.index]

    @property
    def step(self) -> int:
        return self.state.step

    def advance(self, batch: Tensor, wait_s: float) -> dict[str, float]:
        return train_step(self.state, self.settings, batch)

    def save(self) -> None:
        if self.state.codebook is None:
            raise KeyboardInterrupt  # stopped before the first step: nothing to save
        save(self.state, self.settings, self.out)

    def validate(self) -> None:
        self.scalars(validate(self.state, self.settings, self.corpus, self.out))


def build(config: CodecConfig, index: int, corpus: Corpus) -> State:
    """Return the initial state of level `index`, with random weights or those of `config.init`.

    Raises FileNotFoundError and ValueError if `init` is not a codec with this level.
    """
    torch.manual_seed(config.seed)
    codebook = None
    if config.init:
        weights = read_weights(find_weights(config.init)[0])
        if index not in weights.levels:
            raise ValueError(f"{config.init}: has no level {LEVEL_NAME[index]!r} to start from")
        model = VQVAE(weights.hparams, (index,))
        model.load_state_dict(select(weights.state, (index,)))
        tokens = config.init_tokens or config.batch * config.crop_samples // model.hparams.hop(
            index
        )
    else:
        model = VQVAE(config.hparams, (index,))
    device = pick_device(config, index)
    model.to(device)
    if config.init:
        k = model.codebook(index).k
        codebook = CodebookEMA.restore(k, tokens, config.l_mu, config.revival_threshold)
    optimiser = torch.optim.Adam(model.parameters(), config.lr)
    average = {name: value.detach().clone() for name, value in model.named_parameters()}
    bandwidth = bandwidth_of(bandwidth_crops(config, corpus))
    return State(index, model, optimiser, average, bandwidth, codebook)


def train_step(state: State, config: CodecConfig, audio: Tensor) -> dict[str, float]:
    """Take one step on crops (B, N); return the losses and the codebook's metrics.

    Raises ValueError, before any weight is changed, if the loss is not finite.
    """
    model, index = state.model, state.index
    audio = audio.to(next(model.parameters()).device)
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + state.step)
    for group in state.optimiser.param_groups:
        group["lr"] = config.lr_at(state.step)
    with torch.autocast(audio.device.type, torch.bfloat16, enabled=config.bf16):
        latents = model.encoder(index)(audio)
    latents = latents.float()
    rows = latents.detach().transpose(1, 2).reshape(-1, latents.shape[1])
    book = model.codebook(index)
    if state.codebook is None:
        state.codebook = CodebookEMA.begin(
            rows, len(book.k), generator, config.l_mu, config.revival_threshold
        )
        book.k.copy_(state.codebook.k_sum)
    codes = nearest(rows, book.k)
    quantised = book.lookup(codes.view(len(audio), -1))
    with torch.autocast(audio.device.type, torch.bfloat16, enabled=config.bf16):
        output = model.decoder(index)(straight_through(latents, quantised))
    loss, terms = reconstruction(audio, output, state.bandwidth, config)
    terms["commit"] = commitment(latents, quantised)
    loss = loss + config.commit * terms["commit"]
    if not torch.isfinite(loss):
        raise ValueError(f"step {state.step}: loss is {loss.item()}; {ADVICE}")
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    state.optimiser.step()
    new, _, usage = state.codebook.update(book.k, rows, codes, generator)
    book.k.copy_(new)
    average_into(state.average, model, average_decay(state.step, config.average_mu))
    state.step += 1
    metrics = {f"loss/{name}": value.item() for name, value in terms.items()}
    metrics |= {f"codebook/{name}": value for name, value in usage.items()}
    return {"loss/total": loss.item(), "gradient_norm": norm.item(), **metrics}


def averaged(state: State) -> VQVAE:
    """Return a copy of the model with the averaged weights and the present codebook."""
    model = VQVAE(state.model.hparams, (state.index,))
    model.load_state_dict({**state.model.state_dict(), **state.average})
    return model.to(next(state.model.parameters()).device).eval()


def save(state: State, config: CodecConfig, out: Path) -> None:
    """Write the checkpoint to resume from and the codec of this level, each atomically.

    Raises ValueError, and writes nothing, if a weight is not finite.
    """
    assert state.codebook is not None, "the first step makes it"
    contents = {
        "step": state.step,
        "model": state.model.state_dict(),
        "average": state.average,
        "optimiser": state.optimiser.state_dict(),
        "k_sum": state.codebook.k_sum,
        "k_elem": state.codebook.k_elem,
        "bandwidth": asdict(state.bandwidth),
    }
    check_finite(contents, ("model", "average", "optimiser", "k_sum", "k_elem"), ADVICE)
    write_weights(out / CODEC, averaged(state), config.name, config.note)
    save_torch(out / CHECKPOINT, contents, number=None)


def restore(state: State, config: CodecConfig, path: Path) -> None:
    """Restore the state from a checkpoint.

    Raises ValueError if the file cannot be read, or is from a network of other sizes.
    """
    device = next(state.model.parameters()).device
    # Adam's step counters stay on the CPU: on a GPU, training would wait for each of them.
    saved = read_checkpoint(path, PARTS, number=None)
    try:
        state.model.load_state_dict(saved["model"])
    except RuntimeError as error:
        raise ValueError(f"{path}: made with other width, depth or l_bins: {error}") from None
    state.optimiser.load_state_dict(saved["optimiser"])
    state.average = {name: value.to(device) for name, value in saved["average"].items()}
    state.bandwidth = Bandwidth(**saved["bandwidth"])
    state.codebook = CodebookEMA(
        saved["k_sum"].to(device), saved["k_elem"].to(device), config.l_mu, config.revival_threshold
    )
    state.step = saved["step"]


def validate(state: State, config: CodecConfig, corpus: Corpus, out: Path) -> dict[str, float]:
    """Reconstruct held-out music; return losses and the fraction of entries used, by log tag.

    Writes wav files and spectrograms below `out`/samples.
    """
    codec = JukeBoxCodec.from_module(averaged(state), config.name, config.note)
    level, title = LEVEL_NAME[state.index], f"step {state.step}"
    target, output, codes = reconstruct(codec, level, corpus, config.crop_samples, out, title)
    _, terms = reconstruction(target, output, state.bandwidth, config)
    used = len(codes.unique()) / codec.level(level).size
    return {f"held_out/{k}": v.item() for k, v in terms.items()} | {"held_out/used_share": used}


def merge(parts: Sequence[Path], path: Path, name: str, note: str) -> None:
    """Write one codec with the levels of several codec files."""
    weights = [read_weights(part) for part in parts]
    if len({w.hparams for w in weights}) != 1:
        raise ValueError(f"levels with different hyper-parameters cannot form one codec: {parts}")
    model = VQVAE(weights[0].hparams, [level for w in weights for level in w.levels])
    model.load_state_dict({key: value for w in weights for key, value in w.state.items()})
    write_weights(path, model, name, note)
