"""A tokenizer of whole words, for a model that knows only the words of its own captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from model.text_to_music.captions import GENRE, PROMPT, RHYTHM

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
MAX_TOKENS = 64


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer of the words of `texts` and of the prompt of textual inversion.

    Letters are lowered, commas and the placeholders are words, and other punctuation is ignored. It
    puts an end token behind a text, as T5's does. A word that it does not know becomes UNKNOWN.
    `save_pretrained` writes a folder from which `AutoTokenizer` loads it.
    """
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Sequence as InTurn
    from tokenizers.pre_tokenizers import Split, WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    normal = Lowercase()
    split = InTurn([
        WhitespaceSplit(),
        Split(Regex(r"[.;:!?]"), "removed"),
        Split(Regex(rf"[,{RHYTHM}{GENRE}]"), "isolated"),
    ])  # fmt: skip

    def words(text: str) -> list[str]:
        return [word for word, _ in split.pre_tokenize_str(normal.normalize_str(text))]

    known = sorted({word for text in texts for word in words(text)})
    every = dict.fromkeys([PAD, END, UNKNOWN, RHYTHM, GENRE, ",", *words(PROMPT), *known])
    model = Tokenizer(WordLevel({word: i for i, word in enumerate(every)}, unk_token=UNKNOWN))
    model.normalizer, model.pre_tokenizer = normal, split
    model.post_processor = TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, model.token_to_id(END))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token=PAD, eos_token=END, unk_token=UNKNOWN,
        model_max_length=MAX_TOKENS, model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def tokens(tokenizer: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return ids and attention mask of texts, both int64 (B, tokens), padded at the end.

    Longer texts than the tokenizer's `model_max_length` are cut.
    """
    limit = min(tokenizer.model_max_length, 512)
    found = tokenizer(
        list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt"
    )
    return found["input_ids"], found["attention_mask"]
