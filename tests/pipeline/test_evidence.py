"""`ask.style: evidence`: notes of each sense, questions from clues, and the views of their spans in verify and pack."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests.records import ClipMedia, Drop, EvidenceSpan, Question, SoundSpan, Verification
from ola.prompt import Request, Wave
from pipeline.annotation.media_loader import MediaLoader
from pipeline.config import load
from pipeline.errors import BadMedia, ConfigError
from pipeline.media.audio import RATE
from pipeline.pack.facts import pack_facts
from pipeline.pack.settings import PackSettings
from pipeline.prompts import prompt
from pipeline.steps.ask import Ask, AskInput, AskSettings
from pipeline.steps.evidence import PROMPTS
from pipeline.steps.span_views import REST, SPANS, cut_clip, frames_within
from pipeline.steps.verify import Verify, VerifySettings
from stages.shards import ShardReader
from tests.media import pattern
from tests.pipeline.scripted import (
    ENGINE,
    FENCE,
    QUESTIONS,
    SAID,
    Scripted,
    doubt,
    footage,
    inside,
    obeys,
    prompt_of,
    ready,
    sensible_reply,
    with_clues,
    written_notes,
)
from tests.pipeline.test_ask import Killed, asking
from tests.pipeline.test_screen import ATTACKS
from tests.pipeline.test_text_rules import CHOICE
from tests.pipeline.test_verify import question
from tests.pipeline.test_witnesses import Answers, needs, view_of
from tests.pipeline.test_witnesses import examined as examined_by
from tests.runs import ola, rows, shards_of, status, talking

MODEL = "tests.pipeline.test_evidence:pointing"
SECONDS, FRAMES = 4.0, 4  # of the clips here; frames at 0, 1, 2 and 3 s
KETTLE = "a red kettle"
TIMES = (
    EvidenceSpan(sense="seen", start=0.9, end=2.1, text="a kettle"),
    EvidenceSpan(sense="heard", start=1.0, end=2.0, text="a whistle"),
)


def clip(root: Path, name: str = "clip", **more: Any) -> ClipMedia:
    return footage(root, name, **{"frames": FRAMES, "seconds": SECONDS, **more})


def asked(root: Path, replies: dict[str, Any], entry: AskInput | None = None, **settings: Any) -> tuple[Any, Scripted]:
    """What becomes of a clip about which the model says these, by prompt; sensible things where nothing is given."""
    step = Ask(AskSettings(style="evidence", **settings))
    model = ready(step, root)
    model.reply = lambda request: replies.get(prompt_of(request)) or sensible_reply(request)
    (answer,) = step.run([entry or asking(clip(root))])
    return answer, model


def test_notes_of_each_sense_then_questions_without_media(tmp_path: Path) -> None:
    found, model = asked(tmp_path, {"ask_evidence": with_clues(QUESTIONS, "S1 H1", "S2 H1", "S2 H2")})
    assert [prompt_of(each) for each in model.asked] == ["ask_seen", "ask_heard", "ask_evidence"]
    seen, heard, written = model.asked
    assert [(each.video is None, len(each.sounds)) for each in model.asked] == [(False, 0), (True, 1), (True, 0)]
    assert "taken at these seconds: 0, 1, 2, 3." in seen.text
    assert inside(heard.text) == {"known": "nothing is known"}, "the words of this transcript have no times"
    assert inside(written.text) == {
        "seen": "S1 [0-2] a cook in an apron at the stove\nS2 [2-4] a red kettle on the stove",
        "heard": "H1 [0-2] a whistle, high and long\nH2 [2-4] a lid that clatters",
    }
    assert [[(each.sense, each.start, each.end) for each in one.times] for one in found] == [
        [("seen", 0, 2), ("heard", 0, 2)],
        [("seen", 2, 4), ("heard", 0, 2)],
        [("seen", 2, 4), ("heard", 2, 4)],
    ]
    assert [(one.id, one.answer) for one in found][:1] == [("clip-question-0", KETTLE)]
    assert [call.prompt for call in found[0].note_calls] == [seen.text, heard.text]
    assert found[0].asked.prompt == written.text


def test_spoken_words_are_clues_with_their_times(tmp_path: Path) -> None:
    from tests.pipeline.test_clues import said

    entry = asking(clip(tmp_path))
    words = said(("Take", 0.5, 0.9), ("it!", 1.0, 1.5), ("Now.", 2, 2.5))
    entry = replace(entry, transcript=replace(entry.transcript, segments=(words,)))
    lines = '[0.5-1.5] somebody says: "Take it!"\n[2-2.5] somebody says: "Now."'
    found, model = asked(tmp_path, {"ask_heard": "nothing", "ask_evidence": with_clues(QUESTIONS, "S1 H2")}, entry)
    assert inside(model.asked[1].text) == {"known": lines}
    assert inside(model.asked[2].text)["heard"] == "H1 " + lines.replace("\n", "\nH2 ")
    assert (found[0].times[1].start, found[0].times[1].end) == (2, 2.5)


def test_a_clip_without_words_is_asked_about_its_sounds(tmp_path: Path) -> None:
    entry = asking(clip(tmp_path), "")
    entry = replace(entry, transcript=replace(entry.transcript, words=0))
    found, model = asked(tmp_path, {}, entry)
    assert len(found) == 3
    assert "- music: what is played" in model.asked[2].text
    assert "Write in English." in model.asked[2].text


class Whistles:
    """Hears a whistle in the second second, and speech all the time."""

    def spans(self, samples: Any) -> tuple[SoundSpan, ...]:
        end = len(samples) / RATE
        return (
            SoundSpan(kind="speech", label="Speech", start=0, end=end, score=0.9),
            SoundSpan(kind="event", label="Whistle", start=1, end=2, score=0.6),
        )


@pytest.mark.parametrize(
    ("text", "lines"), [(SAID, ["[1-2] sound: whistle"]), ("", ["[0-4] sound: speech", "[1-2] sound: whistle"])]
)
def test_sound_events_are_clues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, lines: list[str]) -> None:
    monkeypatch.setattr("pipeline.steps.ask.open_tagger", lambda settings, model: Whistles())
    entry = asking(clip(tmp_path), text)
    entry = replace(entry, transcript=replace(entry.transcript, words=len(text.split())))
    found, model = asked(tmp_path, {}, entry, sound_events=True)
    assert inside(model.asked[1].text)["known"].splitlines() == lines
    assert inside(model.asked[2].text)["heard"].splitlines()[: len(lines)] == [
        f"H{n} {line}" for n, line in enumerate(lines, start=1)
    ]
    assert found[0].times[1].text == lines[0].partition("] ")[2]


def test_sound_events_have_a_key_of_their_own(tmp_path: Path) -> None:
    def facts(*settings: str) -> dict[str, Any]:
        plan = load(None, (f"annotator.engine={ENGINE}", *settings)).plan(str(tmp_path))
        return dict(plan.find_step("ask").facts)

    without = facts("ask.style=evidence")
    other = [facts("ask.style=evidence", "ask.sound_events=true", f"hear.events_from={score}") for score in (0.2, 0.4)]
    assert "hearing" not in without
    assert [each["hearing"]["events_from"] for each in other] == [0.2, 0.4]
    with pytest.raises(ConfigError, match="ask: sound_events: expected style: evidence"):
        facts("ask.sound_events=true")


def test_a_multiple_choice_names_its_clues_too(tmp_path: Path) -> None:
    found, _ = asked(tmp_path, {"ask_evidence": with_clues(CHOICE)}, questions=1, multiple_choice=True)
    assert (found[0].answer, found[0].options[1], len(found[0].times)) == ("B", "twice", 2)


@pytest.mark.parametrize(
    ("clues", "reasons"),
    [
        (("S9 H1", "S1 H1", "S1 H2"), ("Q1: rests on a clue that does not exist",)),
        (("S1", "H1 H2", "S1 H2"), ("Q1: rests on one sense", "Q2: rests on one sense")),
        (("S1 S2 H1", "S1 H1", "S1 H2"), ("Q1: rests on several clues of a sense",)),
    ],
)
def test_questions_without_their_clues_are_left_out(
    tmp_path: Path, clues: Sequence[str], reasons: tuple[str, ...]
) -> None:
    found, _ = asked(tmp_path, {"ask_evidence": with_clues(QUESTIONS, *clues)})
    assert [each.number for each in found] == list(range(len(reasons), 3))
    assert found[0].left_out == reasons


def test_reasons_are_counted_where_no_question_is_left(tmp_path: Path) -> None:
    written = with_clues(QUESTIONS, "S9 H1", "S1", "S7 H7")
    found, _ = asked(tmp_path, {"ask_evidence": written})
    reason = "no question kept: 2 x rests on a clue that does not exist, 1 x rests on one sense"
    assert found == Drop(reason, written)


def test_spans_outside_of_the_clip_are_no_clues(tmp_path: Path) -> None:
    notes = "[0-9] a cook\n[1-2] a lid"
    found, model = asked(tmp_path, {"ask_seen": notes})
    assert inside(model.asked[2].text)["seen"] == "S1 [1-2] a lid"
    assert found[0].left_out == ("note 1 of what is seen: outside of the clip",)
    found, model = asked(tmp_path, {"ask_seen": "[0-9] a cook"})
    assert found == Drop("no clue seen", "note 1 of what is seen: outside of the clip")
    found, _ = asked(tmp_path, {"ask_heard": "nothing"})
    assert found == Drop("no clue heard", "nothing")


def test_a_clip_without_sound_has_no_evidence(tmp_path: Path) -> None:
    found, model = asked(tmp_path, {}, asking(clip(tmp_path, seconds=None)))
    assert (found, model.asked) == (Drop("no sound", "ask.style=evidence asks what is both seen and heard"), [])
    found, _ = asked(tmp_path, {}, asking(clip(tmp_path), informative=0.1))
    assert found == Drop("not informative enough", "0.100; ask.least_informative is 0.5")


@pytest.mark.parametrize(
    ("name", "what"),
    [("ask_seen", "notes of the picture"), ("ask_heard", "notes of the sound"), ("ask_evidence", "questions")],
)
def test_what_cannot_be_read_is_asked_for_once_more(tmp_path: Path, name: str, what: str) -> None:
    found, model = asked(tmp_path, {name: "no such form", "ask_again": "nor this"})
    assert isinstance(found, BadMedia)
    assert str(found).startswith(f"no {what}: not in the form, twice")
    assert model.names()["ask_again"] == 1
    good = {"ask_seen": written_notes("ask_seen", 4), "ask_heard": written_notes("ask_heard", 4)}
    again = {name: "no such form", "ask_again": good.get(name, with_clues(QUESTIONS))}
    found, model = asked(tmp_path, again)
    assert len(found) == 3
    (second,) = (each for each in model.asked if prompt_of(each) == "ask_again")
    first = next(each for each in model.asked if prompt_of(each) == name)
    assert (second.text.startswith(first.text), second.video is first.video) == (True, True)
    assert len(found[0].note_calls) == (2 if name == "ask_evidence" else 3)


def test_strict_takes_the_form_alone(tmp_path: Path) -> None:
    notes = "- [0-2] a cook"
    found, _ = asked(tmp_path, {"ask_seen": notes})
    assert found[0].departures == ("markup",)
    found, model = asked(tmp_path, {"ask_seen": notes, "ask_again": "[0-2] a cook"}, strict=True)
    assert (len(found), found[0].departures, model.names()["ask_again"]) == (3, (), 1)


@pytest.mark.parametrize("attack", ATTACKS)
def test_notes_and_words_are_no_instructions(tmp_path: Path, attack: str) -> None:
    entry = asking(clip(tmp_path), attack)
    line = " ".join(attack.split())
    found, model = asked(tmp_path, {"ask_seen": f"[0-2] {line}", "ask_heard": f"[0-2] {line}"}, entry)
    assert not any(obeys(request.text) for request in model.asked)
    assert all(line not in FENCE.sub("", request.text) for request in model.asked)
    assert found


def test_an_interrupted_step_asks_nothing_twice(tmp_path: Path) -> None:
    notes, written = str(tmp_path / "notes"), list[Request]()
    batch = [asking(clip(tmp_path, f"clip{n}", seed=n), f"{SAID} Number {n}.") for n in range(3)]

    def dies_at_the_second(request: Request) -> str:
        if prompt_of(request) != "ask_evidence":
            return sensible_reply(request)
        written.append(request)
        if len(written) == 2:
            raise Killed
        return "unreadable"

    step = Ask(AskSettings(style="evidence"))
    first = ready(step, tmp_path, notes)
    first.reply = dies_at_the_second
    with pytest.raises(Killed):
        step.run(batch)
    step = Ask(AskSettings(style="evidence"))
    second = ready(step, tmp_path, notes)
    answers = step.run(batch)
    assert [len(answer) for answer in answers] == [3, 3, 3]  # type: ignore[arg-type]
    assert second.names() == {"ask_evidence": 2, "ask_again": 1}, "the notes and the first answer are known"
    third = ready(step := Ask(AskSettings(style="evidence")), tmp_path, notes)
    assert step.run(batch) == answers
    assert not third.asked


def test_the_direct_style_keeps_its_keys(tmp_path: Path) -> None:
    direct, evidence = Ask().facts(), Ask(AskSettings(style="evidence")).facts()
    assert "style" not in direct["settings"]
    assert "procedure" not in direct
    assert evidence["settings"]["style"] == "evidence"
    assert evidence["prompts"].keys() - direct["prompts"].keys() == set(PROMPTS)
    assert evidence["prompts"]["ask_seen"] == prompt("ask_seen")
    plan = load(None, (f"annotator.engine={ENGINE}",)).plan(str(tmp_path))
    assert "evidence" not in pack_facts(plan, PackSettings())["settings"]
    assert pack_facts(plan, PackSettings(evidence="any"))["settings"]["evidence"] == "any"


def test_media_are_cut_to_the_spans_and_to_the_rest(tmp_path: Path) -> None:
    seen, load = clip(tmp_path), MediaLoader(str(tmp_path))
    whole = load(seen)
    spans, rest = (cut_clip(load, seen, TIMES, view) for view in (SPANS, REST))
    pictures = [[np.asarray(each) for each in some or ()] for some in (whole.video, spans.video, rest.video)]  # type: ignore[union-attr]
    for found, expected in ((pictures[1], pictures[0][1:3]), (pictures[2], [pictures[0][0], pictures[0][3]])):
        assert [np.array_equal(a, b) for a, b in zip(found, expected, strict=True)] == [True, True]
    assert isinstance(whole.sound, Wave)
    assert isinstance(spans.sound, Wave)
    assert isinstance(rest.sound, Wave)
    second, sound = whole.sound.rate, whole.sound.samples
    assert np.array_equal(spans.sound.samples, sound[second : 2 * second])
    assert np.array_equal(rest.sound.samples[:second], sound[:second])
    assert np.array_equal(rest.sound.samples[2 * second :], sound[2 * second :])
    assert not rest.sound.samples[second : 2 * second].any()
    assert (rest.sound.samples.dtype, len(rest.sound.samples)) == (sound.dtype, len(sound))


def test_a_span_between_two_frames_has_the_nearest(tmp_path: Path) -> None:
    seen, load = clip(tmp_path), MediaLoader(str(tmp_path))
    between = replace(TIMES[0], start=1.2, end=1.7)
    assert frames_within(seen, [between]) == [1]
    whole = [replace(each, start=0, end=SECONDS) for each in TIMES]
    nothing = cut_clip(load, seen, whole, REST)
    assert (nothing.video, nothing.sound) == (None, None)
    assert len(cut_clip(load, seen, whole, SPANS).video or ()) == FRAMES  # type: ignore[arg-type]


def pointed(times: tuple[EvidenceSpan, ...] = TIMES, number: int = 0) -> Question:
    return replace(question(number), times=times)


def part_of(request: Request) -> str:
    """The view that a request shows: clips here have four seconds of loud noise."""
    if not request.sounds or request.video is None:
        return view_of(request)
    wave: Any = request.sounds[0]
    if len(wave.samples) < SECONDS * wave.rate:
        return SPANS
    return "both" if len(list(request.video)) == FRAMES else REST  # type: ignore[arg-type]


def checked(root: Path, entry: Question, *known: str, **settings: Any) -> tuple[Verification, list[str]]:
    step, shown = Verify(VerifySettings(**settings)), list[str]()
    model = ready(step, root)

    def reply(request: Request) -> str:
        shown.append(part_of(request))
        return KETTLE if shown[-1] in known else "a pot"

    model.reply = reply
    ((verdict,),) = step.run([doubt(entry, clip(root))])
    return verdict, shown


def test_an_answer_is_sought_in_its_spans_and_in_the_rest(tmp_path: Path) -> None:
    verdict, shown = checked(tmp_path, pointed(), "both", SPANS)
    assert shown == ["both", "video", "audio", "text", SPANS, REST]
    assert verdict.spans is not None
    assert verdict.rest is not None
    assert (verdict.spans.agreement, verdict.rest.agreement, verdict.rest.answer) == (0.9, 0.1, "a pot")
    assert needs(verdict) == "both"
    verdict, _ = checked(tmp_path, pointed(), "both", SPANS, REST)
    assert needs(verdict) == "both", "where an answer is found changes nothing of what it needs"
    whole = tuple(replace(each, start=0, end=SECONDS) for each in TIMES)
    verdict, shown = checked(tmp_path, pointed(whole), "both")
    assert (verdict.rest, len(shown)) == (None, 5), "nothing is left of the clip"


def test_a_question_without_spans_is_asked_as_before(tmp_path: Path) -> None:
    verdict, shown = checked(tmp_path, question(), "both")
    assert (verdict.spans, verdict.rest, shown) == (None, None, ["both", "video", "audio", "text"])


class PartAnswers(Answers):
    """Tells the views of spans apart, too."""

    def reply(self, request: Request) -> str:
        self.views.append(part_of(request))
        return KETTLE if self.views[-1] in self.known else "a pot"


@pytest.mark.parametrize(
    ("known", "asked_for", "needed"),
    [
        (("both", SPANS), ["both", SPANS, REST], "both"),
        (("both", SPANS, REST), ["both", SPANS, REST], "both"),
        (("both",), ["both", SPANS], "both"),
        ((), ["both"], "none-agrees"),
        (("audio", "both", SPANS), [], "audio"),
    ],
)
def test_witnesses_are_shown_spans_of_questions_that_need_both(
    tmp_path: Path, known: tuple[str, ...], asked_for: list[str], needed: str
) -> None:
    entry = doubt(pointed(), clip(tmp_path))
    cheap, own = PartAnswers(), PartAnswers(*known)
    (verdict,), found = examined_by(tmp_path, cheap, own, entry)
    assert found == needed
    assert [view for view in own.views if view in ("both", SPANS, REST)] == asked_for
    assert verdict.veto_view not in (SPANS, REST)
    (full,), same = examined_by(tmp_path, PartAnswers(), PartAnswers(*known), entry, all_views=True)
    assert (same, {each.view for each in full.witnesses} >= {SPANS, REST}) == (needed, True)


def test_ola_itself_answers_from_parts(tmp_path: Path) -> None:
    step = Verify(VerifySettings(longest=4))
    model: Any = ready(step, tmp_path, engine="torch", model="nano")
    ((verdict,),) = step.run([doubt(pointed(), clip(tmp_path))])
    assert verdict.spans is not None
    assert verdict.rest is not None
    assert model.encodings.encoded == 6  # frames and sound: of the clip, of its spans, and of the rest


def pointing(settings: Any) -> Scripted:
    """A model that answers from frames with sound: the first question unless the sound has a hole, the second always,
    the third never from a part of the clip. Its three questions rest on the first note of each sense.
    """
    model = Scripted()
    answers = dict(zip(QUESTIONS.splitlines()[::2], QUESTIONS.splitlines()[1::2], strict=True))

    def reply(request: Request) -> str:
        name = prompt_of(request)
        if name != "verify_answer" or request.video is None or not request.sounds:
            return "a pot" if name == "verify_answer" else sensible_reply(request)
        wave: Any = request.sounds[0]
        quiet = np.convolve(wave.samples == 0, np.ones(3200), "valid").max(initial=0) >= 3200
        number, answer = next(
            (label[1], text[4:])
            for label, text in answers.items()
            if label.partition(": ")[2] == request.text.splitlines()[-1]
        )
        part = quiet or len(wave.samples) < 3.5 * wave.rate
        return "a pot" if (number == "1" and quiet) or (number == "3" and part) else answer

    model.reply = reply
    return model


SETTINGS = (
    f"annotator.engine={MODEL}", "split.longest=4", "extract.frames.cap=6", "pack.val=0", "caption.kinds=[image]",
    "ask.style=evidence",
)  # fmt: skip


def run_of(films: Path, root: Path, *settings: str) -> None:
    said = ola("run", films, "--root", root, *(part for each in (*SETTINGS, *settings) for part in ("--set", each)))
    assert said.code == 0, said


def tars(root: Path) -> list[bytes]:
    return [path.read_bytes() for path in shards_of(root)]


def test_a_run_packs_questions_whose_spans_hold_and_says_why_not_the_others(tmp_path: Path, ray_here: None) -> None:
    films, root = tmp_path / "films", tmp_path / "inline"
    talking(films, "one", pattern("evidence.mp4", 4), 4)
    run_of(films, root)
    assert status(root)["ask"]["outputs"] == 3
    packed = "SELECT id[-1:] FROM shards WHERE kind = 'cross_modal_qa' ORDER BY id"
    assert rows(root, packed) == [("0",)]
    samples = [json.loads(bytes(raw.members["json"])) for path in shards_of(root) for raw in ShardReader(path)]
    tasks = {task["kind"]: task for sample in samples for task in sample["tasks"]}
    ((seen, heard),) = rows(root, "SELECT times[1], times[2] FROM ask WHERE number = 0")
    assert tasks["cross_modal_qa"]["times"] == [
        {"start": each["start"], "end": each["end"], "text": each["sense"]} for each in (seen, heard)
    ]
    assert "no fault" in ola("check", root).out
    [(name,)] = rows(root, "SELECT clip FROM ask LIMIT 1")
    why = ola("why", root, name).out
    assert "left out of the shards: found without its spans" in why
    assert "left out of the shards: not found from its spans" in why
    assert "(seen 0-2 s, heard " in why
    said = ola("replay", root, name, "--step", "ask")
    assert (said.code, "the same as committed" in said.out) == (0, True), said
    [(notes, last)] = rows(root, "SELECT list_sum([c.prompt_tokens FOR c IN note_calls]), asked.prompt_tokens FROM ask "
                                 "WHERE number = 0")  # fmt: skip
    assert status(root)["ask"]["prompt_tokens"] == notes + last
    run_of(films, tmp_path / "ray", "engine=ray", "workers=2")
    assert tars(tmp_path / "ray") == tars(root) != []
    told = ola("whatif", root, "--set", "pack.evidence=any").out
    [line] = [line for line in told.splitlines() if "cross_modal_qa" in line]
    assert re.findall(r"\b[123]\b", line)[:2] == ["1", "3"], told
