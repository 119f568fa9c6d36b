"""Other people's machines: disks without locks, long or missing TMPDIR, users without a home."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

from model.contract import lock
from model.contract.files import atomic_file
from model.contract.lock import HeldError, held
from model.contract.weights_folder import weights_folder
from pipeline.engine import sockets
from pipeline.output.folder import locked
from pipeline.weights.download import DownloadError, download, place

HOLDER = """
import errno, fcntl, os, sys, time
from pathlib import Path
def flock(*_):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
fcntl.flock = flock
from model.contract.lock import HeldError, held
sys.stdin.readline()
try:
    with held(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
except HeldError as error:
    print("refused", error, flush=True)
"""


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def no_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def holders(path: Path, count: int) -> list[subprocess.Popen]:
    """Start processes that all wait to hold `path` where there is no flock, and let them go."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, encoding="utf-8", cwd=ROOT)
        for _ in range(count)
    ]
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    return started


@pytest.fixture
def one_holder(tmp_path: Path) -> Iterator[subprocess.Popen]:
    (process,) = holders(tmp_path / "lock", 1)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_disk_without_flock_still_has_one_writer_at_a_time(no_flock, tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(ValueError, match=r"another command is writing there .process"):
            with locked(tmp_path):
                pass
        assert (tmp_path / ".work" / "lock.held").is_file()
    with locked(tmp_path):
        pass
    assert not list(tmp_path.glob(".work/lock.*"))


def test_what_a_killed_holder_left_is_taken_over(
    no_flock, one_holder: subprocess.Popen, tmp_path: Path
) -> None:
    with pytest.raises(HeldError, match=f"process {one_holder.pid} on this machine"):
        with held(tmp_path / "lock"):
            pass
    one_holder.kill()
    one_holder.wait()
    with held(tmp_path / "lock"):
        assert json.loads((tmp_path / "lock.held").read_bytes())["pid"] == os.getpid()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_of_many_that_find_a_dead_holder_one_takes_over(
    one_holder: subprocess.Popen, tmp_path: Path
) -> None:
    one_holder.kill()
    one_holder.wait()
    started = holders(tmp_path / "lock", 5)
    try:
        said = sorted(process.stdout.readline().split()[0] for process in started)
    finally:
        for process in started:
            process.kill()
            process.communicate()
    assert said == ["held", *["refused"] * 4]


def test_a_number_that_another_process_has_by_now_holds_nothing(no_flock, tmp_path: Path) -> None:
    holder = lock._holder(os.getppid())
    (tmp_path / "lock.held").write_text(json.dumps(holder), encoding="utf-8")
    with pytest.raises(HeldError, match=f"process {os.getppid()} on this machine"):
        with held(tmp_path / "lock"):
            pass
    (tmp_path / "lock.held").write_text(json.dumps(holder | {"start": "1"}), encoding="utf-8")
    with held(tmp_path / "lock"):
        pass


@pytest.mark.parametrize("content", ["", "torn {", "[]", '{"pid": 1}'])
def test_a_holder_that_cannot_be_asked_is_named_with_its_file(
    no_flock, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WRITING_S", 0.0)
    file = tmp_path / ".work" / "lock.held"
    file.parent.mkdir()
    other = lock._holder(4711) | {"host": "node7", "machine": "node7 boot pid"}
    for text in (content, json.dumps(other)):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError) as refused:
            with locked(tmp_path):
                pass
        words = str(refused.value)
        assert str(file) in words and "delete" in words and file.read_text(encoding="utf-8") == text
    assert "process 4711 on node7" in words


def test_a_download_holds_its_part_without_flock(no_flock, tmp_path: Path) -> None:
    with held(tmp_path / "w.pt.part"):
        with pytest.raises(DownloadError, match="another download of this file is under way"):
            download("http://127.0.0.1:9/w.pt", tmp_path / "w.pt")


def test_a_folder_that_cannot_be_synced_takes_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    code = errno.EINVAL
    (tmp_path / "w.part").write_bytes(b"w")
    place(tmp_path / "w.part", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == b"w"
    code = errno.EIO
    (tmp_path / "w.part").write_bytes(b"w")
    with pytest.raises(OSError, match="Input/output"):
        place(tmp_path / "w.part", tmp_path / "w")


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError) as full, atomic_file(tmp_path / "a") as file:
        file.write(b"a")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert full.value.filename == str(tmp_path / "a") and not list(tmp_path.iterdir())


def test_without_a_home_the_folder_of_weights_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("D2M_CACHE", raising=False)
    monkeypatch.delenv("HOME", raising=False)

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(ValueError, match="set D2M_CACHE"):
        weights_folder()


def test_a_link_to_nothing_in_a_holder_s_place_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / "lock.held").symlink_to(tmp_path / "nothing")
    with pytest.raises(HeldError, match=r"lock\.held names no process"):
        with lock.held(tmp_path / "lock"):
            pass


@pytest.mark.parametrize("kind", ["too long", "missing", "a file", "relative", "empty"])
def test_where_tmpdir_holds_no_socket_ray_gets_a_private_folder(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    long = tmp_path / ("n" * 60)
    long.mkdir()
    values = {
        "too long": str(long), "missing": "/none/here", "a file": str(tmp_path / "file"),
        "relative": "tmp", "empty": "",
    }  # fmt: skip
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", values[kind])
    made = Path(sockets.folder_for_sockets())
    assert made.parent == Path("/tmp") and stat.S_IMODE(made.stat().st_mode) == 0o700
    shutil.rmtree(made)
    monkeypatch.setattr(sockets, "FOLDERS", ("/none",))
    with pytest.raises(OSError, match="set TMPDIR to a folder with a short path"):
        sockets.folder_for_sockets()


def test_a_short_tmpdir_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    for value in ("/tmp", "/var/tmp"):
        monkeypatch.setenv("TMPDIR", value)
        assert sockets.folder_for_sockets() is None


@pytest.mark.slow
def test_ray_runs_under_a_long_tmpdir_and_without_a_home(tmp_path: Path) -> None:
    long = tmp_path / ("n" * 60)
    long.mkdir()
    script = (
        "from stages import Square, lost\n"
        "from pipeline.engine.ray import RayEngine\n"
        "engine = RayEngine()\n"
        "print(sorted(engine.run([Square()], range(3), lost)), engine._folder)\n"
        "engine.close()\n"
    )
    places = [str(ROOT), str(ROOT / "tests" / "support")]
    changes = {"TMPDIR": str(long), "HOME": "/proc/self/none", "PYTHONPATH": ":".join(places)}
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | changes,
    )
    assert run.returncode == 0, run.stderr
    numbers, _, folder = run.stdout.strip().rpartition(" ")
    assert numbers == "[0, 1, 4]" and folder.startswith("/tmp/") and not Path(folder).exists()
