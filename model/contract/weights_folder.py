"""The folder of published weights, which D2M_CACHE moves, and the hashes of the files in it."""

from __future__ import annotations

import os
from pathlib import Path

from model.contract.files import sha256_of

JUKEBOX_5B_FILE = "vqvae.pth.tar"
VGGISH_FILE = "vggish-10086976.pth"
VGGISH_PCA_FILE = "vggish_pca_params-970ea276.pth"


def weights_folder() -> Path:
    """Return `$D2M_CACHE/weights`; without the variable, `~/.cache/dance2music/weights`.

    Raises ValueError where that needs a home folder and the user has none.
    """
    cache = os.environ.get("D2M_CACHE") or "~/.cache/dance2music"
    try:
        return Path(cache).expanduser() / "weights"
    except RuntimeError:  # no HOME, and a user that the machine has no entry for
        raise ValueError(
            f"{cache}: no home folder is known; set D2M_CACHE to the folder where published "
            "weights lie, or are to lie"
        ) from None


def record_of(path: Path) -> Path:
    """Return where `pipeline weights fetch` notes the hash of what it fetched, for `sha256sum`."""
    return path.with_name(path.name + ".sha256")


def check_record(path: Path, sha256: str = "") -> None:
    """Refuse a file that is no longer what was fetched; one put there by hand has no record.

    Args:
        path: the file.
        sha256: its hash, where the caller has it already.
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
