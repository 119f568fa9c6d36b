"""Which ffmpeg is used: the one of the Python packages, another where asked for and able."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import pytest

from pipeline.cli import main
from pipeline.media.program import VARIABLES, FfmpegError, binary, lack, version

BUNDLED = imageio_ffmpeg.get_ffmpeg_exe()
Stub = Callable[[str, str], Path]


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    """Return a maker of programs called ffmpeg that refuse one word, and else are the real one."""

    def make(folder: str, refused: str) -> Path:
        path = tmp_path / folder / "ffmpeg"
        path.parent.mkdir()
        path.write_text(
            "#!/bin/sh\n"
            'for word in "$@"; do case $word in\n'
            '-version) echo "ffmpeg version 4.4.2 Copyright"; exit 0;;\n'
            f"{refused}) echo \"Unrecognized option '{refused}'.\" >&2; exit 1;;\n"
            f'esac; done\nexec {BUNDLED} "$@"\n',
            encoding="utf-8",
        )
        path.chmod(0o755)
        return path

    return make


@pytest.fixture(autouse=True)
def _nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def test_an_old_ffmpeg_on_the_path_is_not_used(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (str(stub("old", "-movie_timescale").parent), "/nowhere"):
        monkeypatch.setenv("PATH", path)
        assert binary() == BUNDLED and not lack(BUNDLED)


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("refused", ["-movie_timescale", "-fps_mode", "libx264", "aac"])
def test_one_that_is_asked_for_and_lacks_something_is_named_with_the_cure(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, variable: str, refused: str
) -> None:
    path = stub("old", refused)
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(FfmpegError) as caught:
        binary()
    words = str(caught.value)
    assert words.startswith(f"{variable}={path}: version 4.4.2 fails")
    assert f"'{refused}'" in words and f"unset {variable}" in words and "5.1 or newer" in words


def test_one_that_is_asked_for_and_lacks_nothing_is_used(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stub("able", "-nothing")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    monkeypatch.setenv("D2M_FFMPEG", os.path.relpath(path))
    assert binary() == str(path) and version(binary()) == "4.4.2"
    monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)
    monkeypatch.setenv("D2M_FFMPEG", "ffmpeg")
    assert binary() == str(path)
    monkeypatch.setenv("D2M_FFMPEG", "/nowhere/ffmpeg")
    with pytest.raises(FfmpegError, match="D2M_FFMPEG=/nowhere/ffmpeg: not found"):
        binary()


def test_where_the_packages_ship_an_old_one_the_first_able_one_on_the_path_is_used(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, old, able = stub("shipped", "-fps_mode"), stub("old", "libx264"), stub("able", "-no")
    broken = stub("broken", "-no")
    broken.write_text("#!/nowhere/sh\n", encoding="utf-8")
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(shipped))
    folders = [str(path.parent) for path in (broken, old, able)]
    monkeypatch.setenv("PATH", os.pathsep.join(folders))
    assert binary() == str(able)
    monkeypatch.setenv("PATH", os.pathsep.join(folders[:2]))
    with pytest.raises(FfmpegError, match="no ffmpeg to use") as caught:
        binary()
    words = str(caught.value)
    assert "newer imageio-ffmpeg" in words and "D2M_FFMPEG" in words
    for path, lacking in ((shipped, "'-fps_mode'"), (old, "'libx264'"), (broken, "cannot be run")):
        assert str(path) in words and lacking in words


def test_version_tells_which_ffmpeg_is_used(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        with pytest.raises(SystemExit) as ended:
            main(["--version"])
        assert ended.value.code == 0
        return capsys.readouterr().out

    assert f"ffmpeg {version(BUNDLED)} ({BUNDLED})\n" in said()
    monkeypatch.setenv("D2M_FFMPEG", str(stub("old", "-movie_timescale")))
    assert "ffmpeg not usable: D2M_FFMPEG=" in said()
