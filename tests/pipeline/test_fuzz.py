"""Strangers' bytes, made up and mutated: every reader gives what it promises, or says which file.

Each reader of files that others may have made gets valid files with bits flipped, bytes spliced,
cut and repeated, valid structures with values swapped or replaced, and bytes that never were a
file. It may return a value of the documented form, or raise ValueError or OSError with a message
that names the file. Nothing else: no other error, no hang, no code run, no file touched but those
it was given. The examples are the same in every run; D2M_FUZZ_EXAMPLES asks for more, and others.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import pickle
import subprocess
import sys
import zipfile
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
from fuzz_edits import EDITS, JUNK, LEAF, ODD, Watch, changed, check, edited, fuzz
from fuzz_kinds import (
    CLIPS,
    ROWS,
    Kind,
    is_config,
    make_kinds,
    parquet,
    pose_arrays,
    small_body,
)
from hostile_parts import Touch, Vast, nested
from hypothesis import assume, given
from hypothesis import strategies as st
from places import ROOT

from model.families.d2m_gan.config import Config, load_config
from pipeline.engine.ledger import Ledger, _of_process
from pipeline.sources.manifest import Row
from pipeline.sources.rows import save_rows

# --- every kind of file --------------------------------------------------------------------------

NAMES = (
    "rows.parquet", "tiktok.parquet", "tiktok.csv", "motion.pkl", "keypoints2d.pkl", "SMPL.pkl",
    "SMPL.npz", "a_000_keypoints.json", "dataset.json", "config.yaml", "thresholds.yaml",
    "genres.csv", "overrides.csv", "links.csv", "sound.wav", "last.pt", "codec.safetensors",
    "vqvae.pth.tar", "released.pt", "report.json", "generated.json",
)  # fmt: skip
STRUCTURED = ("a_000_keypoints.json", "dataset.json", "config.yaml", "thresholds.yaml",
              "report.json", "generated.json")  # fmt: skip


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    return make_kinds(tmp_path_factory.mktemp("valid"))


class Bench:
    """Puts files where their readers look, each in a folder of its own, and holds them to it."""

    def __init__(
        self, kinds: dict[str, Kind], watch: Watch, folders: pytest.TempPathFactory
    ) -> None:
        self.kinds, self.watch = kinds, watch
        self.paths = {name: folders.mktemp("fuzz") / name for name in kinds}
        table = self.paths["tiktok.parquet"]
        save_rows(table.with_name("tiktok.inputs.parquet"), [Row("a", "a.mp4")])
        table.with_name("report.json").write_text(json.dumps({"rows": []}), encoding="utf-8")
        table.with_name("a.mp4").touch()
        beside = self.paths["report.json"].with_name("dataset.json")
        beside.write_bytes(kinds["dataset.json"].valid[0])

    def __repr__(self) -> str:
        return "bench"  # of what hypothesis prints of an example, this is the same in all

    def tried(self, name: str, data: bytes) -> bool:
        """Return whether a reader took a file; what it then gives fits."""
        kind, path = self.kinds[name], self.paths[name]
        path.write_bytes(data)
        return check(self.watch, lambda: kind.read(path), kind.fits, path)


@pytest.fixture(scope="module")
def bench(kinds: dict[str, Kind], watch: Watch, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return the readers, each of which has read its valid files: nothing is left to import."""
    made = Bench(kinds, watch, tmp_path_factory)
    for name, kind in kinds.items():
        for data in kind.valid:
            made.paths[name].write_bytes(data)
            with contextlib.suppress(ValueError):
                kind.read(made.paths[name])
    return made


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_a_valid_file_is_read_and_a_damaged_one_named(name, bench):
    for data in bench.kinds[name].valid:
        assert bench.tried(name, data) == bench.kinds[name].whole
    for data in (b"", b"\0", b"[" * 100_000, b"{" * 100_000, b"\xff\xfe", b"a: *a", b"- " * 50_000):
        bench.tried(name, data)
    bench.paths[name].unlink()
    with pytest.raises((ValueError, OSError), match=f"{name}|{bench.paths[name].parent.name}"):
        bench.kinds[name].read(bench.paths[name])


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
@fuzz
@given(data=st.data(), edits=EDITS)
def test_mutated_bytes(name, bench, data, edits):
    whole = data.draw(st.sampled_from(bench.kinds[name].valid))
    bench.tried(name, edited(whole, edits))


@pytest.mark.parametrize("name", NAMES)
@fuzz
@given(data=st.data(), noise=st.binary(max_size=300))
def test_noise_after_a_true_beginning(name, bench, data, noise):
    whole = data.draw(st.sampled_from(bench.kinds[name].valid))
    keep = data.draw(st.sampled_from([0, 2, 4, 8, 16, 64]))
    bench.tried(name, whole[:keep] + noise)


@pytest.mark.long
@pytest.mark.parametrize("name", STRUCTURED)
@fuzz
@given(data=st.data())
def test_changed_structures(name, bench, data):
    value = data.draw(changed(bench.kinds[name].structure) | JUNK)
    bench.tried(name, json.dumps(value).encode())


@pytest.mark.long
@pytest.mark.parametrize("name", ["rows.parquet", "tiktok.parquet"])
@fuzz
@given(data=st.data())
def test_changed_tables(name, bench, data):
    rows = CLIPS if name == "tiktok.parquet" else [json.loads(json.dumps(asdict(r))) for r in ROWS]
    rows = data.draw(changed(rows, LEAF | st.lists(LEAF, max_size=4)))
    try:
        made = parquet(rows, data.draw(st.none() | st.just({"root": "/videos"})))
    except (ValueError, TypeError, ArithmeticError, AttributeError, NotImplementedError):
        assume(False)  # no table: a column of several types
    bench.tried(name, made)


CELLS = st.text(max_size=8) | ODD.map(str) | st.sampled_from(
    ["a_c000", "train", "keep", "https://example.org", "http://[", "12.5", "1", "", '"', ",", "\r"]
)  # fmt: skip


@pytest.mark.parametrize("name", ["tiktok.csv", "genres.csv", "overrides.csv", "links.csv"])
@fuzz
@given(lines=st.lists(st.lists(CELLS, max_size=6), max_size=4), quoted=st.booleans())
def test_changed_lists(name, bench, lines, quoted):
    head = bench.kinds[name].valid[0].partition(b"\n")[0]
    cells = [[f'"{c}"' if quoted else c for c in line] for line in lines]
    text = "\n".join(",".join(line) for line in cells)
    data = head + b"\n" + text.encode(errors="surrogatepass")
    bench.tried(name, data)


YAML_WORDS = st.sampled_from(
    ["!!timestamp x", "!!int ''", "!!float ''", "!!bool x", "!!binary x", "!!python/name:os.system",
     "!!python/object/apply:os.mkdir [x]", "2020-99-99", "0b", "1:99", "&a [*a]", "*a", "<<: *a",
     "? ",
     "[", "]", "{", "}", "seed", "betas", "weights", "decide", "min_clip_s", "sigma", ": ", "\n",
     "- ", "9" * 5000, "0x" + "f" * 5000, ".nan", ".inf", "~", "|", ">", "%YAML 9", "---\n", "\t"]
)  # fmt: skip


@pytest.mark.parametrize("name", ["config.yaml", "thresholds.yaml"])
@fuzz
@given(words=st.lists(YAML_WORDS, max_size=8), key=st.sampled_from(["", "seed: ", "decide: "]))
def test_yaml_words(name, bench, words, key):
    bench.tried(name, (key + "".join(words)).encode())


@fuzz
@given(
    key=st.sampled_from([f.name for f in fields(Config)] + ["weights.mel", "x", ""]),
    value=YAML_WORDS | CELLS | JUNK.map(json.dumps) | st.lists(YAML_WORDS, max_size=4).map("".join),
)
def test_settings_of_the_command_line(watch, tmp_path_factory, key, value):
    """`--set` has no file: the message names the key."""
    nowhere = Path("/nowhere") / (key or "--set")
    load_config("tiny", None)
    check(watch, lambda: load_config("tiny", None, [f"{key}={value}"]), is_config, nowhere)


# --- pickles -------------------------------------------------------------------------------------

GLOBALS = [
    "os system", "os mkdir", "posix mkdir", "builtins eval", "builtins exec", "builtins getattr",
    "builtins object", "__builtin__ set", "io open", "numpy load", "numpy fromfile",
    "numpy ndarray",
    "numpy ndarray.tofile", "numpy dtype", "numpy.core.multiarray _reconstruct", "_codecs encode",
    "numpy.core.multiarray scalar", "chumpy.ch Ch", "chumpy.reordering Select",
    "copyreg _reconstructor",
    "scipy.sparse.csc csc_matrix", "chumpy.__builtins__ eval", "torch._utils _rebuild_tensor_v2",
]  # fmt: skip
CODES = st.one_of(
    st.sampled_from(GLOBALS).map(lambda name: "c{}\n{}\n".format(*name.split()).encode()),
    st.sampled_from([b"(", b"t", b"R", b"b", b"}", b"]", b"N", b"0", b"2", b"s", b"u", b"\x81",
                     b"\x85",
                     b"\x86", b"\x87", b"\x94", b"h\0", b"q\0", b"K\x03", b"I72\n", b"F1e999\n",
                     b"r\xff\xff\xff\x7f", b"J\xff\xff\xff\x7f", b"p99999999999\n", b"e", b"a",
                     b"i"]),
    st.sampled_from(["smpl_poses", "v_template", "x", "O", "<f8", "idna"]).map(
        lambda text: b"X" + len(text).to_bytes(4, "little") + text.encode()
    ),
)  # fmt: skip


@pytest.mark.parametrize("name", ["motion.pkl", "SMPL.pkl", "vqvae.pth.tar", "last.pt"])
@fuzz
@given(codes=st.lists(CODES, max_size=14))
def test_pickles_that_never_were_written(name, bench, codes):
    bench.tried(name, b"\x80\x02" + b"".join(codes) + b".")


@pytest.mark.parametrize("name", ["motion.pkl", "SMPL.pkl"])
@fuzz
@given(data=st.data(), protocol=st.sampled_from([0, 2, 4]))
def test_pickles_of_other_values(name, bench, data, protocol):
    held = dict(pose_arrays() if name == "motion.pkl" else small_body())
    form = st.sampled_from(["f2", "f4", "f8", "i8", "u1", "c16", "?", "S3", "U3", "O", "M8[s]"])
    shape = st.sampled_from(
        [(), (0,), (4,), (4, 72), (0, 72), (4, 3), (24, 3), (2, 24), (4, 72, 1)]
    )
    fill = st.sampled_from([0, 1, -1, 1e308, math.nan, math.inf, 1 << 40])
    odd = st.sampled_from(
        [Touch(bench.paths[name].with_name("owned")), Vast(), nested(9), "x", None]
    )
    for _ in range(data.draw(st.integers(1, 2))):
        key = data.draw(st.sampled_from(sorted(held)))
        array = np.zeros(data.draw(shape), data.draw(form))
        if array.dtype.kind in "fc":
            array[...] = data.draw(fill)
        elif array.dtype.kind == "O":
            array[...] = data.draw(st.sampled_from([None, "x", 3]))
        held[key] = data.draw(st.just(array) | odd | LEAF | st.sampled_from(list(held.values())))
    try:
        made = pickle.dumps(held, protocol)
    except UnicodeEncodeError:
        assume(False)
    bench.tried(name, made)


# --- what a stored result may hold ---------------------------------------------------------------


@fuzz
@given(edits=EDITS)
def test_a_damaged_result_is_made_again(tmp_path_factory, watch, edits):
    """The ledger is the build's own; a disk may still change it. Nothing of it ends the build."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    ledger.write("cut", "ab" * 16, {"x": np.arange(5)}, {"a": 1}, None)
    (stored,) = ledger.stored()
    files = (stored.path, stored.path.with_suffix(".index"))
    whole = [path.read_bytes() for path in files]
    for edited_files in ((True, False), (False, True), (True, True)):
        for path, data, is_edited in zip(files, whole, edited_files, strict=True):
            path.write_bytes(edited(data, edits) if is_edited else data)
        for is_new in (False, True):
            if is_new:
                _of_process.cache_clear()
            found = ledger.read("cut", "ab" * 16)
            assert found is None or (found.facts == {"a": 1} and found.arrays["x"].tolist())
            for path in set(ledger.root.iterdir()) - set(files):
                path.unlink()  # a note that the result is damaged


# --- examples that took more than mutations to find ----------------------------------------------


def test_ten_bytes_of_pickle_ask_for_no_memory(bench):
    """C's unpickler makes room for object number 2**31 - 1 and all before it."""
    for name in ("motion.pkl", "SMPL.pkl"):
        assert not bench.tried(name, b"\x80\x02}r\xff\xff\xff\x7f.")
        assert not bench.tried(name, b"\x80\x02N\x8e" + b"\xff" * 7 + b"\x00.")


def test_arrays_of_objects_that_are_not_there_stay_unread(bench):
    """numpy believes a pickle that an array of objects has more of them than its list."""

    class Lying:
        def __reduce__(self):
            state = (1, (4,), np.dtype("O"), False, [1, 2])
            return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state

    held = pose_arrays() | {"smpl_loss": Lying()}
    assert bench.tried("motion.pkl", pickle.dumps(held))  # not asked for, never made
    assert not bench.tried("motion.pkl", pickle.dumps(held | {"smpl_poses": Lying()}))


def test_yaml_that_stands_for_gigabytes_is_not_written_out(bench):
    """Nine lines of nine references each: a list of 9 ** 9 numbers, were it printed."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 9)]
    for key in ("weights", "betas", "seed", "decide", "a"):
        text = "\n".join([*lines, f"{key}: *a8"]).replace("a0:", "arch:", 1)
        assert not bench.tried("config.yaml", text.encode())
        assert not bench.tried(
            "thresholds.yaml", f"decide: {{min_clip_s: {lines[0][4:]}}}".encode()
        )
        assert not bench.tried("thresholds.yaml", "\n".join([*lines, f"{key}: *a8"]).encode())


def test_a_packed_checkpoint_is_refused_before_it_unpacks(bench):
    whole = bench.kinds["last.pt"].valid[0]
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(buffer, "w", 8) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert not bench.tried("last.pt", buffer.getvalue())


# --- videos --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_mutated_videos_all_end_in_the_report(tmp_path):
    """Thirty of the three hundred that benchmarks/mutated_videos.py makes, on the real command."""
    command = ["benchmarks/mutated_videos.py", "--videos", "30", "--engine", "local"]
    run = subprocess.run(
        [sys.executable, *command, "--folder", str(tmp_path / "work")],
        cwd=ROOT, capture_output=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "exit 0" in run.stdout and "35 rows" in run.stdout and "| all |" in run.stdout
    report = json.loads((tmp_path / "work" / "local" / "report.json").read_text(encoding="utf-8"))
    assert report["inputs"] == sum(report["counts"].values()) == 35
    assert 5 < report["counts"]["ok"] < 35 and report["counts"]["failed"] > 5
