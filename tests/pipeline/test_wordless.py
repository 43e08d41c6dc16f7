"""Clips with sound and without words: what becomes of them in each step, in whole runs, and in old roots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from manifests.records import Drop, Screening, Segment, Transcript
from pipeline.annotation.text_rules import SOUND_KINDS, parse_questions
from pipeline.annotation.wordless import is_audible, is_invented
from pipeline.config import load
from pipeline.errors import BadMedia
from pipeline.prompts import prompt
from pipeline.state.keys import key_for
from pipeline.steps.ask import Ask, AskInput
from pipeline.steps.transcribe import Transcribe, TranscribeInput, TranscribeSettings
from tests.media import X264, made, pattern
from tests.pipeline.scripted import (
    ENGINE,
    QUESTIONS,
    SAID,
    SOUND_QUESTIONS,
    footage,
    inside,
    prompt_of,
    ready,
    transcript,
)
from tests.pipeline.test_transcribe import heard, listener, sounding, with_sidecars
from tests.runs import ola, rows, shards_of, srt, status, talking


def transcribed(step: Transcribe, clips: Sequence[TranscribeInput]) -> list[Transcript | Drop | BadMedia]:
    return [answer[0] if isinstance(answer, list) else answer for answer in step.run(clips)]


def keeping(root: Path, *sources: str) -> Transcribe:
    return listener(root, *sources, wordless="keep")


def nothing_said(found: Any) -> Transcript:
    assert isinstance(found, Transcript), found
    assert (found.text, found.segments, found.words, found.coverage, found.language) == ("", (), 0, 0.0, None)
    return found


def test_a_recogniser_that_hears_no_word(tmp_path: Path) -> None:
    said, silent, quiet = transcribed(keeping(tmp_path), sounding(tmp_path, with_sidecars(tmp_path), 2, None, 0.5))
    assert isinstance(said, Transcript)
    assert said.words == 2
    assert silent == Drop("no sound", "the clip has none to recognise")
    assert (nothing_said(quiet).origin, nothing_said(quiet).track) == ("whisperx", "ears")


def test_what_a_recogniser_invents_is_kept_beside_the_words(tmp_path: Path) -> None:
    (found,) = transcribed(keeping(tmp_path), sounding(tmp_path, with_sidecars(tmp_path), 6))  # one word in a loop
    (unspoken,) = nothing_said(found).unspoken
    assert (unspoken.kind, unspoken.text) == ("invented", "word word word word word word")


@pytest.mark.parametrize(
    ("text", "flags", "invented"),
    [
        ("Thanks for watching!", ("stock phrase",), True),
        ("so it goes", ("unvoiced", "improbable"), True),
        ("♪♪", (), True),
        ("[music]", (), True),
        ("I cannot hear anything.", ("refused",), True),
        ("Hippopotomonstrosesquippedaliophobia", ("long word",), False),
        ("a mumbled sentence", ("improbable", "pace"), False),
        ("Put it on the stove.", (), False),
    ],
)
def test_which_text_is_no_speech(text: str, flags: tuple[str, ...], invented: bool) -> None:
    segment = Segment(start=0, end=1, text=text, words=(), flags=flags)
    said = replace(segment, text="Put it on the stove.", flags=())
    assert is_invented([segment]) is invented
    assert not is_invented([segment, said]), "one sentence of speech is enough"


def test_subtitles_that_show_no_word_in_a_clip(tmp_path: Path) -> None:
    cues = srt((1, 2, "[door slams]"), (5, 6, "Who is there?"))
    step = Transcribe()
    step.scratch = "scratch"
    first, second, late = transcribed(step, sounding(tmp_path, with_sidecars(tmp_path, ("talk.srt", cues)), 2, 2, 2))
    assert [(each.kind, each.text) for each in nothing_said(first).unspoken] == [("sound", "[door slams]")]
    assert isinstance(second, Transcript)
    assert second.text == "Who is there?"
    assert nothing_said(late).origin == "sidecar"


def test_without_subtitles_and_recogniser_nobody_knows_whether_something_is_said(tmp_path: Path) -> None:
    step = Transcribe()
    step.scratch = "scratch"
    (found,) = transcribed(step, sounding(tmp_path, with_sidecars(tmp_path), 2))
    assert isinstance(found, Drop)
    assert found.reason == "no subtitles"


def test_sources_are_asked_until_one_has_words(tmp_path: Path) -> None:
    video = with_sidecars(tmp_path, ("talk.srt", srt((1, 2, "[bell]"), (9, 10, "late"))))
    clips = sounding(tmp_path, video, 2, 0.5)
    said, quiet = transcribed(keeping(tmp_path, "sidecar", "whisperx"), clips)
    assert isinstance(said, Transcript)
    assert said.origin == "whisperx"
    assert nothing_said(quiet).origin == "whisperx"
    (quiet,) = transcribed(keeping(tmp_path, "sidecar", "whisperx"), sounding(tmp_path, video, 0.5))
    assert [each.text for each in nothing_said(quiet).unspoken] == ["[bell]"]
    (quiet,) = transcribed(keeping(tmp_path, "whisperx", "embedded"), sounding(tmp_path, video, 0.5))
    assert nothing_said(quiet).origin == "whisperx", "a source without a track takes nothing back"


def test_a_silent_track_is_no_sound(tmp_path: Path) -> None:
    (entry,) = sounding(tmp_path, with_sidecars(tmp_path), 0.5)
    clip = {share: replace(entry.clip, silence=share) for share in (1.0, 0.98, 0.9)}  # of 4 s
    assert [is_audible(each, entry.footage) for each in clip.values()] == [False, False, True]
    assert not is_audible(clip[0.9], heard(entry.video, 0, 4000).footage)
    (found,) = transcribed(keeping(tmp_path), [replace(entry, clip=clip[1.0])])
    assert found == Drop("nothing said", "no speech is recognised in the sound")


def asked(root: Path, reply: Any, text: str = "") -> tuple[Any, Any]:
    seen = footage(root)
    scores = dict.fromkeys(("complete", "informative"), None if not text else 0.9)
    screening = Screening(id="clip", clip="clip", footage="clip", transcript="clip", **scores)
    step = Ask()
    model = ready(step, root)
    replies = iter(reply)
    model.reply = lambda _: next(replies)
    (answer,) = step.run([AskInput(screening, seen, transcript(text))])
    return answer, model


def test_questions_about_sounds_are_asked_without_subtitles(tmp_path: Path) -> None:
    answer, model = asked(tmp_path, [SOUND_QUESTIONS])
    assert [each.kind for each in answer] == ["source", "order", "count"]
    (request,) = model.asked
    assert prompt_of(request) == "ask_sound"
    assert inside(request.text) == {}
    assert (len(list(request.video or ())), len(request.sounds)) == (3, 1)
    assert all(f"- {kind}: " in prompt("ask_sound") for kind in SOUND_KINDS)


def test_questions_about_words_are_no_answer_where_none_is_said(tmp_path: Path) -> None:
    answer, model = asked(tmp_path, [QUESTIONS, QUESTIONS])  # the first is of the kind `speech`
    assert isinstance(answer, BadMedia)
    assert str(answer) == "no questions: not in the form, twice"
    assert "(voice, music, noise, source, order, count): question" in model.asked[1].text
    answer, _ = asked(tmp_path, [QUESTIONS], SAID)
    assert [each.kind for each in answer] == ["speech", "source", "order"]
    with pytest.raises(ValueError, match="line 1 is not as it should be"):
        parse_questions(SOUND_QUESTIONS.replace("(source)", "(music)"), 3)


def test_questions_in_another_language_than_their_prompt_are_left_out(tmp_path: Path) -> None:
    answer, _ = asked(tmp_path, [SOUND_QUESTIONS.replace("a whistle", "哨声")])
    assert answer[0].left_out == ("Q2: not in the language of the clip",)


def test_old_keys_stay_where_nothing_changed_and_rows_are_made_again_where_clips_were_dropped() -> None:
    def facts(step: Any) -> tuple[Any, Any]:
        return json.loads(json.dumps(step.facts())), json.loads(json.dumps(step.defaults()))

    now, defaults = facts(Ask())
    assert now["later_prompts"] == {"ask_sound": prompt("ask_sound")}
    old = {name: value for name, value in now.items() if name != "later_prompts"}
    assert key_for(now, defaults, {"06-ask-abc": old}) == "abc"
    other = {**now, "later_prompts": {"ask_sound": "before"}}
    assert key_for(now, defaults, {"06-ask-abc": other}) != "abc"
    old, defaults = facts(Transcribe(TranscribeSettings(wordless="drop")))
    assert key_for(old, defaults, {"04-transcribe-abc": old}) == "abc"
    now, defaults = facts(Transcribe())
    assert key_for(now, defaults, {"04-transcribe-abc": old}) != "abc"


def test_without_clips_without_words_a_new_root_has_the_keys_of_older_versions(tmp_path: Path) -> None:
    for wordless, added in (("drop", False), ("keep", True)):
        plan = load(None, (f"annotator.engine={ENGINE}", f"transcribe.wordless={wordless}")).plan(str(tmp_path))
        assert ("later_prompts" in plan.find_step("ask").facts) is added
        assert ("wordless" in plan.find_step("transcribe").facts) is added


SETTINGS = (f"annotator.engine={ENGINE}", "split.longest=4", "extract.frames.cap=3", "pack.val=0",
            "pack.cross_modal_needs=[both, audio, video, text]",
            f"verify.witnesses=[{ENGINE}]", "verify.more_views=[frame, transcript, swap]")  # fmt: skip


def run_of(films: Path, root: Path, *settings: str) -> None:
    said = ola("run", films, "--root", root, *(part for each in (*SETTINGS, *settings) for part in ("--set", each)))
    assert said.code == 0, said


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds whose subtitles end after four, and a film without a sound track with subtitles."""
    folder = tmp_path_factory.mktemp("wordless")
    film = talking(folder, "half", pattern("half.mp4", 8), 4)
    words = film.with_suffix(".srt").read_text() + "\n9\n00:00:03,500 --> 00:00:03,900\nand that is all of it\n"
    film.with_suffix(".srt").write_text(words)
    mute = made("wordless-mute.mp4", "-f", "lavfi", "-i", "testsrc2=s=160x128:r=12:d=8", *X264)
    talking(folder, "mute", mute, 3)
    return folder


def test_a_run_asks_about_clips_without_words_and_packs_no_subtitle_of_them(
    films: Path, tmp_path: Path, ray_here: None
) -> None:
    run_of(films, tmp_path / "inline")
    found = status(tmp_path / "inline")
    assert (found["transcribe"]["ok"], found["transcribe"]["dropped"]) == (3, 1)
    kinds = rows(
        tmp_path / "inline",
        "SELECT t.words = 0, q.kind FROM ask q JOIN transcribe t ON t.id = q.transcript AND t.status = 'ok' "
        "WHERE q.status = 'ok' AND q.number = 0 ORDER BY ALL",
    )
    assert kinds == [(False, "speech"), (False, "speech"), (True, "source")]
    packed = "SELECT s.kind, count(*) FROM shards s JOIN transcribe t USING (clip) WHERE t.words = 0 GROUP BY ALL"
    assert dict(rows(tmp_path / "inline", packed)) == {
        "cross_modal_qa": 1, "image_caption": 1, "joint_caption": 1, "sound_caption": 1, "video_caption": 1,
    }  # fmt: skip
    reasons = rows(tmp_path / "inline", "SELECT reason FROM screen WHERE complete IS NULL AND status = 'ok'")
    assert reasons == [(None,)]
    clip = rows(tmp_path / "inline", "SELECT clip FROM transcribe WHERE words = 0")[0][0]
    said = ola("why", tmp_path / "inline", clip)
    assert "half.srt, nothing said" in said.out
    assert "nothing to judge" in said.out
    run_of(films, tmp_path / "ray", "engine=ray", "workers=2")
    tars = [[path.read_bytes() for path in shards_of(tmp_path / name)] for name in ("inline", "ray")]
    assert tars[0] == tars[1] != []
