"""`model evaluate`: score a run on a split beside what it is to be compared with; compare runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from model.evaluate.embeddings import Embedding

NAME = "evaluation.json"
FOLDER = "evaluation"


def add_arguments(parser: argparse.ArgumentParser, place: Callable[[str], object]) -> None:
    """Add the options; `place` reads a folder or the address of one."""
    parser.add_argument("--run", dest="run_folder", type=Path)
    parser.add_argument("--shards", type=place, help="with true music and codes")
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
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])


def run(arguments: argparse.Namespace, device: Callable[[str], torch.device]) -> int:
    """Evaluate a run, or print tables of evaluated ones."""
    from model.evaluate.tables import beside_the_paper, compared, one_run

    if arguments.all:
        print(beside_the_paper([load(folder) for folder in arguments.all]))
        return 0
    if arguments.run_folder is None:
        raise ValueError("name a run with --run, or evaluated runs with --all")
    if arguments.shards is not None:
        found = evaluate(arguments, device(arguments.device))
    elif arguments.against is not None:
        found = load(arguments.run_folder)
    else:
        raise ValueError("--run needs --shards, the data set to evaluate on")
    if arguments.shards is not None:
        print(one_run(found))
        print(f"\n{arguments.run_folder / FOLDER / 'index.html'}: the same, with music to hear")
        for label in found["labels"]:
            print(f"note: {label}")
    if arguments.against is not None:
        print(f"\n{compared(found, load(arguments.against))}")
    return 0


def load(run_folder: Path) -> dict[str, Any]:
    """Return what an evaluation wrote into a run's folder."""
    path = run_folder / FOLDER / NAME
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: not there yet; run: model evaluate --run {run_folder} --shards DIR"
        ) from None


def evaluate(arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Score all rows; write evaluation.json and the page into the run's folder."""
    import torch

    from model.config import to_dict
    from model.data import Source
    from model.evaluate.denoise import check_available
    from model.evaluate.material import read_clips, read_training
    from model.evaluate.music import Music, rows
    from model.evaluate.page import write_page
    from model.evaluate.score import Judge, plain, plain_scores
    from model.evaluate.skeleton import frames_per_second
    from model.generate import check_features, load_run
    from model.jukebox import load_codec
    from model.report import labels
    from model.segment import MOTION, load_dataset, write_atomic

    if arguments.denoise:
        check_available()
    embedding = find_embedding(arguments)
    torch.manual_seed(arguments.seed)
    checkpoint = f"{arguments.checkpoint}.pt"
    trained = load_run(arguments.run_folder, checkpoint, arguments.codec, device)
    dataset, codec, level = load_dataset(arguments.shards), trained.codec, trained.config.level
    check_features(arguments.shards, trained, dataset)

    def source(split: str) -> Source:
        return Source(arguments.shards, dataset, split, codec.codes_id, level, codec.bins(level))

    clips = read_clips(source(arguments.split))
    count = sum(len(clip.segments) for clip in clips)
    print(f"{arguments.split}: {len(clips)} clips, {count} segments", flush=True)
    training = read_training(source(arguments.train_split), clips, embedding)
    fps = frames_per_second(dataset.fields[MOTION]) if MOTION in dataset.fields else None
    judge = Judge(clips, embedding, training.database, fps, codec.bins(level))
    shown = to_show([clip.song for clip in clips], arguments.clips)
    notes = labels(codec.note, sorted({*dataset.untrained, *trained.dataset.untrained}))
    notes += [embedding.note] if embedding is not None and embedding.note else []
    told: dict[str, Any] = {}
    heard: list[Music] = []
    whole = load_codec(codec.source, dataset.codecs[codec.codes_id].levels, device)
    for music in rows(
        trained, whole, clips, training, arguments.denoise, arguments.seed, arguments.alone
    ):
        print(f"  {music.name}", flush=True)
        scores = judge.scores(music)
        told[music.name] = {"scores": plain(judge.summary(scores)), "each": plain_scores(scores)}
        notes += [music.note] if music.note else []
        heard.append(Music(music.name, [music.audio[i] for i in shown]))
    found = {
        "run": str(arguments.run_folder),
        "split": arguments.split,
        "row": f"D2M-GAN, {level}",
        "dataset": dataset.name,
        "window_s": dataset.window_s,
        "level": level,
        "step": trained.step,
        "checkpoint": arguments.checkpoint,
        "config": to_dict(trained.config),
        "codec": codec.id,
        "finetuned": codec.id != codec.codes_id,
        "embedding": embedding.name if embedding is not None else "none",
        "labels": notes,
        "songs": [clip.song for clip in clips],
        "segment_songs": judge.segment_songs,
        "segments": [f"{clip.piece.video_id}/{clip.piece.first + i}"
                     for clip in clips for i in range(len(clip.segments))],
        "rows": told,
    }  # fmt: skip
    folder = arguments.run_folder / FOLDER
    write_page(folder, found, [clips[i] for i in shown], heard)
    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    write_atomic(folder / NAME, text.encode())
    return found


def find_embedding(arguments: argparse.Namespace) -> Embedding | None:
    from model.evaluate.embeddings import load_embedding

    if arguments.embedding == "none":
        return None
    return load_embedding(arguments.embedding, arguments.vggish)


def to_show(songs: Sequence[str], count: int) -> list[int]:
    """Return the places of the first clip of each song, at most `count` spread over all songs."""
    firsts = [songs.index(song) for song in sorted(set(songs))]
    count = max(0, min(count, len(firsts)))
    return [firsts[i * len(firsts) // count] for i in range(count)] if count else []
