"""Decode token ids to text incrementally, as soon as the text is final.

A token of a byte-level BPE may end inside a character, so tokens cannot be decoded one by one; decoding all of them
again for each new token takes quadratic time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A UTF-8 character has at most four bytes and a token at least one, so four tokens hold the whole of an incomplete
# character. The window grows to 16 tokens before it is cut, which halves the decoding.
KEPT_TOKENS, MAX_WINDOW = 4, 16


class Detokeniser:
    """Decodes a stream of byte-level BPE tokens (such as Qwen2's) without special tokens.

    The joined results of `push` and `flush` equal `tokenizer.decode(ids, skip_special_tokens=True)`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._given = 0  # characters of the window's text that were returned

    def push(self, token_id: int) -> str:
        """Return the text that this token makes final; "" inside a character."""
        if len(self._window) >= MAX_WINDOW:
            self._window = [kept for kept in self._window if self._decode([kept])][-KEPT_TOKENS:]
            self._given = len(self._final_text())
        self._window.append(token_id)
        return self._take_new(self._final_text())

    def flush(self) -> str:
        """Return the rest after the last token; an incomplete character becomes U+FFFD."""
        text = self._take_new(self._decode(self._window))
        self._window, self._given = [], 0
        return text

    def _take_new(self, text: str) -> str:
        new, self._given = text[self._given :], len(text)
        return new

    def _final_text(self) -> str:
        # An incomplete character decodes to one U+FFFD at the end; the text before it is final.
        return self._decode(self._window).removesuffix("\ufffd")

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))
