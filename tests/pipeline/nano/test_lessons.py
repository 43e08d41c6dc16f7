"""Lessons over films: right under each view, with the prompts of the steps, and importable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from manifests.records import Media
from ola.processor import OlaProcessor
from pipeline.annotation.media_loader import LoadedClip
from pipeline.annotation.text_rules import SOUND_KINDS, parse_questions, question_flaws
from pipeline.prompts import prompt
from pipeline.steps.ask import Ask
from pipeline.synthetic.nano.answers import answer_with_steps
from pipeline.synthetic.nano.lessons import CHAT_KINDS, REPEATS, SILENCE, Lesson, make_lessons, write_lessons
from pipeline.synthetic.nano.qa_examples import ask_prompt
from pipeline.synthetic.world.questions import ambiguous_questions, make_questions
from pipeline.synthetic.world.scenes import WORDLESS, compose_scene
from pipeline.synthetic.world.score import ScoredClip
from pipeline.synthetic.world.truth import Truth
from stages.catalogue import read_catalogue
from stages.decoding import Decoder, LoadedPack
from tests.ola import tiny
from tests.pipeline.nano.conftest import Run
from tests.runs import ola


def by_clip(run: Run) -> Iterator[tuple[ScoredClip, list[Lesson]]]:
    for clip in run.clips():
        yield clip, list(make_lessons(clip, 0))


def test_each_record_is_counted_under_its_name(run: Run) -> None:
    names = Counter(record["id"].split("-")[-2] for record in run.records())
    assert names == run.counts, "every clip with a voice has answers to ask"
    ids = [record["id"] for record in run.records()]
    assert len(set(ids)) == len(ids)
    assert (names["caption_image"], names["video_caption"], names["transcribe"], names["subtitle"]) == (10, 10, 9, 9)


def test_the_same_seed_gives_the_same_lessons(run: Run, tmp_path: Path) -> None:
    again, other = tmp_path / "again.jsonl", tmp_path / "other.jsonl"
    write_lessons(str(run.root), str(again), 0)
    write_lessons(str(run.root), str(other), 1)
    assert again.read_bytes() == run.file.read_bytes() != other.read_bytes()


def test_views_of_a_clip_follow_each_other(run: Run) -> None:
    for clip, lessons in by_clip(run):
        order = [view for view, _ in groupby(lessons, key=lambda each: each.view)]
        assert order == (list(CHAT_KINDS) if clip.sound else ["image", "video"]), clip.truth.scene.kind


def test_captions_and_transcripts_are_the_truth(run: Run) -> None:
    for clip, lessons in by_clip(run):
        answers = {each.name: each.answer for each in lessons}
        asked = {each.name: each.prompt for each in lessons}
        for view, caption in clip.truth.captions(clip.middle).items():
            for name in (f"caption_{view}", f"{view}_caption"):
                assert (answers[name], asked[name]) == (caption, prompt(name))
        for name in ("transcribe", "speech_recognition", "subtitle") if clip.sound else ():
            assert answers[name] == (clip.truth.transcript or SILENCE)
    kinds = {clip.truth.scene.kind: {each.name: each.answer for each in lessons} for clip, lessons in by_clip(run)}
    assert kinds["silent"]["transcribe"] == SILENCE
    assert "transcribe" not in kinds["mute"]


def test_answers_to_ask_pass_its_rules(run: Run) -> None:
    seen = 0
    for clip, lessons in by_clip(run):
        qa = {each.question: each for each in clip.truth.questions}
        told = [each for each in lessons if each.name == "ask"]
        assert len({each.answer for each in told}) == len(told) == (8 if clip.truth.transcript else 0)
        for lesson in told:
            found = parse_questions(lesson.answer, 3)
            assert question_flaws(found, clip.truth.transcript) == [None] * 3
            assert [qa[draft.question].answer for draft in found] == [draft.answer for draft in found]
            needs = [qa[draft.question].needs for draft in found]
            parts = [qa[draft.question].part for draft in found]
            if clip.truth.scene.kind == "linked" and len(clip.truth.scene.sounds) == 2:
                assert needs[:2] == ["both", "both"] != needs[1:]
                assert parts[:2] == ["first", "second"]
                seen += 1
    assert seen >= 8


def test_clips_without_words_are_asked_about_their_sounds() -> None:
    media, seen = Media(uri="a.tar", offset=0, size=1), 0
    for number in range(20):
        scene = compose_scene(0, number, kind=WORDLESS)
        truth = Truth(scene, "", (), tuple(make_questions(scene)))
        clip = ScoredClip("c", "c.mp4", media, (1,), media, "", 2.0, truth)
        told = [each for each in make_lessons(clip, 0) if each.name.startswith("ask")]
        assert {(each.name, each.prompt, each.view) for each in told} == {("ask_sound", ask_prompt(""), "both")}
        qa = {each.question: each for each in truth.questions}
        for lesson in told:
            found = parse_questions(lesson.answer, 3, kinds=SOUND_KINDS)
            assert question_flaws(found, prompt("ask_sound")) == [None] * 3
            assert [qa[draft.question].answer for draft in found] == [draft.answer for draft in found]
            seen += sum(qa[draft.question].needs == "both" for draft in found)
    assert seen > 20


@pytest.mark.parametrize("said", ["two dogs", ""])
def test_the_prompt_is_word_for_word_that_of_ask(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, transcript = Ask(), SimpleNamespace(text=said, words=len(said.split()))
    monkeypatch.setattr(ask, "load", lambda *_: LoadedClip([], Image.new("RGB", (1, 1)), None), raising=False)
    asking: Any = SimpleNamespace(screening=None, footage=None, transcript=transcript)
    assert ask._make_request(asking).text == ask_prompt(said)


def test_questions_are_answered_if_the_view_suffices(run: Run) -> None:
    seen: Counter[tuple[str, str, bool]] = Counter()
    for clip, lessons in by_clip(run):
        qa = {each.question: each for each in clip.truth.questions}
        for lesson in lessons:
            name, _, view = lesson.name.partition("_")
            question = lesson.prompt.rpartition("\n")[2]
            if name == "verify":
                own = qa[question]
                assert lesson.answer in (answer_with_steps(clip.truth.scene, own, own.answer), "unknown")
                assert lesson.answer != "unknown" or view not in (own.needs, "both")
                seen[own.needs, view, lesson.answer != "unknown"] += 1
            elif name == "bare":
                assert lesson.prompt == question
                assert lesson.answer == qa[question].answer
                assert qa[question].needs == "video" if view == "video" else qa[question].needs != "text"
            elif name == "strange":
                assert question not in qa
                assert lesson.answer == "unknown"
                seen["strange", view, False] += 1
    assert min(seen["strange", view, False] for view in ("both", "video", "audio")) > 3
    needs = ("both", "video", "audio", "text")
    expected = {
        (of, view): of in (view, "text") or view == "both" for of in needs for view in ("both", "video", "audio")
    }
    assert {(of, view) for of, view, right in seen if right} == {pair for pair, right in expected.items() if right}
    assert {(of, view) for of, view, right in seen if not right and of in needs} == {
        pair for pair, right in expected.items() if not right
    }


def test_a_sound_across_a_cut_does_not_tell_which_sight_is_meant(run: Run) -> None:
    scene = next(
        scene for scene in (compose_scene(0, number) for number in range(1, 100, 10)) if ambiguous_questions(scene)
    )
    clip = replace(run.clips()[0], truth=Truth(scene, scene.sounds[0].text, (), tuple(make_questions(scene))))
    found = [
        lesson for lesson in make_lessons(clip, 0) if lesson.prompt.rpartition("\n")[2] in ambiguous_questions(scene)
    ]
    name = scene.sounds[0].text
    assert {(lesson.view, lesson.answer) for lesson in found} == {("both", f"{name} first and second: unknown")}


def test_rare_lessons_are_repeated(run: Run) -> None:
    counts = Counter((record["id"][:20], record["conversations"][0]["value"]) for record in run.records())
    often = {asked for (_, asked), count in counts.items() if count == REPEATS and "Q1 (" not in asked}
    assert any(" meet?" in asked for asked in often)
    assert {count for (_, asked), count in counts.items() if " meet?" in asked} == {1, REPEATS}, (
        "without a picture there is no figure to tell from another"
    )
    assert {count for (_, asked), count in counts.items() if "Describe" in asked} == {1}


def test_lessons_are_imported_and_loaded(run: Run, tmp_path: Path) -> None:
    said = ola("import", run.file, "--root", tmp_path, "--val-share", "0", "--strict")
    assert said.code == 0, said
    found = read_catalogue([str(tmp_path)])
    assert len(found) == run.counts.total()
    records = run.records()
    assert found.counts() == Counter(
        next(kind for view, kind in CHAT_KINDS.items() if keys_of(view) == record.keys() & {"image", "video", "audio"})
        for record in records
    )
    samples = found.table.group_by("uri").aggregate([("offset", "count_distinct")]).to_pydict()
    assert sum(samples["offset_count_distinct"]) == 10 + 10 + 9 + 9
    one_each = [int(rows[0]) for rows in found.kinds().values()]
    loaded = Decoder(OlaProcessor(tiny.tokenizer(), tiny.config()), 0)[found.locate(one_each)]
    assert isinstance(loaded, LoadedPack)
    assert (len(loaded.pack.prompts), loaded.faults) == (4, ())


def test_byte_ranges_hold_the_media_of_their_field(run: Run) -> None:
    for record in run.records()[::40]:
        for key in record.keys() & {"image", "video", "audio"}:
            patch = record[key]
            with open(patch["patch"], "rb") as file:
                file.seek(patch["start_num"])
                size = patch["size"] if isinstance(patch["size"], list) else [patch["size"]]
                parts = [file.read(each) for each in size]
            assert {part[:2] for part in parts} == {b"RI" if key == "audio" else b"\xff\xd8"}
            assert len(parts) == (4 if key == "video" else 1)
            if key == "audio":
                assert len(parts[0]) == 44 + 2 * 64_000


def keys_of(view: str) -> set[str]:
    return {"both": {"video", "audio"}}.get(view, {view})
