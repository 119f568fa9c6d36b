"""The package transformers, which the extra `[text]` installs: EnCodec, MusicGen and CLAP."""

from __future__ import annotations

from typing import Any


def need_transformers(what: str) -> Any:
    """Import and return transformers; from then on it prints neither advice nor progress bars.

    Raises ValueError, which names `what` needs it and says how to install it.
    """
    try:
        import transformers
    except ImportError as error:
        raise ValueError(
            f"{what} needs the package transformers ({error}); run: pip install 'dance2music[text]'"
        ) from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers
