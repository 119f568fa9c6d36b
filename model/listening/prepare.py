"""Prepare a blinded listening test from the output of `model generate` and the true music.

All clips of one video differ only in their music. They have the same video packets, encoded once in
a format for browsers. Their music has the same length and level and is encoded by the same program.
Their names are random.
"""

from __future__ import annotations

import os
import random
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.storage import Location
from model.contract.wav import write_wav
from model.generation.pipeline_process import mux
from model.listening.clips import Clip, Settings, check_names, choose_clips, read_systems
from model.listening.design import balanced_orders, insert_checks
from model.listening.plan import (
    ANCHOR,
    CHECK,
    PARTS,
    PRACTICE,
    TEST,
    TRUTH,
    Item,
    Key,
    Meaning,
    Plan,
    media,
    minutes,
    save,
)
from model.listening.sounds import (
    ANCHOR_Q_DB,
    LEVEL_DB,
    SILENT_RMS,
    beeps,
    level,
    modulated_noise,
    rms,
)


@dataclass(frozen=True)
class Sound:
    """A clip to write: its music, and its video (None for audio only)."""

    audio: np.ndarray
    picture: Path | None
    start_s: float
    meaning: Meaning


def prepare(
    shards: Location, split: str, folders: dict[str, Path], out: Path, settings: Settings
) -> Key:
    """Write the set `out` atomically; return its key.

    `folders` are the systems' folders by name; the true music is from the split `split` of
    `shards`. Raises ValueError if the systems have too few pieces in common.
    """
    if out.exists():
        raise ValueError(f"{out}: exists already; give another --out")
    check_names(folders)
    systems = read_systems(folders, shards, split)
    seed = secrets.randbits(63) if settings.seed is None else settings.seed
    clips, spare, notes = choose_clips(shards, split, systems, settings, random.Random(seed))
    sounds: list[Sound] = []
    rng = np.random.default_rng(seed)
    for part in settings.parts:
        sounds += part_sounds(part, clips, spare, settings, rng)
    by_name = dict(zip(opaque_names(len(sounds)), sounds, strict=True))
    meanings = {name: sound.meaning for name, sound in by_name.items()}
    orders = make_orders(meanings, [*folders, TRUTH, ANCHOR], clips, settings, seed)
    if duplicates := len(orders) - len(set(map(tuple, orders))):
        notes.append(
            f"{duplicates} of {len(orders)} orders repeat another: more clips give more orders"
        )

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        part_folder = Path(folder) / "set"
        items = write_media(media(part_folder), by_name, notes)
        found = {**asdict(settings), "shards": str(shards), "split": split, "level_db": LEVEL_DB,
                "anchor_q_db": ANCHOR_Q_DB}  # fmt: skip
        facts = {name: system.facts for name, system in systems.items()}
        set_id = secrets.token_hex(8)
        key = Key(set_id, seed, facts, found, meanings, notes)
        save(part_folder, Plan(set_id, items, orders, settings.checks > 0), key)
        os.rename(part_folder, out)
    return key


def part_sounds(
    part: str, clips: list[Clip], spare: Clip, settings: Settings, rng: np.random.Generator
) -> list[Sound]:
    """Return all clips of one part: test clips of systems and anchors, practice and checks."""

    def sound(kind: str, clip: Clip, system: str, audio: np.ndarray, answer: int = 0) -> Sound:
        picture = clip.picture if part == "coherence" else None
        return Sound(
            audio, picture, clip.start_s, Meaning(part, kind, clip.name, system, answer)
        )  # fmt: skip

    sounds = []
    for clip in clips:
        sounds += [sound(TEST, clip, name, audio) for name, audio in clip.music.items()]
        sounds.append(sound(TEST, clip, ANCHOR, low_anchor(part, clip, clips, rng)))
    sounds.append(sound(PRACTICE, spare, TRUTH, spare.music[TRUTH]))
    sounds.append(sound(PRACTICE, spare, ANCHOR, low_anchor(part, spare, clips, rng)))
    answers = [int(value) for value in rng.permutation(5)[: settings.checks] + 1]
    for number, answer in enumerate(answers):
        clip = clips[number % len(clips)]
        audio = level(beeps(answer, len(clip.music[TRUTH])))
        sounds.append(sound(CHECK, clip, "", audio, answer))
    return sounds


def low_anchor(part: str, clip: Clip, clips: list[Clip], rng: np.random.Generator) -> np.ndarray:
    """Return the low anchor (N,): another song for coherence, modulated noise for quality."""
    truth = clip.music[TRUTH]
    if part == "quality":
        return level(modulated_noise(truth, ANCHOR_Q_DB, rng))
    others = [other for other in clips if other.song != clip.song]
    if not others:
        raise ValueError(
            f"coherence: all clips have the song {clip.song!r}; the low anchor needs another one: "
            "use more --clips, a split with more songs, or --parts quality"
        )
    long = [other for other in others if len(other.music[TRUTH]) >= len(truth)] or others
    other = long[int(rng.integers(len(long)))].music[TRUTH]
    return level(np.resize(other, len(truth)))


def opaque_names(count: int) -> list[str]:
    """Return `count` different random names, in random order, which reveal nothing."""
    names: set[str] = set()
    while len(names) < count:
        names.add(secrets.token_hex(8))
    return random.SystemRandom().sample(sorted(names), count)


def write_media(folder: Path, sounds: dict[str, Sound], notes: list[str]) -> dict[str, Item]:
    """Write the clips, sorted by name and with equal file times; return the items of the plan."""
    folder.mkdir(parents=True)
    items = {}
    with tempfile.TemporaryDirectory(prefix="dance2music-") as cut_folder:
        cuts: dict[str, Path] = {}
        for name in sorted(sounds):
            sound = sounds[name]
            path = wav = folder / f"{name}.wav"
            write_wav(wav, sound.audio)
            seconds = len(sound.audio) / SAMPLE_RATE_HZ
            if sound.picture is not None:
                path = wav.with_suffix(".mp4")
                if (clip := sound.meaning.clip) not in cuts:
                    cut = cuts[clip] = Path(cut_folder) / f"{len(cuts)}.mp4"
                    mux(sound.picture, wav, sound.start_s, cut, sound.start_s + seconds)
                mux(cuts[clip], wav, 0.0, path)
                wav.unlink()
            os.utime(path, (0, 0))
            if rms(sound.audio) < SILENT_RMS:
                system = sound.meaning.system
                notes.append(f"{sound.meaning.clip}: the music of {system} is silence")
            practice = sound.meaning.kind == PRACTICE
            items[name] = Item(sound.meaning.part, path.name, round(seconds, 3), practice)
    return items


def make_orders(
    meanings: dict[str, Meaning],
    systems: list[str],
    clips: list[Clip],
    settings: Settings,
    seed: int,
) -> list[list[str]]:
    """Return each listener's items: for each part practice, then test clips with checks.

    The order of the parts alternates over listeners.
    """
    blocks = settings.blocks or len(clips)
    trials = {
        part: balanced_orders(
            len(systems), len(clips), blocks, settings.raters, seed + PARTS.index(part)
        )
        for part in settings.parts
    }
    rng = random.Random(seed)
    rows = len(systems) * (1 + len(systems) % 2)
    find = {(m.part, m.kind, m.clip, m.system): name for name, m in meanings.items()}

    def of(part: str, kind: str) -> list[str]:
        return [n for n, m in meanings.items() if (m.part, m.kind) == (part, kind)]

    orders = []
    for rater in range(settings.raters):
        turned = (rater + rater // rows) % 2
        items: list[str] = []
        for part in settings.parts[::-1] if turned else settings.parts:
            test = [
                find[part, TEST, clips[clip].name, systems[c]] for clip, c in trials[part][rater]
            ]
            items += of(part, PRACTICE) + insert_checks(test, of(part, CHECK), rng)
        orders.append(items)
    return orders


def summary(key: Key, plan: Plan) -> Iterable[str]:
    """Yield lines about a set: its size, the time for each listener, and notes."""
    kinds = Counter((m.part, m.kind) for m in key.items.values())
    for part in PARTS:
        if kinds[part, TEST]:
            yield (
                f"{part}: {kinds[part, TEST]} clips of {len(key.systems) + 2} conditions, "
                f"{kinds[part, CHECK]} attention checks"
            )
    order = plan.orders[0]
    yield (
        f"each of up to {len(plan.orders)} listeners rates {len(order)} clips, "
        f"about {minutes(plan, order)} minutes"
    )
    yield from (f"note: {note}" for note in key.notes)
    for name, facts in key.systems.items():
        yield from (f"note: {name}: {label}" for label in facts["labels"])
