"""The folder of published weights, below D2M_CACHE, and the hashes of the files in it."""

from __future__ import annotations

import os
from pathlib import Path

from model.contract.files import sha256_of

JUKEBOX_5B_FILE = "vqvae.pth.tar"
ENCODEC_32KHZ_FOLDER = "encodec_32khz"
VGGISH_FILE = "vggish-10086976.pth"
VGGISH_PCA_FILE = "vggish_pca_params-970ea276.pth"


def weights_folder() -> Path:
    """Return `$D2M_CACHE/weights`; without the variable, `~/.cache/dance2music/weights`.

    Raises ValueError if this needs a home folder and the user has none.
    """
    return cache_folder() / "weights"


def cache_folder() -> Path:
    """Return `$D2M_CACHE`, or `~/.cache/dance2music`; ValueError as `weights_folder`."""
    cache = os.environ.get("D2M_CACHE") or "~/.cache/dance2music"
    try:
        return Path(cache).expanduser()
    except RuntimeError:  # no HOME, and the user is unknown to the machine
        raise ValueError(
            f"{cache}: the user has no home folder; set D2M_CACHE to the folder for published "
            "weights"
        ) from None


def record_of(path: Path) -> Path:
    """Return where `pipeline weights fetch` writes the hash of a download, for `sha256sum`."""
    return path.with_name(path.name + ".sha256")


def check_record(path: Path, sha256: str = "") -> None:
    """Raise ValueError if a file differs from its download; files copied by hand have no record.

    Args:
        path: the file.
        sha256: its hash, if the caller has already computed it.
    """
    record = record_of(path)
    if not record.is_file():
        return
    noted = record.read_text(encoding="ascii").split(maxsplit=1)[0]
    found = sha256 or sha256_of(path)
    if found != noted:
        raise ValueError(
            f"{path}: SHA-256 is {found}, but {noted} was fetched; delete the file and fetch it "
            f"again, delete {record.name} if you replaced it yourself, or name the file by its path"
        )
