"""The JukeBox VQ-VAE (Dhariwal et al. 2020): a codec of discrete codes for music.

    codec = load_jukebox("demo")
    codes = codec.encode(audio, "high")     # (B, N) -> (B, N // 128)
    music = codec.decode(codes, "high")

Names are imported when first used, so that `import model.codecs.jukebox` does not import torch.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "JukeBoxCodec": "codec",
    "load_jukebox": "codec",
    "find_weights": "codec",
    "random_codec": "codec",
    "VQVAE": "vqvae",
    "HParams": "hparams",
    "JUKEBOX_5B": "hparams",
    "TINY": "hparams",
    "read_weights": "weights",
    "write_weights": "weights",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
