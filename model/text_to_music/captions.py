"""Captions of music: a table of them, and the forms in which a model sees them in training.

A caption is phrases between commas, such as "house music, fast, 120 bpm, drums, organ, C minor".
The phrase that ends in "music" has the genre; "slow", "medium", "fast" and "N bpm" are the tempo.
Half of the training (`sentences`) puts these into the sentence with which textual inversion steers
a frozen model (Li et al. 2024), so that the model knows what its two placeholders stand for:

    a @ music with * as the rhythm          a house music with fast 120 bpm as the rhythm
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RHYTHM, GENRE = "*", "@"
"""The placeholders of rhythm and genre."""
PROMPT = f"a {GENRE} music with {RHYTHM} as the rhythm"
COLUMNS = ("file", "caption")
MUSIC = " music"
TEMPO = re.compile(r"slow|medium|fast|\d{2,3} bpm")


@dataclass(frozen=True)
class Caption:
    """A caption's text; its genre, "" if it has none; its words of tempo; all other phrases."""

    text: str
    genre: str
    tempo: tuple[str, ...]
    rest: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Caption:
        """Divide a text into its parts."""
        phrases = [phrase.strip() for phrase in text.split(",") if phrase.strip()]
        genres = [p for p in phrases if p.endswith(MUSIC)][:1]
        tempo = [p for p in phrases if TEMPO.fullmatch(p)]
        rest = [p for p in phrases if p not in (*genres, *tempo)]
        genre = genres[0].removesuffix(MUSIC) if genres else ""
        return cls(text, genre, tuple(tempo), tuple(rest))

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


def sentence(genre: str, tempo: Sequence[str]) -> str:
    """Return PROMPT with words in place of its placeholders; what has no words is left out."""
    start = f"a {genre} music" if genre else "a music"
    return f"{start} with {' '.join(tempo)} as the rhythm" if tempo else start


def read_captions(path: Path) -> dict[str, Caption]:
    """Return the captions of a CSV file with the columns `file,caption`, by file.

    Raises FileNotFoundError, and ValueError, with the line, for other columns, for an empty cell,
    for a file with two captions, and for a file that is not CSV in UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; give --captions a CSV file with the columns {','.join(COLUMNS)}"
        )
    found: dict[str, Caption] = {}
    for line, cells in _rows(path):
        if len(cells) != len(COLUMNS) or not all(cells):
            raise ValueError(
                f"{path}, line {line}: {', '.join(cells)!r:.80}, expected a file and its caption "
                '(in quotes, "like, this", if it has commas)'
            )
        file, text = cells
        if file in found:
            raise ValueError(f"{path}, line {line}: {file} has a caption already; remove one")
        if not Caption.of(text).text.strip(" ,"):
            raise ValueError(f"{path}, line {line}: the caption of {file} has no words")
        found[file] = Caption.of(text)
    if not found:
        raise ValueError(
            f"{path}: no captions; expected a line FILE,CAPTION for each file of music"
        )
    return found


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that ends a row, and the row's cells, stripped of spaces."""
    line = 1
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if header != list(COLUMNS):
                raise ValueError(
                    f"{path}, line 1: columns {','.join(header)!r:.80}, expected "
                    f"{','.join(COLUMNS)}"
                )
            for cells in reader:
                line = reader.line_num
                if cells:
                    yield line, [cell.strip() for cell in cells]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{path}, after line {line}: not CSV ({error}); correct it") from None
