"""Captions of music: a table of them, and the forms in which a model sees them in training.

A caption is phrases between commas, such as "house music, fast, 120 bpm, drums, organ, C minor".
The phrase that ends in "music" has the genre; "slow", "medium", "fast" and "N bpm" are the tempo.
Half of the training (`sentences`) puts these into the sentence with which textual inversion steers
a frozen model (Li et al. 2024), so that the model knows what its two placeholders stand for:

    a @ music with * as the rhythm          a house music with fast 120 bpm as the rhythm

Where the times of a file's beats are known, a window's tempo has one phrase more, "beats at 240ms
800ms 1360ms". Without it no word of the model could move the beats, and neither could a learnt one.
"""

from __future__ import annotations

import csv
import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

RHYTHM, GENRE = "*", "@"
"""The placeholders of rhythm and genre."""
PROMPT = f"a {GENRE} music with {RHYTHM} as the rhythm"
COLUMNS, BEATS = ("file", "caption"), "beats"
"""The columns of a table; the third one may be missing."""
MUSIC = " music"
BEATS_AT, STEP_MS = "beats at", 40
TEMPO = re.compile(rf"slow|medium|fast|\d{{2,3}} bpm|{BEATS_AT}( \d+ms)+")


@dataclass(frozen=True)
class Caption:
    """A caption's text; its genre, "" if it has none; its words of tempo; all other phrases.

    `beats` are the times of the file's beats in seconds, if they are known.
    """

    text: str
    genre: str
    tempo: tuple[str, ...]
    rest: tuple[str, ...]
    beats: tuple[float, ...] = ()

    @classmethod
    def of(cls, text: str, beats: Iterable[float] = ()) -> Caption:
        """Divide a text into its parts."""
        phrases = [phrase.strip() for phrase in text.split(",") if phrase.strip()]
        genres = [p for p in phrases if p.endswith(MUSIC)][:1]
        tempo = [p for p in phrases if TEMPO.fullmatch(p)]
        rest = [p for p in phrases if p not in (*genres, *tempo)]
        genre = genres[0].removesuffix(MUSIC) if genres else ""
        return cls(text, genre, tuple(tempo), tuple(rest), tuple(beats))

    def at(self, start_s: float, window_s: float) -> Caption:
        """Return the caption of a window: it tells when its beats come, in steps of STEP_MS."""
        first, last = (bisect_left(self.beats, at_s) for at_s in (start_s, start_s + window_s))
        if first == last:
            return self
        phrase = beats_at(time_s - start_s for time_s in self.beats[first:last])
        return replace(self, text=f"{self.text}, {phrase}", tempo=(*self.tempo, phrase))

    @property
    def untimed(self) -> Caption:
        """The caption without the times of its beats."""
        return replace(self, tempo=tuple(p for p in self.tempo if not p.startswith(BEATS_AT)))

    @property
    def sentence(self) -> str:
        """The prompt of textual inversion with this caption's genre and tempo."""
        return sentence(self.genre, self.tempo)

    def varied(self, rng: np.random.Generator, sentences: float, drop_phrase: float) -> str:
        """Return some of the phrases in any order, in a share of cases in the sentence's form.

        Each phrase is left out with the probability `drop_phrase`, so that each alone has an
        effect; a sentence has the other phrases behind it in half of the cases. The result is ""
        if all are left out.
        """
        kept = rng.random(2 + len(self.tempo) + len(self.rest)) >= drop_phrase
        genre = self.genre if kept[0] else ""
        tempo = [p for p, k in zip(self.tempo, kept[2:], strict=False) if k]
        rest = [p for p, k in zip(self.rest, kept[2 + len(self.tempo) :], strict=True) if k]
        as_sentence, alone = rng.random() < sentences, rng.random() < 0.5
        if as_sentence and (genre or tempo):
            rest = [] if alone else [rest[i] for i in rng.permutation(len(rest))]
            return ", ".join([sentence(genre, tempo), *rest])
        phrases = [*([genre + MUSIC] if genre else []), *tempo, *rest]
        return ", ".join(phrases[i] for i in rng.permutation(len(phrases)))


def beats_at(times_s: Iterable[float]) -> str:
    """Return the phrase for beats at these times."""
    return " ".join([BEATS_AT, *(time_word(at_s) for at_s in times_s)])


def time_word(at_s: float) -> str:
    """Return the word for a time, such as "240ms"."""
    return f"{STEP_MS * round(1000 * at_s / STEP_MS)}ms"


def sentence(genre: str, tempo: Sequence[str]) -> str:
    """Return PROMPT with words in place of its placeholders; what has no words is left out."""
    start = f"a {genre} music" if genre else "a music"
    return f"{start} with {' '.join(tempo)} as the rhythm" if tempo else start


def read_captions(path: Path) -> dict[str, Caption]:
    """Return the captions of a CSV file with the columns `file,caption`, by file.

    A third column, `beats`, may have the times of beats, in seconds between spaces. Raises
    FileNotFoundError, and ValueError, with the line, for other columns, for an empty file name or
    caption, for times that do not rise, for a file with two captions, and for a file that is not
    CSV in UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; give --captions a CSV file with the columns {','.join(COLUMNS)}"
        )
    found: dict[str, Caption] = {}
    for line, columns, cells in _rows(path):
        if len(cells) != columns or not all(cells[: len(COLUMNS)]):
            raise ValueError(
                f"{path}, line {line}: {', '.join(cells)!r:.80}, expected a file and its caption "
                '(in quotes, "like, this", if it has commas)'
            )
        file, text = cells[: len(COLUMNS)]
        if file in found:
            raise ValueError(f"{path}, line {line}: {file} has a caption already; remove one")
        if not Caption.of(text).text.strip(" ,"):
            raise ValueError(f"{path}, line {line}: the caption of {file} has no words")
        beats = _times_s(cells[-1], f"{path}, line {line}") if columns > len(COLUMNS) else ()
        found[file] = Caption.of(text, beats)
    if not found:
        raise ValueError(
            f"{path}: no captions; expected a line FILE,CAPTION for each file of music"
        )
    return found


def _times_s(cell: str, where: str) -> tuple[float, ...]:
    """Return the times that a cell lists; ValueError if it lists anything else."""
    try:
        times_s = tuple(float(word) for word in cell.split())
    except ValueError:
        times_s = (math.nan, math.nan)
    if any(not 0 <= time_s < math.inf for time_s in times_s) or any(
        not before < after for before, after in pairwise(times_s)
    ):
        raise ValueError(f"{where}: beats {cell!r:.60}; expected times in seconds that rise")
    return times_s


def _rows(path: Path) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the number of each line that ends a row, the number of columns, and the row's cells.

    The cells are stripped of spaces.
    """
    line = 1
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if header not in (list(COLUMNS), [*COLUMNS, BEATS]):
                raise ValueError(
                    f"{path}, line 1: columns {','.join(header)!r:.80}, expected "
                    f"{','.join(COLUMNS)}"
                )
            for cells in reader:
                line = reader.line_num
                if cells:
                    yield line, len(header), [cell.strip() for cell in cells]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{path}, after line {line}: not CSV ({error}); correct it") from None
