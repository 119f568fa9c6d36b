"""The laws of the house: who may import whom, and that `--help` imports nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "ray", "av", "numpy", "librosa", "scipy", "cv2", "webdataset", "pyarrow"}


def imported(path: Path) -> set[str]:
    """Return every module that a file names in an import, lazy ones included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert len(found) > 5
    return found


@pytest.mark.parametrize("path", files("model"), ids=lambda p: str(p.relative_to(ROOT)))
def test_model_knows_neither_the_pipeline_nor_its_tools(path):
    banned = {"pipeline", "ray", "mmpose", "av", "ffmpeg", "imageio_ffmpeg", "manifests"}
    assert not {name.split(".")[0] for name in imported(path)} & banned


@pytest.mark.parametrize("path", files("pipeline"), ids=lambda p: str(p.relative_to(ROOT)))
def test_pipeline_knows_of_model_only_the_codec_and_the_record(path):
    names = {name for name in imported(path) if name.split(".")[0] == "model"}
    allowed = ("model.jukebox", "model.segment")
    assert all(name.startswith(allowed) for name in names), names


def test_ray_appears_in_the_engine_alone():
    users = [
        path.name
        for path in files("pipeline")
        if "ray" in {name.split(".")[0] for name in imported(path)}
    ]
    assert users == ["engine.py"]


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
