"""Data sets with weights, as they are given to --shards."""

from fractions import Fraction
from pathlib import Path

import pytest

from model.contract.storage import Url
from model.contract.weighted import Weighted, to_weighted


@pytest.mark.parametrize(
    ("text", "root", "weight"),
    [
        ("shards/a", "shards/a", "1"),
        ("shards/a=2", "shards/a", "2"),
        ("shards/a=0.25", "shards/a", "1/4"),
        ("shards/a=.5", "shards/a", "1/2"),
        ("shards/day=3=1", "shards/day=3", "1"),
        ("shards/day=monday", "shards/day=monday", "1"),
        ("shards/a=1e3", "shards/a=1e3", "1"),
        ("=2", "=2", "1"),
    ],
)
def test_a_number_behind_the_last_equals_sign_is_a_weight(text, root, weight):
    assert to_weighted(text) == Weighted(Path(root), Fraction(weight))


def test_an_address_may_have_a_weight():
    assert to_weighted("s3://bucket/a=2") == Weighted(Url("s3://bucket/a"), Fraction(2))
    assert to_weighted("https://host/a?x=2=1") == Weighted(Url("https://host/a?x=2"))


def test_a_folder_that_exists_wins_over_a_weight(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a=2").mkdir()
    assert to_weighted("a=2") == Weighted(Path("a=2"))
    assert to_weighted("a=2=3") == Weighted(Path("a=2"), Fraction(3))
    assert to_weighted("a/=2") == Weighted(Path("a"), Fraction(2))


@pytest.mark.parametrize("weight", ["0", "-1", "1001"])
def test_a_weight_out_of_range_says_what_is_expected(weight):
    with pytest.raises(ValueError, match=rf"shards/a: a weight of {weight}; .* above 0, at most"):
        to_weighted(f"shards/a={weight}")
