"""Score a run and its baselines on a split."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.baselines.base import Given
from model.codecs.base import load_codec
from model.contract.dataset import Dataset, load_dataset
from model.contract.files import atomic_file, write_atomic
from model.contract.kinds import BASELINES, MEASURES
from model.contract.segment import GENRES
from model.contract.storage import Url, to_location
from model.data.clips import Clip, read_clips, read_segments
from model.data.source import Source, open_source
from model.evaluation.likelihood import likelihood_measures, ngram_likelihood
from model.evaluation.page import write_page
from model.evaluation.score import Scorer
from model.evaluation.scored import Scored
from model.evaluation.subject import MusicFolder, of_folder, of_run
from model.evaluation.systems import rows
from model.evaluation.training_split import Training, read_training
from model.generation.denoise import check_available
from model.generation.generate import check_features, chosen_options
from model.generation.run import Run
from model.measures.base import check_measure
from model.measures.embeddings import load_embedding
from model.runtime.run_log import labels

NAME, SETS = "evaluation.json", "sets.npz"
VALIDATION = "val"
"""The split on which n-grams are tuned."""


@dataclass(frozen=True)
class EvaluateOptions:
    """The options of an evaluation; defaults are those of the command.

    Genres and the nearest dance are searched in `train_split`. `embedding`, for genre accuracy,
    distances and similarity, is "vggish", "mel-statistics", "clap", "clap:FOLDER" or "none";
    `similarity` are further ones for similarity alone. `vggish` is the path of VGGish weights
    outside the weights folder. `alone` leaves out the built-in baselines; `baselines` and
    `measures` add those of other packages, by name. `clips` is the number of clips on the page.
    `seed` is the seed of random codes, pairings and noise. `settings` are options of generation of
    the run's family, as "key=value". `music` are folders of other systems' music, as NAME=FOLDER;
    `codec` and `device` are those of the rows beside them, if no run is scored.
    """

    split: str = "test"
    train_split: str = "train"
    embedding: str = "vggish"
    similarity: tuple[str, ...] = ()
    vggish: Path | None = None
    denoise: bool = False
    alone: bool = False
    baselines: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    clips: int = 3
    seed: int = 0
    settings: tuple[str, ...] = ()
    music: tuple[str, ...] = ()
    codec: str | None = None
    device: str = "cpu"


def folder_of(run_folder: Path, split: str = "test") -> Path:
    """Return the folder of a run's evaluation on a split: `evaluation` for the split test."""
    return run_folder / ("evaluation" if split == "test" else f"evaluation-{split}")


def evaluate(
    run: Run | None,
    shards: str | os.PathLike[str] | Url,
    options: EvaluateOptions | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Score a run on a data set; return the content of evaluation.json.

    Writes evaluation.json, a page with audio, and the arrays for `compared`, into the run's folder
    (`folder_of`). Without a run, the first folder of `music` is what is scored, and gets them.
    `changes` are fields of `EvaluateOptions`: `evaluate(run, "shards/aist", embedding="none")`.

    Raises ValueError or OSError, with advice, if shards, weights or names are missing or invalid.
    """
    options = replace(options or EvaluateOptions(), **changes)
    if options.denoise:
        check_available()
    measures = {name: check_measure(name, MEASURES.get(name)) for name in options.measures}
    baselines = [*([] if options.alone else BASELINES.own), *options.baselines]
    for name in baselines:
        BASELINES.get(name)
    folders = [MusicFolder.parse(text) for text in options.music]
    root = to_location(shards)
    dataset = load_dataset(root)
    if run is not None:
        generation = chosen_options(run, options.settings)
        subject = of_run(run, generation, dataset, root, options.codec)
        check_features(root, run, dataset)
    elif folders:
        subject = of_folder(folders[0], dataset, root, options.codec, options.device)
    else:
        raise ValueError("nothing to score: give a run, or music as NAME=FOLDER")
    codec, level, device = subject.codec, subject.level, subject.codec.device
    embedding = None
    if options.embedding != "none":
        embedding = load_embedding(options.embedding, options.vggish, device)
    others_asked = dict.fromkeys(name for name in options.similarity if name != options.embedding)
    further = [load_embedding(name, options.vggish, device) for name in others_asked]
    torch.manual_seed(options.seed)
    every_level = load_codec(codec.source, dataset.codecs[codec.codes_id].levels, device)

    def source(split: str, *levels: str) -> Source:
        return open_source(root, dataset, split, every_level, [level, *levels])

    # The level that is decoded comes first; a likelihood is of all levels.
    others = [name for name in subject.likelihoods if name != level]
    clips = read_clips(source(options.split, *others))
    count = sum(len(clip.segments) for clip in clips)
    print(f"{options.split}: {len(clips)} clips, {count} segments", flush=True)
    training = Training()
    if embedding is not None or not options.alone or dataset.segments(options.train_split):
        levels = [name for name in every_level.levels if name != level]
        train_source, dances = source(options.train_split, *levels), not options.alone
        training = read_training(train_source, clips, embedding, dances, every_level)
    size = codec.level(level).size
    # N-grams have bits of the level of any run.
    asked = measures | likelihood_measures(subject.likelihoods or (level,))

    def scorer_of(some: Sequence[Clip]) -> Scorer:
        return Scorer(some, embedding, training, clips[0].motion_fps, size, asked, further)

    shown = to_show([clip.song for clip in clips], options.clips)
    scored = Scored(subject, clips, scorer_of, shown, options.seed)
    learnt = source(options.train_split) if dataset.segments(options.train_split) else None
    given = Given(clips, every_level, level, training.nearest, options.seed, learnt)
    for music in rows(subject, folders, given, baselines, options.denoise, not options.alone):
        scored.add(music)
    if not options.alone and dataset.segments(VALIDATION):
        validation = codes_by_level(source(VALIDATION, *others))
        sizes = {name: every_level.level(name).size for name in validation}
        for name, bits in ngram_likelihood(clips, training.codes, validation, sizes).items():
            scored.add_scores(name, bits)
    notes = labels(codec.note, sorted({*dataset.untrained, *subject.untrained}))
    if embedding is not None:
        notes += [embedding.note] if embedding.note else []
        notes += genre_notes(scored.scorer, options.train_split)
    notes += [each.note for each in further if each.note]
    notes += scored.notes
    if not options.alone and "shuffled pairing" not in scored.rows:
        notes.append("one song has more than half of the clips: no rows with other songs' music")
    found = {
        **subject.facts,
        "split": options.split,
        "row": subject.name,
        "dataset": dataset.name,
        "data": data_id(dataset, options.split),
        "train_data": data_id(dataset, options.train_split),
        "window_s": dataset.window_s,
        "level": subject.run.level if subject.run is not None else "",
        "codec": codec.id,
        "codes_id": codec.codes_id,
        "bins": size,
        "finetuned": getattr(codec, "finetuned", False),
        "embedding": embedding.name if embedding is not None else "none",
        "measures": {name: each.facts() for name, each in scored.scorer.measures.items()},
        "labels": notes,
        "songs": [clip.song for clip in clips],
        "segment_songs": scored.scorer.segment_songs,
        "segments": [f"{clip.piece.video_id}/{clip.piece.first + i}"
                     for clip in clips for i in range(len(clip.segments))],
        "rows": scored.rows,
    }  # fmt: skip
    folder = folder_of(subject.folder, options.split)
    write_page(folder, found, [clips[i] for i in shown], scored.played)
    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    with atomic_file(folder / SETS) as file:
        # The type stub confuses the names of arrays with the option `allow_pickle`.
        np.savez_compressed(file, **scored.sets)  # type: ignore[arg-type]
    write_atomic(folder / NAME, text.encode())
    return found


def codes_by_level(source: Source) -> dict[str, np.ndarray]:
    """Return the codes (R, L) of all segments of a split, by level."""
    held: dict[str, list[np.ndarray]] = {}
    for _, batch in read_segments(source):
        for name, codes in batch.codes.items():
            held.setdefault(name, []).append(codes[0].numpy())
    return {name: np.stack(each) for name, each in held.items()}


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
