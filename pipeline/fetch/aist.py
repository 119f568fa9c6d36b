"""Fetch AIST++: annotations from AIST++'s release, videos from the AIST Dance Video Database.

The addresses are those of the publishers' download pages: google.github.io/aistplusplus_dataset
(its release v1.0) and, for videos, the address in google/aistplusplus_api's downloader. The videos
are the refined ones, which start with the music; the annotations belong to these. AIST++'s own list
of videos is not used: the names of the published split, with the chosen cameras, give the same.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from model.contract.options import option
from pipeline.arguments import UsageError, positive
from pipeline.fetch.base import Fetched, Wanted, WrongBytes
from pipeline.sources.aist import (
    CAMERAS,
    HOME,
    by_camera,
    dance,
    official_split,
    read_ignore_list,
)

ANNOTATIONS_URL = "https://github.com/google/aistplusplus_dataset/releases/download/v1.0/"
VIDEOS_URL = "https://aistdancedb.ongaaccel.jp/v1.0.0/video/10M/"
ARCHIVES = {
    "splits": (".txt",),
    "cameras": (".json", ".txt"),
    "motions": (".pkl",),
    "keypoints2d": (".pkl",),
    "keypoints3d": (".pkl",),
}
"""The archives, which are also the folders that they give, and the files in them."""
LIST, VIDEOS = "ignore_list", "videos"
PARTS = (LIST, *ARCHIVES, VIDEOS)
MAX_CONNECTIONS = 16
LICENCE = (
    "annotations: AIST++ by Google LLC, licence CC BY 4.0 "
    "(https://creativecommons.org/licenses/by/4.0/)"
)
TERMS = (
    "videos: AIST Dance Video Database by AIST, Japan. Read its terms of use: "
    "https://aistdancedb.ongaaccel.jp/terms_of_use/ (for research; the database asks for an "
    "application form before use, and does not allow you to pass the videos on)"
)


def connections(text: str) -> int:
    """Return a number of connections at once, from 1 to MAX_CONNECTIONS."""
    if (number := positive(text)) > MAX_CONNECTIONS:
        raise ArgumentTypeError(f"{text}: more than {MAX_CONNECTIONS} burden the publishers")
    return number


@dataclass(frozen=True)
class FetchAist:
    """Fetches AIST++ into the layout that `pipeline build --dataset aist` reads.

    `tries` and `pause_s` are those of `download`.
    """

    out: Path = HOME

    cameras: Sequence[str] = option(
        CAMERAS[:1],
        "cameras whose videos to fetch, c01 to c09 (default c01, as in the published split)",
        nargs="+",
        choices=CAMERAS,
        metavar="CAMERA",
    )
    skip: Sequence[str] = option(
        (), f"what to leave out: {', '.join(PARTS)}", nargs="+", choices=PARTS, metavar="PART"
    )
    accept_terms: bool = option(
        False, "you have read the terms of the videos, and accept them", action="store_true"
    )
    limit: int | None = option(None, "videos of the first N dances only", type=positive)
    connections: int = option(
        4, f"files at once, at most {MAX_CONNECTIONS} (default 4)", type=connections
    )
    annotations_url: str = option(
        ANNOTATIONS_URL, f"another address of the annotations (default {ANNOTATIONS_URL})"
    )
    videos_url: str = option(VIDEOS_URL, f"another address of the videos (default {VIDEOS_URL})")
    tries: int = 5
    pause_s: float = 1.0

    def fetch(self) -> Fetched:
        """Fetch what is missing; see `Fetcher.fetch`."""
        from pipeline.fetch.many import fetch_all, plan

        wanted = self.wanted()
        print(LICENCE)
        if VIDEOS not in self.skip:
            print(TERMS)
        planned = plan(self.out, wanted, self.connections)
        for line in planned.lines():
            print(line)
        if VIDEOS not in self.skip and not self.accept_terms:
            raise UsageError(
                "nothing was fetched: read the terms above, then add --accept-terms (or fetch the "
                f"annotations alone: --skip {VIDEOS})"
            )
        planned.check_room()
        fetched = fetch_all(planned, wanted, self.connections, self.tries, self.pause_s)
        fetched.notes += [*self.notes_on_split(), *self.next_command(fetched)]
        fetched.save(self.out)
        return fetched

    def wanted(self) -> list[Wanted]:
        """Return all files, the annotations first."""
        from pipeline.fetch.place import Archive, OneFile, check_video

        found: list[Wanted] = []
        if LIST not in self.skip:
            name = f"{LIST}.txt"
            url = _join(self.annotations_url, name)
            found.append(OneFile(name, url, True, self.out / name, check_list))
        for part, suffixes in ARCHIVES.items():
            if part not in self.skip:
                name = f"{part}.zip"
                url = _join(self.annotations_url, name)
                found.append(Archive(name, url, True, self.out / part, suffixes))
        if VIDEOS not in self.skip:
            split = dict(list(official_split("aist").items())[: self.limit])
            for video in by_camera(split, self.cameras):
                name = f"{video}.mp4"
                url = _join(self.videos_url, name)
                path = self.out / VIDEOS / name
                found.append(OneFile(name, url, False, path, check_video))
        return found

    def notes_on_split(self) -> list[str]:
        """Return a sentence if the publishers' split differs from the one in `manifests`."""
        differ = 0
        for part in ("train", "val", "test"):
            path = self.out / "splits" / f"crossmodal_{part}.txt"
            if not path.is_file():
                return []
            theirs = set(path.read_text(encoding="utf-8", errors="replace").split())
            ours = {dance(name) for name, its in official_split("aist").items() if its == part}
            differ += len(theirs ^ ours)
        if not differ:
            return []
        return [
            f"splits/crossmodal_*.txt and manifests/aist.csv differ in {differ} dances; a build "
            "uses manifests/aist.csv"
        ]

    def next_command(self, fetched: Fetched) -> list[str]:
        """Return the command that builds shards from what is here."""
        videos = sum(end.name.endswith(".mp4") and not end.cause for end in fetched.ends)
        if not videos or fetched.failed_needed:
            return []
        command = f"then: pipeline build --dataset aist --source {self.out}"
        if tuple(self.cameras) != CAMERAS[:1]:
            command += f" --cameras {' '.join(self.cameras)}"
        return [command + (f" --limit {videos}" if self.limit else "")]


def check_list(path: Path) -> None:
    """Raise WrongBytes if a file is no list of dances."""
    from pipeline.fetch.place import check_no_page

    check_no_page(path)
    try:
        read_ignore_list(path)
    except ValueError as error:
        raise WrongBytes(str(error).replace(f"{path}, ", "")) from None


def _join(base: str, name: str) -> str:
    return urljoin(f"{base.rstrip('/')}/", name)
