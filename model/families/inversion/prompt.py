"""The prompt of a text-to-music model, in which two words stand for a dance's rhythm and genre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.text_to_music.captions import GENRE as GENRE_WORD
from model.text_to_music.captions import PROMPT
from model.text_to_music.captions import RHYTHM as RHYTHM_WORD


@dataclass(frozen=True)
class Prompt:
    """A prompt as the text encoder reads it.

    `ids` (L,) int64 has a token's number for each word and an end token; `rhythm` and `genre` are
    the positions of the placeholders, empty if the prompt has none.
    """

    ids: Tensor
    rhythm: Tensor
    genre: Tensor


def read_prompt(tokenizer: Any, text: str, rhythm_words: int = 1, source: str = "") -> Prompt:
    """Return a prompt's tokens; its `*` becomes `rhythm_words` tokens.

    Raises ValueError if a placeholder is not one token of the tokenizer, or is given twice, or if
    the prompt is empty.
    """
    if not text.strip():
        raise ValueError(f'the prompt is empty; expected words such as "{PROMPT}"')
    marks = {word: placeholder_id(tokenizer, word, source) for word in (RHYTHM_WORD, GENRE_WORD)}
    for word in marks:
        if text.count(word) > 1:
            raise ValueError(f"the prompt {text!r} has {word!r} more than once; give it once")
    text = text.replace(RHYTHM_WORD, " ".join([RHYTHM_WORD] * rhythm_words))
    ids = torch.tensor(tokenizer(text)["input_ids"], dtype=torch.long)
    at = {word: (ids == mark).nonzero()[:, 0] for word, mark in marks.items()}
    for word, expected in ((RHYTHM_WORD, rhythm_words), (GENRE_WORD, 1)):
        if len(at[word]) != expected * (word in text):
            raise ValueError(
                f"the prompt {text!r}: {word!r} stands inside another word; put spaces around it"
            )
    return Prompt(ids, at[RHYTHM_WORD], at[GENRE_WORD])


def placeholder_id(tokenizer: Any, word: str, source: str = "") -> int:
    """Return the number of a placeholder's token; ValueError if it is not one token."""
    ids = [i for i in tokenizer(word)["input_ids"] if i != tokenizer.eos_token_id]
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise ValueError(
            f"{source}: its tokenizer makes {len(ids)} tokens of {word!r}, expected one that it "
            "knows; the dance takes the place of this word, so use a model whose tokenizer has it, "
            "such as MusicGen with T5's"
        )
    return ids[0]


def without_genre(text: str) -> str:
    """Return a prompt without its genre's placeholder."""
    return " ".join(text.replace(GENRE_WORD, " ").split())
