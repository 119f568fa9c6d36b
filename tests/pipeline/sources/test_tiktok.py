"""`pipeline build --dataset tiktok`: compilations curated, built, verified and trained on.

One file, because most of its tests take the same compilations, which are curated and built once.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builds import refuse_work, shards
from clips import number
from clips import write as write_numbered
from compilations import compilation, dance
from places import DATA

import pipeline.build
import pipeline.media.reader
from model.cli import main as model_command
from model.contract.dataset import load_dataset
from model.contract.segment import SPLITS
from model.contract.shards import read_npy, read_shard
from model.contract.wav import read_wav
from pipeline import cli
from pipeline.build import BuildOptions, build
from pipeline.curate.run import CurateOptions, curate
from pipeline.engine.base import LocalEngine
from pipeline.engine.outcome import FILTERED, REASONS
from pipeline.features.motion.openpose import OpenPose, load_clip
from pipeline.features.sound import cut_sound
from pipeline.media.ffmpeg import mux_clip
from pipeline.media.reader import Audio, FrameRequest, Probe, frame_times, probe, read_frames
from pipeline.sources import manifest
from pipeline.sources.curated import LONGEST, clip_id, list_curated
from pipeline.sources.manifest import Row
from pipeline.sources.song_split import TEST_SHARE, VAL_SHARE, split_of, val_songs, with_val
from pipeline.sources.synthetic.compilations import _sound, write_compilation
from pipeline.sources.tiktok import list_tiktok

FPS = 25
SONGS = {"mBR0": "tune-0", "mWA2": "tune-14", "mJB1": "tune-10"}
"""Names that the hash of the split puts into train, val and test."""
SPECS = {
    "one": compilation(
        "one",
        dance(duration_s=4.4, bars="black"),
        dance(kind="talking_head", song="", dancers=(), look=3),
        dance(song="mWA2", look=5, duration_s=4.2, bars="logos"),
    ),
    "two": compilation(
        "two",
        dance(song="mJB1", look=8, duration_s=2.6, dancers=("d02", "d03")),
        dance(duplicate_of="one/0", gain_db=-12.0, crop=0.04, duration_s=4.0),
        dance(song="mBR0", song_start_s=9.0, look=11, duration_s=2.5, bars="black"),
    ),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder: two compilations and a broken file, curated, and their OpenPose files."""
    root = tmp_path_factory.mktemp("tiktok")
    for spec in SPECS.values():
        write_compilation(spec, root)
        write_poses(root / "openpose" / spec.compilation_id, spec.cuts[-1])
    (root / "videos" / "broken.mp4").write_bytes(b"no video")
    run = CurateOptions("tiktok", root / "curated", root / "videos", engine="local")
    curation = curate(run)
    songs = root / "songs.csv"
    with open(songs, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "verdict"])
        for clip, verdict in zip(curation.clips, curation.verdicts, strict=True):
            if verdict.decision == "keep":
                writer.writerow([clip.clip_id, SONGS[true_clip(clip).song]])
    curate(replace(run, overrides=songs))
    tell_apart(root / "curated" / "tiktok.parquet")
    (root / "videos" / "late.mp4").write_bytes(b"came after the curation")
    return root


def tell_apart(path: Path) -> None:
    """Put the songs of a table into the splits that their names stand for, each its own family."""
    table = pq.read_table(path)
    for name, wanted in {
        "split": [split_of(row["song"]) if row["song"] else "" for row in table.to_pylist()],
        "family": table["song"].to_pylist(),
    }.items():
        at = table.schema.get_field_index(name)
        if at >= 0:
            table = table.set_column(at, name, pa.array(wanted, pa.string()))
    pq.write_table(table, path)


def true_clip(clip):
    """Return the specification that a clip of the table was made from."""
    spec = SPECS[clip.video_id]
    near = np.abs(np.array(spec.cuts[:-1]) - clip.start_frame)
    assert near.min() <= 2
    return spec.clips[int(near.argmin())]


def write_poses(folder: Path, frames: int) -> None:
    """Write two people per frame: the dancer, moving, and a larger one in the left side bar."""
    folder.mkdir(parents=True)
    for frame in range(frames):
        people = []
        for left, top, size in ((130 + frame % 20, 40, 100), (2, 5, 90)):
            joints = np.ones((25, 3))
            joints[:, 0] = left + np.linspace(0, size / 3 if left > 100 else size, 25)
            joints[:, 1] = top + np.linspace(0, 170 if left < 100 else size, 25)
            people.append({"pose_keypoints_2d": joints.ravel().tolist()})
        text = json.dumps({"people": people})
        (folder / f"video_{frame:012d}_keypoints.json").write_text(text, encoding="utf-8")


def options(world: Path, out: Path, **changes: object) -> BuildOptions:
    plain = {
        "dataset": "tiktok", "out": out, "curated": world / "curated", "motion": "openpose",
        "visual": "none", "motion_dir": world / "openpose", "engine": "local", "max_failed": 1.0,
    }  # fmt: skip
    return BuildOptions.of({**plain, **changes})


@pytest.fixture(scope="module")
def built(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    build(options(world, out))
    return out


def segments(out: Path) -> dict[str, dict[str, bytes]]:
    return {key: members for path in sorted(out.glob("*.tar")) for key, members in read_shard(path)}


@pytest.mark.long
def test_every_clip_and_every_video_ends_and_the_sums_add_up(world, built):
    report = json.loads((built / "report.json").read_text(encoding="utf-8"))
    found = {row["video_id"]: row for row in report["rows"]}
    ended = {name: (row["status"], row["code"]) for name, row in found.items()}
    assert ended == {
        "one_c001": ("ok", ""),
        "one_c002": ("filtered", "rejected_speech"),
        "one_c003": ("ok", ""),
        "two_c001": ("ok", ""),
        "two_c002": ("filtered", "rejected_duplicate"),
        "two_c003": ("ok", ""),
        "broken": ("failed", "undecodable"),
        "late": ("filtered", "not_curated"),
    }
    assert report["inputs"] == sum(report["counts"].values()) == 8
    assert sum(report["segments"].values()) == sum(row["segments"] for row in found.values()) == 6
    assert "one_c001" in found["two_c002"]["message"]
    assert "bass" in found["one_c002"]["message"]
    assert found["broken"]["stage"] == "curate" and found["broken"]["message"]


@pytest.mark.long
def test_a_song_is_in_one_split_and_some_are_in_val(built):
    places = {}
    for key, members in segments(built).items():
        facts = json.loads(members["json"])
        places.setdefault(facts["song"], set()).add(facts["split"])
        assert key.startswith(facts["video_id"])
    assert places == {"tune-0": {"train"}, "tune-14": {"val"}, "tune-10": {"test"}}
    assert load_dataset(built).segments("val") == 2


def test_whole_songs_go_to_val_by_their_ids_alone():
    songs = [f"song-{k}" for k in range(4000)]
    train = {song for song in songs if split_of(song) == "train"}
    assert 1 - len(train) / 4000 == pytest.approx(TEST_SHARE, abs=0.02)
    assert len(val_songs(train)) / len(train) == pytest.approx(VAL_SHARE, abs=0.02)
    some = set(songs[:40]) & train
    assert val_songs(some) == val_songs(train) & some != set()
    kept = sorted(train - val_songs(train))[:5]
    assert len(val_songs(kept)) == 1 and val_songs(kept) == val_songs(kept[::-1])
    assert val_songs(kept[:1]) == set()


def test_songs_that_may_be_one_are_held_out_together():
    rows = [Row(f"v{k}_c001", "v.mp4", split="train", song=f"song-{k}") for k in range(60)]
    rows.append(Row("v_c001", "v.mp4", split="test", song="song-60"))
    family = {row.song: f"family-{k // 6}" for k, row in enumerate(rows)}
    held = with_val(rows, family)
    names = {split: {family[row.song] for row in held if row.split == split} for split in SPLITS}
    assert names["val"] and not names["val"] & (names["train"] | names["test"])
    assert [row.video_id for row in held if row.split == "test"] == ["v_c001"]
    assert with_val(held, {}) == held


@pytest.mark.long
def test_sound_is_the_sources_own_at_that_time_to_one_sample(built):
    sounds = {
        name: np.concatenate([_sound(spec, k) for k in range(len(spec.clips))])
        for name, spec in SPECS.items()
    }
    for key, members in segments(built).items():
        facts = json.loads(members["json"])
        got = read_wav(members["wav"]) / 32767 / facts["gain"]
        assert len(got) == 44100 and facts["clip_s"][0] <= facts["start_s"]
        assert facts["start_s"] + 2 <= facts["clip_s"][1] + 0.05
        at, true = round(facts["start_s"] * 22050), sounds[facts["source"][:-4]][::2]
        lags, middle = range(-3, 4), slice(4000, 40000)
        score = [
            np.corrcoef(got[middle], true[at + 4000 + lag : at + 40000 + lag])[0, 1] for lag in lags
        ]
        assert abs(lags[int(np.argmax(score))]) <= 1 and max(score) > 0.9, key


def test_nothing_after_the_clip_is_heard(tmp_path):
    seen = Probe(tmp_path, Fraction(0), Fraction(10), Fraction(25), 320, 180, 0, 250,
                 Fraction(0), Fraction(10), 22050, 1)  # fmt: skip
    sound = Audio(np.full(220500, 0.5, np.float32), Fraction(0))
    row = Row("v_c001", "v.mp4", start_s="1", stop_s="124/25", box=(80, 0, 100, 180))
    arrays, facts = cut_sound(row, seen, sound, Fraction(2))
    assert facts["starts_s"] == ["1", "3"] and facts["padded_ms"] == [0.0, 40.0]
    assert (facts["width_px"], facts["height_px"]) == (100, 180)
    silent = np.flatnonzero(arrays["pcm"][1] == 0)
    np.testing.assert_array_equal(silent, np.arange(44100 - 882, 44100))
    assert (arrays["pcm"][0] != 0).all()


@pytest.mark.long
def test_the_picture_is_the_active_picture_and_only_of_the_clip(world, monkeypatch):
    listing = list_curated(world / "curated", None, None, None)
    row = next(row for row in listing.rows if row.video_id == "two_c003")
    path = listing.root / row.path
    x, y, width, height = row.box
    shown = frame_times(path)
    inside = [at for at in shown if row.span_s[0] <= at < row.span_s[1]]
    assert frame_times(path, span_s=row.span_s) == inside
    assert row.span_s[0] == shown[SPECS["two"].cuts[2]]
    asked = [inside[0] - 1, inside[0], inside[30], inside[-1], inside[-1] + 1]
    whole = read_frames(path, {"": FrameRequest(inside)})[""]
    part = read_frames(path, {"": FrameRequest(asked, box=row.box)}, span_s=row.span_s)[""]
    expected = whole[[0, 0, 30, -1, -1]][:, y : y + height, x : x + width]
    np.testing.assert_array_equal(part, expected)
    edges = part[1:4, :, [0, 1, -2, -1]].mean((0, 1, 3))
    bars = whole[:, :, [x - 4, x + width + 3]].mean((0, 1, 3))
    assert edges.min() > 30 and bars.max() < 8
    np.testing.assert_allclose(row.box, SPECS["two"].clips[2].box, atol=3)


@pytest.mark.long
def test_poses_are_those_inside_the_box_counted_from_its_corner(world, built):
    listing = list_curated(world / "curated", None, OpenPose.FILES, world / "openpose")
    rows = {row.video_id: row for row in listing.rows}
    for key, members in segments(built).items():
        facts, motion = json.loads(members["json"]), read_npy(members["motion.npy"])
        assert motion.shape == (60, 75) and motion.dtype == np.float32
        x, y, width, height = facts["box_px"]
        assert rows[facts["video_id"]].box == (x, y, width, height)
        place = (facts["start_s"] + np.arange(60) / 30) * FPS
        left, top = motion.reshape(60, 25, 3)[:, 0, :2].T
        near = np.zeros(60, bool)
        for frame in (
            np.ceil(place - 0.5 - 1e-6),
            np.floor(place + 0.5 + 1e-6),
        ):  # or both, equally
            near |= np.abs(left - (130 + frame % 20 - x - width / 2) / height) < 1e-5
        assert near.all(), key
        np.testing.assert_allclose(top, (40 - y - height / 2) / height, atol=1e-6)


@pytest.mark.long
def test_people_beyond_the_box_are_left_out(world):
    times_s = frame_times(world / "videos" / "one.mp4")
    span_s = (times_s[10], times_s[13])
    people, shown_s = load_clip(world / "openpose" / "one", times_s, span_s, (100, 0, 100, 180))
    assert shown_s == times_s[10:13] and [found.shape for found in people] == [(1, 25, 3)] * 3
    np.testing.assert_allclose(people[0][0, 0], (40, 40, 1))


@pytest.mark.long
def test_the_same_command_again_does_nothing(world, built, monkeypatch):
    before = shards(built)
    monkeypatch.setattr(LocalEngine, "run", refuse_work)
    build(options(world, built))
    assert shards(built) == before


@pytest.mark.long
def test_another_order_and_another_engine_give_the_same_bytes(
    world, built, tmp_path, engine, monkeypatch
):
    monkeypatch.setattr(pipeline.build, "make_engine", lambda *_: engine)
    build(options(world, tmp_path, limit=3))
    real = pipeline.build.list_inputs

    def backwards(*arguments, **more):
        listing = real(*arguments, **more)
        return replace(listing, rows=listing.rows[::-1])

    monkeypatch.setattr(pipeline.build, "list_inputs", backwards)
    build(options(world, tmp_path))
    assert shards(tmp_path) == shards(built)


@pytest.mark.long
def test_a_changed_or_missing_video_is_told_from_one_that_was_curated(world, tmp_path, capsys):
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "one.mp4").write_bytes((world / "videos" / "two.mp4").read_bytes())
    report = build(options(world, tmp_path / "out", source=videos, motion="none", motion_dir=None))
    codes = {row["video_id"]: row["code"] for row in report.rows}
    assert {codes[name] for name in ("one_c001", "one_c003")} == {"changed"}
    assert {codes[name] for name in ("two_c001", "two_c003")} == {"missing_file"}
    assert codes["one_c002"] == "rejected_speech"
    assert "curated: 4 of 6 clips kept, from 3 videos" in capsys.readouterr().out


@pytest.mark.long
def test_dancers_that_curation_counted_are_in_the_facts(world, built, tmp_path, monkeypatch):
    assert "dancers_seen" not in json.loads(segments(built)["one_c001_seg0001"]["json"])
    curated = tmp_path / "curated"
    curated.mkdir()
    for name in ("report.json", "tiktok.inputs.parquet"):
        (curated / name).write_bytes((world / "curated" / name).read_bytes())
    table = pq.read_table(world / "curated" / "tiktok.parquet")
    at = table.schema.get_field_index("dancers")
    table = table.set_column(at, "dancers", pa.array(range(1, len(table) + 1), pa.int64()))
    pq.write_table(table, curated / "tiktok.parquet")
    report = build(
        options(world, tmp_path / "out", curated=curated, motion="none", motion_dir=None)
    )
    counts = {
        key: json.loads(members["json"])["dancers_seen"]
        for key, members in segments(tmp_path / "out").items()
    }
    assert counts["one_c001_seg0001"] == 1 and counts["two_c003_seg0001"] == 6
    told: Counter[str] = Counter()
    for held in report.material.values():
        told.update(held["dancers_seen"])
    assert told == Counter(map(str, counts.values()))
    assert "by dancers seen" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_shards_are_whole_and_the_trainer_trains_on_them_at_both_levels(world, tmp_path, capsys):
    out = tmp_path / "shards"
    command = ["build", "--dataset", "tiktok", "--curated", world / "curated", "--out", out,
               "--motion", "openpose", "--motion-dir", world / "openpose", "--visual", "none",
               "--codec", "demo", "--engine", "local"]  # fmt: skip
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in command])
    assert end.value.code == 0
    with pytest.raises(SystemExit) as end:
        cli.main(["verify", "--shards", str(out)])
    assert end.value.code == 0 and "all shards are complete and valid" in capsys.readouterr().out
    for level in ("high", "low"):
        run = tmp_path / level
        small = ["max_steps=2", "val_every=2", "batch_size=2", "val_segments=1", "workers=0",
                 "sample_every=100", "use_visual=false"]  # fmt: skip
        command = ["train", "--shards", out, "--level", level, "--preset", "tiny", "--out", run]
        for setting in small:
            command += ["--set", setting]
        with pytest.raises(SystemExit) as end:
            model_command([str(argument) for argument in command])
        assert end.value.code == 0
        logged = [
            json.loads(line)
            for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        assert logged[-1]["step"] == 2 and any("val/mel" in line for line in logged)
    command = ["generate", "--run", run, "--shards", out, "--split", "test", "--out", tmp_path]
    with pytest.raises(SystemExit) as end:
        model_command([str(argument) for argument in command])
    assert end.value.code == 0
    facts = json.loads(segments(out)["two_c001_seg0001"]["json"])
    seen = probe(tmp_path / "two_c001.mp4")
    assert (seen.width, seen.height) == tuple(side // 2 * 2 for side in facts["box_px"][2:])
    assert seen.frames == pytest.approx((facts["clip_s"][1] - facts["clip_s"][0]) * FPS, abs=0.1)


@pytest.mark.long
def test_the_published_list_counts_what_is_there_and_what_is_not(world, tmp_path):
    source = tmp_path / "source"
    (source / "videos").mkdir(parents=True)
    for name in ("000000_0_0", "stranger"):
        (source / "videos" / f"{name}.mp4").symlink_to(world / "videos" / "one.mp4")
    plain = {"curated": None, "motion_dir": None, "motion": "none", "published": True}
    report = build(options(world, tmp_path / "out", source=source, **plain))
    codes = {row["video_id"]: row["code"] or row["status"] for row in report.rows}
    assert len(codes) == 446
    assert codes.pop("000000_0_0") == "ok" and codes.pop("stranger") == "not_in_split"
    assert set(codes.values()) == {"missing_file"}
    rows, _ = manifest.load(tmp_path / "out" / "manifest.parquet")
    counts = {split: sum(row.split == split for row in rows) for split in ("train", "val", "test")}
    assert counts == {"train": 341, "val": 51, "test": 53}
    songs = {split: {r.song for r in rows if r.split == split} for split in counts}
    assert not songs["train"] & songs["val"] and not songs["test"] & (songs["train"] | songs["val"])
    assert list_tiktok(source, None, False, None).note.startswith("published list: 1 of its 445")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "pipeline curate --dataset tiktok --source DIR"),
        (["--published"], "--published needs --source DIR"),
        (["--source", "."], "pipeline curate --dataset tiktok --source ."),
        (["--curated", "nowhere"], "nowhere/tiktok.parquet: no such table"),
    ],
)
def test_what_is_missing_is_told_first(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "holiday.mp4").touch()
    with pytest.raises(SystemExit) as end:
        cli.main(["build", "--dataset", "tiktok", *arguments])
    assert end.value.code == 1
    assert words in capsys.readouterr().err


@pytest.mark.long
def test_poses_are_the_default_and_the_error_names_the_other_ways(world, tmp_path, monkeypatch):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path / "cache"))
    plain = options(world, tmp_path / "out", motion="", motion_dir=None)
    with pytest.raises((ValueError, FileNotFoundError), match="--motion openpose") as error:
        build(plain)
    assert "mmpose" in str(error.value) or "pipeline weights fetch" in str(error.value)
    assert "--motion none" in str(error.value)


@pytest.mark.slow
def test_poses_of_clips_come_from_the_picture_within_the_box(world, tmp_path):
    pytest.importorskip("mmpose", reason="mmpose is not installed here: its path is not tested")
    networks = {
        "pose_weights": str(DATA / "pose_synthetic.safetensors"),
        "detector": str(DATA / "persons_synthetic.safetensors"),
    }
    report = build(options(world, tmp_path, motion="mmpose", motion_dir=None, **networks))
    assert sum(row["status"] == "ok" for row in report.rows) == 4
    for key, members in segments(tmp_path).items():
        facts, motion = json.loads(members["json"]), read_npy(members["motion.npy"])
        body = motion.reshape(60, 25, 3)
        assert motion.shape == (60, 75) and facts["dancers_seen"] == (2 if "two_c001" in key else 1)
        sure = body[..., 2] > 0
        assert sure.mean() > 0.3, key
        width, height = facts["box_px"][2:]
        assert np.abs(body[sure][:, 0]).max() < 0.75 * width / height + 0.1, key


@pytest.mark.parametrize(
    ("name", "coding"),
    [
        ("b.mp4", ["-bf", "3", "-g", "25"]),
        ("open.mp4", ["-x264-params", "open-gop=1:keyint=20:bframes=3:b-pyramid=normal"]),
        ("live.mp4", ["-g", "25", "-movflags", "frag_keyframe+empty_moov"]),
        ("far.mp4", ["-g", "1000"]),
        ("b.mkv", ["-bf", "3", "-g", "25"]),
        ("refreshed.mp4", ["-x264-params", "intra-refresh=1:keyint=30"]),
    ],
)
def test_a_span_read_by_seeking_equals_the_same_of_the_whole(name, coding, tmp_path, monkeypatch):
    path = tmp_path / name
    sound = np.random.default_rng(0).normal(0, 0.1, 22050 * 8).astype(np.float32)
    write_numbered(path, Fraction(30), 240, sound, 22050, "-preset", "medium", *coding, "-shortest")
    decoded, given = pipeline.media.reader.decoded, []

    def counted(*arguments):
        for frame in decoded(*arguments):
            given.append(frame)
            yield frame

    monkeypatch.setattr(pipeline.media.reader, "decoded", counted)
    shown = frame_times(path)
    assert len(shown) == 240
    whole = read_frames(path, {"": FrameRequest(shown)})[""]
    for first, last in ((0, 20), (61, 90), (91, 101), (130, 239), (171, 200)):
        given.clear()
        span_s = (shown[first], shown[last])
        assert frame_times(path, span_s=span_s) == shown[first:last]
        part = read_frames(path, {"": FrameRequest(shown[first:last])}, span_s=span_s)[""]
        np.testing.assert_array_equal(part, whole[first:last])
        assert [number(frame) for frame in part[:3]] == [first, first + 1, first + 2]
        if first > 100 and name not in ("far.mp4", "refreshed.mp4"):
            assert len(given) < last - first + 95


def test_a_clip_under_new_music_is_its_span_and_its_box(tmp_path):
    sound = np.random.default_rng(0).normal(0, 0.1, 22050 * 5).astype(np.float32)
    path, wav, out = (tmp_path / name for name in ("v.mp4", "v.source.wav", "out.mp4"))
    write_numbered(path, Fraction(30), 120, sound, 22050, "-bf", "3", "-g", "25", "-shortest",
                   picture_late_s=0.5)  # fmt: skip
    shown = frame_times(path)
    mux_clip(path, wav, (float(shown[61]), float(shown[90])), (0, 1, 95, 60), out)
    times_s = frame_times(out)
    frames = read_frames(out, {"": FrameRequest(times_s)})[""]
    assert frames.shape == (29, 60, 94, 3)
    assert [number(frame) for frame in frames] == list(range(61, 90))
    assert times_s[0] < Fraction(1, 60) and probe(out).audio_start_s < Fraction(1, 60)
    mux_clip(path, wav, (float(shown[61]), float(shown[90])), (48, 0, 48, 64), out)
    (right,) = read_frames(out, {"": FrameRequest([Fraction(0)])})[""]
    np.testing.assert_allclose(right, 8 + 15 * (61 // 16), atol=4)
    with pytest.raises(ValueError, match="a clip from 3"):
        mux_clip(path, wav, (3.0, 2.0), (0, 0, 96, 64), out)


def test_ids_of_clips_fit_into_tars_and_stay_apart():
    names = [f"{'x' * 64}-{k:012x}_c{n:03d}" for k in (1, 2) for n in (1, 1000)]
    made = [clip_id(name) for name in names]
    assert len(set(made)) == 4 and max(map(len, made)) <= LONGEST
    assert clip_id("one_c001") == "one_c001"


def test_every_reason_against_a_clip_has_an_outcome():
    assert {f"rejected_{reason}" for reason in REASONS} <= FILTERED.keys()
