"""`model evaluate`: its rows, its scores, what it writes, and the tables beside the paper's.

One file, because most of its tests take the same run and its evaluation, the dearest fixtures here.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

from model.baselines.base import TRUTH, Music
from model.baselines.references import decode, metronome
from model.cli import main
from model.codecs.base import load_codec
from model.contract.dataset import load_dataset
from model.contract.segment import MOTION
from model.data.clips import Clip, read_clips
from model.data.source import Source
from model.evaluation.evaluate import NAME, folder_of, genre_notes, load, load_sets, to_show
from model.evaluation.paper import FULL, TABLES, row_of
from model.evaluation.score import OF_CLIPS, OF_SEGMENTS, OF_SETS, Scorer
from model.evaluation.tables import (
    beside_the_paper,
    cell,
    compared,
    one_run,
    opinions,
    unlike_the_paper,
    unscored,
)
from model.evaluation.training_split import Training, read_training
from model.fake_dataset import write_fake_dataset
from model.families.d2m_gan.config import Config, load_config
from model.measures.base import MEASURED
from model.measures.embeddings import Embedding, load_embedding
from model.measures.fad import frechet
from model.runtime.settings import to_dict
from model.training.loop import train

SMALL = (
    "channels=16", "min_channels=8", "motion_channels=8", "visual_channels=8", "batch_size=2",
    "d_first_stride=16", "val_segments=1", "sample_segments=1", "max_steps=1",
    "val_every=1", "sample_every=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shards"
    write_fake_dataset(
        root, load_codec("demo"), videos={"train": 3, "val": 1, "test": 3}, segments=2
    )
    return root


@pytest.fixture(scope="module")
def run(shards, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "full"
    train(shards, folder, load_config("tiny", None, SMALL))
    return folder


@pytest.fixture(scope="module")
def evaluated(run, shards) -> dict:
    assert command("--run", run, "--shards", shards, "--embedding", "mel-statistics") == 0
    return load(run)


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", *(str(argument) for argument in arguments)])
    return stopped.value.code


def source_of(shards: Path, split: str) -> Source:
    codec = load_codec("demo", ("high",))
    return Source(
        shards, load_dataset(shards), split, codec.codes_id, {"high": codec.level("high").size}
    )


@pytest.fixture(scope="module")
def clips(shards):
    return read_clips(source_of(shards, "test"))


@pytest.fixture(scope="module")
def scorer(clips, shards) -> Scorer:
    embedding = load_embedding("mel-statistics")
    training = read_training(source_of(shards, "train"), clips, embedding)
    return Scorer(clips, embedding, training, 60.0, 1024)


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.long
def test_every_row_is_scored_and_its_music_is_to_be_heard(evaluated, run):
    names = [
        TRUTH, "reconstruction, high", "reconstruction, low", "random codes",
        "metronome, 120 BPM", "nearest training dance", "retrieval", "shuffled pairing",
        "D2M-GAN, high", "D2M-GAN, high, other songs",
    ]  # fmt: skip
    assert list(evaluated["rows"]) == [*names, "unigram", "bigram", "trigram"]
    # The fake data set has one genre, so there is nothing to classify.
    some = {"codes", "copied", "diversity", "genre_heard"}
    for name in names:
        assert {*OF_CLIPS, *OF_SEGMENTS} - some <= evaluated["rows"][name]["scores"].keys(), name
    folder = folder_of(run)
    assert len(list(folder.glob("clip-*-*.wav"))) == len(list(folder.glob("*.png"))) == 3 * 10
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert all(f'src="{path.name}"' in page for path in folder.glob("clip-*"))
    assert "demo codec" in page
    assert not list(folder.glob("*.part"))


@pytest.mark.long
def test_the_truth_has_full_marks_and_its_own_codes(evaluated):
    scores = evaluated["rows"][TRUTH]["scores"]
    ones = ("cover", "hit", "onset_f", "loris_cover", "loris_hit", "codes", "bcs_02", "bhs_02",
            "loris_f1", "f1_02")  # fmt: skip
    for name in ones:
        assert scores[name]["value"] == 1, name
    assert scores["similarity_mel-statistics"]["value"] == pytest.approx(1)
    assert scores["csd_02"]["value"] == scores["tempo_difference"]["value"] == 0
    assert scores["kl"]["value"] == scores["frechet"]["value"] == 0


@pytest.mark.long
def test_what_is_untrained_and_which_embedding_is_said(evaluated, capsys):
    assert any("demo codec" in label for label in evaluated["labels"])
    assert any("noise" in label for label in evaluated["labels"])
    assert any("not VGGish" in label for label in evaluated["labels"])
    assert evaluated["embedding"] == "mel-statistics"


@pytest.mark.long
def test_the_measures_of_notes_say_what_is_known_of_the_rows(evaluated):
    rows = {name: row["scores"] for name, row in evaluated["rows"].items()}
    assert rows[TRUTH]["loudness_db"]["value"] == 0
    assert rows["D2M-GAN, high"]["diversity"]["value"] == 0  # a GAN has one answer to a dance
    assert "diversity" not in rows[TRUTH]
    for name in (TRUTH, "random codes", "D2M-GAN, high"):
        assert 0 <= rows[name]["copied"]["value"] <= 2
    assert rows["random codes"]["notes"]["value"] < 0.02
    for name in ("unigram", "bigram", "trigram"):
        assert rows[name].keys() == {"bits_high"} and 0 < rows[name]["bits_high"]["value"] < 12


@pytest.mark.long
def test_what_the_paper_does_not_measure_has_a_table_of_its_own(evaluated):
    told = beside_the_paper([evaluated]).split("**Notes, sound and likelihood**")[1]
    line = next(line for line in told.splitlines() if "| ground truth |" in line)
    assert evaluated["run"] in line and "notes %" in told and "bits/code, high" in told
    assert "| trigram |" in told and "metronome" in told


@pytest.mark.slow
def test_the_same_command_gives_the_same_figures(evaluated, run, shards, tmp_path):
    before = (folder_of(run) / NAME).read_bytes()
    assert command("--run", run, "--shards", shards, "--embedding", "mel-statistics") == 0
    assert (folder_of(run) / NAME).read_bytes() == before


@pytest.mark.long
def test_without_vggish_the_command_says_what_to_do(run, shards, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("D2M_WEIGHTS", str(tmp_path))
    assert command("--run", run, "--shards", shards) == 1
    told = capsys.readouterr().err
    assert "pipeline weights fetch vggish" in told
    assert "--embedding mel-statistics" in told


@pytest.mark.long
def test_wrong_words_are_answered(run, capsys, tmp_path):
    assert command() == 2
    assert "--run" in capsys.readouterr().err
    assert command("--run", run) == 2
    assert "--shards" in capsys.readouterr().err
    assert command("--run", run, "--shards", run, "--embedding", "clap:") == 2
    assert "vggish, mel-statistics, clap, clap:FOLDER or none" in capsys.readouterr().err
    assert command("--all", tmp_path) == 1
    assert f"model evaluate --run {tmp_path}" in capsys.readouterr().err


@pytest.mark.long
def test_no_embedding_leaves_out_what_needs_one(run, shards, tmp_path):
    copied = tmp_path / "run"
    copied.mkdir()
    (copied / "last.pt").write_bytes((run / "last.pt").read_bytes())
    given = ("--embedding", "none", "--clips", "1", "--alone")
    assert command("--run", copied, "--shards", shards, *given) == 0
    assert load(copied)["rows"].keys() == {"D2M-GAN, high"}
    found = load(copied)["rows"]["D2M-GAN, high"]["scores"]
    assert not {"genre", "kl", "frechet"} & found.keys()
    assert not [name for name in found if name.startswith("similarity")]
    assert {"onset_f", "codes", "perplexity"} <= found.keys()


# --- clips, rows, scores -------------------------------------------------------------------------


def test_clips_are_whole_videos_in_order(clips, shards):
    assert [clip.name for clip in clips] == ["test0", "test1", "test2"]
    samples = load_dataset(shards).samples
    for clip in clips:
        assert clip.segments.shape == (2, samples)
        assert clip.codes.shape == (2, 344)
        assert clip.piece.inputs[MOTION].shape == (240, 219)


def renamed(clip: Clip, **changes) -> Clip:
    """Return the clip as that of another video."""
    return replace(clip, piece=replace(clip.piece, video_id=f"copy of {clip.name}", **changes))


def test_the_nearest_dance_is_found_by_its_motion(shards):
    """A copy of a training video finds it; a training video finds others only."""
    train = source_of(shards, "train")
    own = read_clips(train)
    found = read_training(train, [renamed(clip) for clip in own], None)
    for clip, music in zip(own, found.nearest, strict=True):
        assert np.array_equal(music, clip.segments)
    assert found.database is None
    for clip, music in zip(own, read_training(train, own, None).nearest, strict=True):
        assert not any(np.array_equal(a, b) for a in music for b in clip.segments)


def test_a_value_that_never_moves_does_not_decide_which_dance_is_near(shards):
    train = source_of(shards, "train")
    own = read_clips(train)
    still = [clip.piece.inputs[MOTION].copy() for clip in own]
    for motion in still:
        motion[:, 7] = 100.0
    queries = [renamed(c, inputs={MOTION: m}) for c, m in zip(own, still, strict=True)]
    for clip, music in zip(own, read_training(train, queries, None).nearest, strict=True):
        assert np.array_equal(music, clip.segments)


def test_the_true_music_of_a_clip_has_its_own_dynamics(clips):
    clip = replace(clips[0], gains=np.array([4.0, 1.0], np.float32))
    first, second = clip.audio.reshape(2, -1)
    assert np.allclose(4 * first, clip.segments[0])
    assert np.array_equal(second, clip.segments[1])


def test_frames_of_joined_windows_stay_with_the_music(clips):
    assert clips[0].motion_fps == 60
    motion = clips[0].piece.inputs[MOTION]
    odd = replace(clips[0], piece=replace(clips[0].piece, inputs={MOTION: motion[:-2]}))
    assert odd.motion_fps == pytest.approx(59.5)


def test_codes_of_joined_segments_sound_in_their_places(clips):
    codec = load_codec("demo", ("high",))
    clip = clips[0]
    sound = decode(codec, "high", clip.codes, clip.audio)
    assert len(sound) == len(clip.audio)
    import torch

    alone = codec.decode(torch.from_numpy(clip.codes[:1]), "high")[0].numpy()
    middle = slice(8000, 30000)  # away from the borders, where the second segment is heard
    assert np.allclose(sound[middle], alone[middle], atol=1e-4)


@pytest.mark.long
def test_a_clip_without_an_onset_has_no_score_and_the_means_leave_it_out(scorer, clips):
    silent = [replace(clips[0], segments=np.zeros_like(clips[0].segments)), *clips[1:]]
    other = Scorer(silent, None, Training(), None, 1024)
    scores = other.scores(Music("x", [clip.audio for clip in clips]))
    rows = {"x": {"each": scorer.plain_scores(scores)}}
    (told,) = unscored({"rows": rows})
    assert "cover %, hit %: 2 of 6 segments" in told and "onset F" in told
    assert math.isnan(scores["onset_f"][0])
    assert math.isnan(scores["cover"][0])
    assert scores["onset_f"][1] == 1
    assert other.summary(scores)["cover"].value == 1
    assert "align" not in scores


@pytest.mark.long
def test_silence_has_no_tempo_and_the_clip_is_left_out_and_counted(scorer, clips):
    music = [np.zeros_like(clips[0].audio), *(clip.audio for clip in clips[1:])]
    scores = scorer.scores(Music("x", music))
    assert np.isnan(scores["tempo_difference"]).tolist() == [True, False, False]
    assert scorer.summary(scores)["tempo_difference"].value == 0
    (told,) = unscored({"rows": {"x": {"each": scorer.plain_scores(scores)}}, "measures": {
        name: measure.facts() for name, measure in scorer.measures.items()}})  # fmt: skip
    assert "TD, BPM: 1 of 3 clips" in told


@pytest.mark.long
def test_onsets_in_fifths_of_a_second_are_those_of_loris_and_sets_have_their_f1(scorer, clips):
    late = [np.roll(clip.audio, 2205) for clip in clips]  # half a bin: some onsets change bins
    scores = scorer.scores(Music("x", late))
    assert 0 < scores["bcs_02"].mean() < scores["loris_cover"].mean()
    found = scorer.summary(scores)
    bcs, bhs = found["bcs_02"].value, found["bhs_02"].value
    assert found["f1_02"].value == pytest.approx(2 * bcs * bhs / (bcs + bhs))
    assert found["csd_02"].value == pytest.approx(scores["bcs_02"].std(ddof=1))
    assert found["loris_hsd"].value == pytest.approx(scores["loris_hit"].std(ddof=1))


@pytest.mark.long
def test_one_song_has_no_interval(scorer, clips):
    alone = Scorer(clips[:1], None, Training(), 60.0, 1024)
    found = alone.summary(alone.scores(Music("x", [clips[0].audio], [clips[0].codes])))
    assert found["onset_f"].value == 1
    assert math.isnan(found["onset_f"].low)
    assert (
        cell({"value": 1.0, "low": None, "high": None, "groups": 1}, MEASURED["onset_f"]) == "1.000"
    )


@pytest.mark.long
def test_loudness_of_a_segment_does_not_change_its_embedding(scorer, clips):
    loud = scorer.scores(Music("x", [clip.audio for clip in clips]))
    quiet = scorer.scores(Music("x", [0.1 * clip.audio for clip in clips]))
    assert np.allclose(loud["patches"], quiet["patches"], atol=1e-3)


@pytest.mark.long
def test_distances_of_sets_are_of_all_patches(clips):
    quarters = Embedding("quarters", lambda x: np.log1p(np.abs(x[:44100]).reshape(4, 3, -1)).sum(2))
    scorer = Scorer(clips, quarters, Training(), None, 1024)
    ours = [0.5 * clip.audio + 0.1 * clip.audio**2 for clip in clips]
    scores = scorer.scores(Music("x", ours))
    assert scores["patches"].shape == (len(scorer.segment_songs), 4, 3)
    wanted = frechet(scorer.patches.reshape(-1, 3), scores["patches"].reshape(-1, 3))
    assert scorer.summary(scores)["frechet"].value == pytest.approx(wanted)


def test_settings_unlike_the_papers_are_told():
    assert unlike_the_paper(to_dict(Config())) == []
    found = unlike_the_paper(to_dict(replace(Config(), channels=8, max_steps=5, level="low")))
    assert found == ["channels=8"]


def test_a_metronome_clicks_twice_a_second():
    clicks = metronome(2 * 22050)
    starts = np.flatnonzero((np.abs(clicks[1:]) > 0.01) & (np.abs(clicks[:-1]) <= 1e-4))
    firsts = starts[np.diff(starts, prepend=-10_000) > 5000] / 22050
    assert np.allclose(firsts, [0.25, 0.75, 1.25, 1.75], atol=0.002)


def test_clips_to_show_are_of_different_songs():
    songs = ["b", "a", "a", "c", "b", "d"]
    assert [songs[i] for i in to_show(songs, 2)] == ["a", "c"]
    assert len(to_show(songs, 9)) == 4
    assert to_show(songs, 0) == []


# --- tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        ({}, FULL),
        ({"use_motion": False}, "without motion"),
        ({"use_visual": False}, "without visual"),
        ({"discriminators": 1}, "1 discriminator"),
        ({"discriminators": 2}, "2 discriminators"),
        ({"sigma": 1.0}, "no sigma scaling"),
        ({"reshape": "none"}, "no reshape"),
        ({"arch": "paper"}, "network of the paper"),
        ({"use_genre": True, "use_motion": False}, "without motion, genre as an input"),
    ],
)
def test_a_run_finds_its_row_by_its_configuration(changes, row):
    assert row_of(to_dict(replace(Config(), **changes)), "2", False, False) == row


@pytest.mark.parametrize("loss", ["feature", "wave", "mel"])
def test_every_loss_of_the_paper_has_a_row(loss):
    config = to_dict(Config())
    config["weights"][loss] = 0.0
    names = {row.name for table in TABLES.values() for row in table}
    assert row_of(config, "2.0", False, False) in names
    assert row_of(config, "4", False, False) not in names


def test_every_ablation_file_belongs_to_a_row_of_its_own():
    folder = ROOT / "configs"
    found = {}
    paths = [path for path in sorted(folder.glob("*.yaml")) if not path.stem.startswith("cdcd-")]
    for path in paths:  # those of CDCD are settings of another family
        config = load_config("paper", path)
        row = row_of(to_dict(config), str(config.window_s or 2), path.stem != "no-finetuning", True)
        assert row != FULL, path
        found.setdefault(row, path)
        assert found[row] == path, f"{path} and {found[row]} share a row"
    ours = {row.name for table in TABLES.values() for row in table} - {FULL}
    assert ours <= found.keys()


def test_a_missing_fine_tuning_is_a_row_only_beside_fine_tuned_runs():
    config = to_dict(Config())
    assert row_of(config, "2", False, True) == "no decoder fine-tuning"
    assert row_of(config, "2", False, False) == row_of(config, "2", True, True) == FULL


@pytest.mark.long
def test_all_runs_stand_beside_the_paper(evaluated, run, capsys):
    assert command("--all", run) == 0
    told = capsys.readouterr().out
    line = next(line for line in told.splitlines() if line.startswith("| full model"))
    assert "88.2 / 84.7 / 24.4" in line
    ours = evaluated["rows"]["D2M-GAN, high"]["scores"]
    assert f"{100 * ours['cover']['value']:.1f} [" in line
    assert "demo codec" in told
    assert "fake, split test, 6 segments of 3 songs" in told


@pytest.mark.long
def test_runs_that_the_paper_has_no_row_for_come_last(evaluated):
    other = json.loads(json.dumps(evaluated))
    other["config"]["arch"] = "paper"
    told = beside_the_paper([evaluated, other])
    assert told.index("**Not in the paper**") > told.index("**design**")
    assert "| network of the paper |" in told


@pytest.mark.long
def test_segments_without_a_genre_have_no_score_and_the_others_keep_theirs(scorer, clips):
    some = [replace(clips[0], piece=replace(clips[0].piece, genre="")), *clips[1:]]
    other = Scorer(some, scorer.embedding, scorer.training, None, 1024)
    found = other.scores(Music("x", [clip.audio for clip in clips]))["genre"]
    assert np.isnan(found).tolist() == [True] * 2 + [False] * 4
    assert genre_notes(other, "train") == ["2 of 6 segments have no genre"]
    database = scorer.training.database
    own = replace(database, songs=(clips[1].song,) * len(database.songs))
    found = Scorer(clips, scorer.embedding, replace(scorer.training, database=own), None, 1024)
    found = found.scores(Music("x", [clip.audio for clip in clips]))["genre"]
    assert np.isnan(found).tolist() == [False] * 2 + [True] * 2 + [False] * 2


@pytest.mark.long
def test_another_split_is_evaluated_beside_and_is_no_row_of_the_paper(
    evaluated, run, shards, capsys
):
    given = ("--run", run, "--shards", shards, "--split", "val", "--embedding", "none", "--alone")
    assert command(*given, "--similarity", "mel-statistics") == 0
    assert load(run)["split"] == "test" and load(run, "val")["split"] == "val"
    found = load(run, "val")
    scores = found["rows"][found["row"]]["scores"]
    assert 0 < scores["similarity_mel-statistics"]["value"] < 1 and "frechet" not in scores
    assert found["measures"]["similarity_mel-statistics"]["title"] == "similarity (mel-statistics)"
    assert any("not VGGish" in label for label in found["labels"])
    assert command("--all", run) == 0
    assert "split test" in capsys.readouterr().out


@pytest.mark.long
def test_runs_on_tiktok_stand_beside_the_paper_on_tiktok(evaluated):
    told = beside_the_paper([evaluated, evaluated | {"dataset": "tiktok"}])
    tiktok = told[told.index("**TikTok**: cover / hit, %") :].splitlines()
    line = next(line for line in tiktok if line.startswith("| full model"))
    ours = line.split("|")[3]
    assert ours.count("[") == 2 and ";" not in ours
    assert told.index("| Dance2Music") < told.index("**TikTok**")
    assert "decoder not fine-tuned; not denoised" in told


@pytest.mark.long
def test_other_methods_have_the_papers_row_on_aist_and_one_of_their_own_on_tiktok(evaluated):
    row = evaluated["rows"][evaluated["row"]]
    cmt = {**evaluated, "family": "cmt", "row": "CMT", "level": "", "rows": {"CMT": row}}
    told = beside_the_paper([evaluated, cmt, cmt | {"dataset": "tiktok"}])
    aist, tiktok = told.split("**TikTok**: cover / hit, %")
    line = next(line for line in aist.splitlines() if line.startswith("| CMT"))
    assert line.count("85.5 / 83.5 / 11.6") == 2 and line.split("|")[3] == line.split("|")[5]
    assert line.split("|")[3].count("[") == 3 and "Not in the paper" not in aist
    line = next(line for line in tiktok.splitlines() if line.startswith("| CMT"))
    assert line.split("|")[2].count("[") == 2 and "**Not in the paper**" in tiktok


def test_opinions_stand_beside_the_papers():
    systems = [
        {"system": "high", "mos": 3.25, "interval": (3.0, 3.5)},
        {"system": "mine", "mos": 2.0, "interval": None},
    ]
    told = opinions({"parts": {"coherence": {"systems": systems}}})
    assert "| high | 3.5 | 3.25 [3.00, 3.50] | 3.5 | – |" in told
    assert "| mine | – | 2.00 | – | – |" in told
    assert "| truth | 4.6 | – | 4.8 | – |" in opinions(None)


@pytest.mark.long
def test_an_evaluation_of_an_earlier_version_is_to_be_made_anew(evaluated, tmp_path):
    folder = folder_of(tmp_path / "old")
    folder.mkdir(parents=True)
    old = {key: value for key, value in evaluated.items() if key != "data"}
    (folder / NAME).write_text(json.dumps(old), encoding="utf-8")
    with pytest.raises(ValueError, match=r"earlier version.*model evaluate --run"):
        load(tmp_path / "old")


@pytest.mark.long
def test_what_was_not_measured_alike_is_left_out_and_named(evaluated, run):
    other = evaluated | {"embedding": "vggish", "codes_id": "jukebox", "data": "x"}
    sets = load_sets(run)
    told = compared(other, evaluated, sets, sets)
    assert "embeddings vggish and mel-statistics: no genre, KL, Fréchet" in told
    assert "no codes, perplexity" in told and "but the shards differ" in told
    assert not any(
        f"| {MEASURED[name].title}" in told for name in ("genre", "kl", "frechet", "codes")
    )
    told = compared(evaluated | {"train_data": "x"}, evaluated, sets, sets)
    assert "| KL" in told and "| genre" not in told


@pytest.mark.long
def test_an_evaluation_without_the_newer_scores_is_still_printed_and_compared(evaluated, run):
    newer = ("_02", "loris_csd", "loris_hsd", "tempo_difference", "similarity_")
    old = json.loads(json.dumps(evaluated))
    for row in old["rows"].values():
        for part in ("scores", "each"):
            row[part] = {n: v for n, v in row[part].items() if not any(x in n for x in newer)}
    old["measures"] = {n: v for n, v in old["measures"].items() if "similarity" not in n}
    assert "0.2 s" in one_run(evaluated) and "0.2 s" not in one_run(old)
    assert "similarity (mel-statistics)" not in beside_the_paper([old])
    told = beside_the_paper([evaluated, old]).split("**Notes, sound and likelihood**")[1]
    lines = [line for line in told.splitlines() if "| D2M-GAN, high |" in line]
    at = told.strip().splitlines()[0].split("|").index(" similarity (mel-statistics) ")
    assert "[" in lines[0].split("|")[at] and lines[1].split("|")[at] == " – "
    sets = load_sets(run)
    for a, b in ((old, evaluated), (evaluated, old)):
        told = compared(a, b, sets, sets)
        assert "| BCS (LORIS, 1 s)" in told and "0.2 s" not in told and "similarity" not in told


@pytest.mark.long
def test_two_runs_are_compared_by_pairs(evaluated, run):
    sets = load_sets(run)
    better = json.loads(json.dumps(evaluated))
    each = better["rows"]["D2M-GAN, high"]["each"]
    each["codes"] = [x + 0.25 for x in each["codes"]]
    told = compared(better, evaluated, sets, sets)
    lines = told.splitlines()
    line = next(line for line in lines if line.startswith("| codes %"))
    assert "+25.000" in line
    assert "3 of 3" in line
    hit = next(line for line in lines if line.startswith("| hit %"))
    assert "0 of 3, 3 equal | 1.000 |" in hit
    for name in OF_SETS:
        assert next(line for line in lines if line.startswith(f"| {MEASURED[name].title}")), name
    fewer = sets | {"codes": sets["codes"] * 0}
    line = next(x for x in compared(evaluated, evaluated, fewer, sets).splitlines()
                if x.startswith("| perplexity"))  # fmt: skip
    assert float(line.split("|")[2]) < -5
    elsewhere = better | {"segments": evaluated["segments"][1:]}
    with pytest.raises(ValueError, match="different segments"):
        compared(elsewhere, evaluated, sets, sets)


@pytest.mark.long
def test_a_table_has_a_line_for_each_row(evaluated):
    first = one_run(evaluated).split("\n\n")[0].splitlines()
    heard = [row for row in evaluated["rows"].values() if "onset_f" in row["scores"]]
    assert len(first) == 2 + len(heard)
    assert len(heard) == len(evaluated["rows"]) - 3, "n-grams have no music"
    assert len({line.count("|") for line in first}) == 1
