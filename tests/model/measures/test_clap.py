"""CLAP's embedding by name: from files of this machine alone, and never another one in its place.

The models are tiny ones with random weights, which the tests write.
"""

from __future__ import annotations

import math
import socket
import sys

import numpy as np
import pytest
from clap_models import write_clap
from music_pool import pool
from safetensors.numpy import load_file, save_file

from model.measures.embeddings import (
    Embedding,
    load_embedding,
    similarity,
    similarity_measures,
)

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clap(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="module")
def clap(folder) -> Embedding:
    return load_embedding(f"clap:{folder}")


def test_music_becomes_one_vector_of_length_one_for_each_ten_seconds_of_the_model(clap):
    """The model of this test takes 2 s in place of 10."""
    music = pool()[2]
    for seconds, patches in ((0.5, 1), (2, 1), (5.12, 3)):
        found = clap.patches(np.resize(music, round(seconds * 22050)))
        assert found.shape == (patches, 12) and found.dtype == np.float64
        assert np.allclose(np.linalg.norm(found, axis=1), 1)


def test_the_same_music_has_the_same_vector_and_other_music_another(clap):
    one, other = pool()[2], pool()[3]
    long = np.resize(one, 5 * 22050)  # of which the model's extractor alone would draw a part
    assert np.array_equal(clap.patches(long), clap.patches(long))
    vectors = np.stack([clap.clip(one), clap.clip(one), clap.clip(other)])
    found = similarity(vectors, vectors[[1, 2, 2]])
    assert found[0] == pytest.approx(1) and found[2] == pytest.approx(1) and found[1] < 0.9999


def test_the_name_says_which_weights_and_no_other_embedding_is_called_clap(clap, folder, tmp_path):
    other = load_embedding(f"clap:{write_clap(tmp_path / 'tiny', seed=1)}")
    assert clap.name.startswith("clap:tiny@") and other.name.startswith("clap:tiny@")
    assert clap.name != other.name
    assert str(folder) in clap.note and clap.name.partition("@")[2] in clap.note
    again = load_embedding(f"clap:{folder}")
    assert again.name == clap.name
    titles = [m.title for m in similarity_measures(["mel-statistics", clap.name]).values()]
    assert titles == ["similarity (mel-statistics)", f"similarity ({clap.name})"]


def test_similarity_is_the_cosine_and_undefined_for_a_vector_of_zeros():
    a = np.array([[1.0, 0.0], [3.0, 4.0], [0.0, 0.0], [2.0, 0.0]])
    b = np.array([[0.0, 2.0], [4.0, 3.0], [1.0, 0.0], [-1.0, 0.0]])
    found = similarity(a, b)
    assert found[[0, 1, 3]].tolist() == pytest.approx([0.0, 24 / 25, -1.0])
    assert math.isnan(found[2])


def test_without_the_published_weights_the_error_says_what_to_run(monkeypatch, tmp_path):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(FileNotFoundError, match=r"hf download laion/clap-htsat-unfused.*FOLDER"):
        load_embedding("clap")


def test_the_published_weights_are_found_where_they_were_downloaded(monkeypatch, tmp_path):
    stored = tmp_path / "models--laion--clap-htsat-unfused"
    write_clap(stored / "snapshots" / "abc")
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("abc", encoding="ascii")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = load_embedding("clap")
    assert found.name == "clap" and "laion/clap-htsat-unfused, weights" in found.note
    assert found.clip(pool()[2]).shape == (12,)


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"transformers.*uv pip install .*\[text\]"):
        load_embedding(f"clap:{folder}")


def test_a_folder_that_is_no_complete_clap_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json and preprocessor.*hf download"):
        load_embedding(f"clap:{tmp_path / 'none'}")
    folder = write_clap(tmp_path / "tiny")
    weights = folder / "model.safetensors"
    arrays = load_file(weights)
    lacking = {n: x for n, x in arrays.items() if not n.startswith("audio_projection")}
    save_file(lacking, weights, {"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 4 arrays .*audio_projection"):
        load_embedding(f"clap:{folder}")
    weights.write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"tiny: cannot be used as a CLAP model"):
        load_embedding(f"clap:{folder}")
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        load_embedding(f"clap:{folder}")


def test_an_extractor_that_does_not_fit_the_network_is_refused_before_any_music(tmp_path):
    folder = write_clap(tmp_path / "tiny", max_length_s=10)  # more frames than the network takes
    with pytest.raises(ValueError, match=r"tiny: cannot be used as a CLAP model: ValueError"):
        load_embedding(f"clap:{folder}")


@pytest.mark.parametrize("name", ["clap:", "mert", "vggish:x", "none"])
def test_an_unknown_embedding_is_answered_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r"expected one of vggish, mel-statistics, clap"):
        load_embedding(name)
