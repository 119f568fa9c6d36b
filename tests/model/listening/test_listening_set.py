"""The listening test: sets that are balanced and blind, of clips that browsers show."""

from __future__ import annotations

import json
import shutil
import stat
from collections import Counter, defaultdict
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import clips
import numpy as np
import pytest
import torch
from listening_sets import generated, make_set

from model.cli import main
from model.codecs.jukebox import random_codec
from model.contract.segment import SAMPLE_RATE_HZ
from model.data.pieces import Piece
from model.fake_dataset import write_fake_dataset
from model.generation.batches import Made
from model.generation.generate import write_pieces
from model.generation.pipeline_process import mux
from model.listening.clips import Settings
from model.listening.plan import (
    ANCHOR,
    CHECK,
    PARTS,
    PRACTICE,
    TEST,
    TRUTH,
    load_plan,
)
from model.listening.prepare import prepare

# ---------------------------------------------------------------- prepare


@pytest.mark.long
def test_a_set_is_balanced_and_practice_comes_first(films):
    folder, key = films
    plan = load_plan(folder)
    assert len(plan.orders) == 8
    assert len(set(map(tuple, plan.orders))) == 8
    for order in plan.orders:
        meanings = [key.items[name] for name in order]
        for part in PARTS:
            mine = [m for m in meanings if m.part == part]
            assert [m.kind for m in mine[:2]] == [PRACTICE, PRACTICE]
            tests = Counter(m.system for m in mine if m.kind == TEST)
            assert tests == {"high": 1, "low": 1, TRUTH: 1, ANCHOR: 1}
            assert sum(m.kind == CHECK for m in mine) == 1
    first = Counter(key.items[order[0]].part for order in plan.orders)
    assert first == {"coherence": 4, "quality": 4}
    pairs = Counter(
        (m.clip, m.system, m.part)
        for order in plan.orders
        for m in (key.items[name] for name in order)
        if m.kind == TEST
    )
    assert set(pairs.values()) == {4}


@pytest.mark.long
def test_nothing_served_tells_what_a_clip_is(films):
    folder, key = films
    served = [path for path in (folder / "served").rglob("*") if path.is_file()]
    assert len(served) == len(key.items) + 1
    tell = [*key.systems, TRUTH, ANCHOR, CHECK, "test0", "test1", "test2", "fake-0000"]
    plan_text = (folder / "served" / "plan.json").read_text(encoding="utf-8")
    assert not [word for word in tell if f'"{word}' in plan_text]
    assert {path.stat().st_mtime for path in served if path.name != "plan.json"} == {0}
    assert stat.S_IMODE((folder / "key.json").stat().st_mode) == 0o600
    names = [path.name for path in served if path.suffix in (".wav", ".mp4")]
    assert all(len(name) == 20 and set(name[:16]) <= set("0123456789abcdef") for name in names)
    assert len({p.stat().st_size for p in served if p.suffix == ".wav"}) == 1
    pictures = defaultdict(set)
    for path in (folder / "served" / "media").glob("*.mp4"):
        with av.open(str(path)) as film:
            assert [s.type for s in film.streams] == ["video", "audio"]
            facts = [dict(film.metadata), *(dict(s.metadata) for s in film.streams)]
            sound = film.streams.audio[0]
            facts += [sound.duration, sound.start_time, sound.codec_context.bit_rate > 0]
            packets = b"".join(bytes(p) for p in film.demux(video=0))
        pictures[key.items[path.stem].clip].add((packets, str(facts)))
    assert len(pictures) == 3
    assert all(len(kinds) == 1 for kinds in pictures.values())
    # The key lists items in an order that is none of the plan's.
    assert list(key.items) != sorted(key.items) == list(json.loads(plan_text)["items"])


def film(path: Path) -> tuple[list[int], list[float], str, str]:
    """Return a film's frames' numbers and times (s), its codec and its pixels' format."""
    with av.open(str(path)) as container:
        coded = container.streams.video[0].codec_context
        shown = [
            (clips.number(frame.to_ndarray(format="rgb24")), frame.time)
            for frame in container.decode(video=0)
        ]
        numbers, times_s = zip(*shown, strict=True)
        return list(numbers), list(times_s), coded.name, coded.pix_fmt


@pytest.mark.long
def test_a_clip_cut_from_a_longer_video_plays_its_own_moving_picture(tmp_path, monkeypatch):
    noise = torch.rand(2 * SAMPLE_RATE_HZ) - 0.5
    monkeypatch.setattr(
        "model.generation.generate.music_of_each",
        lambda run, pieces, options: (Made(piece, noise) for piece in pieces),
    )
    trained = SimpleNamespace(
        codec=SimpleNamespace(id="c", note=""), dataset=SimpleNamespace(untrained=[]), step=1,
        family="none", level="high", note="",
        model=SimpleNamespace(inputs=SimpleNamespace(names=()), remarks=lambda step: []),
    )  # fmt: skip
    write_fake_dataset(
        tmp_path / "shards", random_codec(levels=("high",)), videos={"test": 3}, segments=1,
        motion=None, visual_windows=None,
    )  # fmt: skip
    long = tmp_path / "long.mp4"
    clips.write(long, Fraction(10), 200, np.zeros(441_000, np.float32), SAMPLE_RATE_HZ)
    pieces = [
        Piece(f"test{n}", 1, 1, 12.0, "", {}, stop_s=14.0, box_px=(0, 0, 96, 64)) for n in range(3)
    ]
    for piece, wav in write_pieces(trained, pieces, tmp_path / "ours", []):
        mux(long, wav, piece.start_s, wav.with_suffix(".mp4"), piece.stop_s, piece.box_px)
    settings = Settings(parts=("coherence",), clips=2, checks=0, raters=2)
    prepare(tmp_path / "shards", "test", {"ours": tmp_path / "ours"}, tmp_path / "set", settings)
    for path in (tmp_path / "set" / "served" / "media").iterdir():
        numbers, times_s, *_ = film(path)
        assert numbers == list(range(120, 140))
        assert times_s == pytest.approx([n / 10 for n in range(20)])
        with av.open(str(path)) as container:
            sound = container.streams.audio[0]
            assert abs(sound.start_time * sound.time_base) < 0.001
    told = json.loads((tmp_path / "ours" / "generated.json").read_text(encoding="utf-8"))[
        "generated"
    ]
    assert [(row["start_s"], row["mp4_start_s"]) for row in told] == [(12.0, 0.0)] * 3
    assert Piece("v", 1, 1, 12.0, "", {}).mp4_start_s == 12.0


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Path:
    """Return a folder with shards, and a system whose films no browser shows: MPEG-4 part 2."""
    root = tmp_path_factory.mktemp("foreign")
    write_fake_dataset(
        root / "shards", random_codec(levels=("high",)), videos={"test": 3}, segments=1,
        motion=None, visual_windows=None,
    )  # fmt: skip
    generated(root / "ours", "high", [f"test{n}" for n in range(3)], pictures=True)
    for path in (root / "ours").glob("*.mp4"):
        shown = path.rename(path.with_suffix(".mov"))
        clips.ffmpeg("-i", shown, "-c:v", "mpeg4", "-q:v", "1", "-c:a", "copy", path)
        assert film(path)[2] == "mpeg4"
    return root


@pytest.mark.long
def test_a_picture_that_browsers_do_not_show_is_encoded_anew_and_cut_to_what_is_played(
    foreign, tmp_path
):
    settings = Settings(parts=("coherence",), clips=2, clip_s=0.6, checks=1, raters=2)
    prepare(foreign / "shards", "test", {"ours": foreign / "ours"}, tmp_path / "set", settings)
    for path in (tmp_path / "set" / "served" / "media").iterdir():
        numbers, times_s, *coded = film(path)
        assert coded == ["h264", "yuv420p"]
        assert numbers == list(range(4, 10))  # the music starts at 0.4 s, at 10 frames a second
        assert times_s == pytest.approx([n / 10 for n in range(6)])


@pytest.mark.parametrize(
    ("start_s", "what"),
    [
        (30.0, "ends at 2.00 s, before the sound starts"),
        (None, "generate again"),
        ("1", "generate again"),
    ],
)
def test_a_time_that_is_not_in_the_film_is_refused(foreign, tmp_path, start_s, what):
    ours = Path(shutil.copytree(foreign / "ours", tmp_path / "ours"))
    told = json.loads((ours / "generated.json").read_text(encoding="utf-8"))
    for row in told["generated"]:
        row["mp4_start_s"] = start_s
    (ours / "generated.json").write_text(json.dumps(told), encoding="utf-8")
    settings = Settings(parts=("coherence",), clips=2, clip_s=0.6, checks=0, raters=2)
    with pytest.raises(ValueError, match=what):
        prepare(foreign / "shards", "test", {"ours": ours}, tmp_path / "set", settings)
    assert not (tmp_path / "set").exists()


def test_two_sets_of_one_seed_share_clips_and_orders_but_no_name(made, tmp_path):
    _, key = made
    other = make_set(
        tmp_path, 4, parts=("quality",), clips=3, blocks=2, clip_s=0.05, raters=12
    )[1]  # fmt: skip
    assert not set(key.items) & set(other.items)
    assert list(key.items.values()) == list(other.items.values())


def test_prepare_refuses_what_makes_no_test(made, tmp_path, capsys):
    root = made[0].parent
    shards, high = root / "shards", root / "high"
    quick = Settings(parts=("quality",), clips=2, clip_s=0.05)

    def refused(folders, what, settings=quick, place=shards, out=tmp_path / "s"):
        with pytest.raises((ValueError, FileNotFoundError), match=what):
            prepare(place, "test", folders, out, settings)

    refused({}, "no system")
    refused({"truth": high}, "neither")
    refused({"x'; DROP TABLE raters; --": high}, "a name has only letters")
    refused({"low": high}, "has level high")
    refused({"high": tmp_path / "nowhere"}, "no such folder")
    refused({"high": high}, "exists already", out=made[0])
    refused({"high": high}, "mp4", Settings(clips=2, clip_s=0.05))
    refused(
        {"high": high},
        "6 clips for each listener, but the set has 3",
        Settings(parts=("quality",), blocks=6, clips=3),
    )
    strangers = generated(tmp_path / "strangers", "high", ["other1", "other2"])
    refused({"high": high, "strangers": strangers}, "0 pieces of the same segments")
    refused({"strangers": strangers}, "lacks segment 1 of other1 and 1 other")
    evil = json.loads((high / "generated.json").read_text(encoding="utf-8"))
    evil["generated"][0]["file"] = "../../etc/passwd"
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "generated.json").write_text(json.dumps(evil), encoding="utf-8")
    refused({"evil": tmp_path / "evil"}, "invalid file name")
    assert not list(tmp_path.glob(".s.*")) and not (tmp_path / "s").exists()
    with pytest.raises(SystemExit) as end:
        main(["mos", "prepare", "--shards", str(shards), "--out", str(tmp_path / "s"),
              "--system", f"high={tmp_path}"])  # fmt: skip
    assert end.value.code == 1
    assert "neither generated.json, which model generate writes, nor" in capsys.readouterr().err


def test_music_of_any_other_system_can_be_heard_beside_ours(made, tmp_path):
    shards, high = made[0].parent / "shards", made[0].parent / "high"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for wav in high.glob("*.wav"):
        theirs.joinpath(wav.name).write_bytes(wav.read_bytes())
    theirs.joinpath("notes.wav").write_bytes(b"of no video")
    settings = Settings(clips=2, clip_s=0.05, raters=2, seed=3, parts=("quality",))
    folders = {"ours": high, "theirs": theirs}
    key = prepare(shards, "test", folders, tmp_path / "both", settings)
    assert "other files: 1" in key.systems["theirs"]["labels"][0]
    found = {system: {(m.clip, name) for name, m in key.items.items() if m.system == system}
             for system in folders}  # fmt: skip
    media = tmp_path / "both" / "served" / "media"
    for (clip, ours), (same, other) in zip(*map(sorted, found.values()), strict=True):
        first, second = (next(media.glob(f"{name}.*")).read_bytes() for name in (ours, other))
        assert clip == same and ours != other and first == second
    alone = {"theirs": theirs}
    with pytest.raises(ValueError, match="coherence: the videos are those of a system that model"):
        prepare(shards, "test", alone, tmp_path / "alone", replace(settings, parts=PARTS))
    theirs.joinpath(next(high.glob("*.wav")).name).write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"system 'theirs': .*\.wav"):
        prepare(shards, "test", alone, tmp_path / "alone", settings)


def test_fewer_clips_than_asked_are_told(tmp_path):
    _, key = make_set(tmp_path, 3, parts=("quality",), clips=9, clip_s=0.05, raters=2, seed=None)
    assert key.notes == ["only 2 of the 9 requested clips; one more is reserved for practice"]
    assert key.systems["high"]["labels"] == ["untrained: all of it"]
    heard = {
        kind: {m.clip for m in key.items.values() if m.kind == kind} for kind in (TEST, PRACTICE)
    }
    assert (len(heard[TEST]), len(heard[PRACTICE])) == (2, 1)
    assert not heard[TEST] & heard[PRACTICE]


def test_a_set_too_small_for_practice_or_for_different_orders_says_so(tmp_path):
    _, key = make_set(
        tmp_path, 2, parts=("quality",), clips=2, blocks=1, clip_s=0.05, raters=30, checks=0
    )
    assert key.notes == [
        "too few clips: the practice clip is also a test clip",
        "6 of 30 orders repeat another: more clips give more orders",
    ]


# ---------------------------------------------------------------- report


def test_a_low_anchor_needs_another_song(tmp_path):
    root = tmp_path
    ids = [f"test{number}" for number in range(3)]
    dataset = write_fake_dataset(
        root / "shards", random_codec(levels=("high",)), videos={"test": 3}, segments=1,
        motion=None, visual_windows=None,
    )  # fmt: skip
    (shard,) = dataset.splits["test"]
    path = root / "shards" / shard.name
    data = path.read_bytes()
    for video in ids:
        data = data.replace(f'"{video}-song"'.encode(), b'"same--song"')
    path.write_bytes(data)
    system = generated(root / "high", "high", ids, pictures=True)
    settings = Settings(parts=("coherence",), clips=2, clip_s=0.05)
    with pytest.raises(ValueError, match="the low anchor needs another one"):
        prepare(root / "shards", "test", {"high": system}, root / "set", settings)
