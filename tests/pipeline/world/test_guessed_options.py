"""Options drawn from the clip cannot be guessed by their length, form or letter; those of the model can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.bench.guessed_options import GUESSES, ask_all, guessed, inputs_of, scenes_of
from tests.pipeline.test_pack_tasks import question_of

SEED, CLIPS = 7, 70


def test_a_guess_from_the_options_alone_is_at_chance(tmp_path: Path) -> None:
    scenes = scenes_of((SEED,), CLIPS)
    inputs = inputs_of(tmp_path, scenes)
    by_model = ask_all(tmp_path, inputs, scenes, "model")
    assert by_model["longest"][1] > 0.4, "the scripted model gives answers away"
    by_clip = ask_all(tmp_path, inputs, scenes, "clip")
    assert by_clip["questions"] > 40
    for guess in GUESSES:
        share, low, high = by_clip[guess]
        assert low <= 0.25 <= high, (guess, share)
    assert abs(by_clip["length bias, mean"]) < 0.2 < by_model["length bias, mean"]


def test_guesses_see_what_gives_an_answer_away() -> None:
    def right(letter: str, *options: str) -> dict[str, float]:
        question = replace(question_of("clip", 3), answer=letter, options=options)
        return {name: guessed(question, score) for name, score in GUESSES.items()}

    long = right("C", "one", "two", "a much longer one", "six")
    assert (long["longest"], long["shortest"], long["letter A"]) == (1, 0, 0)
    odd = right("B", "a red dog", "seven", "a red cat", "a red cow")
    assert (odd["odd one out"], odd["most like the others"], odd["letter B"]) == (1, 0, 1)
    alike = right("A", "one", "two", "six", "ten")
    assert alike["longest"] == alike["odd one out"] == 0.25
