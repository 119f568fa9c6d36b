"""Score a run and its baselines on a split."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.baselines.base import Given, Music
from model.baselines.references import partners
from model.codecs.base import load_codec
from model.contract.dataset import Dataset, load_dataset
from model.contract.files import atomic_file, write_atomic
from model.contract.kinds import BASELINES, MEASURES
from model.contract.segment import GENRES
from model.contract.storage import Url, to_location
from model.data.clips import read_clips, read_segments
from model.data.source import Source, open_source
from model.evaluation.diversity import diversity
from model.evaluation.likelihood import likelihood, likelihood_measures, ngram_likelihood
from model.evaluation.page import write_page
from model.evaluation.score import Scorer, plain
from model.evaluation.systems import rows
from model.evaluation.training_split import Training, read_training
from model.generation.denoise import check_available
from model.generation.generate import check_features, chosen_options
from model.generation.run import Run
from model.measures.base import check_measure
from model.measures.embeddings import load_embedding
from model.runtime.run_log import labels
from model.runtime.settings import to_dict

NAME, SETS = "evaluation.json", "sets.npz"
VALIDATION = "val"
"""The split on which n-grams are tuned."""


@dataclass(frozen=True)
class EvaluateOptions:
    """The options of an evaluation; defaults are those of the command.

    Genres and the nearest dance are searched in `train_split`. `embedding`, for genre accuracy and
    distances, is "vggish", "mel-statistics" or "none"; `vggish` is the path of VGGish weights
    outside the weights folder. `alone` leaves out the built-in baselines; `baselines` and
    `measures` add those of other packages, by name. `clips` is the number of clips on the page.
    `seed` is the seed of random codes, pairings and noise. `settings` are options of generation of
    the run's family, as "key=value".
    """

    split: str = "test"
    train_split: str = "train"
    embedding: str = "vggish"
    vggish: Path | None = None
    denoise: bool = False
    alone: bool = False
    baselines: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    clips: int = 3
    seed: int = 0
    settings: tuple[str, ...] = ()


def folder_of(run_folder: Path, split: str = "test") -> Path:
    """Return the folder of a run's evaluation on a split: `evaluation` for the split test."""
    return run_folder / ("evaluation" if split == "test" else f"evaluation-{split}")


def evaluate(
    run: Run,
    shards: str | os.PathLike[str] | Url,
    options: EvaluateOptions | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Score a run on a data set; return the content of evaluation.json.

    Writes evaluation.json, a page with audio, and the arrays for `compared`, into the run's folder
    (`folder_of`). `changes` are fields of `EvaluateOptions`: `evaluate(run, "shards/aist",
    embedding="none")`.

    Raises ValueError or OSError, with advice, if shards, weights or names are missing or invalid.
    """
    options = replace(options or EvaluateOptions(), **changes)
    if options.denoise:
        check_available()
    measures = {name: check_measure(name, MEASURES.get(name)) for name in options.measures}
    generation = chosen_options(run, options.settings)
    likely = likelihood_measures(run.model.levels)
    baselines = [*([] if options.alone else BASELINES.own), *options.baselines]
    for name in baselines:
        BASELINES.get(name)
    device = run.device
    embedding = None
    if options.embedding != "none":
        embedding = load_embedding(options.embedding, options.vggish, device)
    torch.manual_seed(options.seed)
    root = to_location(shards)
    dataset, codec, level = load_dataset(root), run.codec, run.level
    check_features(root, run, dataset)

    every_level = load_codec(codec.source, dataset.codecs[codec.codes_id].levels, device)

    def source(split: str, *levels: str) -> Source:
        return open_source(root, dataset, split, every_level, [level, *levels])

    # The level that is decoded comes first; a likelihood is of all levels.
    others = [name for name in run.model.levels if name != level] if run.model.likelihood else []
    clips = read_clips(source(options.split, *others))
    count = sum(len(clip.segments) for clip in clips)
    print(f"{options.split}: {len(clips)} clips, {count} segments", flush=True)
    training = Training()
    if embedding is not None or not options.alone or dataset.segments(options.train_split):
        levels = [name for name in every_level.levels if name != level]
        train_source, dances = source(options.train_split, *levels), not options.alone
        training = read_training(train_source, clips, embedding, dances, every_level)
    size = codec.level(level).size
    fps, asked = clips[0].motion_fps, measures | likely
    scorer = Scorer(clips, embedding, training, fps, size, asked)
    shown = to_show([clip.song for clip in clips], options.clips)
    notes = labels(codec.note, sorted({*dataset.untrained, *run.dataset.untrained}))
    if embedding is not None:
        notes += [embedding.note] if embedding.note else []
        notes += genre_notes(scorer, options.train_split)
    scored: dict[str, Any] = {}
    played: list[Music] = []
    sets: dict[str, np.ndarray] = {}
    given = Given(clips, every_level, level, training.nearest, options.seed)
    for music in rows(run, given, baselines, options.denoise, not options.alone, generation):
        print(f"  {music.name}", flush=True)
        scores = scorer.scores(music)
        if music.name == run.name:
            scores["diversity"] = diversity(run, clips, generation)
            if run.model.likelihood:
                scores |= likelihood(run, clips, partners(clips, options.seed))
        summary = plain(scorer.summary(scores))
        scored[music.name] = {"scores": summary, "each": scorer.plain_scores(scores)}
        notes += [music.note] if music.note else []
        played.append(Music(music.name, [music.audio[i] for i in shown]))
        if music.name == run.name:
            sets = {"codes": scores["of codes"].astype(np.uint16)}
            if scorer.patches is not None:
                sets |= {"patches": scores["patches"], "truth": scorer.patches}
    if not options.alone and dataset.segments(VALIDATION):
        tuned: dict[str, list[np.ndarray]] = {}
        for _, batch in read_segments(source(VALIDATION, *others)):
            for name, codes in batch.codes.items():
                tuned.setdefault(name, []).append(codes[0].numpy())
        validation = {name: np.stack(each) for name, each in tuned.items()}
        sizes = {name: every_level.level(name).size for name in validation}
        grams = ngram_likelihood(clips, training.codes, validation, sizes)
        for name, bits in grams.items():
            summary = plain(scorer.summary(bits))
            scored[name] = {"scores": summary, "each": scorer.plain_scores(bits)}
    if not options.alone and "shuffled pairing" not in scored:
        notes.append("one song has more than half of the clips: no rows with other songs' music")
    drawn = {"generation": to_dict(generation)} if fields(generation) else {}
    found = {
        "run": str(run.folder),
        "family": run.family,
        "split": options.split,
        "row": run.name,
        "dataset": dataset.name,
        "data": data_id(dataset, options.split),
        "train_data": data_id(dataset, options.train_split),
        "window_s": dataset.window_s,
        "level": level,
        "step": run.step,
        "checkpoint": run.checkpoint,
        "config": to_dict(run.config),
        **drawn,
        "codec": codec.id,
        "codes_id": codec.codes_id,
        "bins": size,
        "finetuned": codec.id != codec.codes_id,
        "embedding": embedding.name if embedding is not None else "none",
        "measures": {name: each.facts() for name, each in asked.items()},
        "labels": notes,
        "songs": [clip.song for clip in clips],
        "segment_songs": scorer.segment_songs,
        "segments": [f"{clip.piece.video_id}/{clip.piece.first + i}"
                     for clip in clips for i in range(len(clip.segments))],
        "rows": scored,
    }  # fmt: skip
    folder = folder_of(run.folder, options.split)
    write_page(folder, found, [clips[i] for i in shown], played)
    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    with atomic_file(folder / SETS) as file:
        # The type stub confuses the names of arrays with the option `allow_pickle`.
        np.savez_compressed(file, **sets)  # type: ignore[arg-type]
    write_atomic(folder / NAME, text.encode())
    return found


def load(run_folder: Path, split: str = "test") -> dict[str, Any]:
    """Return the evaluation.json in a run's folder; FileNotFoundError or ValueError with advice."""
    path = folder_of(run_folder, split) / NAME
    other = "" if split == "test" else f" --split {split}"
    advice = f"run: model evaluate --run {run_folder} --shards DIR{other}"
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: not found; {advice}") from None
    if "data" not in found:
        raise ValueError(f"{path}: from an earlier version with other measures; {advice}")
    return found


def load_sets(run_folder: Path, split: str = "test") -> dict[str, np.ndarray]:
    """Return the arrays of a run's music that measures of sets need: patches and codes."""
    with np.load(folder_of(run_folder, split) / SETS) as arrays:
        return dict(arrays)


def data_id(dataset: Dataset, split: str) -> str:
    """Return an id of the shards of a split; "" if the data set has no such split."""
    listed = "".join(shard.sha256 for shard in dataset.splits.get(split, ()))
    return hashlib.sha256(listed.encode()).hexdigest()[:12] if listed else ""


def genre_notes(scorer: Scorer, train_split: str) -> list[str]:
    """Return notes about missing genres, which genre accuracy needs."""
    if scorer.training.database is None:
        return [f"split {train_split} has no genres: no genre accuracy"]
    missing = sum(genre not in GENRES for genre in scorer.genres)
    return [f"{missing} of {len(scorer.genres)} segments have no genre"] if missing else []


def to_show(songs: Sequence[str], count: int) -> list[int]:
    """Return the index of the first clip of each song, for at most `count` songs, spread evenly."""
    firsts = [songs.index(song) for song in sorted(set(songs))]
    count = max(0, min(count, len(firsts)))
    return [firsts[i * len(firsts) // count] for i in range(count)] if count else []
