"""The state of a run: built from a configuration, saved to a checkpoint, restored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.codecs.base import Codec
from model.contract.dataset import Dataset
from model.contract.kinds import FAMILIES
from model.contract.segment import window_samples
from model.contract.storage import Location
from model.contract.weighted import Weighted
from model.data.several import Loaded, joined
from model.data.source import Segments, codes_of, spread_batches
from model.data.stream import Position
from model.families.base import Model
from model.runtime.checkpoint import LAST, check_finite, check_parts, differences, save_torch
from model.runtime.distributed import Team
from model.runtime.exported import located, read_run
from model.runtime.resume import BEGIN_ANEW, other_settings, refuse_other
from model.runtime.settings import to_dict
from model.training.config import RunConfig

SETS = "data sets"
"""The key of the facts of several data sets in a checkpoint."""
ADVICE = (
    "and --resume from the last checkpoint, which is still valid (if there is none, start again)"
)


@dataclass
class State:
    """The state of a run: a model of one family, and the progress of its training.

    `dataset` describes what the model reads, `data` all that it is trained on: the first of them is
    `dataset`. It is empty for a model that is not trained on shards.
    """

    family: str
    config: RunConfig
    dataset: Dataset
    model: Model
    device: torch.device
    step: int = 0
    position: Position = field(default_factory=Position)
    best: float = math.inf
    """The lowest value so far of the validation measure `model.best`."""
    data: Sequence[Loaded] = ()

    @property
    def codec(self) -> Codec:
        return self.model.codec


def choose_codec(dataset: Dataset, asked: str | None, root: Location) -> str:
    """Return the codec to load: the one that was asked for, else the only codec of the codes.

    Raises ValueError if there are no codes, or codes of several codecs.
    """
    if asked is not None:
        return asked
    if not dataset.codecs:
        codes_of(dataset, "", root)
    if len(dataset.codecs) > 1:
        found = ", ".join(f"{c.source} ({name})" for name, c in sorted(dataset.codecs.items()))
        raise ValueError(f"{root}: codes of several codecs: {found}; choose one with --codec")
    return next(iter(dataset.codecs.values())).source


def check_window(config: RunConfig, dataset: Dataset, root: Location) -> None:
    """Raise ValueError if the shards have another window length than the configuration requires."""
    if config.window_s and window_samples(config.window_s) != dataset.samples:
        raise ValueError(
            f"{root}: windows of {dataset.window_s} s, but the configuration requires "
            f"{config.window_s:g} s; build with: pipeline build --window-s {config.window_s:g}"
        )


def build(
    family: str, config: RunConfig, dataset: Dataset, codec: Codec, device: torch.device
) -> State:
    """Build a model and its optimisers, with random numbers of the configuration's seed."""
    torch.manual_seed(config.seed)
    kind: type[Model] = FAMILIES.get(family)
    model = kind(config, kind.inputs_of(config, dataset), codec, device)
    model.start_training()
    return State(family, config, dataset, model, device)


def begin(state: State, source: Segments) -> None:
    """Give a new run its first weights (`config.init`), and measure its inputs."""
    if state.config.init:
        begin_with(state, Path(state.config.init))
    measure_inputs(state, source)


def begin_with(state: State, run: Path) -> None:
    """Copy the weights of a run as far as they fit, and print which are begun anew.

    Those fit that have the same name and shape. Raises ValueError for a run of another family or
    of other codes, or if nothing fits, and the errors of `read_run`.
    """
    content = read_run(located(run))
    family, codec = content["family"], content["codec"]
    if family != state.family:
        raise ValueError(f"--init {run}: is a run of family {family}, not {state.family}")
    if (known := codec.get("codes_id", codec["id"])) != state.codec.codes_id:
        raise ValueError(
            f"--init {run}: was trained on codes of {known}, these are of {state.codec.codes_id}; "
            "weights learnt from other codes are of no use"
        )
    own = state.model.network.state_dict()
    fits = {
        name: tensor
        for name, tensor in content["network"].items()
        if name in own and tensor.shape == own[name].shape
    }
    if not fits:
        raise ValueError(f"--init {run}: none of its weights fit; is it of another preset?")
    for network in state.model.generators():
        network.load_state_dict(fits, strict=False)
    anew = sorted({name.rpartition(".")[0] for name in own.keys() - fits.keys()})
    listed = ", ".join(anew[:4]) + (f" and {len(anew) - 4} more" if len(anew) > 4 else "")
    print(
        f"begun with {len(fits)} of {len(own)} tensors of {run}, step {content['step']}"
        + (f"; anew: {listed}" if anew else "")
    )


def measure_inputs(state: State, source: Segments, segments: int = 256) -> None:
    """Let the model measure mean and standard deviation of its inputs, on segments of the split.

    The inputs (B, T, D) of at most `segments` segments, spread over the split, are in memory.
    """
    held: dict[str, list[Tensor]] = {name: [] for name in state.model.wants_measures()}
    if not held:
        return
    for batch in spread_batches(source, state.config.batch_size, segments):
        for name, values in held.items():
            values.append(batch.inputs[name])
    for name, values in held.items():
        state.model.measure_inputs(name, torch.cat(values).to(state.device))


def advice(model: Model) -> str:
    """Return what to do if a loss or a weight is not finite."""
    return f"{model.advice}, {ADVICE}"


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of this process's random number generators."""
    rng = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        rng["cuda"] = torch.cuda.get_rng_state(device)
    return rng


def save(
    state: State, run: Path, name: str = LAST, peers: Sequence[dict[str, Tensor]] = ()
) -> None:
    """Write the complete state as plain values and tensors, atomically.

    `peers` are the random states of the other processes. Raises ValueError, and writes nothing, if
    weights or optimiser state are not finite.
    """
    rng: dict[str, Any] = random_state(state.device)
    if peers:
        rng["peers"] = list(peers)
    without = ("splits", "codecs", "notes")
    facts = {k: v for k, v in asdict(joined(all_data(state))).items() if k not in without}
    codec = state.codec
    source = codec.source or state.dataset.codecs[codec.codes_id].source
    parts = state.model.state_dict()
    content = {
        "family": state.family,
        "config": to_dict(state.config),
        "dataset": facts,
        "data": facts_of_all(all_data(state)),
        "codec": {
            "id": codec.id,
            "codes_id": codec.codes_id,
            "source": source,
            "note": codec.note,
        },
        "step": state.step,
        "position": asdict(state.position),
        "best": state.best,
        **parts,
        "rng": rng,
    }
    check_finite(content, parts, advice(state.model))
    save_torch(run / name, content)


def data_facts(dataset: Dataset) -> dict[str, Any]:
    """Return the facts that identify a data set for training, as plain values."""
    shards = {shard.name: [shard.segments, shard.sha256] for shard in dataset.splits["train"]}
    return {**kind_facts(dataset), **shards}


def kind_facts(dataset: Dataset) -> dict[str, Any]:
    return {"name": dataset.name, "window_s": dataset.window_s, "fields": dataset.fields}


def all_data(state: State) -> Sequence[Loaded]:
    """Return the data sets of a run, with their weights; one alone has the weight 1."""
    if len(state.data) > 1:
        return state.data
    return [(Weighted(Path()), state.dataset)]


def facts_of_all(data: Sequence[Loaded]) -> dict[str, Any]:
    """Return the facts that identify the data of a run; of several data sets each under SETS."""
    if len(data) == 1:
        return data_facts(data[0][1])
    facts = [{"weight": str(each.weight), **data_facts(dataset)} for each, dataset in data]
    return {**kind_facts(joined(data)), SETS: facts}


def other_data_sets(was: dict[str, Any], now: dict[str, Any]) -> str:
    """Return how two results of `facts_of_all` differ, "" if they are equal."""
    if SETS not in was and SETS not in now:
        return other_data(was, now)
    before, after = ({SETS: listed_sets(facts)} for facts in (was, now))
    if message := differences(before, after):
        return message
    for a, b in zip(was[SETS], now[SETS], strict=True):
        if message := other_data(a, b):
            return f"{b['name']}: {message}"
    return ""


def listed_sets(facts: dict[str, Any]) -> str:
    """Return the names of a run's data sets with their weights."""
    sets = facts.get(SETS, [{**facts, "weight": "1"}])
    return ", ".join(f"{each['name']} (weight {each['weight']})" for each in sets)


def other_data(was: dict[str, Any], now: dict[str, Any]) -> str:
    """Return how two `data_facts` differ, "" if they are equal; shards are given as segments."""

    def plain(facts: dict[str, Any]) -> dict[str, Any]:
        kind = {name: facts[name] for name in ("name", "window_s", "fields")}
        shards = [value for value in facts.values() if isinstance(value, list)]
        counts = [shard[0] for shard in shards if shard and isinstance(shard[0], int)]
        return {**kind, "segments to train on": sum(counts)}

    message = differences(plain(was), plain(now))
    return message or ("as many training segments, but different ones" if was != now else "")


def restore(state: State, content: dict[str, Any], run: Path, team: Team = Team()) -> None:  # noqa: B008
    """Load a checkpoint's content into a state that was built with the same configuration.

    Raises ValueError if configuration, data, codec or the number of processes differ from those at
    the start of the run.
    """
    config = state.config
    if content["family"] != state.family:
        raise ValueError(
            f"{run}: is a run of family {content['family']}, not {state.family}; give "
            f"--family {content['family']}, or {BEGIN_ANEW}"
        )
    found = {
        "another configuration": other_settings(content["config"], config, str(run)),
        "other data": other_data_sets(content["data"], facts_of_all(all_data(state))),
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
            f"{run}: was trained by {len(rngs)} processes, but this is a run of {team.size}; the "
            "number decides what each process reads; go on with torchrun --nproc-per-node "
            f"{len(rngs)} (the total number), or choose another --out"
        )
    check_parts(content, state.model.parts, run / LAST)
    state.model.load_state_dict(content, str(run))
    state.step, state.best = content["step"], content["best"]
    state.position = Position(**content["position"])
    rng = rngs[team.rank]
    torch.set_rng_state(rng["cpu"])
    if state.device.type == "cuda" and "cuda" in rng:
        torch.cuda.set_rng_state(rng["cuda"], state.device)
