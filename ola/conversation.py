"""Convert conversations to token ids, in the two layouts of the released weights ("qwen_1_5").

In: turns of text and media. Out: token ids with one placeholder per medium, and labels for training.

- Inference layout, for `generate`: `<speech><image>` before the question that they belong to (the first, unless the
request names another), one newline, the question.
- Training layout: media first in each turn, sounds before images, then the text without its tags. In turns with sound
every placeholder is followed by a newline, so the text comes after two newlines.

Regardless of the kinds of the placeholders, the visuals take the first ones (see `Prompt`).

Control tokens in the text are tokenised as plain text. Tags are parsed only in human turns of training samples.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from transformers import PreTrainedTokenizerBase

from ola.prompt import IGNORE, IMAGE, SPEECH, Request

PLACEHOLDERS = {"<speech>": SPEECH, "<image>": IMAGE}
TAG = re.compile("(<speech>|<image>)")
ROLES = {"human": "user", "gpt": "assistant"}
SPOKEN = "User's question in speech: "

Turn = tuple[str, str]
"""(`human` or `gpt`, text)."""
Pieces = list[str | int]
"""Text, and ids of control tokens and placeholders."""


class Layouts:
    """Builds both layouts with the tokens of one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raises ValueError if the tokenizer lacks a control token."""
        self.tokenizer = tokenizer
        self.start, self.end = (control_token(tokenizer, name) for name in ("<|im_start|>", "<|im_end|>"))

    def inference(self, request: Request, sounds: int, visuals: int) -> list[int]:
        """Return the ids of a prompt, up to the start of the answer.

        sounds, visuals: numbers of media, without the spoken question, which is in the last turn. In each turn the
        sounds come before the visuals. There is no system turn if its text is empty.
        """
        pieces: Pieces = self._turn_pieces("system", [request.system]) if request.system else []
        *media, last = _media_of_turns(request, sounds, visuals)
        for shown, (question, answer) in zip(media, request.history, strict=True):
            pieces += self._turn_pieces("user", [*_add_newline(shown), question]) + self._turn_pieces(
                "assistant", [answer]
            )
        spoken: Pieces = [SPOKEN, SPEECH, "\n"] if request.spoken_question is not None else []
        pieces += self._turn_pieces("user", [*_add_newline(last), *spoken, request.text])
        pieces += [self.start, "assistant\n"]
        return self._token_ids(_join_texts(pieces))

    def training(self, turns: Sequence[Turn], spoken: bool = False) -> tuple[list[int], list[int]]:
        """Return the ids and labels of a whole conversation.

        spoken: the human turns are spoken questions (`text_q` of the released data) and stay unchanged. Labels cover
        the assistant's texts and, as in the original, the control tokens and the newline after every turn. A first turn
        by `system` replaces the default one. Raises ValueError for a role that is not human or gpt.
        """
        begins = len(turns) > 1 and turns[0][0] == "system"
        ids, labels = self._turn_with_labels("system", [turns[0][1] if begins else Request.system])
        for role, text in turns[begins:]:
            if role not in ROLES:
                raise ValueError(f"turns: expected the roles {' and '.join(ROLES)}, got {role!r}")
            body: Pieces = [text] if role == "gpt" else self._split_at_tags(text, spoken)
            more, learned = self._turn_with_labels(ROLES[role], body)
            ids, labels = ids + more, labels + learned
        return ids, labels

    def _turn_pieces(self, role: str, body: Iterable[str | int]) -> Pieces:
        return [self.start, f"{role}\n", *body, self.end, "\n"]

    def _turn_with_labels(self, role: str, body: Pieces) -> tuple[list[int], list[int]]:
        newline, head, text = self._token_ids(["\n"]), self._token_ids([role, "\n"]), self._token_ids(body)
        learned = text if role == "assistant" else [IGNORE] * len(text)
        labels = [self.start, *[IGNORE] * len(head), *learned, self.end, *newline]
        return [self.start, *head, *text, self.end, *newline], labels

    def _split_at_tags(self, text: str, spoken: bool) -> Pieces:
        if spoken:
            split = [PLACEHOLDERS.get(piece, piece) for piece in TAG.split(text)]
            return [part for piece in split for part in ((piece, "\n") if piece == SPEECH else (piece,))]
        tags = sorted(TAG.findall(text), reverse=True)
        if not tags:
            return [text]
        own = "\n" if "<speech>" in tags else ""
        between = "\n" if len(set(tags)) == 1 else ""
        after = [between] * (len(tags) - 1) + ["\n" + TAG.sub("", text).strip()]
        return [part for tag, text in zip(tags, after, strict=True) for part in (PLACEHOLDERS[tag], own, text)]

    def _token_ids(self, pieces: Iterable[str | int]) -> list[int]:
        return [token for piece in pieces for token in (self._text_ids(piece) if isinstance(piece, str) else [piece])]

    def _text_ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids


def control_token(tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    """Return the id of a control token. Raises ValueError if the tokenizer does not have it."""
    token = tokenizer.convert_tokens_to_ids(name)
    if not isinstance(token, int) or tokenizer.convert_ids_to_tokens(token) != name:
        raise ValueError(f"the tokenizer has no token {name}; use the tokenizer of the released weights")
    return token


def _media_of_turns(request: Request, sounds: int, visuals: int) -> list[Pieces]:
    """Return the placeholders of each turn, including the last."""
    kinds = [IMAGE] * visuals + [SPEECH] * sounds
    counts = Counter(zip(request.media_turns or [0] * len(kinds), kinds, strict=True))
    return [[kind for kind in (SPEECH, IMAGE) for _ in range(counts[n, kind])] for n in range(len(request.history) + 1)]


def _add_newline(media: Pieces) -> Pieces:
    return [*media, "\n"] if media else []


def _join_texts(pieces: Pieces) -> Pieces:
    """Join neighbouring texts, since "\\n\\n" is one token."""
    runs = groupby(pieces, type)
    return [piece for kind, run in runs for piece in (["".join(map(str, run))] if kind is str else run)]
