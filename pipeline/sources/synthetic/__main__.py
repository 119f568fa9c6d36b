"""Write the synthetic benchmark: `python -m pipeline.sources.synthetic DIR`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from model.contract.segment import SPLITS
from model.contract.terminal import print_anything
from pipeline.sources.synthetic import (
    VideoSpec,
    open_instruments,
    plan,
    write_annotations,
    write_song,
    write_video,
)
from pipeline.sources.synthetic.captions import write_captions
from pipeline.sources.synthetic.jobs import write_each
from pipeline.sources.synthetic.music import SONGS_PER_GENRE


def main(argv: Sequence[str] | None = None) -> int:
    """Write videos and annotations, or with --music-only the songs; keep videos that exist."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.sources.synthetic", description=__doc__
    )
    parser.add_argument("root", type=Path, metavar="DIR")
    parser.add_argument(
        "--limit", type=int, help="write only the first N videos (default: ten of each song)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--duration-s", type=float, default=8.0)
    parser.add_argument(
        "--songs-per-genre", type=int, default=SONGS_PER_GENRE, metavar="N",
        help=f"songs of each of the ten genres (default and minimum {SONGS_PER_GENRE})",
    )  # fmt: skip
    parser.add_argument(
        "--instruments", type=Path, metavar="FILE.sf2",
        help="play the songs with the sampled instruments of this sound font",
    )  # fmt: skip
    parser.add_argument("--split", choices=SPLITS, help="of these, write only this split")
    parser.add_argument(
        "--no-video", action="store_true",
        help="draw nothing: write DIR/wav/<video>.wav, motions and ground truth",
    )  # fmt: skip
    parser.add_argument(
        "--music-only", action="store_true",
        help="write only the complete songs, DIR/wav/<song>.wav, their ground truth and captions",
    )  # fmt: skip
    parser.add_argument(
        "--vary-instruments", action="store_true",
        help="with --music-only: play many of the songs by fewer or by other instruments",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="number of processes that write files")
    options = parser.parse_args(argv)
    if options.vary_instruments and not options.music_only:
        parser.error("--vary-instruments is for complete songs; give --music-only as well")
    try:
        specs = plan(
            options.limit,
            options.seed,
            options.duration_s,
            songs_per_genre=options.songs_per_genre,
            instruments=open_instruments(options.instruments) if options.instruments else None,
        )
    except (ValueError, OSError) as error:
        parser.error(str(error))
    specs = [spec for spec in specs if options.split in (None, spec.split)]
    if options.music_only:
        _write_songs(specs, options.root, options.jobs, options.vary_instruments)
        return 0
    write_annotations(specs, options.root)
    if options.no_video:
        specs.sort(key=lambda spec: spec.song_id)  # a song is composed once for all its videos
        write_each(partial(write_video, medium="sound"), specs, options.root, options.jobs)
    else:
        write_each(write_video, specs, options.root, options.jobs)
    return 0


def _write_songs(specs: Sequence[VideoSpec], root: Path, jobs: int, vary: bool) -> None:
    """Write the complete songs of the videos, and their captions."""
    if specs:
        seed, ids = specs[0].seed, sorted({spec.song_id for spec in specs})
        write = partial(
            write_song, seed=seed, instruments=specs[0].instruments, vary_instruments=vary
        )
        write_each(write, ids, root, jobs, "song")
        write_captions(root, ids, seed, vary)


if __name__ == "__main__":
    print_anything()
    raise SystemExit(main())
