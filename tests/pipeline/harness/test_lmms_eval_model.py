"""Ola as a model of lmms-eval, without the harness: answers, likelihoods, batches, faults and refusals, with nano."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from ola.generation import Ola
from ola.likelihood import continuation_likelihoods
from ola.prompt import Request
from pipeline.errors import ConfigError
from pipeline.harness.lmms_eval_model import OlaChatTasks, OlaTasks
from pipeline.prompts import prompt
from pipeline.synthetic.world.captions import describe_image
from pipeline.synthetic.world.frames import draw_frame
from pipeline.synthetic.world.scenes import compose_scene

SCENES = [compose_scene(2345, number, kind="linked") for number in range(3)]
AT = 0.9
PICTURES = [Image.fromarray(draw_frame(scene, AT)) for scene in SCENES]
SEEN = [describe_image(scene, AT) for scene in SCENES]
ASK = prompt("caption_image")
OPTIONS = {"max_new_tokens": 48, "until": ["\n\n"], "do_sample": False}


@pytest.fixture(scope="module")
def tasks() -> OlaTasks:
    tasks: OlaTasks = with_docs(OlaTasks("nano", batch_size=3))
    return tasks


def with_docs(model: Any) -> Any:
    model.task_dict = {"toy": {"test": [{"picture": picture} for picture in PICTURES]}}
    return model


def visuals(doc: Any) -> list[Any]:
    return [doc["picture"]]


def instance(number: int, visuals: Any = visuals, text: str = ASK, **options: Any) -> Any:
    return SimpleNamespace(args=(text, {**OPTIONS, **options}, visuals, number, "toy", "test"))


def test_pictures_are_described(tasks: OlaTasks) -> None:
    answers = tasks.generate_until([instance(number) for number in range(3)])
    assert answers == SEEN


def test_chat_messages_ask_the_same() -> None:
    chat = with_docs(OlaChatTasks("nano"))

    def messages(doc: Any) -> list[dict[str, Any]]:
        return [{"role": "user", "content": [{"type": "image", "url": doc["picture"]}, {"type": "text", "text": ASK}]}]

    asked = SimpleNamespace(args=("", messages, OPTIONS, 1, "toy", "test"))
    assert chat.generate_until([asked]) == with_docs(OlaTasks("nano")).generate_until([instance(1)])
    assert (OlaTasks.is_simple, OlaChatTasks.is_simple) == (True, False)


def test_a_bad_file_is_an_empty_answer_and_the_others_are_answered(
    tasks: OlaTasks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        asked = [instance(0), instance(1, lambda doc: [str(tmp_path / "bad.png")]), instance(2, text=" ")]
        first, bad, empty = tasks.generate_until(asked)
    assert (first, bad, empty) == (SEEN[0], "", "")
    assert "toy, test 1: " in caplog.text
    assert "2 questions could not be asked and count as wrong" in caplog.text


def test_what_ola_cannot_do_ends_the_evaluation(tasks: OlaTasks) -> None:
    with pytest.raises(ConfigError, match="toy, test 0: num_beams: expected 1"):
        tasks.generate_until([instance(0, num_beams=4)])
    with pytest.raises(ConfigError, match="answers in one round"):
        tasks.generate_until_multi_round([instance(0)])
    with pytest.raises(ConfigError, match="makes no pictures"):
        tasks.generate_visual_cot([instance(0)])
    with pytest.raises(ConfigError, match="no probability of a choice alone"):
        tasks.loglikelihood([SimpleNamespace(args=("", "a choice"))])


def test_repeated_questions_get_a_seed_each(tasks: OlaTasks) -> None:
    hot = [instance(0, do_sample=True, temperature=3.0) for _ in range(4)]
    answers = tasks.generate_until(hot)
    assert len(set(answers)) > 1
    assert tasks.generate_until(hot) == answers


def test_the_right_choice_has_the_lowest_loss(tasks: OlaTasks) -> None:
    for number in range(2):
        choices = dict.fromkeys([SEEN[number], *SEEN])
        asked = [SimpleNamespace(args=(ASK, f" {choice}", visuals, number, "toy", "test")) for choice in choices]
        losses = [loss for loss, _ in tasks.loglikelihood(asked)]
        assert losses.index(min(losses)) == 0


def test_likelihoods_are_those_of_greedy_decoding() -> None:
    ola = Ola.from_pretrained("nano", dtype=torch.float32)
    request = Request(ASK, images=[PICTURES[0]], max_new_tokens=48)
    said = ola.generate([request])[0].text
    right, wrong = continuation_likelihoods(ola.model, ola.processor, [(request, f"  {said}"), (request, "Zebra")])
    assert (right.is_greedy, wrong.is_greedy) == (True, False)
    assert right.tokens == len(ola.processor.tokenizer.encode(said, add_special_tokens=False))
    forms = continuation_likelihoods(ola.model, ola.processor, [(request, form) for form in ("yes", "Yes", "no", "No")])
    assert {form.tokens for form in forms} == {1}
    odds = [sum(math.exp(form.log_probability) for form in forms[n : n + 2]) for n in (0, 2)]
    (yes, _), *_ = ola.choose([request], ("yes", "no"))
    assert odds[0] / sum(odds) == pytest.approx(yes, rel=1e-3), "as by choose"
    with pytest.raises(ValueError, match="the continuation is empty"):
        continuation_likelihoods(ola.model, ola.processor, [(request, " ")])
    assert continuation_likelihoods(ola.model, ola.processor, []) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected pretrained=FOLDER or pretrained=nano, got ''"),
        ({"pretrained": "nowhere"}, "expected pretrained=FOLDER"),
        ({"pretrained": "nano", "batch_size": "auto"}, "--batch_size: expected a number of questions, got 'auto'"),
    ],
)
def test_arguments_that_name_no_model(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OlaTasks(**arguments)
