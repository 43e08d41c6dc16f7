"""Ask a model on a server with the API of OpenAI (vLLM, SGLang, llama.cpp and others) for answers.

Frames are sent as JPEG, sounds as WAV, both within the request. Nothing is sent to any address that the settings do not
name. A key, if the server wants one, is read from the environment variable `OLA_WITNESS_KEY`.
"""

from __future__ import annotations

import base64
import io
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadMedia, ConfigError, Unavailable

if TYPE_CHECKING:
    from ola.prompt import Answer, Request

KEY = "OLA_WITNESS_KEY"
AT_ONCE = 8  # requests in flight: a server batches them, and 8 clips of 48 frames are 20 MB
SECONDS = 300  # of one answer; a busy server queues requests
PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses that may pass: the part stays open
QUALITY = 90  # of the JPEGs, as `extract.quality`


@dataclass(frozen=True)
class Endpoint:
    """A model on a server. url: of its API, as `http://host:8000/v1`. model: its name there."""

    url: str
    model: str

    @classmethod
    def at(cls, name: str) -> Endpoint:
        """Make it of an address with the model's name after `#`."""
        url, _, model = name.partition("#")
        return cls(url.rstrip("/"), model)

    def generate(
        self, requests: Sequence[Request], *, on_answer: Callable[[int, Answer], object] | None = None
    ) -> list[Answer]:
        """Return an answer to each request, in order. Raises Unavailable for a passing fault, else BadMedia."""
        answers = []
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for index, answer in enumerate(pool.map(self._answer, requests)):
                answers.append(answer)
                if on_answer is not None:
                    on_answer(index, answer)
        return answers

    def choose(self, requests: Sequence[Request], words: Sequence[str]) -> list[tuple[float, ...]]:
        """Refuse: servers differ in which probabilities they give."""
        raise NotImplementedError("a server is asked for answers alone")

    def _answer(self, request: Request) -> Answer:
        from ola.prompt import Answer

        content = [*_media_parts(request), {"type": "text", "text": request.text}]
        reply = self._post(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": content}],
                "max_tokens": request.max_new_tokens,
                "temperature": request.temperature,
                "seed": request.seed,
            }
        )
        try:
            choice, usage = reply["choices"][0], reply.get("usage") or {}
            text = str(choice["message"]["content"] or "")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise BadMedia(f"{self.model} gave no chat completion", str(reply)[:1000]) from error
        tokens = (0,) * int(usage.get("completion_tokens") or 0)  # the ids are not known, their number is
        cut_off = choice.get("finish_reason") == "length"
        return Answer(text, tokens, "length" if cut_off else "stop", int(usage.get("prompt_tokens") or 0))

    def check(self) -> None:
        """Raise ConfigError unless the server has the model. Raises Unavailable if it does not answer."""
        try:
            found = [each["id"] for each in self._call("models")["data"]]
        except (BadMedia, KeyError, TypeError) as error:
            raise ConfigError(f"verify.witnesses: {self.url}: expected a list of models, got {error}") from error
        if self.model not in found:
            raise ConfigError(f"verify.witnesses: {self.url} has no model {self.model!r} (choices: {', '.join(found)})")

    def _post(self, body: dict[str, Any]) -> Any:
        return self._call("chat/completions", json.dumps(body).encode())

    def _call(self, path: str, body: bytes | None = None) -> Any:
        heads = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            heads["Authorization"] = f"Bearer {key}"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"{self.url}/{path}", body, heads), timeout=SECONDS
            ) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            detail = error.read()[:1000].decode(errors="replace")
            if error.code in PASSING:
                raise Unavailable(f"verify.witnesses: {self.url}: {error.code} {detail}") from error
            raise BadMedia(f"{self.model} refused the request: {error.code}", detail) from error
        except (OSError, ValueError) as error:
            raise Unavailable(f"verify.witnesses: {self.url} does not answer: {error}") from error


def _media_parts(request: Request) -> Iterator[dict[str, Any]]:
    video: Any = request.video or ()
    for picture in (*request.images, *video):
        yield {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_jpeg(picture)}"}}
    for sound in request.sounds:
        yield {"type": "input_audio", "input_audio": {"data": _wav(sound), "format": "wav"}}


def _jpeg(picture: Any) -> str:
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=QUALITY)
    return base64.b64encode(file.getvalue()).decode()


def _wav(sound: Any) -> str:
    import numpy as np

    from pipeline.media.audio import wav_bytes

    samples = np.asarray(sound.samples)
    pcm = samples if samples.dtype == np.int16 else (samples.clip(-1, 1) * 32767).astype(np.int16)
    return base64.b64encode(wav_bytes(pcm.tobytes())).decode()
