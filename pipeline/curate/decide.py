"""Decide from the scores: keep or reject each clip, and its song and split. Decodes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.curate.groups import Joining, connected, families, group, song_id
from pipeline.curate.scores import Clip, SongMatch
from pipeline.curate.songs import Pair
from pipeline.engine.outcome import REASONS
from pipeline.sources.song_split import songs_for_test, split_of
from pipeline.sources.tables import csv_rows

__all__ = ["REASONS", "Thresholds", "Verdict", "decide", "is_talk", "joining", "read_overrides"]

ROUNDING_S = 1e-6
"""A clip of exactly `min_clip_s` is long enough, although its times are rounded numbers."""


@dataclass(frozen=True)
class Thresholds:
    """The section `decide` of thresholds.yaml; that file explains each value."""

    min_clip_s: float
    max_clip_s: float
    min_box_share: float
    min_motion: float
    min_loud_dbfs: float
    max_silent: float
    speech_bass_db: float
    speech_pulse: float
    max_speech: float
    sung: float
    min_dancers: float
    max_dancers: float
    min_whole_body: float
    min_energy: float
    song_odds: tuple[float, float, float, float]
    song: float
    song_alone: float
    family: float
    duplicate_song: float
    duplicate_picture: float
    test_share: float


@dataclass(frozen=True)
class Verdict:
    """`decision` is `keep` or `reject`; `reason` is one of REASONS, or "" for a kept clip.

    Kept clips have a `song`, a `family` and a `split`. A family contains songs that may be the same
    song; the split never separates them. `duplicate_of` names the clip that is kept instead.
    """

    decision: str
    reason: str = ""
    detail: str = ""
    song: str = ""
    split: str = ""
    family: str = ""
    duplicate_of: str = ""


def decide(
    clips: Sequence[Clip],
    alike: Sequence[SongMatch],
    thresholds: Thresholds,
    overrides: Mapping[str, str],
    videos_whole: bool = False,
) -> list[Verdict]:
    """Return one verdict per clip. `overrides` maps clip ids to `keep`, `reject` or a song.

    A song in the overrides keeps the clip and names its song. `keep` overrides all reasons. With
    `videos_whole` all clips of one video are in one family, and so on one side of the split, and
    of at least two families one is for training and one for testing.
    """
    reasons = [_reason(clip, thresholds, overrides.get(clip.clip_id, "")) for clip in clips]
    originals = _duplicates(clips, alike, thresholds, reasons, overrides)
    kept = [k for k, reason in enumerate(reasons) if not reason[0] and k not in originals]
    songs = _songs(clips, alike, thresholds, kept, overrides, videos_whole)
    test = {family for _, family in songs.values()}
    if videos_whole:
        test = songs_for_test(test, thresholds.test_share)
    else:
        test = {family for family in test if split_of(family, thresholds.test_share) == "test"}
    verdicts = []
    for place, (reason, detail) in enumerate(reasons):
        if place in songs:
            song, family = songs[place]
            split = "test" if family in test else "train"
            verdicts.append(Verdict("keep", song=song, split=split, family=family))
        elif place in originals:
            other = clips[originals[place]].clip_id
            detail = f"the same as {other}"
            verdicts.append(Verdict("reject", "duplicate", detail, duplicate_of=other))
        else:
            verdicts.append(Verdict("reject", reason, detail))
    return verdicts


def is_talk(speech: float | None, singing: float | None, limits: Thresholds) -> bool:
    """Return whether somebody talks in a clip, over music or not, by shares of its time.

    A clip with more singing than speech is a song. None means that no network measured the shares.
    """
    if speech is None or singing is None:
        return False
    return speech > limits.max_speech and singing <= limits.sung * speech


def joining(limits: Thresholds) -> Joining:
    """Return the thresholds for grouping clips into songs, and songs into families."""
    return Joining(limits.song_odds, limits.song, limits.song_alone, limits.family)


def read_overrides(path: Path | None, known: set[str] | None) -> dict[str, str]:
    """Read a CSV with the columns `id` and `verdict`: `keep`, `reject`, or a song's name.

    `known` are the ids of all clips. With None any id is accepted.

    Raises ValueError for other columns, an empty verdict, a repeated id or an unknown id.
    """
    if path is None:
        return {}
    overrides: dict[str, str] = {}
    for where, row in csv_rows(path, ("id", "verdict")):
        name, verdict = row["id"], row["verdict"]
        if not verdict:
            raise ValueError(f"{where}: {name:.80} has no verdict; write keep, reject or a song")
        if name in overrides:
            raise ValueError(f"{where}: {name:.80} appears twice; keep one line")
        if known is not None and name not in known:
            raise ValueError(f"{where}: {name:.80} is not a clip of this source; check the id")
        overrides[name] = verdict
    return overrides


def _reason(clip: Clip, limits: Thresholds, override: str) -> tuple[str, str]:
    """Return the first reason to reject a clip, and the scores for it; ("", "") if none applies."""
    if override == "reject":
        return "by_hand", "overrides"
    if override:
        return "", ""
    people, whole, energy = clip.dancers, clip.whole_body, clip.energy
    checks = [
        (
            "too_short",
            clip.duration_s < limits.min_clip_s - ROUNDING_S,
            f"{clip.duration_s:.2f} s",
        ),
        ("too_long", clip.duration_s > limits.max_clip_s, f"{clip.duration_s:.1f} s"),
        ("small_picture", clip.box_share < limits.min_box_share, f"{clip.box_share:.2f} of it"),
        (
            "silent",
            clip.loud_dbfs < limits.min_loud_dbfs or clip.silent > limits.max_silent,
            f"{clip.loud_dbfs:.0f} dBFS, silent {clip.silent:.0%}",
        ),
        (
            "speech",
            clip.bass_db < limits.speech_bass_db and clip.pulse < limits.speech_pulse,
            f"bass {clip.bass_db:.0f} dB, pulse {clip.pulse:.2f}",
        ),
        (
            "voice_over",
            is_talk(clip.speech, clip.singing, limits),
            f"speech {clip.speech or 0:.0%}, singing {clip.singing or 0:.0%}, "
            f"music {clip.music or 0:.0%}",
        ),
        ("still", clip.motion < limits.min_motion, f"motion {clip.motion:.2f}"),
        ("no_dancer", people is not None and people < limits.min_dancers, f"{people} dancers"),
        ("crowd", people is not None and people > limits.max_dancers, f"{people} dancers"),
        (
            "cut_off",
            whole is not None and whole < limits.min_whole_body,
            f"complete in {whole or 0:.0%}",
        ),
        (
            "idle",
            energy is not None and energy < limits.min_energy,
            f"{energy or 0:.2f} heights a second",
        ),
    ]
    return next(((code, detail) for code, met, detail in checks if met), ("", ""))


def _duplicates(
    clips: Sequence[Clip],
    alike: Sequence[SongMatch],
    limits: Thresholds,
    reasons: Sequence[tuple[str, str]],
    overrides: Mapping[str, str],
) -> dict[int, int]:
    """Map the index of each duplicate clip to the index of the clip that is kept.

    A clip in the overrides is kept first, then the longest, then the first in the list.
    """
    links = [
        (pair.first, pair.second)
        for pair in alike
        if pair.song >= limits.duplicate_song
        and pair.picture <= limits.duplicate_picture
        and not (reasons[pair.first][0] or reasons[pair.second][0])
    ]
    groups: dict[int, list[int]] = {}
    for place, leader in enumerate(connected(len(clips), links)):
        groups.setdefault(leader, []).append(place)
    gone: dict[int, int] = {}
    for places in groups.values():
        by_hand = [p for p in places if clips[p].clip_id in overrides]
        stays = min(places, key=lambda p: (p not in by_hand, -clips[p].duration_s, p))
        gone |= {p: stays for p in places if p != stays and p not in by_hand}
    return gone


def _songs(
    clips: Sequence[Clip],
    alike: Sequence[SongMatch],
    limits: Thresholds,
    kept: Sequence[int],
    overrides: Mapping[str, str],
    videos_whole: bool,
) -> dict[int, tuple[str, str]]:
    """Return the song and family of each kept clip. A song from the overrides names its group."""
    at = {place: index for index, place in enumerate(kept)}
    pairs = [
        Pair(at[p.first], at[p.second], p.song, p.lag_s, p.overlap_s, p.differs)
        for p in alike
        if p.first in at and p.second in at
    ]
    rules = joining(limits)
    found = group([clips[place].duration_s for place in kept], pairs, rules)
    groups: dict[int, list[int]] = {}
    for index, leader in enumerate(found):
        groups.setdefault(leader, []).append(kept[index])
    songs: dict[int, str] = {}
    for places in groups.values():
        names = {p: overrides.get(clips[p].clip_id, "keep") for p in places}
        given = sorted({name for name in names.values() if name != "keep"})
        rest = given[0] if given else song_id([clips[p].clip_id for p in places])
        songs |= {p: rest if name == "keep" else name for p, name in names.items()}
    links = list(enumerate(families(found, pairs, rules)))
    first_of: dict[str, int] = {}
    links += [(first_of.setdefault(songs[p], index), index) for index, p in enumerate(kept)]
    if videos_whole:
        first_in: dict[str, int] = {}
        links += [(first_in.setdefault(clips[p].sha256, i), i) for i, p in enumerate(kept)]
    kin: dict[int, list[str]] = {}
    leaders = connected(len(kept), links)
    for index, leader in enumerate(leaders):
        kin.setdefault(leader, []).append(clips[kept[index]].clip_id)
    ids = {leader: song_id(names, "family") for leader, names in kin.items()}
    return {p: (songs[p], ids[leader]) for p, leader in zip(kept, leaders, strict=True)}
