"""Does it follow the dance, for songs it has never heard? Train, and compare with controls.

For each architecture: trains a run (or goes on with one, or takes a finished one), generates every
segment of the split, and scores codes and onsets against the segment's own music. The controls
are the same generated music against the music of other videos, codes drawn at random, and the first
architecture trained on videos that are shuffled against the music. Intervals are of paired
differences, from a bootstrap over songs. Settings are the tiny preset's; what is changed with
`--set` is to be judged with `--split val`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from shuffle_pairs import shuffle_pairs

from model.codecs.base import Codec
from model.contract.dataset import load_dataset
from model.contract.files import write_atomic
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.terminal import print_anything
from model.data.reader import meta_of
from model.data.source import Source, open_source
from model.families.d2m_gan.config import Config, load_config
from model.generation.run import load_run
from model.measures.beats import mean_scores, onset_scores, onsets_s
from model.measures.bootstrap import pair_with_other_group, paired_difference
from model.runtime.checkpoint import LAST, read_checkpoint
from model.runtime.run_log import read_metrics
from model.runtime.settings import to_dict
from model.training.loop import train

SHUFFLED = ", trained shuffled"

SHUFFLES = 20
"""How many pairings of videos with other songs the control is averaged over."""

JUDGED = ("onset_f", "accuracy")


@dataclass(frozen=True)
class Music:
    """Codes (S, L) and onset times of S segments: what is compared."""

    codes: np.ndarray
    onsets: list[np.ndarray]


@dataclass(frozen=True)
class Split:
    """The segments of a split: whose they are, and their true music."""

    keys: list[str]
    videos: list[str]
    songs: list[str]
    numbers: list[int]
    seconds: int
    truth: Music


def main() -> None:
    """Train, score, compare; write unseen.json and unseen.png; print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=Path, required=True, help="a data set with codes")
    parser.add_argument("--archs", nargs="+", default=["temporal", "paper"])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--split", default="test", choices=["val", "test"])
    parser.add_argument("--runs", type=Path, default=Path("runs/unseen"))
    parser.add_argument("--checkpoint", default=LAST)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    arguments = parser.parse_args()
    watched = ["val_every=150", "val_segments=80", f"sample_every={arguments.steps}"]
    configs = {
        arch: load_config(
            "tiny",
            None,
            [f"arch={arch}", f"max_steps={arguments.steps}", *watched, *arguments.settings],
        )
        for arch in arguments.archs
    }
    runs = {}
    for arch, config in configs.items():
        runs[arch] = arguments.runs / arch
        finish(arguments.shards, runs[arch], config)
    arch, config = next(iter(configs.items()))
    shuffled = arguments.runs / "shuffled-shards"
    if not shuffled.exists():
        shuffle_pairs(arguments.shards, shuffled, config.seed)
    runs[arch + SHUFFLED] = arguments.runs / f"{arch}-shuffled"
    finish(shuffled, runs[arch + SHUFFLED], config)

    results = score(arguments.shards, runs, arguments.checkpoint, arguments.split)
    results["config"] = to_dict(config) | {"arch": arguments.archs}
    results["curves"] = {arch: curves(run) for arch, run in runs.items()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = "unseen" if arguments.split == "test" else f"unseen-{arguments.split}"
    text = json.dumps(results, indent=1, allow_nan=False) + "\n"
    write_atomic(arguments.out / f"{name}.json", text.encode())
    print(tables(results))
    draw(results, arguments.out / f"{name}.png")


def finish(shards: Path, run: Path, config: Config) -> None:
    """Train until `config.max_steps`, from where the run stands."""
    begun = (run / LAST).exists()
    if not begun or read_checkpoint(run / LAST)["step"] < config.max_steps:
        train(shards, run, config, resume=begun)


# --- music ---------------------------------------------------------------------------------------


def score(shards: Path, runs: dict[str, Path], checkpoint: str, split_name: str) -> dict:
    """Return means of every arm and paired differences, in plain values."""
    trained = {arch: load_run(run, checkpoint) for arch, run in runs.items()}
    first = next(iter(trained.values()))
    config, codec = first.config, first.codec
    inputs = first.model.inputs.names
    source = open_source(shards, load_dataset(shards), split_name, codec, [config.level], inputs)
    split = read_split(source)
    codes = split.truth.codes
    heard = {
        "true codes, decoded": listen(codec, config.level, codes),
        "random codes": listen(
            codec,
            config.level,
            np.random.default_rng(config.seed).integers(
                codec.level(config.level).size, size=codes.shape
            ),
        ),
        "commonest code": listen(
            codec, config.level, np.full_like(codes, np.bincount(codes.ravel()).argmax())
        ),
    }
    arms = {name: compare(split, split.truth, [music]) for name, music in heard.items()}
    for arch, model in trained.items():
        music = listen(codec, config.level, generate(source, model))
        arms[arch] = compare(split, split.truth, [music])
        if arch.endswith(SHUFFLED):
            continue
        arms[f"{arch}, other songs"] = compare(
            split, split.truth, (rearranged(music, order) for order in other_songs(split))
        )
        arms[f"{arch}, same song, other video"] = compare(
            split, split.truth, (rearranged(music, order) for order in other_videos(split))
        )
    controls = [", other songs", ", same song, other video", SHUFFLED]
    pairs = [
        (arch, control)
        for arch in trained
        for control in [*(arch + suffix for suffix in controls), "random codes"]
        if control in arms and SHUFFLED not in arch
    ]
    pairs += [(a, b) for a, b in [("temporal", "paper")] if a in trained and b in trained]
    return {
        "split": split_name,
        "checkpoint": checkpoint,
        "steps": {arch: run.step for arch, run in trained.items()},
        "parameters": {
            arch: sum(p.numel() for p in run.model.network.parameters())
            for arch, run in trained.items()
        },
        "segments": len(split.keys),
        "videos": len(set(split.videos)),
        "songs": len(set(split.songs)),
        "labels": [codec.note, *first.dataset.untrained],
        "arms": {name: means(scores) for name, scores in arms.items()},
        "by_song": {name: by_song(scores["onset_f"], split.songs) for name, scores in arms.items()},
        "differences": [
            {"a": a, "b": b, "score": name}
            | asdict(paired_difference(arms[a][name], arms[b][name], split.songs))
            for a, b in pairs
            for name in JUDGED
        ],
    }


def read_split(source: Source) -> Split:
    """Read all segments' keys, songs and true music."""
    keys, videos, songs, numbers, codes, onsets = [], [], [], [], [], []
    for number in range(len(source.dataset.splits[source.split])):
        for raw in source.raw(number):
            meta, batch = meta_of(raw, raw["__url__"]), source.collate([raw])
            keys.append(raw["__key__"])
            videos.append(meta["video_id"])
            songs.append(meta["song"])
            numbers.append(meta["segment"])
            codes.append(next(iter(batch.codes.values()))[0].numpy())
            onsets.append(onsets_s(batch.audio[0].numpy()))
    seconds = math.ceil(source.dataset.samples / SAMPLE_RATE_HZ)
    return Split(keys, videos, songs, numbers, seconds, Music(np.stack(codes), onsets))


@torch.no_grad()
def generate(source: Source, trained) -> np.ndarray:
    """Return the codes (S, L) that a run gives for each segment by itself."""
    codes = []
    for number in range(len(source.dataset.splits[source.split])):
        for raw in source.raw(number):
            batch = source.collate([raw])
            steps = {trained.level: batch.codes[trained.level].shape[1]}
            found = trained.model.generate(batch.inputs, steps)
            codes.append(found[trained.level][0].numpy())
    return np.stack(codes)


def listen(codec: Codec, level: str, codes: np.ndarray) -> Music:
    """Decode codes (S, L) one segment at a time and find the onsets."""
    sounds = (codec.decode(torch.from_numpy(row)[None], level)[0].numpy() for row in codes)
    return Music(codes, [onsets_s(sound) for sound in sounds])


# --- scores --------------------------------------------------------------------------------------


def compare(split: Split, truth: Music, candidates: Iterable[Music]) -> dict[str, np.ndarray]:
    """Return each score (S,) of generated music, averaged over the candidates given for it."""
    rounds = []
    for music in candidates:
        rhythm = [
            onset_scores(ours, theirs, split.seconds)
            for ours, theirs in zip(music.onsets, truth.onsets, strict=True)
        ]
        found = {name: np.array([row[name] for row in rhythm]) for name in rhythm[0]}
        found["accuracy"] = (music.codes == truth.codes).mean(1)
        rounds.append(found)
    return {name: np.mean([found[name] for found in rounds], 0) for name in rounds[0]}


def rearranged(music: Music, order: Sequence[int]) -> Music:
    return Music(music.codes[order], [music.onsets[i] for i in order])


def other_songs(split: Split) -> Iterable[list[int]]:
    """Yield, per shuffle, whose music each segment gets: that of a video of another song."""
    place = {key: i for i, key in enumerate(zip(split.videos, split.numbers, strict=True))}
    videos = sorted(set(split.videos))
    song_of = dict(zip(split.videos, split.songs, strict=True))
    for seed in range(SHUFFLES):
        partner = pair_with_other_group([song_of[video] for video in videos], seed)
        other = {video: videos[j] for video, j in zip(videos, partner, strict=True)}
        yield [place[other[v], n] for v, n in zip(split.videos, split.numbers, strict=True)]


def other_videos(split: Split) -> Iterable[list[int]]:
    """Yield the same for the next, the next but one, … video of the same song."""
    place = {key: i for i, key in enumerate(zip(split.videos, split.numbers, strict=True))}
    of_song: dict[str, list[str]] = {}
    for song, video in sorted({*zip(split.songs, split.videos, strict=True)}):
        of_song.setdefault(song, []).append(video)
    for shift in range(1, min(len(videos) for videos in of_song.values())):
        other = {
            video: videos[(i + shift) % len(videos)]
            for videos in of_song.values()
            for i, video in enumerate(videos)
        }
        yield [place[other[v], n] for v, n in zip(split.videos, split.numbers, strict=True)]


def means(scores: dict[str, np.ndarray]) -> dict[str, float]:
    rows = [
        {name: float(scores[name][i]) for name in ("cover", "hit", "onset_f")}
        for i in range(len(scores["accuracy"]))
    ]
    return {**mean_scores(rows), "accuracy": float(scores["accuracy"].mean())}


def by_song(scores: np.ndarray, songs: list[str]) -> dict[str, float]:
    return {
        song: float(np.nanmean(scores[[s == song for s in songs]])) for song in sorted(set(songs))
    }


# --- what is shown -------------------------------------------------------------------------------


def curves(run: Path) -> dict[str, list[float]]:
    """Return samples seen and validation scores of a run."""
    batch_size = read_checkpoint(run / LAST)["config"]["batch_size"]
    rows = [row for row in read_metrics(run) if "val/onset_f" in row]
    return {
        "samples": [row["step"] * batch_size for row in rows],
        "onset_f": [row["val/onset_f"] for row in rows],
        "accuracy": [row["val/accuracy"] for row in rows],
    }


def tables(results: dict) -> str:
    """Return both tables in Markdown."""
    lines = ["| music | onset F | codes | cover | hit |", "|---|---|---|---|---|"]
    for name, arm in results["arms"].items():
        cells = [f"{arm['onset_f']:.3f}", f"{100 * arm['accuracy']:.2f} %"]
        cells += [f"{arm[column]:.2f}" for column in ("cover", "hit")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| difference | of | mean | 95 % interval | songs won |", "|---|---|---|---|---|"]
    for row in results["differences"]:
        scale, unit = (1, "") if row["score"] == "onset_f" else (100, " %")
        digits = 3 if scale == 1 else 2
        mean, low, high = (f"{scale * row[k]:+.{digits}f}" for k in ("mean", "low", "high"))
        won = f"{row['groups_won']} of {row['groups']}"
        name = {"onset_f": "onset F", "accuracy": "codes"}[row["score"]]
        other = row["b"].replace(f"{row['a']},", "itself,")
        lines.append(f"| {row['a']} − {other} | {name} | {mean}{unit} | {low} … {high} | {won} |")
    return "\n".join(lines)


def draw(results: dict, path: Path) -> None:
    """Draw validation curves and the split's onset F, song by song."""
    from matplotlib.figure import Figure

    figure = Figure((14, 4), layout="constrained")
    onset, accuracy, songs = figure.subplots(1, 3)
    for arch, curve in results["curves"].items():
        onset.plot(curve["samples"], curve["onset_f"], ".-", label=arch)
        accuracy.plot(curve["samples"], [100 * a for a in curve["accuracy"]], ".-", label=arch)
    onset.set(title="val: onset F", xlabel="samples seen", ylim=(0, None))
    accuracy.set(title="val: codes equal to the truth, %", xlabel="samples seen", ylim=(0, None))
    accuracy.legend(loc="upper left")
    shown = list(results["by_song"])
    for i, name in enumerate(shown):
        values = list(results["by_song"][name].values())
        songs.plot(values, [i] * len(values), "o", alpha=0.5, mec="none")
        songs.plot(results["arms"][name]["onset_f"], i, "k|", ms=18)
    songs.set_yticks(range(len(shown)), shown)
    songs.invert_yaxis()
    songs.set(title=f"{results['split']}: onset F, each song and the mean", xlim=(0, 1))
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    print_anything()
    main()
