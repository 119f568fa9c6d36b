"""Which detector finds the shots of a run: cuts alone, or fades too."""

from __future__ import annotations

from dataclasses import dataclass

from model.contract.exit_codes import UsageError
from model.contract.files import sha256_of

DETECTORS = ("auto", "transnet", "adaptive")
"""`transnet` finds cuts as `adaptive` does, and fades. `auto` is the first that can be used."""
WEIGHTS = "transnetv2"


@dataclass(frozen=True)
class Detector:
    """The detector of a run: its name, why it was chosen, and the hash of its weights, if any."""

    name: str
    why: str
    weights_id: str = ""

    def __str__(self) -> str:
        return f"shots: {self.name} ({self.why})"

    @classmethod
    def of(cls, asked: str) -> Detector:
        """Return the detector for a value of `--shots`.

        Raises UsageError for an unknown name, and FileNotFoundError or ValueError, with advice, if
        the weights are not there or not right.
        """
        from pipeline.weights.table import find, lookup

        if asked not in DETECTORS:
            raise UsageError(f"--shots {asked}: expected one of {', '.join(DETECTORS)}")
        if asked == "transnet" or (asked == "auto" and lookup(WEIGHTS).is_there):
            return cls("transnet", "cuts and fades", sha256_of(find(WEIGHTS)))
        why = f"the weights {WEIGHTS} are not there: run `pipeline weights fetch {WEIGHTS}`"
        return cls("adaptive", f"cuts but no fades; {why if asked == 'auto' else 'as asked'}")
