"""What is known about one published file of weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.contract.weights_folder import weights_folder
from pipeline.weights.package import Package


@dataclass(frozen=True)
class Weight:
    """One published file.

    Attributes:
        url: the publisher's address; empty where only a package ships the file.
        sha256: all 64 hexadecimal digits, or the first ones where the file's name alone tells them.
        doubt: why a full `sha256` (and `size_bytes`) does not decide; empty where it does.
        git_blob: the id under which the publisher's repository keeps the file: SHA-1 of its content
            behind a header (git's object format), for a file whose SHA-256 nobody states.
        size_bytes: exact; None where unknown.
        restricted: terms to be shown before the file is fetched: not for every use.
        package: a package that ships the same file, for when its own address does not answer.
        companion: another file that this one needs; it is found and fetched together with this one,
            and its address is in the same folder.
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
    package: Package | None = None
    companion: Weight | None = None

    @property
    def path(self) -> Path:
        return weights_folder() / self.file

    @property
    def files(self) -> tuple[Weight, ...]:
        """What is fetched by the name: this file, and its companion before it."""
        return (self,) if self.companion is None else (self.companion, self)

    @property
    def origin(self) -> str:
        """Where it comes from, as text."""
        return ", or ".join(filter(None, (self.url, str(self.package or ""))))

    @property
    def is_there(self) -> bool:
        """Whether all its files are in the weights folder."""
        return all(one.path.is_file() for one in self.files)

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
