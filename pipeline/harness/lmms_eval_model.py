"""Ola as a model of lmms-eval 0.7: any of its tasks with images, a video or sounds, by weights in a folder or `nano`.

    lmms-eval --model ola_pipeline --model_args pretrained=nano --tasks … --batch_size 8

`ola_pipeline` takes a task's visuals and its text, also of multiple choices by likelihood; `ola_pipeline_chat` takes
its chat messages. What Ola cannot do (beam search, two videos, several rounds, pictures as answers) ends the evaluation
with a message. A file that cannot be read is an empty answer, which counts as wrong, and a warning. The module can be
imported without lmms-eval.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ola import locate_model
from ola.prompt import Request
from pipeline.errors import BadMedia, ConfigError
from pipeline.harness.task_media import load_media
from pipeline.harness.task_request import Message, make_request

try:
    from lmms_eval.api.instance import GenerationResult
    from lmms_eval.api.model import lmms as HarnessModel
except ImportError:
    GenerationResult, HarnessModel = None, object

log = logging.getLogger(__name__)


class OlaTasks(HarnessModel):  # type: ignore[misc]
    """Ola, asked with a task's visuals (`doc_to_visual`) and its text."""

    is_simple = True

    def __init__(
        self,
        pretrained: str = "",
        device: str | None = None,
        dtype: str = "auto",
        max_frames: int | None = None,
        video_sound: bool = True,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
    ) -> None:
        """Load the weights. The arguments are those of `--model_args`.

        max_frames: of a video, by default the model's. video_sound: whether a video is heard as well as seen.

        Raises ConfigError for a folder that does not exist, an unknown device, or a batch size that is no number.
        """
        super().__init__()
        from ola.generation import Ola
        from pipeline.cli.chat import device_of

        folder = locate_model(pretrained)
        if not pretrained or not folder.is_dir():
            raise ConfigError(f"--model_args: expected pretrained=FOLDER or pretrained=nano, got {pretrained!r}")
        if not str(batch_size).isdigit() or not int(batch_size):
            raise ConfigError(f"--batch_size: expected a number of questions, got {batch_size!r}")
        self.device = device_of(device or _own_gpu())
        self.ola = Ola.from_pretrained(folder, dtype=dtype, device=self.device)
        self.max_frames = max_frames or self.ola.processor.config.max_frames
        self.video_sound = video_sound
        self.batch_size, self.failed = int(batch_size), 0

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Return an answer per instance; empty where its media cannot be read, or it is too long."""
        seeds, answers = _repetitions(requests), dict[int, str]()
        for start in range(0, len(requests), self.batch_size):
            made = dict[int, Request]()
            for number in range(start, min(start + self.batch_size, len(requests))):
                if (request := self._request(requests[number], seeds[number])) is not None:
                    made[number] = request
            answers |= self._answers(made)
        if self.failed:
            log.warning("%d questions could not be asked and count as wrong", self.failed)
        return [answers.get(number, "") for number in range(len(requests))]

    def loglikelihood(self, requests: Sequence[Any]) -> list[Any]:
        """Return for each instance the mean loss of its continuation's tokens, and whether greedy decoding gives it.

        A loss, not a log probability: lmms-eval chooses the option with the lowest value. Each pair is wrapped, since
        lmms-eval 0.7.3 makes a string of a plain one.
        """
        from ola.likelihood import continuation_likelihoods

        found = list[tuple[float, bool]]()
        for start in range(0, len(requests), self.batch_size):
            pairs = [self._continuation(each) for each in requests[start : start + self.batch_size]]
            likelihoods = continuation_likelihoods(self.ola.model, self.ola.processor, pairs)
            found += [(-each.log_probability / each.tokens, each.is_greedy) for each in likelihoods]
        return found if GenerationResult is None else [GenerationResult(pair) for pair in found]

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Refuse tasks of several rounds."""
        raise ConfigError(
            "ola_pipeline answers in one round; leave out tasks with output_type generate_until_multi_round"
        )

    def generate_visual_cot(self, requests: Sequence[Any]) -> list[str]:
        """Refuse tasks whose answers are pictures."""
        raise ConfigError("ola_pipeline makes no pictures; leave out tasks with output_type generate_visual_cot")

    def messages(self, instance: Any) -> tuple[Sequence[Message], dict[str, Any]]:
        """Return the chat messages of an instance and its generation options."""
        text, options, visuals, number, task, split = instance.args
        doc = self.task_dict[task][split][number]
        return [_user_message(visuals(doc) if callable(visuals) else None, text)], options

    def _request(self, instance: Any, seed: int) -> Request | None:
        number, task, split = instance.args[3:]
        name = f"{task}, {split} {number}"
        try:
            messages, options = self.messages(instance)
            return make_request(messages, options, self._load, seed)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error
        except (BadMedia, OSError) as error:
            self._fail(f"{name}: {error}")
            return None

    def _load(self, given: Any, kind: str) -> Iterator[Any]:
        media = load_media(given, self.max_frames, kind)
        return (medium for medium in media if self.video_sound or medium.kind != "track")

    def _answers(self, requests: dict[int, Request]) -> dict[int, str]:
        """Return answers by number; if a request is invalid, each is asked alone so that the others are answered."""
        try:
            answers = self.ola.generate(list(requests.values()))
        except ValueError as error:  # raised before the first answer
            if len(requests) > 1:
                return {
                    number: text for each in requests.items() for number, text in self._answers(dict([each])).items()
                }
            self._fail(str(error))
            return {}
        return {number: answer.text for number, answer in zip(requests, answers, strict=True)}

    def _continuation(self, instance: Any) -> tuple[Request, str]:
        if len(instance.args) < 6:
            raise ConfigError("expected a question before each choice; Ola has no probability of a choice alone")
        text, continuation, visuals, number, task, split = instance.args
        doc = self.task_dict[task][split][number]
        message = _user_message(visuals(doc) if callable(visuals) else None, text)
        request = make_request([message], {"temperature": 0}, self._load)
        return request, str(continuation(doc) if callable(continuation) else continuation)

    def _fail(self, message: str) -> None:
        self.failed += 1
        log.warning("%s", message)


class OlaChatTasks(OlaTasks):
    """Ola, asked with a task's chat messages (`doc_to_messages`)."""

    is_simple = False

    def messages(self, instance: Any) -> tuple[Sequence[Message], dict[str, Any]]:
        """Return the chat messages of an instance and its generation options."""
        _, doc_to_messages, options, number, task, split = instance.args
        return doc_to_messages(self.task_dict[task][split][number]), options


def _user_message(visuals: Any, text: str) -> Message:
    given = visuals if isinstance(visuals, list | tuple) else [visuals]
    return {"role": "user", "content": [*({"type": "", "url": each} for each in given), {"type": "text", "text": text}]}


def _repetitions(requests: Sequence[Any]) -> list[int]:
    """Return for each instance how often its document came before it: a seed for each of its repeated answers."""
    counts, found = Counter[tuple[Any, ...]](), []
    for each in requests:
        found.append(counts[each.args[3:]])
        counts[each.args[3:]] += 1
    return found


def _own_gpu() -> str | None:
    """Return the GPU of this process among those that `accelerate launch` or torchrun starts; None: the first one."""
    import torch

    rank = os.environ.get("LOCAL_RANK")
    return f"cuda:{rank}" if rank is not None and torch.cuda.is_available() else None
