"""Group clips into songs by the similarity of their sound, and songs into families.

A song must be pure: a pair joins two groups only if the clips that overlap after the alignment are
similar, too. A family must be complete: it contains all songs that may be the same song, and the
train/test split never separates it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from pipeline.curate.songs import Pair

SHARED_S = 2.0
"""Two clips that overlap by this much after an alignment are checked for similarity."""
WITNESSES = 12
"""At most this many clips of each group are compared, the earliest members. More would cost time
without better results."""
BETTER = 2 / 3
"""The share of the comparisons that counts, the best ones: in the others a voice may cover the
music."""
UNLIKE = -4.0
"""The log odds of two clips that were too different to be stored as a pair."""


@dataclass(frozen=True)
class Joining:
    """The rule for when two clips play the same song.

    `odds` is an offset and three weights: for the score, the logarithm of the overlap in s, and
    `differs`. The weighted sum is the logarithm of the odds that a pair plays the same song; it was
    fitted on synthetic compilations. The other values are limits of it: `least` to join two groups,
    `alone` to join a single clip, `family` to join songs to a family.
    """

    odds: tuple[float, float, float, float]
    least: float
    alone: float
    family: float

    def of(self, pair: Pair) -> float:
        """Return the logarithm of the odds that a pair plays the same song."""
        base, score, overlap, differs = self.odds
        shared = np.log(max(pair.overlap_s, 0.1))
        return float(base + score * pair.score + overlap * shared + differs * pair.differs)


def group(durations_s: Sequence[float], pairs: Sequence[Pair], joining: Joining) -> list[int]:
    """Return for each clip the lowest index in its song's group.

    Pairs are used from the most to the least likely. A pair aligns two groups in time. The mean log
    odds of all clips that then overlap by at least two seconds decide (only the best two thirds
    count), so that one false pair cannot join two songs. If the pair itself overlaps by less than
    that and no other clips do, it joins a single clip but not two larger groups.
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
    """Return for each clip the lowest index in its family; `songs[clip]` is the song of a clip.

    Songs are in one family if one of their pairs is likely enough. Each song is also joined with
    its most similar song: if a song was split by mistake, its parts are usually most similar.
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
    """Return for each of `count` items the lowest index that is connected to it by links."""
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
    """Return the id of a group or family: the lowest hash of its clips' names.

    A clip that is added or removed changes no other group's id, and rarely that of its own group.
    """
    return f"{kind}-{min(hashlib.sha256(name.encode()).hexdigest() for name in clip_ids)[:10]}"


def _lowest(names: Sequence[int]) -> list[int]:
    first: dict[int, int] = {}
    for place, name in enumerate(names):
        first.setdefault(name, place)
    return [first[name] for name in names]
