"""Embeddings of audio: VGGish, CLAP, or mel statistics if neither's weights are available.

Symbols: N samples at 22 050 Hz, P patches, D features, S segments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.contract.files import sha256_of
from model.contract.weights_folder import VGGISH_FILE, check_record, weights_folder
from model.measures.base import Measure

if TYPE_CHECKING:
    import torch

VGGISH, MEL_STATISTICS, CLAP = "vggish", "mel-statistics", "clap"
EMBEDDINGS = (VGGISH, MEL_STATISTICS, CLAP, f"{CLAP}:FOLDER")
SIMILARITY = "similarity_"
"""Before the name of an embedding: the name of the cosine of its vectors as a measure."""

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
    clip. It is not learned, and its results are not comparable with published ones. `clap`: CLAP as
    published by LAION, 512 features of length 1 per 10 s; `clap:FOLDER`: that in a folder, named
    `clap:` with the folder's name and a hash of its weights. Raises FileNotFoundError if the
    weights are missing, ValueError if they are invalid or a package is missing; another embedding
    is never used silently.
    """
    if name == MEL_STATISTICS:
        return Embedding(
            name, mel_statistics, "mel-statistics embedding, not VGGish: not comparable with papers"
        )
    kind, colon, folder = name.partition(":")
    if kind == CLAP and bool(colon) == bool(folder):
        return clap_embedding(Path(folder) if folder else None, device)
    if name != VGGISH:
        raise ValueError(f"embedding {name!r}: expected one of {', '.join(EMBEDDINGS)}")
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


def clap_embedding(folder: Path | None = None, device: str | torch.device = "cpu") -> Embedding:
    """Return the CLAP embedding of the model in a folder, or of the published one."""
    from model.measures.clap import CLAP_MODEL, find_clap, load_clap, weights_id

    found = find_clap(folder)
    sha256 = weights_id(found)
    name = CLAP if folder is None else f"{CLAP}:{found.resolve().name}@{sha256}"
    source = CLAP_MODEL if folder is None else str(folder)
    return Embedding(name, load_clap(found, device), f"{CLAP}: {source}, weights {sha256}")


def similarity(generated: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the cosine (S,) of the vectors (S, D) of two sounds each; NaN if either is 0."""
    lengths = np.linalg.norm(generated, axis=1) * np.linalg.norm(truth, axis=1)
    products = (np.asarray(generated, np.float64) * truth).sum(1)
    return np.where(lengths > 0, products / np.where(lengths > 0, lengths, 1), np.nan)


def similarity_measures(embeddings: Sequence[str]) -> dict[str, Measure]:
    """Return the measure of `similarity` for each embedding; each has a column of its own."""
    return {
        f"{SIMILARITY}{name}": Measure(f"similarity ({name})", "segment") for name in embeddings
    }


def mel_statistics(audio: np.ndarray) -> np.ndarray:
    """Return mean and standard deviation over time of log10(mel + 0.3) of audio (N,): (1, 160)."""
    import torch

    from model.audio import LogMel

    magnitude = 10 ** LogMel()(torch.from_numpy(np.array(audio, np.float32))[None])[0].double()
    bands = torch.log10(magnitude + MEL_OFFSET)
    return torch.cat([bands.mean(1), bands.std(1)])[None].numpy()
