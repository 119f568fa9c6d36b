"""The script for GPUs runs in miniature without one; a part that fails does not stop the others."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from places import ROOT


def run(folder, *arguments: str) -> list[dict]:
    """Run the script on the CPU and return its rows; they are the lines of its table."""
    out = folder / "rows.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--tiny", "--device", "cpu"]
    done = subprocess.run(
        [*command, "--out", str(out), *arguments],
        capture_output=True, encoding="utf-8", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(rows)
    return rows


@pytest.mark.slow
def test_all_parts_run_in_miniature_without_a_gpu(tmp_path):
    rows = run(tmp_path, "--minutes", "90")
    assert {row["part"] for row in rows} == {
        "device", "d2m-gan paper", "d2m-gan temporal", "tokens", "codec", "sampling", "stream",
        "memory",
    }  # fmt: skip
    without = {row["what"]: row["remark"] for row in rows if row["value"] is None}
    assert without == {"bf16, CUDA graph": "no CUDA"}
    assert all(row["value"] >= 0 for row in rows if row["value"] is not None)
    assert any("compiled" in row["what"] and "backward" in row["what"] for row in rows)


@pytest.mark.long
def test_a_part_that_fails_or_hangs_says_why_and_the_others_run(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from parts import Part, Row, rows_of_all

    def broken():
        yield Row("broken", "first", 1.0, "s")
        raise ValueError("no | room")

    def hanging():
        yield Row("hanging", "first", 2.0, "s", 1.0)
        time.sleep(600)

    def killed():
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
        yield

    parts = {
        "broken": Part(broken, 60.0),
        "hanging": Part(hanging, 2.0),
        "killed": Part(killed, 60.0),
        "last": Part(lambda: [Row("a", "b")], 60.0),
    }
    assert [str(row) for row in rows_of_all(parts, 240.0)] == [
        "| broken | first | 1 | s |  |  |",
        "| broken | all of it |  |  |  | failed: ValueError: no / room |",
        "| hanging | first | 2 | s | 1 |  |",
        "| hanging | the rest |  |  |  | not done within 2 s |",
        "| killed | the rest |  |  |  | its process ended with code -9 |",
        "| a | b |  |  |  |  |",
    ]
    (row,) = rows_of_all({"late": Part(killed, 1.0)}, 0.0)
    assert row.remark == "no time left"
