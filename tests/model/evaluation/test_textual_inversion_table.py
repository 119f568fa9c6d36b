"""The tables of textual inversion: two scales apart, and what each of our rows is from."""

from __future__ import annotations

from model.contract.kinds import INVERSION
from model.evaluation.tables import beside_the_paper
from model.evaluation.textual_inversion import PUBLISHED, RETEST, beside_textual_inversion

SCORES = {
    "bcs_02": 0.5, "bhs_02": 0.25, "f1_02": 0.333, "tempo_difference": 12.5, "frechet": 3.0,
    "loris_cover": 0.9, "loris_csd": 0.1, "loris_hit": 0.8, "loris_hsd": 0.2, "loris_f1": 0.847,
}  # fmt: skip


def evaluated(run: str, family: str = INVERSION, embedding: str = "vggish", **scores: float):
    """Return what the tables need of an evaluation.json."""
    held = {n: {"value": v, "low": None} for n, v in {**SCORES, **scores}.items() if v is not None}
    return {
        "run": run, "family": family, "embedding": embedding, "dataset": "aist", "split": "test",
        "window_s": "128/25", "codec": "encodec-tiny", "labels": ["tiny base of this test"],
        "segments": ["a/0", "a/1", "b/0"], "songs": ["x", "x", "y"], "row": "ours",
        "level": "", "finetuned": False, "step": 7, "config": {"batch_size": 1},
        "rows": {"ours": {"scores": held}},
    }  # fmt: skip


def cells(table: str, row: str) -> list[list[str]]:
    """Return the cells of each line with a row's name: of the first table, then of the second."""
    lines = [line for line in table.splitlines() if line.startswith(f"| {row} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")[1:]] for line in lines]


def test_each_scale_has_a_table_of_its_own_and_ours_are_in_both():
    told = beside_textual_inversion([evaluated("runs/a")])
    first, second = cells(told, "ours: runs/a")
    assert first == ["0.500", "0.250", "0.333", "12.50", "3.000", "–", "–", "–"]
    assert second == ["90.0", "10.0", "80.0", "20.0", "84.7"]
    heads = [line for line in told.splitlines() if line.startswith("**")]
    assert "0.2 s" in heads[0] and "1 s" not in heads[0]
    assert "bins of 1 s" in heads[1] and "0.2" not in heads[1]
    assert "must never be compared" in told


def test_the_published_figures_are_those_of_their_scale():
    told = beside_textual_inversion([evaluated("runs/a")])
    (theirs,) = cells(told, "Li et al., MusicGen")
    assert theirs == [".4118", ".3874", ".3992", "16.06", "6.014", ".4685", "3.56", "3.54"]
    assert cells(told, "Li et al.") == [["90.6", "11.1", "80.9", "28.3", "85.5"]]
    assert cells(told, "CDCD")[1] == ["89.2", "9.0", "93.8", "10.0", "91.5"]
    assert cells(told, "ground truth") == [["–"] * 6 + ["4.26", "4.25"]]
    published = {name: row[:6] for name, row in PUBLISHED.items() if name != "ground truth"}
    for rows, at in ((published, (0, 1, 2)), (RETEST, (0, 2, 4))):
        for name, row in rows.items():  # F1 is that of the means, in both papers
            bcs, bhs, f1 = (float(row[i]) for i in at)
            assert abs(2 * bcs * bhs / (bcs + bhs) - f1) < 0.002 * f1, name


def test_only_claps_similarity_is_called_clap_and_only_vggishs_distance_fad():
    mel = evaluated("runs/mel", embedding="mel-statistics", **{"similarity_mel-statistics": 0.99})
    clap = evaluated("runs/clap", embedding="clap", similarity_clap=0.61)
    both = evaluated("runs/both", **{"similarity_vggish": 0.9, "similarity_clap:tiny@ab": 0.4})
    told = beside_textual_inversion([mel, clap, both])
    assert cells(told, "ours: runs/mel")[0][4:6] == ["–", "–"]
    assert cells(told, "ours: runs/clap")[0][4:6] == ["–", "0.610"]
    assert cells(told, "ours: runs/both")[0][4:6] == ["3.000", "0.400 (clap:tiny@ab)"]


def test_the_caption_says_what_each_row_is_from():
    other = evaluated("runs/b", family="tokens")
    told = beside_textual_inversion([evaluated("runs/a"), other])
    line = next(line for line in told.splitlines() if line.startswith("- ours: runs/a"))
    assert "aist, split test, 3 segments of 5.12 s of 2 songs" in line
    assert "codec encodec-tiny; tiny base of this test" in line
    assert "family tokens" in told and len(cells(told, "ours: runs/b")) == 2


def test_the_tables_are_printed_if_a_run_is_of_the_family_and_not_otherwise():
    other = evaluated("runs/b", family="tokens")
    assert "Textual inversion" not in beside_the_paper([other])
    told = beside_the_paper([other, evaluated("runs/a")])
    assert len(cells(told, "ours: runs/a")) == len(cells(told, "ours: runs/b")) == 2
    assert told.index("**Textual inversion") < told.index("**Notes, sound and likelihood**")


def test_an_evaluation_of_an_earlier_version_has_dashes():
    old = evaluated("runs/old", family="tokens", **dict.fromkeys(
        ("bcs_02", "bhs_02", "f1_02", "tempo_difference", "loris_csd", "loris_hsd")))  # fmt: skip
    first, second = cells(beside_textual_inversion([old, evaluated("runs/a")]), "ours: runs/old")
    assert first == ["–", "–", "–", "–", "3.000", "–", "–", "–"]
    assert second == ["90.0", "–", "80.0", "–", "84.7"]
