"""Learn eight segments by heart: proof that gradients reach the generator through every part.

Takes eight segments spread over the training split of a data set, trains the tiny preset on them
alone and draws the share of generated codes that equal the truth, beside what guessing gives.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np

from model.contract.dataset import load_dataset, save_dataset
from model.contract.shards import read_npy, read_shard, write_shard
from model.contract.terminal import print_anything
from model.families.d2m_gan.config import load_config
from model.runtime.run_log import read_metrics
from model.training.loop import train


def main() -> None:
    """Train at each level, print a table and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=Path, required=True, help="a data set with codes")
    parser.add_argument("--levels", nargs="+", default=["high", "low"], choices=["high", "low"])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--picture", type=Path, default=Path("docs/results/overfit.png"))
    arguments = parser.parse_args()
    figure, axes = plt.subplots(figsize=(7, 4), constrained_layout=True)
    for level in arguments.levels:
        with TemporaryDirectory() as folder:
            root = Path(folder) / "shards"
            codes = take(arguments.shards, root, 8, level)
            config = load_config("tiny", None, [f"level={level}", f"max_steps={arguments.steps}"])
            train(root, Path(folder) / "run", config)
            rows = [r for r in read_metrics(Path(folder) / "run") if "codes/accuracy" in r]
        steps = [row["step"] for row in rows]
        accuracy = [row["codes/accuracy"] for row in rows]
        guess = np.bincount(codes.ravel()).max() / codes.size
        print(f"{level}: accuracy {accuracy[-1]:.3f}; always the commonest code {guess:.3f}")
        (line,) = axes.plot(steps, accuracy, label=f"{level}: {accuracy[-1]:.0%}")
        axes.axhline(guess, color=line.get_color(), ls=":", label=f"{level}, guessing: {guess:.1%}")
    axes.set(xlabel="step (batch 8)", ylabel="generated codes equal to the truth", ylim=(0, 1))
    axes.legend()
    figure.savefig(arguments.picture, dpi=110)


def take(shards: Path, out: Path, count: int, level: str) -> np.ndarray:
    """Write a data set of `count` training segments, evenly spread; return their codes (n, L)."""
    dataset = load_dataset(shards)
    (codec_id,) = dataset.codecs
    shard = dataset.splits["train"][0]
    pairs = list(
        zip(
            read_shard(shards / shard.name),
            read_shard(shards / "codes" / codec_id / shard.name),
            strict=True,
        )
    )
    chosen = [pairs[i] for i in np.linspace(0, len(pairs) - 1, count).round().astype(int)]
    dataset.splits = {
        "train": [write_shard(out / shard.name, [features for features, _ in chosen])]
    }
    codes = write_shard(out / "codes" / codec_id / shard.name, [codes for _, codes in chosen])
    dataset.codecs[codec_id].splits = {"train": [codes]}
    save_dataset(out, dataset)
    print("segments:", json.dumps([key for (key, _), _ in chosen]))
    return np.stack([read_npy(members[f"{level}.npy"]) for _, (_, members) in chosen])


if __name__ == "__main__":
    print_anything()
    main()
