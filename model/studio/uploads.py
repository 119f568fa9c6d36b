"""Files that users bring: checked as any stranger's file, then kept in the user's folder.

Every file is read for the first time by a process of its own (`pipeline probe`), with a time limit.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model.contract.files import write_atomic
from model.studio.limits import MB
from model.studio.users import Refused, User, Users, checked_id, new_id, safe_name

VIDEOS = frozenset(".mp4 .mov .m4v .webm .mkv .avi".split())
SONGS = frozenset(".wav .flac .ogg .mp3".split())
PROBE_S = 120.0
"""Seconds that the first look at a file may take."""
PROBES = threading.BoundedSemaphore(2)
"""So many files are looked at at once, whatever arrives; the others wait."""
FACTS = "facts.json"
FEATURES = "features"


@dataclass(frozen=True)
class Upload:
    """A user's file. `facts` are those of `pipeline probe` for a video, {} for a song."""

    id: str
    folder: Path
    name: str
    kind: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def features(self) -> Path:
        """Where the features of the video are kept, so that the next job need not compute them."""
        return self.folder / FEATURES

    @property
    def seconds(self) -> float:
        return float(self.facts.get("stop_s", 0.0)) - float(self.facts.get("start_s", 0.0))

    @property
    def label(self) -> str:
        return f"{self.name} ({self.seconds:.1f} s)" if self.kind == "video" else self.name


def add(users: Users, user: User, source: Path, name: str, kind: str = "video") -> Upload:
    """Copy a file into the user's folder, if it is what it should be; `source` stays.

    `kind` is "video" or "song". Raises Refused with a message for the user.
    """
    limits = users.limits
    name = safe_name(name, VIDEOS if kind == "video" else SONGS)
    try:
        found = os.lstat(source)
    except OSError:
        raise Refused(f"{name}: the file has not arrived; send it again") from None
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{name}: not a regular file")
    if not found.st_size:
        raise Refused(f"{name}: the file is empty")
    if found.st_size > limits.upload_mb * MB:
        raise Refused(
            f"{name}: {found.st_size / MB:.0f} MB; at most {limits.upload_mb:g} MB are taken here"
        )
    users.check_room(user, found.st_size)
    made = new_id()
    part, folder = user.uploads / f"part-{made}", user.uploads / made
    part.mkdir(mode=0o700)
    try:
        shutil.copyfile(source, part / name)
        facts = probed(part / name) if kind == "video" else {}
        if kind == "song":
            check_song(part / name)
        upload = Upload(made, folder, name, kind, facts)
        if upload.seconds > limits.duration_s:
            raise Refused(
                f"{name}: lasts {upload.seconds:.1f} s; at most {limits.duration_s:g} s are taken "
                "here: cut it first"
            )
        content = {k: v for k, v in asdict(upload).items() if k != "folder"}
        write_atomic(part / FACTS, json.dumps(content).encode())
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return upload


def get(user: User, upload_id: object) -> Upload:
    """Return an upload of this user; raise Refused if there is none with this id."""
    folder = user.uploads / checked_id(upload_id)
    try:
        return Upload(folder=folder, **json.loads((folder / FACTS).read_bytes()))
    except (OSError, ValueError, TypeError):
        raise Refused("no such file") from None


def listed(user: User, kind: str = "video") -> list[Upload]:
    """Return the uploads of a user, the newest first."""
    places = sorted(user.uploads.glob("*/" + FACTS), key=lambda p: -p.stat().st_mtime)
    found = [get(user, p.parent.name) for p in places if not p.parent.name.startswith("part-")]
    return [upload for upload in found if upload.kind == kind]


def probed(path: Path) -> dict[str, Any]:
    """Return the facts of a video; raise Refused with the reason if it is none."""
    command = [sys.executable, "-m", "pipeline", "probe", str(path)]
    try:
        with PROBES:
            done = subprocess.run(
                command, capture_output=True, encoding="utf-8", errors="replace",
                timeout=PROBE_S, check=False,
            )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Refused(f"{path.name}: reading it took more than {PROBE_S:g} s") from None
    if done.returncode:
        raise Refused(without_folder(last_line(done.stderr), path.parent))
    return json.loads(done.stdout.splitlines()[-1])


def check_song(path: Path) -> None:
    """Raise Refused if a song cannot be opened as audio."""
    import soundfile

    try:
        found = soundfile.info(str(path))
    except (soundfile.LibsndfileError, OSError) as error:
        reason = without_folder(str(error), path.parent)
        raise Refused(f"{path.name}: not music that can be read ({reason:.120})") from None
    if not 0.5 <= found.duration <= 3600:
        raise Refused(f"{path.name}: lasts {found.duration:.1f} s; expected 0.5 s to an hour")


def last_line(text: str) -> str:
    """Return the last line of a command's messages, without the word "error"."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines or ["the command failed without a message"])[-1].removeprefix("error: ")


def without_folder(text: str, *folders: Path) -> str:
    """Return a message without the paths of private folders, which are no business of a user."""
    for folder in folders:
        text = text.replace(f"{folder}/", "").replace(str(folder), "the work folder")
    return text
