"""Sampled answers of witnesses: how many, with which seeds, how they are counted, and what their keys depend on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ola.prompt import Request
from pipeline.annotation.endpoint import Endpoint
from pipeline.annotation.witnesses import order_witnesses
from pipeline.config import load
from pipeline.errors import ConfigError
from pipeline.steps.verify import Verify, VerifySettings
from pipeline.steps.witness_views import sampled_agreement, sampling_seed
from tests.pipeline.scripted import doubt, footage, ready
from tests.pipeline.test_verify import question
from tests.pipeline.test_witnesses import KETTLE, OPTIONS, Answers, examined, server, view_of


class Unsure(Answers):
    """A model whose samples of `both` are right in a share of cases that its seed decides; never right otherwise."""

    def __init__(self, right: int, of: int) -> None:
        super().__init__()
        self.right, self.of, self.seen = right, of, Counter[str]()

    def reply(self, request: Request) -> str:
        view = view_of(request)
        self.seen[view] += 1
        return KETTLE if view == "both" and (self.seen[view] - 1) % self.of < self.right else "a pot"


@pytest.mark.parametrize(("right", "needed"), [(5, "both"), (3, "both"), (2, "none-agrees"), (0, "none-agrees")])
def test_most_of_the_samples_must_be_right(tmp_path: Path, right: int, needed: str) -> None:
    (verdict,), found = examined(tmp_path, Answers(), Unsure(right, 5), samples=5)
    assert found == needed
    answer = verdict.witnesses[-1]
    assert (answer.view, len(answer.answers), len(answer.agreements)) == ("both", 5, 5)
    assert sum(each == KETTLE for each in answer.answers) == right


def test_samples_have_a_temperature_and_seeds_of_their_own(tmp_path: Path) -> None:
    own = Answers("both")
    doubts = [doubt(question(number, answer="A", options=OPTIONS), footage(tmp_path)) for number in range(2)]
    examined(tmp_path, Answers(), own, *doubts, samples=4, temperature=0.9)
    asked = [request for request in own.model.asked if request.max_new_tokens == 64]
    assert {request.temperature for request in asked} == {0.9}
    assert len({request.seed for request in asked}) == len(asked) > 2 * 3 * 4
    again = Answers("both")
    examined(tmp_path, Answers(), again, *doubts, samples=4, temperature=0.9)
    assert [request.seed for request in again.model.asked] == [request.seed for request in own.model.asked]
    single = Answers("both")
    examined(tmp_path, Answers(), single, *doubts)
    assert {(request.temperature, request.seed) for request in single.model.asked} == {(0.0, 0)}


@pytest.mark.parametrize(
    ("agreements", "samples", "chance", "counted"),
    [
        ((0.9, 0.1, 0.8), 3, 0.0, 0.8),
        ((0.9, 0.1, 0.2), 3, 0.0, 0.2),
        ((1, 1, 1, 1, 1), 5, 0.5, 0.0),  # a habit of saying yes, five times
        ((1, 1, 0) * 3, 3, 0.25, 1.0),  # two of three in each order
        ((1, 1, 1, 0, 0, 0, 0, 0, 0), 3, 0.25, 0.0),  # always the same letter
        ((0.7,), 1, 0.0, 0.7),
    ],
)
def test_samples_of_an_order_count_as_one(
    agreements: tuple[float, ...], samples: int, chance: float, counted: float
) -> None:
    assert sampled_agreement(agreements, samples, chance) == counted


def test_nano_samples_the_same_again(tmp_path: Path) -> None:
    settings = VerifySettings(witnesses=("nano",), samples=3, temperature=8.0, longest=6)
    found = []
    for _ in range(2):
        step = Verify(settings)
        ready(step, tmp_path)
        ((verdict,),) = step.run([doubt(question(), footage(tmp_path))])
        found.append([each.answers for each in verdict.witnesses if each.witness == "nano"])
    assert found[0] == found[1]
    assert any(len({*answers}) > 1 for answers in found[0]), "samples differ"


def test_a_server_gets_temperature_and_seed() -> None:
    with server() as (url, seen):
        Endpoint.at(f"{url}#omni").generate([Request("what?", temperature=0.7, seed=sampling_seed("name"))])
    ((_, body),) = seen
    assert (body["temperature"], body["seed"]) == (0.7, sampling_seed("name"))
    assert 0 <= body["seed"] < 2**32


def test_keys_depend_on_samples_only_where_there_are_several() -> None:
    def facts(**settings: object) -> dict[str, object]:
        return Verify(VerifySettings.model_validate({"witnesses": ("nano",), **settings})).facts()

    plain = facts()
    assert facts(temperature=0.3) == plain
    assert not {"samples", "temperature"} & set(plain["settings"])  # type: ignore[call-overload]
    assert facts(samples=3) != plain
    assert facts(samples=3, temperature=0.3) != facts(samples=3)


def test_samples_without_a_witness_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"samples: expected 1 without verify\.witnesses, got 3"):
        load(None, ("verify.samples=3",))
    named = VerifySettings(witnesses=("annotator",), samples=3)
    assert [each.name for each in order_witnesses(named.witnesses)] == ["annotator"]
