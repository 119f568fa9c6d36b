"""The laws of the house: who may import whom, that `--help` imports nothing heavy, encodings."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from places import ROOT

HEAVY = {"torch", "ray", "av", "numpy", "librosa", "scipy", "cv2", "webdataset", "pyarrow"} | {
    "mido",
    "pretty_midi",
    "tinysoundfont",
    "basic_pitch",
    "onnxruntime",
}

RUNNERS = ("run", "Popen", "check_output")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> set[str]:
    """Return every module that a file names in an import, lazy ones included."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert len(found) > 5
    return found


@pytest.mark.long
def test_model_knows_neither_the_pipeline_nor_its_tools():
    banned = {"pipeline", "ray", "mmpose", "av", "ffmpeg", "imageio_ffmpeg", "manifests"}
    found = {path: {n.split(".")[0] for n in imported(path)} & banned for path in files("model")}
    assert not {str(path): names for path, names in found.items() if names}


def test_pipeline_knows_of_model_only_the_codec_and_the_record():
    allowed = ("model.codecs", "model.contract")
    known = {path: {n for n in imported(path) if n.split(".")[0] == "model"}
             for path in files("pipeline")}  # fmt: skip
    assert not {
        str(path): names for path, names in known.items()
        if not all(name.startswith(allowed) for name in names)
    }  # fmt: skip


LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def test_every_file_that_a_document_links_to_is_there():
    documents = [path for path in ROOT.rglob("*.md") if ".venv" not in path.parts]
    assert len(documents) > 10
    linked = [(p, link) for p in documents for link in LINK.findall(p.read_text(encoding="utf-8"))]
    assert not [(p.name, link) for p, link in linked if not (p.parent / link).exists()]


def test_no_room_imports_another_in_a_circle():
    """Imports at the top of modules; those inside functions wait until both are there."""
    graph: dict[str, set[str]] = {}
    for path in (path for package in ("model", "pipeline") for path in files(package)):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        graph[name] = set()
        for node in parsed(path).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                graph[name] |= {node.module} | inner
    order: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in order:
            for other in sorted(graph[name] & graph.keys()):
                visit(other, (*above, name))
            order.append(name)

    for name in graph:
        visit(name, ())


@pytest.mark.long
def test_tests_lie_in_the_rooms_that_they_test_and_share_only_what_lies_in_support():
    tests = files("tests")
    of_tests = {path.stem for path in tests if path.stem.startswith("test_")} | {"tests"}
    for path in tests:
        used = {name.split(".")[0] for name in imported(path)}
        assert not used & of_tests, path
    names = [path.stem for path in tests if path.stem != "conftest"]
    assert len(names) == len(set(names))
    for package in ("pipeline", "model"):
        for room in {path.parent for path in (ROOT / "tests" / package).rglob("test_*.py")}:
            code = ROOT / room.relative_to(ROOT / "tests")
            assert (code / "__init__.py").is_file(), room


@pytest.mark.parametrize("package", ["pipeline", "model", "benchmarks", "tests"])
def test_a_file_of_more_than_400_lines_says_why_it_is_one(package):
    texts = {path: path.read_text(encoding="utf-8") for path in files(package)}
    long = [path for path, text in texts.items() if len(text.splitlines()) > 400]
    docs = {path: ast.get_docstring(ast.parse(texts[path])) or "" for path in long}
    assert not [str(path) for path, doc in docs.items() if "One file, because" not in doc]


def test_few_modules_lie_loose_beside_the_rooms():
    for package in ("model", "pipeline"):
        assert len(list((ROOT / package).glob("*.py"))) <= 5


def test_what_both_sides_agree_on_needs_no_torch():
    script = "import sys\nfor name in sys.argv[1:]: __import__(name)\nprint('torch' in sys.modules)"
    names = [f"model.contract.{path.stem}" for path in (ROOT / "model" / "contract").glob("*.py")]
    run = subprocess.run(
        [sys.executable, "-c", script, *names],
        capture_output=True, encoding="utf-8", check=True, cwd=ROOT,
    )  # fmt: skip
    assert run.stdout == "False\n"


def test_ray_appears_in_the_engine_alone():
    users = [
        path.name
        for path in files("pipeline")
        if "ray" in {name.split(".")[0] for name in imported(path)}
    ]
    assert users == ["ray.py"]


@pytest.mark.parametrize("package", ["pipeline", "model"])
def test_help_imports_nothing_heavy(package):
    script = (
        f"import sys, {package}.cli as cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print('\\n', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
        cwd=ROOT,
    )
    loaded = set(run.stdout.splitlines()[-1].split())
    assert "argparse" in loaded
    assert not loaded & HEAVY


def test_no_script_hides_a_package_from_the_scripts_beside_it():
    """Python looks for imports in a script's own folder first."""
    names = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert names
    assert not names & {"pipeline", "model", "manifests"}


@pytest.mark.parametrize("package", ["pipeline", "model", "benchmarks", "tests"])
def test_every_text_file_and_every_program_s_output_is_read_by_a_named_encoding(package):
    bare = []
    for path in files(package):
        for call in ast.walk(parsed(path)):
            if not isinstance(call, ast.Call):
                continue
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            given = {word.arg: word.value for word in call.keywords}
            modes = [given.get("mode"), *call.args[:2]] if name == "open" else []
            modes = [mode.value for mode in modes if isinstance(mode, ast.Constant)]
            reads = isinstance(call.func, ast.Name) and name == "open"
            text = reads and not any("b" in str(mode) for mode in modes)
            text |= name in ("read_text", "write_text") or ("text" in given and name in RUNNERS)
            if text and "encoding" not in given:
                bare.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert not bare


@pytest.mark.parametrize("package", ["pipeline", "model", "benchmarks"])
def test_every_program_prints_in_any_encoding(package):
    programs = {path: path.read_text(encoding="utf-8") for path in files(package)}
    silent = [
        str(path)
        for path, text in programs.items()
        if '__name__ == "__main__"' in text or path.name == "cli.py"
        if "    print_anything()\n" not in text
    ]
    assert not silent
