"""Generate music with a trained run, for pieces of consecutive segments.

A network that accepts any length generates a piece in one pass, other networks window by window.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import torch

from model.contract.dataset import Dataset, load_dataset
from model.contract.files import write_atomic
from model.contract.notes import midi_of
from model.contract.segment import MOTION, SAMPLE_RATE_HZ, split_key, window_samples
from model.contract.storage import Location, Url, to_location
from model.contract.wav import write_wav
from model.data.inputs import GENRE, same_kind, shown
from model.data.pieces import Piece, Row, join
from model.data.reader import genre_index, member, meta_of, read_tar
from model.generation.batches import Made, music_of_each
from model.generation.denoise import denoise, removed_share
from model.generation.inpaint import Replacement, check_fits, inpainted, replacement
from model.generation.pipeline_process import find_video, has_pipeline, mux
from model.generation.run import Run
from model.generation.video_features import (
    build_features,
    keep_features,
    new_to_networks,
    options_for,
)
from model.runtime.run_log import labels
from model.runtime.settings import load, override, to_dict

SUMMARY = "generated.json"


@dataclass(frozen=True)
class Generated:
    """The music of one piece: its wav file, and the mp4 with the video, or None without video.

    `error` says why an mp4 could not be written; "" if it was written or there is no video.
    """

    piece: Piece
    wav: Path
    mp4: Path | None = None
    error: str = ""


def generate(
    run: Run,
    out: str | os.PathLike[str],
    *,
    video: str | os.PathLike[str] | None = None,
    shards: str | os.PathLike[str] | Url | None = None,
    split: str = "test",
    genre: str = "",
    seed: int = 0,
    denoised: bool = False,
    options: Iterable[str] | Mapping[str, Any] = (),
    replace: Iterable[str] = (),
    music: str | os.PathLike[str] | None = None,
    length_s: float | None = None,
    features: str | os.PathLike[str] | None = None,
) -> list[Generated]:
    """Generate music for one video, or for a split of shards, and write it into the folder `out`.

    The features of a video are computed as for the run's training data, by the package `pipeline`,
    which must be installed. `genre`, if given, replaces the genre of the segments. `options` are
    those of the run's family, as a dict or as "key=value" texts. `replace` are spans in seconds,
    such as "3.0-5.0", of the video's `music`, a file: only they are generated, the rest is kept.
    With `length_s` only the first windows of the dance that last so long get music, and the mp4
    ends with it. The features of a video are kept in the folder `features`, if it is given, and
    those that are there are used again.

    Raises ValueError and OSError, with advice, if video, shards or options do not fit the run. For
    shards, an mp4 that cannot be written raises nothing: see `Generated.error`.
    """
    if (video is None) == (shards is None):
        raise ValueError("give either a video or shards")
    if video is None and not (length_s is None and features is None):
        raise ValueError("--length-s and --features go with --video")
    if length_s is not None and not 0 < length_s < math.inf:
        raise ValueError(f"--length-s {length_s}: expected more than 0 seconds")
    check_genre(run, genre, needed=video is not None)
    chosen = chosen_options(run, options)
    wanted = replacement(run, replace, music, video is not None)
    torch.manual_seed(seed)
    out = Path(out)
    if video is not None:
        with _features_of(run, Path(video), features) as root:
            return _for_video(
                run, Path(video), out, genre, denoised, chosen, wanted, root, length_s
            )
    assert shards is not None, "either a video or shards is given"
    return _for_split(run, to_location(shards), out, split, genre, denoised, chosen)


def chosen_options(run: Run, options: Iterable[str] | Mapping[str, Any]) -> Any:
    """Return the options of generation of the run's family; ValueError for unknown ones."""
    plain = run.model.Options()
    if options and not fields(plain):
        raise ValueError(f"generation by the family {run.family} has no options; got {options!r}")
    if isinstance(options, Mapping):
        return override(plain, options, "options")
    return load(plain, options)


@contextmanager
def _features_of(run: Run, video: Path, kept: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Yield the folder with the features of a video: the one where they are kept, or another."""
    if new_to_networks(run):
        print("poses are estimated from the picture; the weights for it are fetched if missing")
    print(f"features of {video.name}: computing", flush=True)
    if kept is not None:
        keep_features(video, run, Path(kept))
        yield Path(kept)
        return
    with tempfile.TemporaryDirectory(prefix="dance2music-") as folder:
        root = Path(folder) / "shards"
        build_features(video, options_for(run), root, new_to_networks(run))
        yield root


def _for_video(
    run: Run, video: Path, out: Path, genre: str, denoised: bool, options: Any,
    wanted: Replacement | None, root: Path, length_s: float | None,
) -> list[Generated]:  # fmt: skip
    dataset = load_dataset(root)
    splits = [split for split in dataset.splits if dataset.segments(split)]
    pieces = [p for s in splits for p in read_pieces(root, run, dataset, s, genre)]
    if length_s is not None:
        pieces = shortened(pieces, length_s, dataset.seconds)
    if wanted is not None:
        check_fits(wanted, pieces, dataset.seconds)
    seconds = sum(piece.segments for piece in pieces) * dataset.seconds
    print(f"music for {seconds:g} s: generating", flush=True)
    written = write_pieces(run, pieces, out, dataset.untrained, denoised, options, wanted)
    made = []
    for piece, wav in written:
        mp4 = wav.with_suffix(".mp4")
        mux(video, wav, piece.start_s, mp4, piece.stop_s)
        print(mp4)
        made.append(Generated(piece, wav, mp4))
    return made


def shortened(pieces: list[Piece], length_s: float, window_s: float) -> list[Piece]:
    """Return the first pieces, with as many windows in all as last `length_s`, at least one.

    A piece of which only a part is left has an end (`stop_s`), so that its mp4 is cut there.
    """
    left, kept = max(1, math.ceil(length_s / window_s - 1e-9)), []
    for piece in pieces:
        if left >= piece.segments:
            kept.append(piece)
        elif left > 0:
            inputs = {
                name: array[: len(array) // piece.segments * left]
                for name, array in piece.inputs.items()
            }
            last, stop_s = piece.first + left - 1, piece.start_s + left * window_s
            kept.append(replaced(piece, last=last, inputs=inputs, stop_s=stop_s))
        left -= piece.segments
    return kept


def _for_split(
    run: Run, root: Location, out: Path, split: str, genre: str, denoised: bool, options: Any
) -> list[Generated]:
    dataset = load_dataset(root)
    pieces = read_pieces(root, run, dataset, split, genre)
    written = write_pieces(run, pieces, out, dataset.untrained, denoised, options)
    if not has_pipeline():
        print("wav only: mp4 needs the packages pipeline and av, which are not both installed")
        return [Generated(piece, wav) for piece, wav in written]
    made = []
    for piece, wav in written:
        video, mp4 = find_video(dataset.source, piece.source), wav.with_suffix(".mp4")
        if video is None:
            made.append(Generated(piece, wav))
            continue
        try:
            mux(video, wav, piece.start_s, mp4, piece.stop_s, piece.box_px)
            print(mp4)
            made.append(Generated(piece, wav, mp4))
        except ValueError as error:
            made.append(Generated(piece, wav, error=str(error)))
    if absent := sum(piece.mp4 is None and not piece.error for piece in made):
        print(f"wav only for {absent} of {len(made)}: their videos were not found")
    return made


def check_genre(run: Run, genre: str, needed: bool) -> None:
    """Raise ValueError if a genre is unknown, unused by the run, or missing although `needed`."""
    if GENRE not in run.model.inputs.specs:
        if genre:
            raise ValueError(f"--genre {genre}: the run was trained without the genre as an input")
    elif genre or (needed and GENRE not in run.model.optional):
        genre_index(genre or None, "--genre")


def read_pieces(
    root: Location, run: Run, dataset: Dataset, split: str, genre: str = ""
) -> Iterator[Piece]:
    """Yield the pieces of a split's videos; a video is cut where a segment is missing.

    `genre`, if given, replaces the genre of the segments. The pieces of a video are yielded after
    its last segment was read. Videos read in part are held in memory: only one at a time if the
    segments of each video are contiguous. Raises ValueError if the shards' features differ from
    those the run was trained on.
    """
    if not dataset.segments(split):
        raise ValueError(f"{root}: {dataset.no_segments(split)}")
    suffixes = check_features(root, run, dataset)
    shards = [root / shard.name for shard in dataset.splits[split]]
    ahead = Counter(
        split_key(raw["__key__"])[0] for path in shards for raw in read_tar(path, wanted=())
    )
    videos: dict[str, list[Row]] = {}
    for path in shards:
        for raw in read_tar(path):
            meta = meta_of(raw, str(path))
            arrays = {s: member(raw, s, dataset.fields, str(path)) for s in suffixes}
            video_id = meta["video_id"]
            videos.setdefault(video_id, []).append((meta, arrays))
            ahead[video_id] -= 1
            if not ahead[video_id]:
                for piece in join(video_id, videos.pop(video_id), suffixes):
                    yield replaced(piece, genre=genre or piece.genre)


def check_features(root: Location, run: Run, dataset: Dataset) -> list[str]:
    """Return the members that the generator reads; ValueError if those of the shards differ."""
    suffixes = [name for name in run.model.inputs.names if name != GENRE]
    if window_samples(dataset.window_s) != run.dataset.samples:
        raise ValueError(
            f"{root}: windows of {dataset.window_s} s; the run was trained on "
            f"{run.dataset.window_s} s: build the shards with --window-s "
            f"{run.dataset.window_s}"
        )
    for suffix in suffixes:
        got, expected = dataset.fields.get(suffix), run.dataset.fields[suffix]
        if got is not None and suffix == MOTION and run.model.any_motion:
            continue  # the family reads any layout
        if not same_kind(expected, got):
            raise ValueError(
                f"{root}: {suffix} is {got}, the run was trained on {expected}; "
                "build the shards with the same options"
            )
    return suffixes


def write_pieces(
    run: Run,
    pieces: Iterable[Piece],
    out: Path,
    untrained: Iterable[str],
    denoised: bool = False,
    options: Any = None,
    wanted: Replacement | None = None,
) -> list[tuple[Piece, Path]]:
    """Write one wav per piece, its notes as MIDI if it has any, and generated.json into `out`.

    `wanted` says which part of given music is replaced; without it all music is generated.
    With `denoised` each complete piece is denoised, and the removed energy is reported. Return the
    pieces, without their features, and their files.
    """
    untrained = sorted({*untrained, *run.dataset.untrained})
    notes = [*([run.note] if run.note else []), *labels(run.codec.note, untrained)]
    written: list[tuple[Piece, Path]] = []
    rows = []
    if wanted is None:
        sounds = music_of_each(run, pieces, options)
    else:
        sounds = (Made(piece, inpainted(run, piece, wanted, options)) for piece in pieces)
    for made in sounds:
        piece, name = made.piece, made.piece.video_id
        if not piece.alone:
            name += f"_seg{piece.first:04d}-{piece.last:04d}"
        path = out / f"{name}.wav"
        audio = made.audio.numpy()
        taken: dict[str, Any] = {}
        if denoised:
            before, audio = audio, denoise(audio)
            taken["denoising_removed_share"] = removed_share(before, audio)
        clipped = write_wav(path, audio)
        if made.notes is not None:
            midi = path.with_suffix(".mid")
            write_atomic(midi, midi_of(made.notes, name))
            taken |= {"midi": midi.name, "notes": len(made.notes)}
        rows.append(
            {
                "file": path.name,
                "video_id": piece.video_id,
                "segments": [piece.first, piece.last],
                "start_s": piece.start_s,
                "mp4_start_s": piece.mp4_start_s,
                "samples": len(audio),
                "clipped_samples": clipped,
                **taken,
            }
        )
        seconds = len(audio) / SAMPLE_RATE_HZ
        note = f", {clipped} samples clipped" if clipped else ""
        if denoised:
            note += f", denoising removed {taken['denoising_removed_share']:.1%} of the energy"
        print(f"{path}: {seconds:.2f} s{note}", flush=True)
        written.append((replaced(piece, inputs={}), path))
    notes += run.model.remarks(run.step)
    summary = {
        "codec": run.codec.id,
        "step": run.step,
        "family": run.family,
        "level": run.level,
        "inputs": [shown(name) for name in run.model.inputs.names],
        "denoised": denoised,
        **(wanted.facts if wanted is not None else {}),
        **({"options": to_dict(options)} if options is not None and fields(options) else {}),
        "labels": notes,
        "generated": rows,
    }
    write_atomic(out / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())
    for label in notes:
        print(f"note: {label}")
    return written
