"""Turn token ids into text, one at a time, as soon as the text is final.

A token of a byte-level BPE may end inside a character, so text cannot be had by decoding tokens singly, and decoding
all of them anew for each one takes quadratic time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# UTF-8 needs at most four bytes a character and a token that says something has at least one, so four such tokens
# hold the whole of a character still open. The window may grow to 16 before it is cut: that halves the decoding.
KEPT, GROWN = 4, 16


class Detokeniser:
    """Decodes the stream of a byte-level BPE (as Qwen2's) without its special tokens.

    What `push` and `flush` gave, joined, is `tokenizer.decode(ids, skip_special_tokens=True)`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._given = 0  # how many characters of the window's text were given away

    def push(self, token_id: int) -> str:
        """The text that became final by this token: "" inside a character, never a part of one."""
        if len(self._window) >= GROWN:
            self._window = [kept for kept in self._window if self._decode([kept])][-KEPT:]
            self._given = len(self._final())
        self._window.append(token_id)
        return self._give(self._final())

    def flush(self) -> str:
        """The rest once the last token has come: bytes that never became a character, as U+FFFD."""
        text = self._give(self._decode(self._window))
        self._window, self._given = [], 0
        return text

    def _give(self, text: str) -> str:
        new, self._given = text[self._given :], len(text)
        return new

    def _final(self) -> str:
        # Bytes of an open character decode to one U+FFFD at the end; whatever follows, the text before it stays.
        return self._decode(self._window).removesuffix("\ufffd")

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))
