"""`model evaluate`: score a run on a split beside what it is to be compared with; compare runs."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

    from model.evaluate.score import Scorer
    from model.measures.embeddings import Embedding

from model.contract.dataset import Dataset
from model.contract.exit_codes import UsageError
from model.contract.segment import GENRES

NAME, SETS = "evaluation.json", "sets.npz"


def folder_of(run_folder: Path, split: str = "test") -> Path:
    """Return where a run's evaluation on a split lies: `evaluation` for the paper's, the test's."""
    return run_folder / ("evaluation" if split == "test" else f"evaluation-{split}")


def add_arguments(parser: argparse.ArgumentParser, to_location: Callable[[str], object]) -> None:
    """Add the options; `to_location` reads a folder or the address of one."""
    parser.add_argument("--run", dest="run_folder", type=Path)
    parser.add_argument("--shards", type=to_location, help="with true music and codes")
    parser.add_argument("--split", default="test", help="to evaluate on (default test)")
    parser.add_argument("--train-split", default="train", metavar="SPLIT",
                        help="that genres and the nearest dance are looked up in")  # fmt: skip
    parser.add_argument("--checkpoint", default="last", choices=["last", "best"])
    parser.add_argument("--codec", help="demo, jukebox-5b or PATH (default: the run's own)")
    parser.add_argument(
        "--embedding", default="vggish", choices=["vggish", "mel-statistics", "none"],
        help="for genre accuracy and distances (default vggish, whose weights it needs)",
    )  # fmt: skip
    parser.add_argument("--vggish", type=Path, metavar="FILE", help="weights in another place")
    parser.add_argument("--denoise", action="store_true", help="add a row of denoised music")
    parser.add_argument("--alone", action="store_true",
                        help="score the run's music alone, without the rows beside it")  # fmt: skip
    parser.add_argument("--clips", type=int, default=3, help="to hear on the page (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="of random codes, pairings and noise")
    parser.add_argument(
        "--against", type=Path, metavar="RUN", help="compare with this one's scores"
    )
    parser.add_argument("--all", type=Path, nargs="+", metavar="RUN",
                        help="print the paper's tables with evaluated runs beside")  # fmt: skip
    parser.add_argument("--listening", type=Path, metavar="DIR",
                        help="with --all: a listening test, whose opinions to print")  # fmt: skip
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])


def run(arguments: argparse.Namespace, device: Callable[[str], torch.device]) -> int:
    """Evaluate a run, or print tables of evaluated ones."""
    from model.evaluate.tables import beside_the_paper, compared, one_run, opinions
    from model.listening.report import report

    if arguments.all:
        heard = report(arguments.listening) if arguments.listening else None
        print(beside_the_paper([load(folder, arguments.split) for folder in arguments.all]))
        print(f"\n{opinions(heard)}")
        return 0
    if arguments.run_folder is None:
        raise UsageError("name a run with --run, or evaluated runs with --all")
    if arguments.shards is None and arguments.against is None:
        raise UsageError("--run needs --shards, the data set to evaluate on")
    against = load(arguments.against, arguments.split) if arguments.against else None
    if arguments.shards is not None:
        found = evaluate(arguments, device(arguments.device))
        print(one_run(found))
        page = folder_of(arguments.run_folder, arguments.split) / "index.html"
        print(f"\n{page}: the same, with music to hear")
        for label in found["labels"]:
            print(f"note: {label}")
    if against is not None:
        ours = load(arguments.run_folder, arguments.split)
        folders = (arguments.run_folder, arguments.against)
        print(f"\n{compared(ours, against, *(load_sets(f, arguments.split) for f in folders))}")
    return 0


def load(run_folder: Path, split: str = "test") -> dict[str, Any]:
    """Return what an evaluation wrote into a run's folder."""
    path = folder_of(run_folder, split) / NAME
    other = "" if split == "test" else f" --split {split}"
    advice = f"run: model evaluate --run {run_folder} --shards DIR{other}"
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: not there yet; {advice}") from None
    if "data" not in found:
        raise ValueError(f"{path}: made by an earlier version, which measured otherwise; {advice}")
    return found


def load_sets(run_folder: Path, split: str = "test") -> dict[str, np.ndarray]:
    """Return what an evaluation kept of the run's music to compare sets: patches and codes."""
    import numpy as np

    with np.load(folder_of(run_folder, split) / SETS) as arrays:
        return dict(arrays)


def evaluate(arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Score all rows; write evaluation.json and the page into the run's folder."""
    import numpy as np
    import torch

    from model.baselines.base import Music
    from model.codecs.base import load_codec
    from model.contract.dataset import load_dataset
    from model.contract.files import atomic_file, write_atomic
    from model.data.clips import read_clips
    from model.data.source import Source
    from model.evaluate.page import write_page
    from model.evaluate.score import Scorer, plain, plain_scores
    from model.evaluate.systems import rows
    from model.evaluate.training_split import Training, read_training
    from model.families.d2m_gan.config import to_dict
    from model.generation.denoise import check_available
    from model.generation.generate import check_features, load_run
    from model.runtime.run_log import labels

    if arguments.denoise:
        check_available()
    embedding = find_embedding(arguments, device)
    torch.manual_seed(arguments.seed)
    checkpoint = f"{arguments.checkpoint}.pt"
    trained = load_run(arguments.run_folder, checkpoint, arguments.codec, device)
    dataset, codec, level = load_dataset(arguments.shards), trained.codec, trained.config.level
    check_features(arguments.shards, trained, dataset)

    def source(split: str) -> Source:
        return Source(
            arguments.shards, dataset, split, codec.codes_id, level, codec.level(level).size
        )

    clips = read_clips(source(arguments.split))
    count = sum(len(clip.segments) for clip in clips)
    print(f"{arguments.split}: {len(clips)} clips, {count} segments", flush=True)
    training = Training()
    if embedding is not None or not arguments.alone:
        looked_up = source(arguments.train_split)
        training = read_training(looked_up, clips, embedding, dances=not arguments.alone)
    scorer = Scorer(
        clips, embedding, training.database, clips[0].motion_fps, codec.level(level).size
    )
    shown = to_show([clip.song for clip in clips], arguments.clips)
    notes = labels(codec.note, sorted({*dataset.untrained, *trained.dataset.untrained}))
    if embedding is not None:
        notes += [embedding.note] if embedding.note else []
        notes += genre_notes(scorer, arguments.train_split)
    scored: dict[str, Any] = {}
    heard: list[Music] = []
    whole = load_codec(codec.source, dataset.codecs[codec.codes_id].levels, device)
    for music in rows(
        trained, whole, clips, training, arguments.denoise, arguments.seed, arguments.alone
    ):
        print(f"  {music.name}", flush=True)
        scores = scorer.scores(music)
        scored[music.name] = {"scores": plain(scorer.summary(scores)), "each": plain_scores(scores)}
        notes += [music.note] if music.note else []
        heard.append(Music(music.name, [music.audio[i] for i in shown]))
        if music.name == f"D2M-GAN, {level}":
            sets = {"codes": scores["of codes"].astype(np.uint16)}
            if embedding is not None:
                sets |= {"patches": scores["patches"], "truth": scorer.patches}
    if not arguments.alone and "shuffled pairing" not in scored:
        notes.append("one song has more than half of the clips: no rows of other songs' music")
    found = {
        "run": str(arguments.run_folder),
        "split": arguments.split,
        "row": f"D2M-GAN, {level}",
        "dataset": dataset.name,
        "data": data_id(dataset, arguments.split),
        "train_data": data_id(dataset, arguments.train_split),
        "window_s": dataset.window_s,
        "level": level,
        "step": trained.step,
        "checkpoint": arguments.checkpoint,
        "config": to_dict(trained.config),
        "codec": codec.id,
        "codes_id": codec.codes_id,
        "bins": codec.level(level).size,
        "finetuned": codec.id != codec.codes_id,
        "embedding": embedding.name if embedding is not None else "none",
        "labels": notes,
        "songs": [clip.song for clip in clips],
        "segment_songs": scorer.segment_songs,
        "segments": [f"{clip.piece.video_id}/{clip.piece.first + i}"
                     for clip in clips for i in range(len(clip.segments))],
        "rows": scored,
    }  # fmt: skip
    folder = folder_of(arguments.run_folder, arguments.split)
    write_page(folder, found, [clips[i] for i in shown], heard)
    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    with atomic_file(folder / SETS) as file:
        np.savez_compressed(file, **sets)
    write_atomic(folder / NAME, text.encode())
    return found


def data_id(dataset: Dataset, split: str) -> str:
    """Return what tells a split's shards from any others; empty for a split that is not there."""
    listed = "".join(shard.sha256 for shard in dataset.splits.get(split, ()))
    return hashlib.sha256(listed.encode()).hexdigest()[:12] if listed else ""


def genre_notes(scorer: Scorer, train_split: str) -> list[str]:
    """Say where genre accuracy has nothing to go by."""
    if scorer.database is None:
        return [f"split {train_split} has no genres: no genre accuracy"]
    missing = sum(genre not in GENRES for genre in scorer.genres)
    return [f"{missing} of {len(scorer.genres)} segments have no genre"] if missing else []


def find_embedding(arguments: argparse.Namespace, device: torch.device) -> Embedding | None:
    from model.measures.embeddings import load_embedding

    if arguments.embedding == "none":
        return None
    return load_embedding(arguments.embedding, arguments.vggish, device)


def to_show(songs: Sequence[str], count: int) -> list[int]:
    """Return the places of the first clip of each song, at most `count` spread over all songs."""
    firsts = [songs.index(song) for song in sorted(set(songs))]
    count = max(0, min(count, len(firsts)))
    return [firsts[i * len(firsts) // count] for i in range(count)] if count else []
