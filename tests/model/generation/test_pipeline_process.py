"""The process of the pipeline that is started before its arguments are known."""

from __future__ import annotations

import subprocess
import sys

import pytest

from model.generation import pipeline_process
from model.generation.pipeline_process import run_pipeline, started_early


@pytest.mark.long
def test_a_process_that_was_started_early_does_what_another_would(tmp_path):
    (tmp_path / "a.mp4").touch()
    words = ["build", "--dataset", "folder", "--source", str(tmp_path), "--dry-run"]
    words += ["--visual", "none", "--motion", "none"]
    expected = run_pipeline(words)
    assert "a.mp4" in expected
    with started_early():
        early = pipeline_process._waiting
        assert early is not None and early.poll() is None
        assert run_pipeline(words) == expected
        assert early.returncode is not None  # it was this one
        with pytest.raises(ValueError, match=r"ended with code 2: .*invalid choice"):
            run_pipeline(["nothing"])  # a process of its own


@pytest.mark.long
def test_a_process_that_is_not_needed_ends():
    with pytest.raises(ValueError, match="something else"), started_early():
        early = pipeline_process._waiting
        assert early is not None
        raise ValueError("something else")
    assert early.returncode is not None and pipeline_process._waiting is None
    words = [sys.executable, "-m", "pipeline", "-"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
