"""Songs that appear in two data sets of one training.

A song is known by its name in the segments' metadata; a video without one counts as a song of its
own, under the video's name. The same music under two names is not found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations
from pathlib import Path

from model.contract.segment import META
from model.data.reader import meta_of, read_tar, song_of
from model.data.source import Source

SHOWN = 5
"""How many songs a message names."""
HELD_OUT = ("val", "test")

Songs = Mapping[str, set[str]]
"""The songs of a data set by split."""


def songs_of(source: Source) -> Songs:
    """Return the songs of all splits of a source's data set; only metadata are read."""
    found: dict[str, set[str]] = {}
    for split, shards in source.dataset.splits.items():
        songs = found.setdefault(split, set())
        for shard in shards:
            url = source.root / shard.name
            for raw in read_tar(url, only=META):
                songs.add(song_of(meta_of(raw, str(url))))
    return found


def shared_songs(sources: Sequence[Source]) -> list[str]:
    """Return lines on the songs that two of the data sets share, warnings for those held out.

    Data sets at a URL are not read for this; a line says so.
    """
    if len(sources) < 2:
        return []
    songs = {s.address: songs_of(s) for s in sources if isinstance(s.root, Path)}
    lines = [
        f"note: the songs of {source.address} are not compared: they would have to be transferred"
        for source in sources
        if source.address not in songs
    ]
    for a, b in combinations(songs, 2):
        if both := set().union(*songs[a].values()) & set().union(*songs[b].values()):
            lines.append(f"note: {listed(both)} in both {a} and {b}")
    for a, b in permutations(songs, 2):
        for split in HELD_OUT:
            if leaks := songs[a].get("train", set()) & songs[b].get(split, set()):
                lines.append(
                    f"warning: {listed(leaks)} in the split train of {a} and in the split {split} "
                    f"of {b}, whose results are then not those of unseen songs"
                )
    return lines


def listed(songs: set[str]) -> str:
    """Return "N songs are (…)" with the names of the first few."""
    named = sorted(songs)[:SHOWN] + ["…"] * (len(songs) > SHOWN)
    return f"{len(songs)} song{'s are' if len(songs) > 1 else ' is'} ({', '.join(named)})"
