"""Several data sets in one stream: weights, order, what must be the same, and shared songs."""

import json
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from streams import keys_of, members, rewrite, source_of

from model.codecs.jukebox import random_codec
from model.contract.segment import MOTION, VISUAL
from model.contract.weighted import Weighted
from model.data.several import (
    Several,
    check_alike,
    check_codes,
    joined,
    labels_of,
    load_all,
)
from model.data.songs import shared_songs
from model.data.source import mixed_batches, spread_batches
from model.data.stream import Position, TrainingStream, shuffled
from model.fake_dataset import write_fake_dataset
from model.training.state import facts_of_all, other_data_sets

SIZES = {"a": 12, "b": 6, "c": 8}
WEIGHTS = {"a": Fraction(1), "b": Fraction(2), "c": Fraction(1, 2)}


@pytest.fixture(scope="module")
def small_codec():
    return random_codec(levels=("high",))


@pytest.fixture(scope="module")
def folder(small_codec, tmp_path_factory) -> Path:
    """Return a folder of the data sets a, b and c, of 12, 6 and 8 segments in shards of 4."""
    folder = tmp_path_factory.mktemp("several")
    for seed, (name, segments) in enumerate(SIZES.items()):
        write_fake_dataset(
            folder / name, small_codec, videos={"train": segments // 2, "val": 1}, segments=2,
            motion=(60, 6), segments_per_shard=4, seed=seed, prefix=name,
        )  # fmt: skip
    return folder


@pytest.fixture
def several(folder, small_codec) -> Several:
    sources = [replace(source_of(folder / n, small_codec), label=f"{n}:") for n in SIZES]
    return Several(sources, list(WEIGHTS.values()))


def test_one_data_set_is_read_in_the_order_of_one(folder, small_codec):
    """The order that runs of earlier versions were begun with."""
    source = source_of(folder / "a", small_codec)
    stored = [[raw["__key__"] for raw in source.raw(n)] for n in range(3)]
    expected = []
    for epoch in range(2):
        rng = np.random.default_rng((0, epoch))
        shards = rng.permutation(3)
        places = list(shuffled(range(12), 5, rng))
        keys = [key for shard in shards for key in stored[shard]]
        expected += [[keys[p] for p in places[i : i + 5]] for i in (0, 5)]
    assert keys_of(TrainingStream(source, 5, 0, 5, Position()), 4) == expected
    alone = Several([source], [Fraction(1)])
    assert keys_of(TrainingStream(alone, 5, 0, 5, Position()), 4) == expected


def test_an_epoch_passes_over_each_data_set_as_often_as_its_weight_says(several):
    stream = TrainingStream(several, 4, 0, 8, Position())
    assert (stream.share, stream.batches_per_epoch, stream.left_out) == (12 + 12 + 4, 7, 0)
    batches = keys_of(stream, 14)
    for keys in (batches[:7], batches[7:]):
        drawn = Counter(key for batch in keys for key in batch)
        assert Counter(key[0] for key in drawn.elements()) == {"a": 12, "b": 12, "c": 4}
        assert all(count == {"a": 1, "b": 2, "c": 1}[key[0]] for key, count in drawn.items())
    both = Counter(key for batch in batches for key in batch)
    assert all(count == {"a": 2, "b": 4, "c": 1}[key[0]] for key, count in both.items())
    assert len(both) == 26
    assert batches[:7] != batches[7:]


def test_the_data_sets_take_turns_from_the_first_batch_on(several):
    stream = TrainingStream(several, 14, 0, 8, Position())
    for keys in keys_of(stream, 4):
        assert {key[0] for key in keys} == {"a", "b", "c"}


def test_a_stream_of_several_goes_on_at_any_position_with_any_workers(several):
    whole = TrainingStream(several, 4, 0, 8, Position())
    keys, position = keys_of(whole, 12), Position()
    for taken in range(9):
        if taken in (1, 6, 8):
            rest = TrainingStream(several, 4, 0, 8, position)
            assert keys_of(rest, 12 - taken) == keys[taken:]
        position = whole.after(position)
    turns = [whole.part(turn, 3) for turn in range(3)]
    assert [next(turns[i % 3]).keys for i in range(12)] == keys


def test_processes_share_the_passes_of_each_data_set(several):
    found = []
    for rank in range(2):
        stream = TrainingStream(several, 2, 0, 8, Position(), rank, 2)
        assert (stream.share, stream.batches_per_epoch) == (6 + 6 + 2, 7)
        found += [key for keys in keys_of(stream, 7) for key in keys]
    drawn = Counter(found)
    assert Counter(key[0] for key in found) == {"a": 12, "b": 12, "c": 4}
    assert max(count for key, count in drawn.items() if key[0] != "b") == 1
    assert set(drawn[key] for key in drawn if key[0] == "b") == {2}
    with pytest.raises(ValueError, match="8 processes, but split train has 7 shards"):
        TrainingStream(several, 1, 0, 8, Position(), 0, 8)


def test_a_weight_that_gives_no_segment_is_refused(several):
    tiny = Several(several.sources, [Fraction(1), Fraction(1), Fraction(1, 50)])
    with pytest.raises(ValueError, match=r"c: 8 segments with a weight of 0.02 .*raise the weight"):
        TrainingStream(tiny, 4, 0, 8, Position())


def test_validation_is_spread_over_all_data_sets_without_weights(several):
    val = several.of_split("val")
    assert val.segments == 6 and several.of_split("test") is None
    keys = [key for batch in spread_batches(val, 4, 100) for key in batch.keys]
    assert [key[:2] for key in keys] == ["a:", "a:", "b:", "b:", "c:", "c:"]
    assert [batch.keys[0][0] for batch in mixed_batches(several, 9, 26)] == ["a", "a", "a"]
    (few,) = spread_batches(several, 4, 3)
    assert [key[0] for key in few.keys] == ["a", "a", "b"]


def loaded_of(folder: Path, *names: str):
    return load_all([Weighted(folder / name) for name in names])


def test_a_feature_that_differs_is_named_with_both_data_sets(folder):
    loaded = loaded_of(folder, "a", "b")
    names = [(MOTION, VISUAL)] * 2
    check_alike(loaded, names)
    both = rf"{folder / 'a'} and {folder / 'b'} cannot be trained on together: "
    other = loaded[1][1]
    spec = other.fields[MOTION]
    other.fields[MOTION] = {**spec, "fps": 30}
    with pytest.raises(ValueError, match=both + "motion.npy, fps is 60 in the one, 30 in the oth"):
        check_alike(loaded, names)
    check_alike(loaded, [(VISUAL,)] * 2)  # what is not read may differ
    loaded[0][1].fields[MOTION] = {**spec, "kind": "made", "imitates": "fake"}
    other.fields[MOTION] = spec
    check_alike(loaded, names)  # made poses beside those that they imitate
    del other.fields[MOTION]
    with pytest.raises(ValueError, match=both + "motion.npy is there in the one, missing in the"):
        check_alike(loaded, [(MOTION, VISUAL), (VISUAL,)])
    other.window_s = "3"
    with pytest.raises(ValueError, match=both + "window_s is 2 in the one, 3 in the other"):
        check_alike(loaded, names)


def test_codes_of_a_codec_that_all_have_are_read(folder):
    loaded = loaded_of(folder, "a", "b")
    first, other = loaded[0][1], loaded[1][1]
    first.codecs["another"] = replace(next(iter(first.codecs.values())))
    assert list(check_codes(loaded).codecs) == list(other.codecs)
    other.codecs = {"third": next(iter(other.codecs.values()))}
    with pytest.raises(ValueError, match=r"a and .*b cannot .* codes are of codec .*another.*thi"):
        check_codes(loaded)


def test_a_data_set_given_twice_asks_for_a_weight(folder):
    with pytest.raises(ValueError, match=r"given twice; give it once, with a weight: .*a=2"):
        loaded_of(folder, "a", "b", "a")


def test_segments_are_called_by_the_folder_of_their_data_set(folder, tmp_path):
    loaded = loaded_of(folder, "a", "b")
    assert labels_of(loaded) == ["a:", "b:"] and labels_of(loaded[:1]) == [""]
    same = [loaded[0], (Weighted(tmp_path / "a"), loaded[1][1])]
    assert labels_of(same) == ["a-1:", "a-2:"]
    assert joined(loaded).name == "fake+fake" and joined(loaded).untrained == ["features: noise"]


def renamed(root: Path, shard: str, song: str) -> None:
    """Give all segments of a shard another song."""
    found = []
    for name, data in members(root / shard):
        if name.endswith(".json"):
            data = json.dumps({**json.loads(data), "song": song}).encode()
        found.append((name, data))
    rewrite(root / shard, found)


def test_songs_of_two_data_sets_are_told_with_a_warning_for_those_held_out(
    small_codec, folder, tmp_path
):
    sources = [source_of(folder / name, small_codec) for name in "ab"]
    assert shared_songs(sources) == [] == shared_songs(sources[:1])
    root = tmp_path / "d"
    write_fake_dataset(
        root, small_codec, videos={"train": 2, "val": 1, "test": 1}, segments=1,
        motion=(60, 6), prefix="d",
    )  # fmt: skip
    renamed(root, "test-000000.tar", "atrain0-song")
    a, d = folder / "a", root
    assert shared_songs([sources[0], source_of(root, small_codec)]) == [
        f"note: 1 song is (atrain0-song) in both {a} and {d}",
        f"warning: 1 song is (atrain0-song) in the split train of {a} and in the split test of {d}"
        ", whose results are then not those of unseen songs",
    ]


def test_other_data_sets_or_weights_are_told_on_resume(folder):
    loaded = loaded_of(folder, "a", "b")
    heavy = [loaded[0], (Weighted(folder / "b", Fraction(5, 2)), loaded[1][1])]
    one, two, other = (facts_of_all(each) for each in (loaded[:1], loaded, heavy))
    assert other_data_sets(two, facts_of_all(loaded_of(folder, "a", "b"))) == ""
    assert other_data_sets(one, facts_of_all(loaded_of(folder, "a"))) == ""
    assert other_data_sets(one, two) == (
        "data sets was 'fake (weight 1)', is 'fake (weight 1), fake (weight 1)'"
    )
    assert "fake (weight 5/2)" in other_data_sets(two, other)
    swapped = facts_of_all(loaded[::-1])
    assert other_data_sets(two, swapped) == "fake: segments to train on was 12, is 6"


def test_the_first_batches_of_two_seeds_differ(several):
    first, second = (
        list(islice(TrainingStream(several, 4, seed, 8, Position()), 2)) for seed in (0, 1)
    )
    assert [batch.keys for batch in first] != [batch.keys for batch in second]
