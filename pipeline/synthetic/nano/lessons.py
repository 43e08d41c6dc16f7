"""Write training conversations for the pipeline's tasks from a run over films, as JSONL for `ola import`.

The run must have completed `ingest`, `split`, `extract` and `transcribe`. Records refer to frames and sound in its
tars. Prompts are word for word those of the steps, answers are the truth. Records of the same media are adjacent, so
that `ola import` groups them into a sample: those of the middle frame, of all frames, of the sound, then of both.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from manifests import storage
from manifests.records import Media
from pipeline.pack.build import middle_frame
from pipeline.prompts import prompt
from pipeline.synthetic.nano import lookup_examples
from pipeline.synthetic.nano.answers import (
    UNKNOWN,
    Exchange,
    ambiguous_exchanges,
    foreign_questions,
    is_unanswerable,
    packed_exchange,
    unknown_exchange,
    verify_exchange,
)
from pipeline.synthetic.nano.qa_examples import ask_prompt, make_triples
from pipeline.synthetic.world.questions import QAPair
from pipeline.synthetic.world.scenes import Scene
from pipeline.synthetic.world.score import RunScore, ScoredClip
from pipeline.synthetic.world.vocabulary import COLOURS, MEETS
from stages.samples import IMPORTED

SILENCE = "[nobody speaks]"  # transcript without speech; steps ignore remarks in brackets
ASK_ANSWERS = 8  # answers to `ask` for each clip, which has many right ones
FOREIGN_QUESTIONS = 3  # questions of another scene for each clip
REPEATS = 3  # copies of rare lessons: about two figures, or with two answers
_OF_TWO = re.compile(rf"\b{MEETS}\b| and (?:an?|{'|'.join(COLOURS)}) ")
MIXED_LOOKUPS = 4  # look-ups between sound and picture for each clip, of about twenty
CHAT_KINDS = {"image": "image_chat", "video": "video_chat", "audio": "audio_chat", "both": "omni_chat"}
"""View of a clip -> kind of its imported tasks."""
CAPTION_VIEWS = {"image": "image", "video": "video", "audio": "sound", "both": "joint"}
"""View of a clip -> view of its captions."""
TRANSCRIPT_LESSONS = {"audio": ("transcribe", "speech_recognition"), "both": ("subtitle",)}


class Lesson(NamedTuple):
    """A prompt and its answer under a view of a clip. name: kind of the lesson, for ids and counts."""

    view: str
    name: str
    prompt: str
    answer: str


def write_lessons(root: str, file: str, seed: int, names: Collection[str] = ()) -> Counter[str]:
    """Write the lessons of all clips of the run at `root` as records; returns their numbers by name.

    names: lessons to write; empty: all. `without ask: <kind>` counts clips with sound that have no three questions
    that pass the rules of `ask`. Raises ConfigError without a run, or if no film of it has a truth file; OSError.
    """
    counts, root = Counter[str](), storage.normal(root)
    with open(file, "w", encoding="utf-8") as sink:
        for clip in RunScore(root).clips.values():
            lessons = [lesson for lesson in make_lessons(clip, seed) if not names or lesson.name in names]
            counts.update(lesson.name for lesson in lessons)
            if not names and clip.sound and not any(lesson.name in ("ask", "ask_sound") for lesson in lessons):
                counts[f"without ask: {clip.truth.scene.kind}"] += 1
            sink.writelines(f"{json.dumps(record)}\n" for record in make_records(root, clip, lessons))
    return counts


def make_lessons(clip: ScoredClip, seed: int) -> Iterator[Lesson]:
    """Yield all lessons of a clip, grouped by view. The same seed and film give the same lessons."""
    rng = Random(f"lessons {seed} {clip.truth.scene.name}")
    captions, own, transcript = clip.truth.captions(clip.middle), clip.truth.questions, clip.truth.transcript
    other = foreign_questions(clip.truth.scene, own, FOREIGN_QUESTIONS, rng)
    for view in CHAT_KINDS if clip.sound else ("image", "video"):
        yield from _text_lessons(clip, view, captions[CAPTION_VIEWS[view]])
        if view == "both":
            answers, name = make_triples(own, transcript, ASK_ANSWERS, rng), "ask" if transcript else "ask_sound"
            yield from (Lesson(view, name, ask_prompt(transcript), answer) for answer in answers)
        if view == "image":
            lookups = [
                Lesson(view, "image_qa", *each) for each in lookup_examples.image_lookups(clip.truth.scene, clip.middle)
            ]
            yield from lookups * (REPEATS if len(lookup_examples.figures_at(clip.truth.scene, clip.middle)) > 1 else 1)
        else:
            lookups = [Lesson(view, f"lookup_{view}", *each) for each in _make_lookups(clip, view, rng)]
            for lesson in (*_question_lessons(view, clip.truth.scene, own, other), *lookups):
                yield from [lesson] * _repetitions(lesson)


def _repetitions(lesson: Lesson) -> int:
    """Return the number of copies of a lesson."""
    of_two = lesson.answer != UNKNOWN and _OF_TWO.search(f"{lesson.prompt} {lesson.answer}")
    return REPEATS if of_two or lesson.name == "undecided_both" else 1


def _text_lessons(clip: ScoredClip, view: str, caption: str) -> Iterator[Lesson]:
    """Yield the caption and transcript lessons of a view."""
    kind = CAPTION_VIEWS[view]
    for name in (f"caption_{kind}", f"{kind}_caption"):
        yield Lesson(view, name, prompt(name), caption)
    for name in TRANSCRIPT_LESSONS.get(view, ()):
        yield Lesson(view, name, prompt(name), clip.truth.transcript or SILENCE)


def _question_lessons(view: str, scene: Scene, own: Sequence[QAPair], other: Sequence[QAPair]) -> Iterator[Lesson]:
    """Yield the prompts of `verify` for questions of this and another scene, and questions as in packed tasks."""
    yield from (Lesson(view, f"verify_{view}", *verify_exchange(scene, qa, view)) for qa in own)
    for qa in other:
        if is_unanswerable(qa, own, view):
            yield Lesson(view, f"strange_{view}", *unknown_exchange(qa))
    if view == "both":
        yield from (Lesson(view, "undecided_both", *each) for each in ambiguous_exchanges(scene))
    fit = {"both": ("both", "audio", "video"), "video": ("video",)}.get(view, ())
    yield from (Lesson(view, f"bare_{view}", *packed_exchange(qa)) for qa in own if qa.needs in fit)


def _make_lookups(clip: ScoredClip, view: str, rng: Random) -> list[Exchange]:
    scene = clip.truth.scene
    if view == "video":
        return [*lookup_examples.video_lookups(scene), *lookup_examples.path_lookups(scene)]
    if view == "audio":
        return lookup_examples.sound_lookups(scene)
    mixed = lookup_examples.cross_modal_lookups(scene)
    return [*lookup_examples.heard_part_lookups(scene), *rng.sample(mixed, min(MIXED_LOOKUPS, len(mixed)))]


def make_records(root: str, clip: ScoredClip, lessons: Sequence[Lesson]) -> Iterator[dict[str, Any]]:
    """Yield lessons as records of Ola-Data: media as byte ranges of the run's tars, media tags before the prompt."""
    media = {view: view_media(root, clip, view) for view in {lesson.view for lesson in lessons}}
    counts = Counter[str]()
    for lesson in lessons:
        tags = IMPORTED[CHAT_KINDS[lesson.view]].tags
        turns = (("human", f"{tags}\n{lesson.prompt}"), ("gpt", lesson.answer))
        yield {
            "id": f"{clip.clip}-{lesson.name}-{counts[lesson.name]}",
            **media[lesson.view],
            "conversations": [{"from": speaker, "value": text} for speaker, text in turns],
        }
        counts[lesson.name] += 1


def view_media(root: str, clip: ScoredClip, view: str) -> Mapping[str, Any]:
    """Return the media fields of a record for a view: middle frame, all frames, sound."""
    begin, end = middle_frame(list(clip.frame_bytes))
    fields: dict[str, Any] = {}
    if view == "image":
        fields["image"] = _patch_fields(root, clip.frames, begin, end - begin)
    if view in ("video", "both"):
        fields["video"] = _patch_fields(root, clip.frames, 0, list(clip.frame_bytes))
    if view in ("audio", "both") and clip.sound:
        fields["audio"] = _patch_fields(root, clip.sound, 0, clip.sound.size)
    return fields


def _patch_fields(root: str, media: Media, skipped: int, size: int | list[int]) -> dict[str, Any]:
    return {"patch": storage.join(root, media.uri), "start_num": media.offset + skipped, "size": size}
