"""The listening test: balanced and blind sets, a server that gives nothing away, exact reports."""

from __future__ import annotations

import csv
import json
import random
import shutil
import signal
import sqlite3
import stat
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import av
import clips
import httpx2
import numpy as np
import pytest
import torch
from listening_sets import Clock, Listener, generated, make_set, start_server
from scipy.ndimage import maximum_filter1d
from starlette.testclient import TestClient

from model.cli import main
from model.codecs.jukebox import random_codec
from model.contract.segment import SAMPLE_RATE_HZ
from model.data.pieces import Piece
from model.fake_dataset import write_fake_dataset
from model.generation.denoise import denoise
from model.generation.generate import write_pieces
from model.generation.pipeline_process import mux
from model.listening.clips import Settings
from model.listening.design import balanced_orders, insert_checks, repeats, williams
from model.listening.plan import (
    ANCHOR,
    CHECK,
    PARTS,
    PRACTICE,
    TEST,
    TRUTH,
    Key,
    Meaning,
    answers_file,
    load_key,
    load_plan,
)
from model.listening.prepare import make_orders, prepare
from model.listening.report import lines, report
from model.listening.serve import STOP_S, addresses, create_app
from model.listening.sounds import beeps, level, modulated_noise, rms
from model.listening.stats import alpha, interval
from model.listening.store import IDLE_S, Store

SECRETS = ("key.json", "answers.db", "plan.json")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Key]:
    """Return a set of sounds alone: each listener hears two of its three clips."""
    return make_set(
        tmp_path_factory.mktemp("mos"), 4, parts=("quality",), clips=3, blocks=2, clip_s=0.05,
        raters=12,
    )  # fmt: skip


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> tuple[Path, Key]:
    """Return a set of both parts, with clips that last long enough for a browser."""
    return make_set(
        tmp_path_factory.mktemp("films"), 3, clips=2, blocks=1, clip_s=0.6, checks=1, raters=8
    )


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """Return a copy of the set of sounds that a test may fill with answers."""
    return Path(shutil.copytree(made[0], tmp_path / "set"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(folder, clock) -> Iterator:
    made = create_app(folder, clock)
    yield made
    made.state.store.close()


def rows(folder: Path, query: str) -> list[tuple]:
    with sqlite3.connect(folder / "answers.db") as db:
        return db.execute(query).fetchall()


# ---------------------------------------------------------------- design


@pytest.mark.parametrize("conditions", [2, 3, 4, 5, 6, 7])
def test_in_williams_rows_each_condition_follows_each_other_equally_often(conditions):
    square = williams(conditions)
    assert all(sorted(row) == list(range(conditions)) for row in square)
    for place in range(conditions):
        assert len({Counter(row[place] for row in square)[c] for c in range(conditions)}) == 1
    follows = Counter(pair for row in square for pair in pairwise(row))
    assert len(follows) == conditions * (conditions - 1)
    assert len(set(follows.values())) == 1


@pytest.mark.parametrize(("conditions", "clips", "blocks"), [(4, 10, 10), (5, 10, 4), (3, 7, 2)])
def test_orders_are_balanced_and_differ(conditions, clips, blocks):
    orders = balanced_orders(conditions, clips, blocks, 70, seed=3)
    for order in orders:
        assert len(set(order)) == len(order) == conditions * blocks
        assert set(Counter(c for _, c in order).values()) == {blocks}
    assert len(set(map(tuple, orders))) == len(orders)
    period = len(orders[: clips if blocks == clips else clips // np.gcd(clips, blocks)])
    heard = Counter(trial for order in orders[:period] for trial in order)
    assert len(heard) == conditions * clips
    assert len(set(heard.values())) == 1
    assert repeats(orders) < 0.02 * conditions * blocks * len(orders)
    assert orders != balanced_orders(conditions, clips, blocks, 70, seed=4)


@pytest.mark.parametrize(("conditions", "blocks"), [(3, 2), (3, 10), (4, 10), (5, 4), (6, 10)])
def test_over_the_borders_of_rows_all_conditions_follow_each_other_and_none_itself(
    conditions, blocks
):
    orders = balanced_orders(conditions, 10, blocks, 100, seed=1)
    pairs: dict[bool, Counter] = {True: Counter(), False: Counter()}
    for order in orders:
        for place, ((_, one), (_, other)) in enumerate(pairwise(order), 1):
            pairs[place % conditions == 0][one, other] += 1
    inside, borders = pairs[False].values(), pairs[True].values()
    assert max(inside) - min(inside) <= 3
    assert len(borders) == conditions * (conditions - 1)
    assert max(borders) < 6 * min(borders)
    assert not [pair for pair in pairs[True] if pair[0] == pair[1]]
    first = Counter(order[0][1] for order in orders)
    assert max(first.values()) - min(first.values()) <= 8


@pytest.mark.parametrize(("conditions", "clips", "raters"), [(4, 3, 30), (3, 2, 30), (4, 4, 60)])
def test_small_sets_repeat_no_order_while_others_are_left(conditions, clips, raters):
    for seed in range(10):
        orders = balanced_orders(conditions, clips, 1, raters, seed)
        assert len(set(map(tuple, orders))) == raters


def test_checks_come_once_each_and_never_first():
    for seed in range(50):
        order = insert_checks(list("abcdefgh"), ["1", "2", "3"], random.Random(seed))
        assert sorted(order) == sorted("abcdefgh123")
        assert order[0] not in "123"
        assert [name for name in order if name in "abcdefgh"] == list("abcdefgh")


def test_more_checks_than_trials_do_not_come_first_either():
    for trials, seed in ((t, s) for t in (1, 3, 4) for s in range(30)):
        order = insert_checks(list("abcd"[:trials]), list("12345"), random.Random(seed))
        assert sorted(order) == sorted("abcd"[:trials] + "12345")
        assert order[0] == "a"


# ---------------------------------------------------------------- sounds


def test_sounds_are_level_anchors_noisy_and_beeps_countable():
    rng = np.random.default_rng(0)
    quiet = 0.01 * rng.standard_normal(22_050)
    assert 20 * np.log10(rms(level(quiet))) == pytest.approx(-26)
    click = np.zeros(22_050)
    click[100] = 0.5
    assert np.abs(level(click)).max() == pytest.approx(0.999)
    assert not level(np.zeros(100)).any()
    noisy = modulated_noise(quiet, 0.0, rng)
    assert 20 * np.log10(rms(quiet) / rms(noisy - quiet)) == pytest.approx(0.0, abs=0.2)
    for count in range(1, 6):
        for seconds in (1, 2, 10):
            sound = np.abs(beeps(count, seconds * SAMPLE_RATE_HZ))
            loud = sound.reshape(-1, 63).max(1) > 0.1  # 3 ms at a time
            assert np.count_nonzero(np.diff(loud.astype(int)) == -1) == count


# ---------------------------------------------------------------- prepare


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


def test_a_clip_cut_from_a_longer_video_plays_its_own_moving_picture(tmp_path, monkeypatch):
    noise = torch.rand(2 * SAMPLE_RATE_HZ) - 0.5
    monkeypatch.setattr("model.generation.generate.music_of", lambda *_: noise)
    trained = SimpleNamespace(
        codec=SimpleNamespace(id="c", note=""), dataset=SimpleNamespace(untrained=[]), step=1,
        family="none", level="high",
        model=SimpleNamespace(inputs=SimpleNamespace(names=())),
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
    [(30.0, "ends at 2.00 s, before its music"), (None, "generate anew"), ("1", "generate anew")],
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


def test_the_two_parts_of_a_listener_have_sequences_of_their_own():
    systems = ["ours", TRUTH, ANCHOR]
    named = [SimpleNamespace(name=f"clip{n}") for n in range(4)]
    meanings = {
        f"{part} {clip.name} {system}": Meaning(part, TEST, clip.name, system)
        for part in PARTS for clip in named for system in systems
    }  # fmt: skip
    orders = make_orders(meanings, systems, named, Settings(checks=0, raters=20), seed=1)
    for order in orders:
        found = {
            part: [(m.clip, m.system) for m in map(meanings.get, order) if m.part == part]
            for part in PARTS
        }
        assert sorted(found["coherence"]) == sorted(found["quality"])
        assert found["coherence"] != found["quality"]


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
    refused({"x'; DROP TABLE raters; --": high}, "a name has letters")
    refused({"low": high}, "is of level high")
    refused({"high": tmp_path / "nowhere"}, "not found; system 'high'")
    refused({"high": high}, "is there already", out=made[0])
    refused({"high": high}, "mp4", Settings(clips=2, clip_s=0.05))
    refused(
        {"high": high},
        "6 clips for each listener, of a set of 3",
        Settings(parts=("quality",), blocks=6, clips=3),
    )
    strangers = generated(tmp_path / "strangers", "high", ["other1", "other2"])
    refused({"high": high, "strangers": strangers}, "0 pieces of the same segments")
    refused({"strangers": strangers}, "no segment 1 of other1, and 1 more")
    evil = json.loads((high / "generated.json").read_text(encoding="utf-8"))
    evil["generated"][0]["file"] = "../../etc/passwd"
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "generated.json").write_text(json.dumps(evil), encoding="utf-8")
    refused({"evil": tmp_path / "evil"}, "names the file")
    assert not list(tmp_path.glob(".s.*")) and not (tmp_path / "s").exists()
    with pytest.raises(SystemExit) as end:
        main(["mos", "prepare", "--shards", str(shards), "--out", str(tmp_path / "s"),
              "--system", f"high={tmp_path}"])  # fmt: skip
    assert end.value.code == 1
    assert "model generate --out" in capsys.readouterr().err


def test_fewer_clips_than_asked_are_told(tmp_path):
    _, key = make_set(tmp_path, 3, parts=("quality",), clips=9, clip_s=0.05, raters=2, seed=None)
    assert key.notes == ["2 clips, of the 9 asked for; one more is kept for practice"]
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
        "no clip to spare: practice is on one that is counted too",
        "6 of 30 orders repeat another: more clips give more orders",
    ]


# ---------------------------------------------------------------- serve: what is sent


def test_the_page_asks_for_nothing_from_elsewhere(app):
    reply = TestClient(app).get("/")
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy and "*" not in policy and "http" not in policy
    nonce = policy.split("script-src 'nonce-")[1].split("'")[0]
    assert reply.text.count(f'nonce="{nonce}"') == 2
    assert "{{" not in reply.text and "http://" not in reply.text and "https://" not in reply.text
    assert TestClient(app).get("/").headers["content-security-policy"] != policy
    for name, value in {
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "x-frame-options": "DENY",
        "cache-control": "no-store",
    }.items():
        assert reply.headers[name] == value


def test_listeners_are_told_of_beeps_where_there_are_some(app, clock, tmp_path):
    assert Listener(app, clock, join=False).state()["beeps"] is True
    root = tmp_path / "without"
    folder, _ = make_set(root, 3, parts=("quality",), clip_s=0.05, raters=2, checks=0)
    without = create_app(folder, clock)
    assert Listener(without, clock).state()["beeps"] is False
    without.state.store.close()


def test_media_comes_in_ranges(app, clock):
    listener = Listener(app, clock)
    url = f"/media/{listener.next()}"
    whole = listener.client.get(url)
    assert whole.status_code == 200
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-type"] == "audio/wav"
    part = listener.client.get(url, headers={"Range": "bytes=10-19"})
    assert part.status_code == 206
    assert part.content == whole.content[10:20]
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"
    tail = listener.client.get(url, headers={"Range": "bytes=-7"})
    assert (tail.status_code, tail.content) == (206, whole.content[-7:])
    assert listener.client.get(url, headers={"Range": "bytes=999999-"}).status_code == 416
    head = listener.client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert "content-disposition" not in whole.headers


def test_the_server_works_without_the_key(folder, clock):
    (folder / "key.json").unlink()
    app = create_app(folder, clock)
    Listener(app, clock).rate(3)
    app.state.store.close()


# ---------------------------------------------------------------- serve: a listener's way


def test_a_listener_goes_through_the_whole_test_in_their_own_order(app, clock, folder):
    plan = load_plan(folder)
    first, second = Listener(app, clock), Listener(app, clock)
    done: list[list[str]] = [[], []]
    for place in range(len(plan.orders[0])):
        done[0].append(first.rate(1 + place % 5))
        done[1].append(second.rate(5 - place % 5))
    assert done == plan.orders[:2]
    assert done[0] != done[1]
    state = first.state()
    assert (state["item"], state["done"], state["total"]) == (None, 12, 12)
    given = rows(folder, "SELECT rater, item, score FROM answers ORDER BY rowid")
    for rater, score in ((0, lambda p: 1 + p % 5), (1, lambda p: 5 - p % 5)):
        mine = [(item, s) for r, item, s in given if r == rater]
        assert mine == [(item, score(p)) for p, item in enumerate(plan.orders[rater])]


def test_a_reload_and_a_new_server_come_back_to_the_same_clip(app, clock, folder):
    listener = Listener(app, clock)
    listener.rate(4)
    item = listener.hear()
    before = listener.state()
    assert before["item"] | {"heard": True, "id": item} == before["item"]
    assert listener.state() == before
    app.state.store.close()
    again = create_app(folder, clock)
    assert again.state.store.invitation == app.state.store.invitation
    back = Listener(again, clock, join=False)
    back.client.cookies = listener.client.cookies
    assert back.state() == before
    assert back.post("answer", {"item": item, "score": 2}).status_code == 200
    again.state.store.close()


def test_a_clip_must_be_played_before_it_is_rated(app, clock, folder):
    listener = Listener(app, clock)
    item, following = load_plan(folder).orders[0][:2]
    assert listener.post("answer", {"item": item, "score": 3}).status_code == 409
    assert listener.post("heard", {"item": item}).status_code == 409
    assert listener.client.get(f"/media/{following}").status_code == 409
    assert listener.client.get(f"/media/{item}").status_code == 200
    clock.now -= 1
    assert listener.post("heard", {"item": item}).status_code == 409
    clock.now += 1
    assert not listener.state()["item"]["heard"]
    listener.hear()
    assert listener.post("answer", {"item": following, "score": 3}).status_code == 409
    assert listener.post("answer", {"item": item, "score": 3}).status_code == 200
    assert listener.client.get(f"/media/{item}").status_code == 409
    assert rows(folder, "SELECT item, score FROM answers") == [(item, 3)]


def test_a_clock_that_was_set_back_stops_nobody(app, clock):
    listener = Listener(app, clock)
    assert listener.client.get(f"/media/{listener.next()}").status_code == 200
    clock.now -= 3600
    item = listener.next()
    assert listener.post("heard", {"item": item}).status_code == 409
    assert listener.hear() == item
    assert listener.post("answer", {"item": item, "score": 3}).status_code == 200


def test_who_joins_again_keeps_the_place_until_the_test_is_done(app, clock, folder):
    invited = {"invitation": app.state.store.invitation}
    listener = Listener(app, clock)
    listener.rate(3)
    before = listener.state()
    for _ in range(20):
        assert listener.post("join", invited).json() == {"joined": True}
    assert listener.state() == before
    assert len(rows(folder, "SELECT * FROM raters")) == 1
    while listener.state()["item"]:
        listener.rate(3)
    assert listener.post("join", invited).status_code == 200  # another, at the same device
    assert listener.state()["done"] == 0
    assert len(rows(folder, "SELECT * FROM raters")) == 2


def test_a_full_set_gives_places_without_an_answer_to_others_after_a_while(app, clock, folder):
    plan = load_plan(folder)
    listeners = [Listener(app, clock) for _ in plan.orders]
    for number, listener in enumerate(listeners):
        if number not in (4, 7):
            listener.rate(3)
    assert listeners[4].client.get(f"/media/{plan.orders[4][0]}").status_code == 200
    late, invited = Listener(app, clock, join=False), {"invitation": app.state.store.invitation}
    assert late.post("join", invited).status_code == 409
    clock.now += IDLE_S + 60
    assert late.post("join", invited).status_code == 200
    assert late.next() == plan.orders[4][0]
    assert late.post("heard", {"item": late.next()}).status_code == 409
    assert late.rate(5) == plan.orders[4][0]
    assert not listeners[4].state()["joined"] and listeners[7].state()["joined"]
    assert Listener(app, clock).next() == plan.orders[7][0]
    assert Listener(app, clock, join=False).post("join", invited).status_code == 409
    assert len(rows(folder, "SELECT * FROM raters")) == len(plan.orders)


def test_who_is_at_their_first_clip_keeps_their_place_though_they_joined_long_ago(
    app, clock, folder
):
    listeners = [Listener(app, clock) for _ in load_plan(folder).orders]
    clock.now += IDLE_S + 60
    for listener in listeners:
        listener.hear()
    late, invited = Listener(app, clock, join=False), {"invitation": app.state.store.invitation}
    assert late.post("join", invited).status_code == 409
    clock.now += IDLE_S + 60
    assert late.post("join", invited).status_code == 200


def test_answers_to_a_set_of_the_first_schema_are_counted_and_no_more_are_taken(app, clock, folder):
    Listener(app, clock).rate(4)
    app.state.store.close()
    before = report(folder)["listeners"]
    for path in (folder / "key.json", folder / "served" / "plan.json"):
        raw = json.loads(path.read_text(encoding="utf-8")) | {"schema": 1}
        if raw.pop("beeps", None) is not None:
            raw["items"] = {n: {**item, "start_s": 1.5} for n, item in raw["items"].items()}
        path.write_text(json.dumps(raw), encoding="utf-8")
    assert report(folder)["listeners"] == before
    with pytest.raises(ValueError, match="prepare the set anew"):
        create_app(folder)


def test_the_same_answer_twice_counts_once_and_another_is_refused(app, clock, folder):
    listener = Listener(app, clock)
    item = listener.rate(4)
    assert listener.post("answer", {"item": item, "score": 4}).status_code == 200
    assert listener.post("answer", {"item": item, "score": 5}).status_code == 409
    assert rows(folder, "SELECT item, score FROM answers") == [(item, 4)]


# ---------------------------------------------------------------- serve: hostile requests


@pytest.mark.parametrize(
    "score",
    ["0", "6", "-1", "3.0", "3.5", '"5"', "true", "null", "1e9", "1e999", "NaN", "Infinity",
     "99999999999999999999999", "[3]", '{"score": 3}', "0x3", "3 3", ""],
)  # fmt: skip
def test_a_score_that_is_none_is_refused(app, clock, folder, score):
    listener = Listener(app, clock)
    item = listener.hear()
    body = f'{{"item": "{item}", "score": {score}}}'
    reply = listener.client.post(
        "/api/answer", content=body, headers={"Content-Type": "application/json"}
    )
    assert reply.status_code == 422, reply.text
    assert rows(folder, "SELECT * FROM answers") == []
    assert listener.post("answer", {"item": item, "score": 3}).status_code == 200


@pytest.mark.parametrize("score", [0, 6, 3.0, "5", True, None, float("nan")])
def test_neither_the_store_nor_the_table_takes_such_a_score(app, clock, folder, score):
    listener = Listener(app, clock)
    item = listener.hear()
    with pytest.raises(ValueError, match="expected a whole number from 1 to 5"):
        app.state.store.answer(0, item, score, clock.now)
    if score in (0, 6, None):
        with sqlite3.connect(folder / "answers.db") as db, pytest.raises(sqlite3.IntegrityError):
            db.execute("INSERT INTO answers VALUES (0, ?, ?, 0)", (item, score))


def test_a_body_that_is_none_is_refused(app, clock, folder):
    listener = Listener(app, clock)
    item = listener.hear()
    good = {"item": item, "score": 3}

    def status(content: bytes | str, kind: str = "application/json") -> int:
        headers = {"Content-Type": kind}
        return listener.client.post("/api/answer", content=content, headers=headers).status_code

    assert status(json.dumps(good), "text/plain") == 415
    assert status(f"item={item}&score=3", "application/x-www-form-urlencoded") == 415
    assert status(json.dumps(good | {"pad": "x" * 2000})) == 413
    assert listener.client.post(
        "/api/answer", content=(b"[" for _ in range(5000)),
        headers={"Content-Type": "application/json"},
    ).status_code == 413  # fmt: skip
    for content in ("", "{", "[]", "null", "[" * 900, b"\xff\xfe", json.dumps(good | {"rater": 1}),
                    '{"score": 3}', '{"item": 7, "score": 3}',
                    json.dumps({"item": "x" * 200, "score": 3})):  # fmt: skip
        assert status(content) == 422, content
    assert rows(folder, "SELECT * FROM answers") == []


def test_nobody_rates_or_hears_what_is_not_theirs(app, clock, folder):
    plan = load_plan(folder)
    listener = Listener(app, clock)
    item = listener.hear()
    foreign = sorted(set(plan.items) - set(plan.orders[0]))
    assert foreign
    sql = "x' OR '1'='1"
    for name in (foreign[0], "0" * 16, sql, "'; DROP TABLE answers; --", "", "../key.json"):
        for path, body in (("answer", {"item": name, "score": 3}), ("heard", {"item": name})):
            assert listener.post(path, body).status_code == 404, name
    assert listener.client.get(f"/media/{foreign[0]}").status_code == 404
    assert listener.post("answer", {"item": item, "score": 3}).status_code == 200
    assert len(rows(folder, "SELECT * FROM answers")) == 1


def test_a_path_leads_nowhere_but_to_one_s_own_clip(app, clock, folder):
    listener = Listener(app, clock)
    key = (folder / "key.json").read_bytes()
    file = load_plan(folder).items[listener.next()].file
    for path in (
        *(f"/{name}" for name in SECRETS),
        *(f"/media/{up}{name}" for name in SECRETS for up in ("../", "../../", "..%2f..%2f")),
        *(f"/media/%2e%2e/%2e%2e/{name}" for name in SECRETS),
        *("/served/plan.json", f"/served/media/{file}", f"/media/{file}", "/media/", "/media/%00"),
        *("/media//etc/passwd", "/media/%2fetc%2fpasswd", "/media/..%5c..%5ckey.json"),
        *("/docs", "/openapi.json", "/redoc", "/api/answers", "/api/report", "/api/raters"),
        *("/api/state/0", "/api/answer", "/.git/config"),
    ):  # fmt: skip
        reply = listener.client.get(path)
        assert reply.status_code in (404, 405), path
        assert key[20:60] not in reply.content
        assert len(reply.content) < 100


def test_without_the_own_token_there_is_no_way_in(app, clock, folder):
    first, second = Listener(app, clock), Listener(app, clock, join=False)
    first.rate(5)
    item = first.hear()
    cookie = next(iter(first.client.cookies.jar))
    for value in ("", "0", "1", "' OR 1=1 --", cookie.value[:-1], cookie.value + "x", "é"):
        headers = {"Cookie": f"{cookie.name}={value}".encode("latin-1")}
        state = second.client.get("/api/state", headers=headers).json()
        assert not state["joined"] and "item" not in state and "done" not in state
        for path in (f"media/{item}", "api/heard", "api/answer"):
            method = "GET" if path.startswith("media") else "POST"
            body = {"item": item} | ({"score": 1} if path.endswith("answer") else {})
            reply = second.client.request(method, f"/{path}", json=body, headers=headers)
            assert reply.status_code == 401
    assert [score for (score,) in rows(folder, "SELECT score FROM answers")] == [5]


def test_nobody_reads_the_answers_of_others(app, clock, folder):
    first, second = Listener(app, clock), Listener(app, clock)
    items = [first.rate(score) for score in (5, 4, 3, 2, 1)]
    state = second.state()
    assert state["done"] == 0
    assert set(state) == {"joined", "total", "minutes", "parts", "beeps", "done", "item"}
    assert set(state["item"]) == {"id", "part", "url", "duration_s", "practice", "heard"}
    taken = second.post("answer", {"item": items[0], "score": 1})
    assert taken.status_code in (404, 409)
    assert "5" not in taken.text
    (cookie,) = second.client.cookies.jar
    assert len(cookie.value) >= 32
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"
    stored = (folder / "answers.db").read_bytes() + (folder / "answers.db-wal").read_bytes()
    assert cookie.value.encode() not in stored
    assert stat.S_IMODE((folder / "answers.db").stat().st_mode) == 0o600


def test_only_the_invited_join_and_only_as_many_as_there_are_orders(app, clock, folder):
    stranger = Listener(app, clock, join=False)
    for word in ("", "guess", "é", app.state.store.invitation[:-1]):
        assert stranger.post("join", {"invitation": word}).status_code == 403
    assert rows(folder, "SELECT * FROM raters") == []
    for _ in range(12):
        Listener(app, clock)
    full = stranger.post("join", {"invitation": app.state.store.invitation})
    assert full.status_code == 409 and "full" in full.text
    assert len(rows(folder, "SELECT * FROM raters")) == 12


def test_answers_of_another_set_are_not_mixed_in(app, clock, folder, films, tmp_path):
    Listener(app, clock).rate(3)
    app.state.store.close()
    other = shutil.copytree(films[0], tmp_path / "other")
    shutil.copy(folder / "answers.db", other / "answers.db")
    with pytest.raises(ValueError, match="another set"):
        create_app(Path(other))
    with pytest.raises(ValueError, match="another set"):
        report(Path(other))


def test_a_plan_that_names_files_elsewhere_is_refused(folder):
    path = folder / "served" / "plan.json"
    plan = json.loads(path.read_text(encoding="utf-8"))
    next(iter(plan["items"].values()))["file"] = "../../key.json"
    path.write_text(json.dumps(plan), encoding="utf-8")
    with pytest.raises(ValueError, match="prepare the set anew"):
        create_app(folder)


# ---------------------------------------------------------------- serve: a killed server


def test_serve_says_what_is_wrong_and_stops_on_ctrl_c(folder, capsys):
    server, link = start_server(folder)
    port = link.split(":")[2].split("/")[0]
    for wrong, code, told in ((port, 1, "give another"), ("99999", 2, "expected 0 to 65535")):
        with pytest.raises(SystemExit) as end:
            main(["mos", "serve", "--set", str(folder), "--port", wrong])
        assert end.value.code == code
        assert told in capsys.readouterr().err
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=60) == 130


def test_a_link_for_other_machines_names_this_one(folder):
    assert addresses("192.0.2.7") == ["192.0.2.7"]
    assert addresses("0.0.0.0") and addresses("::")
    server, link = start_server(folder, host="0.0.0.0")
    try:
        assert urlsplit(link).hostname not in ("0.0.0.0", "127.0.0.1")
        assert httpx2.get(link).status_code == 200
    finally:
        server.kill()
        server.wait()


def test_a_browser_that_holds_a_film_half_read_does_not_keep_the_server(folder):
    for path in (folder / "served" / "media").iterdir():
        path.write_bytes(bytes(12_000_000))
    server, link = start_server(folder)
    base, invitation = link.split("?invitation=")
    with httpx2.Client(base_url=base) as client:
        client.post("api/join", json={"invitation": invitation})
        with client.stream("GET", client.get("api/state").json()["item"]["url"]) as reply:
            chunks = reply.iter_raw()
            next(chunks)
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=STOP_S + 30) == 130


def test_what_is_no_file_of_answers_is_named_with_what_to_do(folder, capsys):
    (folder / "answers.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ValueError, match=r"answers\.db: file is not a database; .*move it away"):
        create_app(folder)
    with pytest.raises(ValueError, match=r"answers\.db: no answers .*; give --set"):
        report(folder)
    with pytest.raises(SystemExit) as end:
        main(["mos", "serve", "--set", str(folder), "--port", "0"])
    assert end.value.code == 1
    assert "move it away" in capsys.readouterr().err


def test_a_new_set_that_another_server_is_opening_is_waited_for(folder):
    path = answers_file(folder)
    with sqlite3.connect(path, isolation_level=None, check_same_thread=False) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.5, other.execute, ("ROLLBACK",))
        release.start()
        Store(path, load_plan(folder)).close()
        release.join()


def test_an_answer_that_cannot_be_stored_is_asked_for_again(app, clock, folder, capsys):
    listener = Listener(app, clock)
    item = listener.hear()
    app.state.store._db.execute("PRAGMA query_only=ON")
    assert listener.post("answer", {"item": item, "score": 3}).status_code == 503
    assert "answers.db: attempt to write a readonly database" in capsys.readouterr().err
    app.state.store._db.execute("PRAGMA query_only=OFF")
    assert listener.post("answer", {"item": item, "score": 3}).status_code == 200


def test_an_answer_is_synced_before_it_is_acknowledged(app, folder):
    """SQLite syncs its log at every commit: mode FULL is number 2."""
    assert rows(folder, "PRAGMA journal_mode") == [("wal",)]
    assert app.state.store._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_killed_server_loses_no_answer_that_was_acknowledged(folder):
    acknowledged: dict[tuple[int, str], int] = {}
    cookies: list[httpx2.Cookies] = [httpx2.Cookies() for _ in range(3)]
    server, link = start_server(folder)
    base, invitation = link.split("?invitation=")
    for number in range(3):
        reply = httpx2.post(f"{base}api/join", json={"invitation": invitation})
        cookies[number].update(reply.cookies)

    def listen(number: int, base: str) -> None:
        """Answer until the server is gone; the score of an item follows from its name."""
        with httpx2.Client(base_url=base, cookies=cookies[number], timeout=5) as client:
            try:
                while item := client.get("api/state").json()["item"]:
                    name, score = item["id"], 1 + int(item["id"], 16) % 5
                    client.get(item["url"]).raise_for_status()
                    while client.post("api/heard", json={"item": name}).status_code == 409:
                        time.sleep(0.005)
                    reply = client.post("api/answer", json={"item": name, "score": score})
                    assert reply.status_code == 200
                    acknowledged[number, name] = score
            except httpx2.TransportError:
                return

    for goal in (4, 13, 25, None):
        workers = [threading.Thread(target=listen, args=(n, base)) for n in range(3)]
        for worker in workers:
            worker.start()
        deadline = time.monotonic() + 60
        while goal and len(acknowledged) < goal and time.monotonic() < deadline:
            time.sleep(0.001)
        if goal is None:  # to the end of the test
            for worker in workers:
                worker.join()
        server.kill()
        server.wait()
        for worker in workers:
            worker.join()
        assert len(acknowledged) >= (goal or 0)
        given = {(r, i): s for r, i, s in rows(folder, "SELECT rater, item, score FROM answers")}
        assert acknowledged.items() <= given.items()
        assert all(score == 1 + int(item, 16) % 5 for (_, item), score in given.items())
        assert rows(folder, "PRAGMA integrity_check") == [("ok",)]
        if goal is not None:
            server, link = start_server(folder)
            base = link.split("?")[0]
    order = load_plan(folder).orders
    assert {key for key in given} == {(r, item) for r in range(3) for item in order[r]}


# ---------------------------------------------------------------- report


def fill(folder: Path, score_of, raters: int, clock: Clock) -> None:
    """Let listeners answer all their clips by `score_of(rater, meaning)`; None stops them."""
    key = load_key(folder)
    app = create_app(folder, clock)
    for rater in range(raters):
        listener = Listener(app, clock)
        while (item := listener.state()["item"]) is not None:
            score = score_of(rater, key.items[item["id"]])
            if score is None:
                break
            listener.rate(score)
    app.state.store.close()


def honest(rater: int, meaning) -> int:
    if meaning.kind == CHECK:
        return meaning.answer
    return {TRUTH: 5, "high": 4, "low": 3, ANCHOR: 1}[meaning.system]


def test_a_report_gives_the_means_and_leaves_out_who_did_not_listen(folder, clock, capsys):
    clip = sorted({m.clip for m in load_key(folder).items.values() if m.kind == TEST})[0]

    def score(rater, meaning):
        if rater == 3 and meaning.kind == CHECK:
            return meaning.answer % 5 + 1
        if rater == 4:
            return 3
        if rater == 5:
            return None if meaning.kind == TEST else honest(rater, meaning)
        if rater == 1 and meaning.kind == TEST and meaning.system == "low" and meaning.clip == clip:
            return 5
        if rater == 2 and meaning.kind == PRACTICE:
            return 1
        return honest(rater, meaning)

    fill(folder, score, 6, clock)
    found = report(folder)
    people = found["listeners"]
    assert (people["joined"], people["counted"]) == (6, 3)
    reasons = {p["number"]: p["reasons"] for p in people["each"] if p["reasons"]}
    assert set(reasons) == {4, 5, 6}
    assert reasons[4] == ["missed 2 of 2 attention checks"]
    assert reasons[5][-1] == "gave all 8 clips the score 3"
    assert reasons[6] == ["stopped after 2 of 12 clips"]
    (part,) = found["parts"].values()
    got = {row["system"]: row for row in part["systems"]}
    heard = [clip in {key_clip(folder, item) for item in load_plan(folder).orders[1]}]
    low = (6 * 3 + 2 * heard[0]) / 6
    assert {name: row["mos"] for name, row in got.items()} == {
        TRUTH: 5, "high": 4, "low": pytest.approx(low), ANCHOR: 1,
    }  # fmt: skip
    assert {row["answers"] for row in got.values()} == {6}
    assert got[TRUTH]["interval"] == (5, 5)
    assert {name: row["paper"] for name, row in got.items()} == {
        TRUTH: 4.8, "high": 3.5, "low": 3.7, ANCHOR: None,
    }  # fmt: skip
    assert part["paper_only"] == {"reconstruction": 3.5}
    assert part["anchors_apart"] is True

    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["parts"] == json.loads(
        json.dumps(found["parts"])
    )
    with open(folder / "report.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [(r["part"], r["system"]) for r in table] == [
        ("quality", name) for name in (TRUTH, "high", "low", ANCHOR)
    ]
    assert float(table[1]["mos"]) == 4
    with open(folder / "answers.csv", newline="", encoding="utf-8") as file:
        answers = list(csv.DictReader(file))
    assert len(answers) == 5 * 12 + 2
    assert sum(int(row["counted"]) for row in answers) == 3 * 8
    assert {row["kind"] for row in answers} == {TEST, PRACTICE, CHECK}

    with pytest.raises(SystemExit) as end:
        main(["mos", "report", "--set", str(folder)])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "6 joined, 3 counted" in printed
    assert "left out   listener 4: missed 2 of 2 attention checks" in printed
    assert "Krippendorff's alpha" in printed
    assert "note: high: untrained: all of it" in printed


def key_clip(folder: Path, item: str) -> str:
    meaning = load_key(folder).items[item]
    return meaning.clip if meaning.system == "low" and meaning.kind == TEST else ""


def test_a_report_says_when_nobody_heard_the_anchors_apart(folder, clock):
    def score(rater, meaning):
        return meaning.answer if meaning.kind == CHECK else 6 - honest(rater, meaning)

    fill(folder, score, 2, clock)
    found = report(folder)
    assert found["parts"]["quality"]["anchors_apart"] is False
    assert any("do not trust this part" in line for line in lines(found))


def test_a_report_of_nothing_says_what_to_do(folder, clock, capsys):
    with pytest.raises(FileNotFoundError, match="model mos serve"):
        report(folder)
    fill(folder, honest, 1, clock)
    found = report(folder)
    row = found["parts"]["quality"]["systems"][0]
    assert (row["mos"], row["interval"], row["interval_listeners"]) == (5, None, None)
    fill(folder, lambda rater, meaning: None, 1, clock)
    assert report(folder)["listeners"]["counted"] == 1
    with pytest.raises(SystemExit) as end:
        main(["mos", "report", "--set", str(folder / "nowhere")])
    assert end.value.code == 1
    assert "model mos prepare" in capsys.readouterr().err


def test_alpha_is_krippendorff_s_of_his_own_example():
    """Computing Krippendorff's Alpha-Reliability (2011), example C: 4 observers, 12 units."""
    dot = None
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, dot, dot, dot],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, dot, 3],
        [dot, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, dot],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, dot],
    ]
    units = [[v for v in unit if v is not dot] for unit in zip(*observers, strict=True)]
    assert alpha(units, "interval") == pytest.approx(0.849, abs=5e-4)
    assert alpha(units, "ordinal") == pytest.approx(0.815, abs=5e-4)
    assert alpha([[1, 1], [5, 5], [3, 3]]) == 1
    assert alpha([[1, 5], [5, 1]]) == pytest.approx(-0.5)
    assert alpha([[3, 3], [3, 3]]) is None
    assert alpha([[1], [2]]) is None
    with pytest.raises(ValueError, match="ordinal or interval"):
        alpha(units, "nominal")


def test_intervals_widen_with_what_differs_and_hold_the_truth():
    rng = np.random.default_rng(1)
    raters, clips = rng.normal(0, 0.5, 12), rng.normal(0, 0.3, 8)
    by_rater = 3 + np.repeat(raters[:, None], 8, 1)
    low, high = interval(by_rater, clips=False)
    assert low < by_rater.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * raters.std() / 12**0.5, rel=0.1)
    assert np.ptp(interval(by_rater, raters=False)) < 1e-9
    by_clip = 3 + np.repeat(clips[None], 12, 0)
    assert np.ptp(interval(by_clip, clips=False)) < 1e-9
    assert interval(by_clip[:1]) is None and interval(by_rater[:, :1]) is None
    assert interval(by_rater[:1], raters=False) is not None
    assert interval(np.full((3, 3), np.nan)) is None
    held = 0
    for _ in range(120):
        table = 3 + rng.normal(0, 0.5, (12, 1)) + rng.normal(0, 0.5, (1, 10))
        table = table + rng.normal(0, 0.7, (12, 10))
        table[rng.random((12, 10)) < 0.3] = np.nan
        low, high = interval(table)
        held += low <= 3 <= high
    assert held >= 0.9 * 120


def test_intervals_of_few_listeners_or_clips_are_called_too_narrow(folder, clock):
    fill(folder, honest, 6, clock)
    found = report(folder)
    for row in found["parts"]["quality"]["systems"]:
        assert (row["listeners"], row["clips"]) == (6, 3)
    few = "note: quality: fewer than 5 listeners or clips: its intervals are too narrow"
    assert few in lines(found)
    for row in found["parts"]["quality"]["systems"]:
        row["clips"] = 5
    assert few not in lines(found)


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


# ---------------------------------------------------------------- denoising


def test_denoising_gives_numbers_after_long_silence():
    pytest.importorskip("noisereduce", reason="noisereduce is not installed: extra `denoise`")
    times_s = np.arange(3 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = 0.3 * np.sin(2 * np.pi * 440 * times_s) * (times_s % 1 < 0.3)
    silence = np.zeros(40 * SAMPLE_RATE_HZ)
    for audio in (np.r_[silence, tone], np.r_[tone, silence]):
        found = denoise(audio)
        assert np.isfinite(found).all() and found.shape == audio.shape
        assert rms(found[audio != 0]) > 0.2 * rms(audio[audio != 0])
        assert np.abs(found[~maximum_filter1d(audio != 0, 44_100)]).max() < 2**-16


@pytest.mark.parametrize("stationary", [False, True])
@pytest.mark.parametrize("samples", [0, 1, 100, 1023])
def test_denoising_leaves_less_than_a_window_as_it_is(samples, stationary):
    pytest.importorskip("noisereduce", reason="noisereduce is not installed: extra `denoise`")
    audio = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    assert np.array_equal(denoise(audio, stationary), audio)
