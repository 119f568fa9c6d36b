"""Group clips into songs by how alike they sound, and songs into families, which the split keeps.

A song must be pure: a link joins two groups only if the clips that it lays over each other agree.
A family must be complete: songs that may be one are in it together, on one side of the split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from pipeline.curate.songs import Pair

SHARED_S = 2.0
"""Two clips that a link lays over each other by this much must agree with it."""
WITNESSES = 12
"""Clips of each group that are asked, those that joined first: more would cost, not tell, more."""
BETTER = 2 / 3
"""Of the witnesses those are believed that agree most: the others may be under a voice."""
UNLIKE = -4.0
"""The odds of two clips that were found too unlike to be a pair."""


@dataclass(frozen=True)
class Joining:
    """When clips play one song. `odds` weighs score, logarithm of the overlap in s, and differs.

    The sum with the first number is the logarithm of the odds that a pair is of one song, fitted on
    synthetic compilations. Groups are joined at `least`, a clip alone at `alone`, songs to a
    family at `family`.
    """

    odds: tuple[float, float, float, float]
    least: float
    alone: float
    family: float

    def of(self, pair: Pair) -> float:
        """Return the logarithm of the odds that a pair plays one song."""
        base, score, overlap, differs = self.odds
        shared = np.log(max(pair.overlap_s, 0.1))
        return float(base + score * pair.score + overlap * shared + differs * pair.differs)


def group(durations_s: Sequence[float], pairs: Sequence[Pair], joining: Joining) -> list[int]:
    """Return for each clip the lowest place in its song's group.

    The likeliest links come first. A link lays one group's clips along the other's; the mean odds
    of those that then share two seconds (the better two thirds) decide, so that one false link
    joins no two songs. Where none do, a link of less joins no groups, but only a clip alone.
    """
    odds = {(pair.first, pair.second): joining.of(pair) for pair in pairs}
    members = {place: [place] for place in range(len(durations_s))}
    leader = list(members)
    starts_s = [0.0] * len(leader)
    for pair in sorted(pairs, key=lambda p: (-odds[p.first, p.second], p.first, p.second)):
        mine, theirs = leader[pair.first], leader[pair.second]
        likely = odds[pair.first, pair.second]
        if mine == theirs or likely < joining.alone:
            continue
        move_s = starts_s[pair.first] + pair.lag_s - starts_s[pair.second]
        agree = [likely]
        for a in members[mine][:WITNESSES]:
            for b in members[theirs][:WITNESSES]:
                ends_s = starts_s[a] + durations_s[a], starts_s[b] + durations_s[b] + move_s
                shared_s = min(ends_s) - max(starts_s[a], starts_s[b] + move_s)
                if shared_s >= SHARED_S and {a, b} != {pair.first, pair.second}:
                    agree.append(odds.get((min(a, b), max(a, b)), UNLIKE))
        single = min(len(members[mine]), len(members[theirs])) == 1
        better = sorted(agree, reverse=True)[: ceil(len(agree) * BETTER)]
        if np.mean(better) < (joining.alone if single else joining.least):
            continue
        if not single and len(agree) == 1 and pair.overlap_s < SHARED_S:
            continue
        for place in members[theirs]:
            leader[place] = mine
            starts_s[place] += move_s
        members[mine] += members.pop(theirs)
    return _lowest(leader)


def families(songs: Sequence[int], pairs: Sequence[Pair], joining: Joining) -> list[int]:
    """Return for each clip, whose song is `songs[clip]`, the lowest place in its family.

    Songs are one family where a pair is likely enough, and each song with the one most like it: a
    piece that was broken off its song is seldom more like another.
    """
    nearest: dict[int, tuple[float, Pair]] = {}
    links = list(enumerate(songs))
    for pair in pairs:
        likely = joining.of(pair)
        if likely >= joining.family:
            links.append((pair.first, pair.second))
        if songs[pair.first] != songs[pair.second]:
            for place in (pair.first, pair.second):
                if songs[place] not in nearest or likely > nearest[songs[place]][0]:
                    nearest[songs[place]] = (likely, pair)
    links += [(pair.first, pair.second) for _, pair in nearest.values()]
    return connected(len(songs), links)


def connected(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """Return for each of `count` places the lowest one that links lead to."""
    leader = list(range(count))

    def find(place: int) -> int:
        while leader[place] != place:
            leader[place] = leader[leader[place]]
            place = leader[place]
        return place

    for first, second in links:
        low, high = sorted((find(first), find(second)))
        leader[high] = low
    return [find(place) for place in range(count)]


def song_id(clip_ids: Sequence[str], kind: str = "song") -> str:
    """Return the id of a group (or of a family): of its clip whose name has the lowest hash.

    So no other song's id depends on a clip that comes or goes, and this one's seldom does.
    """
    return f"{kind}-{min(hashlib.sha256(name.encode()).hexdigest() for name in clip_ids)[:10]}"


def _lowest(names: Sequence[int]) -> list[int]:
    first: dict[int, int] = {}
    for place, name in enumerate(names):
        first.setdefault(name, place)
    return [first[name] for name in names]
