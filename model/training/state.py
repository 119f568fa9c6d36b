"""Everything that a run holds: made from a configuration, saved to a checkpoint, put back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.audio import LogMel
from model.codecs.jukebox import Codec
from model.contract.dataset import Dataset
from model.contract.segment import window_samples
from model.contract.storage import Location
from model.data.inputs import Inputs
from model.data.source import Source, codes_of, spread_batches
from model.data.stream import Position
from model.families.d2m_gan.config import Config
from model.families.d2m_gan.discriminators import Adversary, build_adversary
from model.families.d2m_gan.generator import build_generator, input_specs
from model.runtime.checkpoint import LAST, differences, load_state, save_torch, tensors
from model.runtime.distributed import Team
from model.runtime.optimiser import adam, set_rate
from model.runtime.resume import BEGIN_ANEW, other_settings, refuse_other
from model.runtime.settings import to_dict

ADVICE = (
    "lower lr_generator or lr_discriminator, and --resume from the last checkpoint, which is from "
    "before (where there is none, start again)"
)


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
    step: int = 0
    position: Position = field(default_factory=Position)
    best_mel: float = math.inf


def choose_codec(dataset: Dataset, asked: str | None, root: Location) -> str:
    """Return the codec to load: the one asked for, else the only one the codes were made with.

    Raises ValueError where there are no codes, or codes of several codecs.
    """
    if asked is not None:
        return asked
    if not dataset.codecs:
        codes_of(dataset, "", root)
    if len(dataset.codecs) > 1:
        found = ", ".join(f"{c.source} ({name})" for name, c in sorted(dataset.codecs.items()))
        raise ValueError(f"{root}: codes of several codecs: {found}; choose one with --codec")
    return next(iter(dataset.codecs.values())).source


def check_window(config: Config, dataset: Dataset, root: Location) -> None:
    """Raise ValueError for shards of another window than the configuration asks for."""
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
    return State(
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
    )


def measure_inputs(state: State, source: Source, segments: int = 256) -> None:
    """Let the input modules take mean and deviation from segments spread over the split.

    Motion (B, T, D) and visual (B, W, D) of at most `segments` segments are held at once.
    """
    held: dict[str, list[Tensor]] = {
        name: [] for name in ("motion", "visual") if getattr(state.network, name) is not None
    }
    for batch in spread_batches(source, state.config.batch_size, segments):
        for name, values in held.items():
            values.append(getattr(batch, name))
    for name, values in held.items():
        measured = torch.cat(values).to(state.device)
        getattr(state.network, name).standardise.measure(measured)


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


def other_data(was: dict[str, Any], now: dict[str, Any]) -> str:
    """Return how two `data_facts` differ, "" where they do not; shards count as segments."""

    def plain(facts: dict[str, Any]) -> dict[str, Any]:
        kind = {name: facts[name] for name in ("name", "window_s", "fields")}
        shards = [value for value in facts.values() if isinstance(value, list)]
        counts = [shard[0] for shard in shards if shard and isinstance(shard[0], int)]
        return {**kind, "segments to train on": sum(counts)}

    message = differences(plain(was), plain(now))
    return message or ("as many segments to train on, but other ones" if was != now else "")


def restore(state: State, content: dict[str, Any], run: Path, team: Team = Team()) -> None:  # noqa: B008
    """Put a checkpoint's content into a state that was built with the same configuration.

    Raises ValueError where configuration, data, codec or the number of processes are not those that
    the run began with.
    """
    config = state.config
    found = {
        "another configuration": other_settings(content["config"], config, str(run)),
        "other data": other_data(content["data"], data_facts(state.dataset)),
    }
    refuse_other(run, found, "--shards, --level, --preset, --config and --set")
    if content["codec"]["id"] != state.codec.id:
        raise ValueError(
            f"{run}: was trained with codec {content['codec']['id']}, the codec loaded is "
            f"{state.codec.id}; give the right one with --codec, or {BEGIN_ANEW}"
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
    set_rate(state.optimiser, config.lr_generator)
    set_rate(state.adversary.optimiser, config.lr_discriminator)
    state.step, state.best_mel = content["step"], content["best_mel"]
    state.position = Position(**content["position"])
    rng = rngs[team.rank]
    torch.set_rng_state(rng["cpu"])
    if state.device.type == "cuda" and "cuda" in rng:
        torch.cuda.set_rng_state(rng["cuda"], state.device)
