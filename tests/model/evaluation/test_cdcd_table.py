"""CDCD's table: which run is in which of its rows and columns."""

from __future__ import annotations

from model.evaluation.cdcd import CDCD, variant_of
from model.evaluation.tables import beside_cdcd


def evaluated(family: str, cover: float, level: str = "high", dataset: str = "synthetic", **config):
    scores = {name: {"value": value, "low": None} for name, value in
              (("cover", cover), ("hit", 0.5), ("genre", 0.25))}  # fmt: skip
    return {"family": family, "level": level, "dataset": dataset, "config": config, "row": "ours",
            "rows": {"ours": {"scores": scores}}}  # fmt: skip


def masked(cover: float, contrast: str, negatives: str, condition: str, **more):
    settings = {"contrast": contrast, "negatives": negatives, "condition": condition}
    return evaluated("masked", cover, **settings, **more)


def cells(table: str, row: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {row} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_runs_are_in_the_row_of_their_variant_and_the_column_of_their_condition():
    runs = [
        masked(0.1, "none", "intra", "vector"), masked(0.2, "none", "inter", "aligned"),
        masked(0.3, "step", "intra", "aligned"), masked(0.4, "sample", "inter", "vector"),
        masked(0.6, "step", "inter", "vector"),
        masked(0.7, "none", "intra", "aligned", level="low"),
        evaluated("d2m-gan", 0.8, arch="temporal"), evaluated("d2m-gan", 0.9, arch="paper"),
        evaluated("d2m-gan", 0.95, level="low", arch="paper"), evaluated("tokens", 0.99),
    ]  # fmt: skip
    table = beside_cdcd(runs, "AIST++")
    assert cells(table, "vanilla") == [
        "vanilla", "89.0 / 83.8 / 25.3", "3.3", "10.0 / 50.0 / 25.0", "20.0 / 50.0 / 25.0"
    ]  # fmt: skip
    assert cells(table, "step-wise, intra")[3:] == ["–", "30.0 / 50.0 / 25.0"]
    assert cells(table, "sample-wise, inter")[3:] == ["40.0 / 50.0 / 25.0", "–"]
    assert cells(table, "step-wise, inter")[1:4] == ["–", "–", "60.0 / 50.0 / 25.0"]
    assert cells(table, "vanilla, low")[4] == "70.0 / 50.0 / 25.0"
    assert cells(table, "D2M-GAN")[3:] == ["90.0 / 50.0 / 25.0", "80.0 / 50.0 / 25.0"]
    assert "95.0" not in table and "99.0" not in table


def test_tiktok_has_no_genres_and_no_opinions():
    table = beside_cdcd([masked(0.1, "none", "intra", "vector", dataset="tiktok")], "TikTok")
    expected = ["vanilla", "88.7 / 81.4", "–", "10.0 / 50.0", "–"]
    assert cells(table, "vanilla") == expected and "sample-wise" not in table


def test_each_published_row_but_the_truth_and_d2m_gan_is_that_of_a_configuration():
    settings = [("none", "intra"), ("step", "intra"), ("sample", "inter")]
    named = {variant_of({"contrast": c, "negatives": n}) for c, n in settings}
    for rows in CDCD.values():
        assert rows.keys() - {"ground truth", "D2M-GAN"} <= named
