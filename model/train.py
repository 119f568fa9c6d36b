"""Train D2M-GAN on shards. Read from top to bottom: state, build, step, validate, save, train."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.audio import LogMel
from model.checkpoint import (
    BEST,
    LAST,
    differences,
    load_state,
    read_checkpoint,
    save_torch,
    tensors,
)
from model.config import LOSSES, Config, to_dict
from model.data import (
    Batch,
    Position,
    Source,
    TrainingStream,
    codes_of,
    spread_batches,
    training_batches,
)
from model.discriminators import Adversary, build_adversary
from model.evaluate.beats import SCORES, beats_scores, mean_scores
from model.generator import build_generator, input_specs
from model.jukebox import Codec, load_codec
from model.losses import codebook_loss, mel_loss, straight_through, wave_loss, weighted_total
from model.optimiser import adam, gradient_norm
from model.parallel import Team, own_device, team_of
from model.report import Progress, RunLog, labels, write_samples
from model.segment import Dataset, load_dataset, window_samples
from model.shapes import Inputs
from model.signals import stop_requested
from model.storage import Place

ADVICE = (
    "lower lr_generator or lr_discriminator, and --resume from the last checkpoint, which is from "
    "before (where there is none, start again)"
)


class Interrupted(Exception):
    """A signal asked the run to stop; the checkpoint is saved."""


@dataclass
class State:
    """Everything a run holds. Steps call `generator`, which may wrap `network` (its weights)."""

    config: Config
    dataset: Dataset
    codec: Codec
    inputs: Inputs
    device: torch.device
    network: nn.Module
    generator: nn.Module
    adversary: Adversary
    optimiser: torch.optim.Optimizer
    log_mel: LogMel
    scale: float
    """What latents are divided by before the adversary and the codebook loss."""
    decode: Callable[[Tensor], Tensor]
    """The codec's decoder of the level: latents (B, C, L) to audio (B, L * hop)."""
    step: int = 0
    position: Position = field(default_factory=Position)
    best_mel: float = math.inf


# --- build ---------------------------------------------------------------------------------------


def choose_codec(dataset: Dataset, asked: str | None, root: Place) -> str:
    """Return the codec to load: the one asked for, else the only one the codes were made with."""
    if asked is not None:
        return asked
    if not dataset.codecs:
        codes_of(dataset, "", root)
    if len(dataset.codecs) > 1:
        found = ", ".join(f"{c.source} ({name})" for name, c in sorted(dataset.codecs.items()))
        raise ValueError(f"{root}: codes of several codecs: {found}; choose one with --codec")
    return next(iter(dataset.codecs.values())).source


def check_window(config: Config, dataset: Dataset, root: Place) -> None:
    """Refuse shards of another window than the configuration asks for."""
    if config.window_s and window_samples(config.window_s) != dataset.samples:
        raise ValueError(
            f"{root}: windows of {dataset.window_s} s, the configuration asks for "
            f"{config.window_s:g} s; build with: pipeline build --window-s {config.window_s:g}"
        )


def build(config: Config, dataset: Dataset, codec: Codec, device: torch.device) -> State:
    """Make networks, adversary and optimisers from the seed."""
    torch.manual_seed(config.seed)
    inputs = input_specs(config, dataset)
    codebook = codec.codebook(config.level)
    network = build_generator(config, inputs, codebook.cpu()).to(device)
    state = State(
        config=config,
        dataset=dataset,
        codec=codec,
        inputs=inputs,
        device=device,
        network=network,
        generator=network,
        adversary=build_adversary(config, codec.emb_width, device),
        optimiser=adam(network.parameters(), config.lr_generator, config.betas),
        log_mel=LogMel().to(device),
        scale=codebook.std().item() if config.unit_scale else 1.0,
        decode=partial(codec.decode_latents, level=config.level),
    )
    if config.compile:
        compile_networks(state)
    return state


def compile_networks(state: State) -> None:
    """Let steps run compiled networks; on a GPU as CUDA graphs. Not yet run on a GPU.

    Weights, checkpoints and validation stay with the networks as they are.
    """
    mode = "reduce-overhead" if state.device.type == "cuda" else None
    state.generator = torch.compile(state.network, mode=mode)
    state.adversary.called = torch.compile(state.adversary.network, mode=mode)
    state.decode = torch.compile(state.codec.decoder(state.config.level), mode=mode)


def measure_inputs(state: State, source: Source, segments: int = 256) -> None:
    """Let the input modules take mean and deviation from segments spread over the split."""
    held: dict[str, list[Tensor]] = {
        name: [] for name in ("motion", "visual") if getattr(state.network, name) is not None
    }
    for batch in spread_batches(source, state.config.batch_size, segments):
        for name, values in held.items():
            values.append(getattr(batch, name))
    for name, values in held.items():
        measured = torch.cat(values).to(state.device)
        getattr(state.network, name).standardise.measure(measured)


# --- one step ------------------------------------------------------------------------------------


def train_step(state: State, batch: Batch) -> dict[str, Tensor]:
    """Train the adversary, then the generator, on one batch.

    Returns 0-dim tensors on the device, by log tag; nothing here waits for the device.
    """
    config, codec, level = state.config, state.codec, state.config.level
    if config.compile:
        torch.compiler.cudagraph_mark_step_begin()
    real = codec.lookup(batch.codes, level)
    raw = real
    if config.judge_latents or config.weights["latent"]:
        raw = codec.latents(batch.audio, level)
    with autocast(state):
        fake = state.generator(batch.motion, batch.visual, batch.codes.shape[1], batch.genre)
    shown = raw if config.judge_latents else real
    judged = state.adversary.step(shown / state.scale, fake / state.scale)

    losses = generator_losses(state, batch, real, raw, fake)
    total = weighted_total(losses, config.weights)
    state.optimiser.zero_grad(set_to_none=True)
    total.backward()
    state.optimiser.step()
    state.step += 1

    logs = {f"loss/{name}": loss.detach() for name, loss in losses.items()}
    codes = codec.quantise(fake.detach(), level)
    return {
        **logs,
        "loss/total": total.detach(),
        "adversary/hinge": judged,
        "gradient/generator": gradient_norm(state.optimiser),
        "gradient/adversary": gradient_norm(state.adversary.optimiser),
        "codes/accuracy": (codes == batch.codes).float().mean(),
    }


def generator_losses(
    state: State, batch: Batch, real: Tensor, raw: Tensor, fake: Tensor
) -> dict[str, Tensor]:
    """Return the losses that have a weight, by name.

    Latents (B, C, L): `real` are the true codes' entries, `raw` the encoder's before look-up,
    `fake` the generator's.
    """
    weights = state.config.weights
    losses: dict[str, Tensor] = {}
    if weights["adversarial"] or weights["feature"]:
        shown = raw if state.config.judge_latents else real
        hinge, matching = state.adversary.losses(shown / state.scale, fake / state.scale)
        losses |= {"adversarial": hinge, "feature": matching}
    if weights["codebook"]:
        losses["codebook"] = codebook_loss(fake, real, state.scale)
    if weights["latent"]:
        losses["latent"] = codebook_loss(fake, raw, state.scale)
    if weights["wave"] or weights["mel"]:
        items = state.config.audio_items or len(batch)
        audio, target = hear(state, fake[:items]), batch.audio[:items]
        losses["wave"] = wave_loss(audio, target)
        losses["mel"] = mel_loss(audio, target, state.log_mel)
    return {name: losses[name] for name in LOSSES if weights[name]}


def hear(state: State, latents: Tensor) -> Tensor:
    """Decode the nearest entries to audio (B, L * hop); the gradient goes straight to `latents`."""
    codec, level = state.codec, state.config.level
    entries = codec.lookup(codec.quantise(latents.detach(), level), level)
    with autocast(state):
        return state.decode(straight_through(latents, entries)).float()


def autocast(state: State) -> torch.autocast:
    return torch.autocast(state.device.type, torch.bfloat16, enabled=state.config.bf16)


# --- validate ------------------------------------------------------------------------------------


@torch.no_grad()
def validate(state: State, source: Source) -> dict[str, float]:
    """Return losses, code accuracy and rhythm on `val_segments` spread over the split, by log tag.

    In float32, as `generate` runs, whatever the precision of training.
    """
    config, level = state.config, state.config.level
    sums: dict[str, float] = {}
    clips: list[dict[str, float]] = []
    with quiet(state):
        for batch in spread_batches(source, config.batch_size, config.val_segments):
            batch = batch.to(state.device)
            real = state.codec.lookup(batch.codes, level)
            fake = state.network(batch.motion, batch.visual, batch.codes.shape[1], batch.genre)
            codes = state.codec.quantise(fake, level)
            audio = state.codec.decode(codes, level)
            values = {
                "val/codebook": codebook_loss(fake, real, state.scale),
                "val/wave": wave_loss(audio, batch.audio),
                "val/mel": mel_loss(audio, batch.audio, state.log_mel),
                "val/accuracy": (codes == batch.codes).float().mean(),
            }
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(batch)
            # The decoder gives back less than a hop less than it was given.
            true = batch.audio[:, : audio.shape[1]]
            for ours, theirs in zip(audio.cpu().numpy(), true.cpu().numpy(), strict=True):
                clips.append(beats_scores(ours, theirs))
    rhythm = mean_scores(clips)
    return {
        **{name: value / len(clips) for name, value in sums.items()},
        # Where no clip's truth has an onset there is no rhythm to score.
        **{f"val/{name}": rhythm[name] for name in SCORES if math.isfinite(rhythm[name])},
    }


@torch.no_grad()
def sample(state: State, source: Source) -> dict[str, dict[str, Tensor]]:
    """Return, by key, audio (N,) as recorded ("truth"), through the codec, and generated."""
    found = {}
    with quiet(state):
        for batch in spread_batches(source, 1, state.config.sample_segments):
            batch, level = batch.to(state.device), state.config.level
            steps = batch.codes.shape[1]
            latents = state.network(batch.motion, batch.visual, steps, batch.genre)
            found[batch.keys[0]] = {
                "truth": batch.audio[0].cpu(),
                "reconstruction": state.codec.decode(batch.codes, level)[0].cpu(),
                "generated": state.codec.decode(state.codec.quantise(latents, level), level)[
                    0
                ].cpu(),
            }
    return found


@contextmanager
def quiet(state: State) -> Iterator[None]:
    """Evaluate without touching the run: same noise every time, random numbers put back after."""
    devices = [state.device] if state.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(state.config.seed)
        state.network.eval()
        try:
            yield
        finally:
            state.network.train()


# --- save and restore ----------------------------------------------------------------------------


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return where this process' random numbers stand."""
    rng = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        rng["cuda"] = torch.cuda.get_rng_state(device)
    return rng


def save(
    state: State, run: Path, name: str = LAST, peers: Sequence[dict[str, Tensor]] = ()
) -> None:
    """Write the whole state as plain values and tensors, atomically.

    `peers` are the random states of the other processes. Raises ValueError, and writes nothing,
    where weights or optimiser state are not finite.
    """
    rng: dict[str, Any] = random_state(state.device)
    if peers:
        rng["peers"] = list(peers)
    facts = {k: v for k, v in asdict(state.dataset).items() if k not in ("splits", "codecs")}
    codec = state.codec
    source = codec.source or state.dataset.codecs[codec.codes_id].source
    content = {
        "config": to_dict(state.config),
        "dataset": facts,
        "data": data_facts(state.dataset),
        "codec": {
            "id": codec.id,
            "codes_id": codec.codes_id,
            "source": source,
            "note": codec.note,
        },
        "step": state.step,
        "position": asdict(state.position),
        "best_mel": state.best_mel,
        "network": state.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "adversary": state.adversary.state_dict(),
        "rng": rng,
    }
    for part in ("network", "optimiser", "adversary"):
        for path, tensor in tensors(content[part], part):
            if not tensor.isfinite().all():
                raise ValueError(f"step {state.step}: {path} is not finite; {ADVICE}")
    save_torch(run / name, content)


def data_facts(dataset: Dataset) -> dict[str, Any]:
    """Return what tells one data set to train on from another, in plain values."""
    shards = {shard.name: [shard.segments, shard.sha256] for shard in dataset.splits["train"]}
    kind = {"name": dataset.name, "window_s": dataset.window_s, "fields": dataset.fields}
    return {**kind, **shards}


def restore(state: State, content: dict[str, Any], run: Path, team: Team = Team()) -> None:  # noqa: B008
    """Put a checkpoint's content into a state that was built with the same configuration."""
    free = {"max_steps", "lr_generator", "lr_discriminator", "workers", "log_every",
            "checkpoint_every", "val_every", "val_segments", "sample_every",
            "sample_segments", "codec"}  # fmt: skip
    config = state.config
    fixed = {k: v for k, v in to_dict(config).items() if k not in free}
    before = {k: v for k, v in content["config"].items() if k not in free}
    for what, was, now in (
        ("another configuration", before, fixed),
        ("other data", content["data"], data_facts(state.dataset)),
    ):
        if told := differences(was, now):
            raise ValueError(f"{run}: cannot resume with {what}: {told}")
    if content["codec"]["id"] != state.codec.id:
        raise ValueError(
            f"{run}: was trained with codec {content['codec']['id']}, the codec loaded is "
            f"{state.codec.id}"
        )
    rngs = [content["rng"], *content["rng"].get("peers", [])]
    if len(rngs) != team.size:
        raise ValueError(
            f"{run}: was trained by {len(rngs)} processes, these are {team.size}: what each reads "
            f"depends on how many there are; go on with torchrun --nproc-per-node {len(rngs)} "
            "(in all), or choose another --out"
        )
    load_state(state.network, content["network"], f"{run}: network")
    load_state(state.optimiser, content["optimiser"], f"{run}: optimiser")
    load_state(state.adversary, content["adversary"], f"{run}: adversary")
    for optimiser, lr in (
        (state.optimiser, config.lr_generator),
        (state.adversary.optimiser, config.lr_discriminator),
    ):
        for group in optimiser.param_groups:
            group["lr"] = lr
    state.step, state.best_mel = content["step"], content["best_mel"]
    state.position = Position(**content["position"])
    rng = rngs[team.rank]
    torch.set_rng_state(rng["cpu"])
    if state.device.type == "cuda" and "cuda" in rng:
        torch.cuda.set_rng_state(rng["cuda"], state.device)


# --- the run -------------------------------------------------------------------------------------


def train(
    root: Place,
    run: Path,
    config: Config,
    codec_source: str | None = None,
    resume: bool = False,
    device: torch.device | None = None,
) -> State:
    """Train until `config.max_steps` and return the state.

    Writes last.pt, best.pt (least mel loss on the split `val`), metrics.jsonl, samples/ and
    TensorBoard events into `run`. Raises Interrupted, after saving, on SIGINT or SIGTERM, and
    ValueError where a loss or a weight is not finite, naming the step and the segments or weight,
    or where memory runs out, naming a batch size that fits.
    Under torchrun all processes train one model, and stop at the same step; where one fails, the
    others raise Elsewhere.
    """
    device = own_device(device or torch.device("cpu"))
    with team_of(device) as team:
        with team.together():
            state, stream, val = prepare(root, run, config, codec_source, resume, device, team)
        join(state, team, resume)
        loop(state, stream, val, run, team)
    return state


def prepare(
    root: Place,
    run: Path,
    config: Config,
    codec_source: str | None,
    resume: bool,
    device: torch.device,
    team: Team,
) -> tuple[State, TrainingStream, Source | None]:
    """Read what there is and build the state, or restore it; return also the splits' streams."""
    dataset = load_dataset(root)
    check_window(config, dataset, root)
    source = choose_codec(dataset, codec_source or config.codec or None, root)
    codec = load_codec(source, (config.level,), device)
    if (run / LAST).exists() and not resume:
        raise ValueError(
            f"{run}: holds a run already; go on with --resume, or choose another --out"
        )
    source = Source(
        root, dataset, "train", codec.codes_id, config.level, codec.bins(config.level),
        config.use_motion, config.use_visual, config.use_genre,
    )  # fmt: skip
    config = fit_batch(config, source, team)
    state = build(config, dataset, codec, device)
    if resume:
        restore(state, read_checkpoint(run / LAST), run, team)
    elif config.normalise_inputs and team.first:
        measure_inputs(state, source)
    stream = TrainingStream(
        source, config.batch_size, config.seed, config.shuffle_segments, state.position,
        team.rank, team.size,
    )  # fmt: skip
    val = replace(source, split="val") if dataset.segments("val") else None
    if team.first:
        announce(state, stream, val)
    return state, stream, val


def join(state: State, team: Team, resume: bool) -> None:
    """Make the processes' states one: same weights, averaged gradients, noise of their own."""
    for network in (state.network, state.adversary.network):
        team.share(network.state_dict().values())
    for optimiser in (state.optimiser, state.adversary.optimiser):
        team.average_gradients(optimiser)
    if not resume:
        team.seed_noise(state.config.seed)


def loop(state: State, stream: TrainingStream, val: Source | None, run: Path, team: Team) -> None:
    """Step until `max_steps`; log, validate, sample and save in process 0 as often as asked."""
    config, device = state.config, state.device
    run.mkdir(parents=True, exist_ok=True)
    loader = training_batches(stream, config.workers, pin=device.type == "cuda")
    with (
        RunLog(run, state.step) if team.first else nullcontext() as log,
        stop_requested(again=team.size == 1) as stop,
        closing(loader) as batches,
    ):
        progress = Progress(state.step, config.max_steps)
        recent: list[list[str]] = []
        sums: dict[str, Tensor] = {}
        wait_s = 0.0
        first_bad = torch.tensor(-1, device=device)
        while state.step < config.max_steps:
            began_s = time.perf_counter()
            with team.together():
                batch = next(batches).to(device)
            wait_s += time.perf_counter() - began_s

            logs = step_in_memory(state, batch, team)
            state.position = stream.after(state.position)
            recent.append(batch.keys)
            judged = logs["adversary/hinge"].isfinite()
            bad = ~(judged & logs["loss/total"].isfinite())
            moment = 2 * (len(recent) - 1) + judged  # a half-step later it may be another's fault
            first_bad = torch.where((first_bad < 0) & bad, moment, first_bad)
            sums = {name: sums.get(name, 0.0) + value for name, value in logs.items()}
            stopping = team.any(stop.is_set())

            def due(every: int) -> bool:
                return state.step % every == 0 or state.step == config.max_steps

            every = (config.log_every, config.checkpoint_every, config.val_every)
            if not (stopping or any(map(due, (*every, config.sample_every)))):
                continue
            stop_together(int(first_bad), state.step - len(recent), recent, team)
            values = {name: (total / len(recent)).item() for name, total in sums.items()}
            values = team.mean({**values, "data/wait_s": wait_s / len(recent)})
            recent, sums, wait_s = [], {}, 0.0
            _, *peers = team.gather(random_state(device))
            with team.together():
                if team.first:
                    log.scalars(state.step, values)
                    progress.show(state.step, values)
                    if due(config.val_every) and val is not None:
                        values = validate(state, val)
                        log.scalars(state.step, values)
                        progress.show(state.step, values)
                        if values["val/mel"] < state.best_mel:
                            state.best_mel = values["val/mel"]
                            save(state, run, BEST, peers)
                    if due(config.sample_every):
                        heard = sample(state, val or stream.source)
                        write_samples(run, log, state.step, heard, state.log_mel.cpu())
                        state.log_mel.to(device)
                    if due(config.checkpoint_every) or stopping:
                        save(state, run, peers=peers)
            if stopping:
                raise Interrupted(f"stopped at step {state.step}; go on with --resume")


def step_in_memory(state: State, batch: Batch, team: Team) -> dict[str, Tensor]:
    """Take a step; where memory runs out, raise ValueError that says which batch size fits."""
    step = state.step + 1
    try:
        return train_step(state, batch)
    except torch.OutOfMemoryError as error:
        asked = str(error).partition("\n")[0]
    # Out of the handler, whose traceback holds the tensors of the step.
    told = f"step {step}: out of memory on {state.device} with batches of {len(batch)} ({asked})"
    if team.size > 1:
        raise ValueError(f"{told}; start again with --set batch_size={max(1, len(batch) // 2)}")
    if not (fits := largest_fit(state, batch)):
        raise ValueError(f"{told}; not even 1 segment fits: use fewer channels, or bf16=true")
    raise ValueError(
        f"{told}; a step with {fits} fits, tried just now: start again with "
        f"--set batch_size={fits} (a run is resumed only with the batch size it began with)"
    )


def largest_fit(state: State, batch: Batch) -> int:
    """Return the largest half, quarter, … of a batch with which a step fits, 0 if none does.

    Takes steps to find out: the state is for nothing else afterwards.
    """
    items = len(batch) // 2
    while items:
        for optimiser in (state.optimiser, state.adversary.optimiser):
            optimiser.zero_grad(set_to_none=True)
        if state.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            train_step(state, batch.head(items))
        except torch.OutOfMemoryError:
            items //= 2
        else:
            return items
    return 0


def fit_batch(config: Config, source: Source, team: Team) -> Config:
    """Return the configuration with batches no larger than a process' part, and say so."""
    if not source.segments:
        raise ValueError(f"{source.root}: split {source.split} is empty; build more videos")
    most = max(1, source.segments // team.size)
    if most >= config.batch_size:
        return config
    if team.first:
        print(f"batches of {most}, not {config.batch_size}: the split has no more segments")
    return replace(config, batch_size=most)


def announce(state: State, stream: TrainingStream, val: Source | None) -> None:
    """Say what is about to be trained on what, and what in it is untrained or synthetic."""
    config, dataset = state.config, state.dataset
    parameters = sum(p.numel() for p in state.network.parameters())
    left_out = f" ({stream.left_out} segments left out of each)" if stream.left_out else ""
    each = f" for each of {stream.processes} processes" if stream.processes > 1 else ""
    print(
        f"{dataset.name}: {stream.source.segments} segments of {dataset.window_s} s, "
        f"{stream.batches_per_epoch} batches of {config.batch_size}{each} per epoch{left_out}, "
        f"{val.segments if val else 'none'} for validation"
    )
    print(
        f"generator {config.arch}, level {config.level}: {parameters / 1e6:.2f} M parameters; "
        f"codec {state.codec.id}; {state.device}; step {state.step} of {config.max_steps}"
    )
    unused = [name for name in ("motion", "visual") if getattr(state.inputs, name) is None]
    if unused:
        print(f"trained without: {', '.join(unused)}")
    if (share := state.codec.codebook(config.level).abs().max().item() / state.network.sigma) > 1:
        print(f"warning: codebook entries reach {share:.2f} sigma; raise sigma, or set it to 0")
    elif share < 0.05:
        print(f"warning: codebook entries reach only {share:.3f} sigma; consider sigma=0")
    for label in labels(state.codec.note, dataset.untrained):
        print(f"note: {label}")


def stop_together(first_bad: int, steps_before: int, recent: list[list[str]], team: Team) -> None:
    """Let the process that saw the first loss that is not finite say so, and all stop.

    `first_bad` counts half-steps, the adversary's and the generator's, or is -1: with the averaged
    gradients what is not finite spreads to the others' adversary first, then to their generator.
    """
    earliest = team.least(first_bad if first_bad >= 0 else 2 * len(recent))
    with team.together():
        stop_if_bad(first_bad // 2 if first_bad == earliest else -1, steps_before, recent)


def stop_if_bad(first_bad: int, steps_before: int, recent: list[list[str]]) -> None:
    if first_bad >= 0:
        raise ValueError(
            f"step {steps_before + first_bad + 1}: a loss is not finite; its segments: "
            f"{', '.join(recent[first_bad])}; check these, or {ADVICE}"
        )
