"""The genre of each video, in the user's own words: from a CSV, or from its sub-folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.sources.manifest import Row, leaves, video_id
from pipeline.sources.tables import csv_rows


def label(rows: Sequence[Row], genres: Path | None) -> list[Row]:
    """Return the rows of a source folder with their genres.

    With the CSV `genres` (columns file,genre) a video has the genre of its line. Without it, the
    genre is the name of the sub-folder of the source folder that contains the video, however deep.
    A video without a genre has the code `no_genre`. A line whose file is not among the videos gives
    a row of its own, after the others, with the code `missing_file`.

    Raises ValueError for an invalid CSV, or if no video has a genre.
    """
    known = _by_folder(rows) if genres is None else read_genres(genres)
    where = "it is in no sub-folder" if genres is None else f"{genres.name} has no line for it"
    labelled = []
    for row in rows:
        if row.path in known:
            row = replace(row, genre=known[row.path])
        elif not row.known_code:
            row = replace(row, known_code="no_genre", why=f"{where}; name its genre")
        labelled.append(row)
    if rows and not any(row.genre for row in labelled):
        raise ValueError(
            f"none of the {len(rows)} videos has a genre ({labelled[0].path}: {where}); move the "
            "videos into a sub-folder for each genre, or name a CSV with --genres FILE "
            "(file,genre; paths relative to --source)"
        )
    there = {row.path for row in rows}
    for file, genre in known.items():
        if file not in there:
            why = f"{genres} lists it, but it is not among the videos of --source"
            missing = Row(video_id(Path(file)), file, genre=genre, known_code="missing_file")
            labelled.append(replace(missing, why=why))
    return labelled


def read_genres(path: Path) -> dict[str, str]:
    """Return file → genre of a CSV with the columns `file` (relative to --source) and `genre`.

    Raises FileNotFoundError if there is none, and ValueError, with the line, for other columns, an
    empty cell, a file that is listed twice or a path outside the source folder.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--genres {path}: no such file; make a CSV with file,genre")
    found: dict[str, str] = {}
    for where, row in csv_rows(path, ("file", "genre")):
        if not row["file"] or not row["genre"]:
            raise ValueError(f"{where}: a file or its genre is empty; fill it in, or drop the line")
        if leaves(row["file"]) or "\0" in row["file"]:
            raise ValueError(
                f"{where}: {row['file']!r:.80} is outside the source folder; give the path "
                "relative to --source"
            )
        file = Path(row["file"]).as_posix()
        if file in found:
            raise ValueError(f"{where}: {file:.80} appears twice; keep one line")
        found[file] = row["genre"]
    return found


def _by_folder(rows: Sequence[Row]) -> dict[str, str]:
    """Return path → name of the first folder of the path, for the videos in a sub-folder."""
    return {row.path: row.path.split("/")[0] for row in rows if "/" in row.path}
