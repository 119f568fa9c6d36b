"""An exported run: a folder with a run's weights for generation, and nothing else of its training.

`run.json` has the facts of a checkpoint (family, configuration, data set, codec, step) and the hash
of `weights.safetensors`, which has the parameters in float16 and all other tensors, such as the
statistics of the inputs, as they are. A codec that is a file is copied beside them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.contract.dataset import with_layout
from model.contract.files import sha256_of, write_atomic
from model.runtime.checkpoint import BEST, LAST, Parts, check_parts, read_checkpoint

FACTS, WEIGHTS, README = "run.json", "weights.safetensors", "README.md"
FORMAT = 1
SHIPPED = {
    "demo": Path(__file__).parents[1] / "demo",
    "demo-notes": Path(__file__).parents[1] / "demo-notes",
}
"""Exported runs that are part of the package, by the name that `--run` takes."""
CONTENT: Parts = {
    "family": (str, ()),
    "config": (dict, ()),
    "dataset": (
        dict, ("name", "window_s", "fields", "build", "source", "untrained", "schema"),
    ),
    "codec": (dict, ("id", "codes_id", "source", "note")),
    "step": (int, ()),
    "note": (str, ()),
    "weights": (dict, ("sha256",)),
}  # fmt: skip
ADVICE = "copy the complete folder again, or export the run again: model export --run RUN --out DIR"


def located(run: Path) -> Path:
    """Return the folder of a run: `run`, or that of a shipped model if `run` is its name.

    A folder of that name comes first if it holds a run.
    """
    held = any((run / name).is_file() for name in (LAST, BEST, FACTS))
    return run if held else SHIPPED.get(str(run), run)


def read_run(folder: Path, checkpoint: str = LAST) -> dict[str, Any]:
    """Return the content of a run's checkpoint, or of an exported run, on the CPU.

    An exported run has one state, which is that of any checkpoint. Raises the errors of
    `read_checkpoint` and `read_exported`.
    """
    if not (folder / checkpoint).is_file() and (folder / FACTS).is_file():
        return read_exported(folder)
    if folder in SHIPPED.values():
        raise FileNotFoundError(
            f"{folder}: this demo model is not part of this installation; "
            "train a run, and name its folder with --run"
        )
    return read_checkpoint(folder / checkpoint)


def write_exported(
    folder: Path, content: Mapping[str, Any], network: torch.nn.Module, note: str
) -> int:
    """Write an exported run, and return the size of its weights in bytes.

    `content` is that of the checkpoint from which `network` was loaded. Raises FileExistsError if
    the folder holds a run in training, and ValueError if a weight is too large for float16.
    """
    from safetensors.torch import save

    if any((folder / name).exists() for name in (LAST, BEST)):
        raise FileExistsError(f"{folder}: holds a run in training; choose another --out")
    trained = {name for name, _ in network.named_parameters()}
    state: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        half = name in trained and tensor.dtype == torch.float32
        state[name] = (tensor.half() if half else tensor).cpu().contiguous().clone()
        if half and not state[name].isfinite().all():
            raise ValueError(f"{name} has weights beyond float16, or that are not finite")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).unlink(missing_ok=True)  # until the new weights are complete, there is no run
    write_atomic(folder / WEIGHTS, save(state))
    codec = dict(content["codec"])
    if (given := Path(codec["source"])).is_file():
        codec["source"] = f"codec{given.suffix}"
        shutil.copyfile(given, folder / codec["source"])
    facts = {
        "format": FORMAT,
        "family": content["family"],
        "note": note,
        "step": content["step"],
        "codec": codec,
        "config": content["config"],
        "dataset": {**content["dataset"], "source": ""},
        "weights": {"file": WEIGHTS, "sha256": sha256_of(folder / WEIGHTS)},
    }
    write_atomic(folder / README, readme(folder.name, facts).encode())
    write_atomic(folder / FACTS, (json.dumps(facts, indent=1) + "\n").encode())
    return (folder / WEIGHTS).stat().st_size


def read_exported(folder: Path) -> dict[str, Any]:
    """Return the content of an exported run, as that of a checkpoint; weights are float32.

    Raises FileNotFoundError if a file is missing, and ValueError if one is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / FACTS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); {ADVICE}") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ValueError(f"{path}: not an exported run of format {FORMAT}; {ADVICE}")
    check_parts(facts, CONTENT, path)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise FileNotFoundError(f"{weights}: the weights of this run are missing; {ADVICE}")
    if sha256_of(weights) != facts["weights"]["sha256"]:
        raise ValueError(f"{weights}: damaged: its hash is not that in {FACTS}; {ADVICE}")
    try:
        state = load(weights.read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{weights}: cannot be read ({error}); {ADVICE}") from None
    network = {k: v.float() if v.dtype == torch.float16 else v for k, v in state.items()}
    codec, dataset = dict(facts["codec"]), dict(facts["dataset"])
    if (beside := folder / codec["source"]).is_file():
        codec["source"] = str(beside)
    dataset["fields"] = with_layout(dataset["fields"])
    return {**facts, "codec": codec, "dataset": dataset, "network": network}


def readme(name: str, facts: Mapping[str, Any]) -> str:
    """Return the text of README.md: what the run is, what made it, and how to use it."""
    dataset, codec = facts["dataset"], facts["codec"]
    lines = [
        f"# {name}",
        "",
        facts["note"] or "A run for generation only.",
        "",
        f"* family {facts['family']}, step {facts['step']}",
        f"* trained on the data set {dataset['name']}, segments of {dataset['window_s']} s: "
        + ", ".join(f"{k} {v['shape']}" for k, v in sorted(dataset["fields"].items())),
        f"* built with {json.dumps(dataset['build'])}",
        f"* codec {codec['id']}" + (f": {codec['note']}" if codec["note"] else ""),
        *(f"* {text}" for text in dataset["untrained"]),
        "",
        f"`{WEIGHTS}` has its weights in float16, `{FACTS}` its settings. To use it:",
        "",
        "    model generate --run DIR --video dance.mp4 --out music",
        "",
    ]
    return "\n".join(lines)
