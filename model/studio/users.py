"""The work folder: a private folder for each user, found by a secret that only the user has.

    WORK/users/<hash of the secret>/uploads/<id>/   facts.json and the file, under its own name
    WORK/users/<hash of the secret>/jobs/<id>/      job.json, and result/ once the job is done
    WORK/received/                                  what browsers sent; emptied at each start

No part of a path comes from a request: ids have a fixed form, and names of files a fixed list.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model.studio.limits import GB, Limits

COOKIE = "studio"
TOKEN = re.compile(r"[A-Za-z0-9_-]{32,128}")
ID = re.compile(r"[a-z0-9]{16}")
NAME_CHARS = 80


class Refused(ValueError):
    """What a user asked for is not allowed, or not there; the message is for the user."""


def new_token() -> str:
    """Return a secret for a new user: 192 random bits."""
    return secrets.token_urlsafe(24)


def new_id() -> str:
    """Return an id of the form `ID`: 64 random bits."""
    return secrets.token_hex(8)


def is_token(text: str) -> bool:
    """Return whether a text has the form of a user's secret."""
    return bool(TOKEN.fullmatch(text))


def checked_id(text: object) -> str:
    """Return an id; raise Refused if it has not exactly the form of one."""
    if not isinstance(text, str) or not ID.fullmatch(text):
        raise Refused("no such file")
    return text


@dataclass(frozen=True)
class User:
    """One user: whoever knows the secret. The folder's name is its hash, which does not give it."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def uploads(self) -> Path:
        return self.folder / "uploads"

    @property
    def jobs(self) -> Path:
        return self.folder / "jobs"


class Users:
    """All users of a work folder."""

    def __init__(self, work: Path, limits: Limits) -> None:
        self.work, self.limits = work.resolve(), limits
        self.root, self.received = self.work / "users", self.work / "received"
        shutil.rmtree(self.received, ignore_errors=True)
        for folder in (self.root, self.received):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)

    def user(self, token: str) -> User:
        """Return the user with this secret, with folders. Raises Refused for another form."""
        if not is_token(token):
            raise Refused("no cookie: allow cookies for this address, and load the page again")
        user = User(self.root / hashlib.sha256(token.encode()).hexdigest()[:40])
        for folder in (user.folder, user.uploads, user.jobs):
            folder.mkdir(mode=0o700, exist_ok=True)
        return user

    def all(self) -> Iterator[User]:
        """Yield every user that has a folder."""
        yield from (User(path) for path in sorted(self.root.iterdir()) if path.is_dir())

    def check_room(self, user: User, more_bytes: int) -> None:
        """Raise Refused if `more_bytes` are more than the user, or all together, may have."""
        for folder, most_gb, whose in (
            (user.folder, self.limits.user_gb, "your files"),
            (self.work, self.limits.total_gb, "the files of all users"),
        ):
            held = size_bytes(folder)
            if held + more_bytes > most_gb * GB:
                raise Refused(
                    f"{whose} have {held / GB:.2f} GB, at most {most_gb:g} GB are allowed: delete "
                    "your files (at the end of the page), or ask whoever runs this studio"
                )


def size_bytes(folder: Path) -> int:
    """Return the size of all files below a folder; files that vanish meanwhile count as 0."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
    return total


def safe_name(name: str, suffixes: frozenset[str]) -> str:
    """Return a name for a stranger's file: letters, digits, `.`, `-` and `_`, its suffix kept.

    Raises Refused if the suffix is not one of `suffixes`.
    """
    stem, suffix = os.path.splitext(os.path.basename(name.replace("\\", "/")))
    suffix = suffix.lower()
    if suffix not in suffixes:
        raise Refused(
            f"{name[-NAME_CHARS:]!r}: not a name of a file that is taken here; expected one that "
            f"ends in {' '.join(sorted(suffixes))}"
        )
    stem = re.sub(r"[^\w.-]+", "_", stem).strip("._-")[:NAME_CHARS]
    return (stem or "file") + suffix
