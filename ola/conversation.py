"""From a conversation to token ids, in the two layouts that the released weights know ("qwen_1_5").

In: turns of text with media in them. Out: token ids with one placeholder a medium, and for training the labels.

- Inference layout, what `generate` reads: `<speech><image>` before the question to which they belong (the first, unless
  the request says otherwise), one newline, the question.
- Training layout, what the weights were trained on: media first in each turn, sounds before images, then the text
  less its tags; in turns with sound every placeholder has a newline of its own, so that two stand before the text.

Whatever the order of the placeholders, the visuals take the first ones (see `Prompt`).

Text is only ever text: what looks like a control token in it is spelled out. Tags are read in human turns of training
samples and nowhere else.
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
"""(`human` or `gpt`, what they say)."""
Pieces = list[str | int]
"""Text, and ids of control tokens and placeholders."""


class Layouts:
    """The two layouts in the tokens of one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """ValueError if the tokenizer lacks a control token, naming it."""
        self.tokenizer = tokenizer
        self.start, self.end = (control_token(tokenizer, name) for name in ("<|im_start|>", "<|im_end|>"))

    def inference(self, request: Request, sounds: int, visuals: int) -> list[int]:
        """Ids up to where the answer begins. Media stand where the request says, a spoken question in the last turn.

        Of `sounds` (without the spoken question) and `visuals` those of a turn stand in this order. No system turn if
        its text is empty.
        """
        pieces: Pieces = self._turn("system", [request.system]) if request.system else []
        *media, last = _media_of_turns(request, sounds, visuals)
        for shown, (question, answer) in zip(media, request.history, strict=True):
            pieces += self._turn("user", [*_opened(shown), question]) + self._turn("assistant", [answer])
        asked: Pieces = [SPOKEN, SPEECH, "\n"] if request.spoken_question is not None else []
        pieces += self._turn("user", [*_opened(last), *asked, request.text])
        pieces += [self.start, "assistant\n"]
        return self._ids(_joined(pieces))

    def training(self, turns: Sequence[Turn], spoken: bool = False) -> tuple[list[int], list[int]]:
        """Ids and labels of a whole conversation.

        spoken: the human turns are spoken questions (`text_q` of the released data), kept as they stand. Learned
        are the assistant's texts and, as in the original, the control tokens and the newline after every turn.
        A first turn by `system` takes the place of the usual one. ValueError for a role that is not human or gpt.
        """
        begins = len(turns) > 1 and turns[0][0] == "system"
        ids, labels = self._learned("system", [turns[0][1] if begins else Request.system])
        for role, text in turns[begins:]:
            if role not in ROLES:
                raise ValueError(f"a turn by {role!r}; the roles are {' and '.join(ROLES)}")
            body: Pieces = [text] if role == "gpt" else self._tagged(text, spoken)
            more, learned = self._learned(ROLES[role], body)
            ids, labels = ids + more, labels + learned
        return ids, labels

    def _turn(self, role: str, body: Iterable[str | int]) -> Pieces:
        return [self.start, f"{role}\n", *body, self.end, "\n"]

    def _learned(self, role: str, body: Pieces) -> tuple[list[int], list[int]]:
        newline, head, text = self._ids(["\n"]), self._ids([role, "\n"]), self._ids(body)
        learned = text if role == "assistant" else [IGNORE] * len(text)
        labels = [self.start, *[IGNORE] * len(head), *learned, self.end, *newline]
        return [self.start, *head, *text, self.end, *newline], labels

    def _tagged(self, text: str, spoken: bool) -> Pieces:
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

    def _ids(self, pieces: Iterable[str | int]) -> list[int]:
        return [token for piece in pieces for token in (self._text(piece) if isinstance(piece, str) else [piece])]

    def _text(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids


def control_token(tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    """The id of a control token; ValueError if the tokenizer has none of this name."""
    token = tokenizer.convert_tokens_to_ids(name)
    if not isinstance(token, int) or tokenizer.convert_ids_to_tokens(token) != name:
        raise ValueError(f"the tokenizer has no token {name}; give the one that lies beside the released weights")
    return token


def _media_of_turns(request: Request, sounds: int, visuals: int) -> list[Pieces]:
    """The placeholders of each turn, the last one's included."""
    kinds = [IMAGE] * visuals + [SPEECH] * sounds
    counts = Counter(zip(request.media_turns or [0] * len(kinds), kinds, strict=True))
    return [[kind for kind in (SPEECH, IMAGE) for _ in range(counts[n, kind])] for n in range(len(request.history) + 1)]


def _opened(media: Pieces) -> Pieces:
    return [*media, "\n"] if media else []


def _joined(pieces: Pieces) -> Pieces:
    """Neighbouring texts as one, since "\\n\\n" is one token."""
    runs = groupby(pieces, type)
    return [piece for kind, run in runs for piece in (["".join(map(str, run))] if kind is str else run)]
