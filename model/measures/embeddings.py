"""Embeddings of audio: VGGish, or mel statistics if the VGGish weights are not available.

Symbols: N samples at 22 050 Hz, P patches, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.contract.files import sha256_of
from model.contract.weights_folder import VGGISH_FILE, check_record, weights_folder

if TYPE_CHECKING:
    import torch

VGGISH, MEL_STATISTICS = "vggish", "mel-statistics"
EMBEDDINGS = (VGGISH, MEL_STATISTICS)

MEL_OFFSET = 0.3
"""Added to a mel magnitude before the logarithm. Without it, a codec's noise in quiet bands would
have more influence than the genre.

90 % of the values of loud music are below it. It was chosen on 30 synthetic songs, from 0.00001 to
0.3. The genre accuracy of true music, and of the demo codec's high and low level, was 90, 20 and
39 % with the smallest value, and 77, 31 and 75 % with this one.
"""


@dataclass(frozen=True)
class Embedding:
    """Maps audio (N,) to patches (P, D) in float64; results must repeat `note`."""

    name: str
    patches: Callable[[np.ndarray], np.ndarray]
    note: str = ""

    def clip(self, audio: np.ndarray) -> np.ndarray:
        """Return one vector (D,) for a clip (N,): the mean of its patches."""
        return self.patches(audio).mean(0)


def load_embedding(
    name: str = VGGISH, path: Path | None = None, device: str | torch.device = "cpu"
) -> Embedding:
    """Return the embedding with a name; `path` may name VGGish weights outside the weights folder.

    `vggish`: 128 features per 0.96 s, after the last ReLU, as in the published network.
    `mel-statistics`: mean and standard deviation over time of 80 log-mel bands, 160 features per
    clip. It is not learned, and its results are not comparable with published ones. Raises
    FileNotFoundError if the VGGish weights are missing; the other embedding is never used silently.
    """
    if name == MEL_STATISTICS:
        return Embedding(
            name, mel_statistics, "mel-statistics embedding, not VGGish: not comparable with papers"
        )
    if name != VGGISH:
        raise ValueError(f"--embedding {name}: expected one of {', '.join(EMBEDDINGS)}")
    return vggish_embedding(find_vggish(path), device)


def find_vggish(path: Path | None = None) -> Path:
    """Return the file of the published weights; in the weights folder, its hash is checked."""
    found = path or weights_folder() / VGGISH_FILE
    if not found.is_file():
        raise FileNotFoundError(
            f"{found}: VGGish's published weights are missing; run `pipeline weights fetch "
            f"vggish`, or choose another embedding: --embedding {MEL_STATISTICS}"
        )
    if path is None:
        sha256 = sha256_of(found)
        check_record(found, sha256)
        begins = VGGISH_FILE.removesuffix(".pth").rpartition("-")[2]
        if not sha256.startswith(begins):
            raise ValueError(
                f"{found}: SHA-256 is {sha256}, but by the file's name it starts with {begins}; "
                "fetch it again, or give the path of another file"
            )
    return found


def vggish_embedding(path: Path, device: str | torch.device = "cpu") -> Embedding:
    """Return the VGGish embedding with the weights of a file in the published layout."""
    import torch

    from model.measures.vggish import load_vggish, patches

    network = load_vggish(path).to(device)

    @torch.no_grad()
    def embed(audio: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(patches(audio)).to(device)).double().cpu().numpy()

    published = VGGISH_FILE.removesuffix(".pth").rpartition("-")[2]
    same = sha256_of(path).startswith(published)
    return Embedding(VGGISH, embed, "" if same else f"VGGish weights of {path.name}, not published")


def mel_statistics(audio: np.ndarray) -> np.ndarray:
    """Return mean and standard deviation over time of log10(mel + 0.3) of audio (N,): (1, 160)."""
    import torch

    from model.audio import LogMel

    magnitude = 10 ** LogMel()(torch.from_numpy(np.array(audio, np.float32))[None])[0].double()
    bands = torch.log10(magnitude + MEL_OFFSET)
    return torch.cat([bands.mean(1), bands.std(1)])[None].numpy()
