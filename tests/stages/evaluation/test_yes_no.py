"""Suites of yes-or-no questions: their files, what each view shows, and the scores of yes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ola.prompt import Request
from pipeline.cli import evaluate as command
from stages.errors import StagesError
from stages.evaluation import yes_no
from stages.evaluation.gain import gains_of
from stages.evaluation.questions import Unreadable
from stages.evaluation.runner import evaluate, read_results
from stages.evaluation.scores import YES_NO, yes_no_details, yes_or_no
from tests.stages.evaluation import files
from tests.stages.evaluation.files import Scripted

HEARD, SEEN = "Video-driven Audio Hallucination", "Audio-driven Video Hallucination"
ROWS = [
    {"video_id": "00191", "task": HEARD, "text": "Is the man making sound in the audio?", "label": "Yes"},
    {"video_id": "00191", "task": HEARD, "text": "Is the couch making sound in the audio?", "label": "No"},
    {"video_id": "00191_swap", "task": SEEN, "text": "Is the man visible in the video?", "label": "Yes"},
    {"video_id": "00191", "task": "AV Captioning", "text": "Describe what you see.", "label": "A man sleeps."},
]
CMM = {"category": "over-reliance_unimodal_priors", "sub_category": "overrely_visual_ignore_audio",
       "modality": "visual+audio", "granularity": "event-level", "correlation_type": "-",
       "video_path": "./reorg_raw_files/a/1.mp4", "audio_path": "./reorg_raw_files/a/1.wav",
       "question": "Did you hear a dog in the audio?", "answer": "no"}  # fmt: skip


def avhbench(folder: Path) -> Path:
    (folder / "videos").mkdir(parents=True)
    for name in ("00191", "00191_swap"):
        (folder / "videos" / f"{name}.mp4").write_bytes(b"video")
    (folder / "QA.json").write_text(json.dumps(ROWS))
    return folder


def cmm(folder: Path, *rows: dict[str, Any]) -> Path:
    (folder / "reorg_raw_files" / "a").mkdir(parents=True)
    (folder / "reorg_raw_files" / "a" / "1.mp4").write_bytes(b"video")
    (folder / "reorg_raw_files" / "a" / "1.wav").write_bytes(b"sound")
    (folder / "all_data_final_reorg.json").write_text(json.dumps(rows))
    return folder


def test_avhbench(tmp_path: Path) -> None:
    found = yes_no.avhbench(avhbench(tmp_path))
    assert [(each.answer, each.categories) for each in found] == [("yes", (HEARD,)), ("no", (HEARD,)), ("yes", (SEEN,))]
    assert [each.video for each in found] == [str(tmp_path / "videos" / f"00191{end}.mp4") for end in ("", "", "_swap")]
    assert found == yes_no.avhbench(tmp_path / "QA.json")


def test_the_first_release_of_avhbench(tmp_path: Path) -> None:
    for folder in ("json", "video"):
        (tmp_path / folder).mkdir()
    (tmp_path / "json" / "00191.json").write_text(json.dumps(ROWS[:2]))
    (tmp_path / "video" / "00191.mp4").write_bytes(b"video")
    found = yes_no.avhbench(tmp_path)
    video = str(tmp_path / "video" / "00191.mp4")
    assert [(each.id, each.video) for each in found] == [("00191-0", video), ("00191-1", video)]


def test_each_view_shows_what_it_says_in_the_same_words(tmp_path: Path) -> None:
    suites = yes_no.yes_no_suites("avhbench", yes_no.avhbench(avhbench(tmp_path)), files.readers(), views=True)
    assert [suite.name for suite in suites] == ["avhbench", "avhbench-picture", "avhbench-sound"]
    shown = [suite.questions[0].request() for suite in suites]
    assert [(each.video is not None, len(each.sounds)) for each in shown] == [(True, 1), (True, 0), (False, 1)]
    assert {each.text for each in shown} == {"Is the man making sound in the audio? Answer with yes or no."}
    (plain,) = yes_no.yes_no_suites("avhbench", yes_no.avhbench(tmp_path), files.readers(), views=False)
    assert plain.questions[0].medium == suites[0].questions[0].medium


def test_cmm_shows_the_senses_of_a_row(tmp_path: Path) -> None:
    rows = (
        CMM,
        {**CMM, "audio_path": None, "question": "Did you see a dog in the video?"},
        {**CMM, "video_path": None},
    )
    found = yes_no.cmm(cmm(tmp_path, *rows))
    assert found[0].categories == (CMM["category"], CMM["sub_category"], "event-level")
    assert Path(found[0].audio) == tmp_path / "reorg_raw_files" / "a" / "1.wav"
    both, picture, sound = yes_no.yes_no_suites("cmm", found, files.readers(), views=True)
    assert [len(suite.questions) for suite in (both, picture, sound)] == [3, 1, 1], "rows of one sense have no views"
    media = [(each.video is not None, len(each.sounds)) for each in (asked.request() for asked in both.questions)]
    assert media == [(True, 1), (True, 0), (False, 1)]
    assert len(yes_no.yes_no_suites("cmm", found[1:], files.readers(), views=True)) == 1


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(StagesError, match="question 0: expected the answer yes or no, got 'perhaps'"):
        yes_no.cmm(cmm(tmp_path, {**CMM, "answer": "perhaps"}))
    file = tmp_path / "all_data_final_reorg.json"
    file.write_text(json.dumps([{**CMM, "video_path": "", "audio_path": ""}]))
    with pytest.raises(StagesError, match="question 0: expected a video or a sound, got neither"):
        yes_no.cmm(tmp_path)
    file.write_text(json.dumps([{"answer": "no"}]))
    with pytest.raises(StagesError, match=r"question 0: no field 'question' \(fields: answer\)"):
        yes_no.cmm(tmp_path)
    with pytest.raises(StagesError, match=r"expected QA\.json or a folder that has it"):
        yes_no.avhbench(tmp_path)
    with pytest.raises(StagesError, match="expected yes-or-no questions, got a file without any"):
        yes_no.yes_no_suites("cmm", [], files.readers(), views=False)
    with pytest.raises(StagesError, match="no speech encoder"):
        yes_no.yes_no_suites("cmm", [], files.readers()._replace(has_speech=False), views=False)
    lost = yes_no.YesNoQuestion("1", "?", "no", video="gone.mp4", heard=True)
    (gone,) = yes_no.yes_no_suites("avhbench", [lost], files.readers(), views=False)
    with pytest.raises((Unreadable, OSError)):
        gone.questions[0].request()


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ("Yes", "yes"),
        ("no.", "no"),
        ("No, yes is not what I hear", "no"),
        ("I would say yes.", "yes"),
        ("The answer is **No**", "no"),
        ("It may be yes or no", None),
        ("Nobody is heard", None),
        ("", None),
    ],
)
def test_what_an_answer_means(answer: str, meant: str | None) -> None:
    assert yes_or_no(answer) == meant


class Answered(NamedTuple):
    reference: str
    parsed: str | None
    score: float = 0.0
    group: str = ""


def test_scores_of_yes() -> None:
    rows = [Answered("yes", said) for said in ("yes", "yes", "yes", "no")]
    rows += [Answered("no", said) for said in ("yes", "no", None, "no", "no", "no")]
    assert yes_no_details(rows) == {
        "precision": 3 / 4,
        "recall": 3 / 4,
        "f1": 3 / 4,
        "recall_of_no": 4 / 6,
        "yes_share": 4 / 10,
        "yes_share_of_references": 4 / 10,
    }
    never = yes_no_details([Answered("yes", "no"), Answered("no", "no")])
    assert (never["precision"], never["recall"], never["f1"], never["recall_of_no"]) == (0, 0, 0, 1)


def test_a_model_that_always_says_yes(tmp_path: Path) -> None:
    """It is right half of the time, gains nothing by any sense, and its share of yes tells why."""
    rows = [{**CMM, "answer": ("yes", "no")[n % 2], "question": f"Did you hear {n}?"} for n in range(8)]
    suites = yes_no.yes_no_suites("cmm", yes_no.cmm(cmm(tmp_path, *rows)), files.readers(), views=True)
    found = evaluate(Scripted(lambda request: "Yes, I did."), suites, tmp_path / "out", "m")
    assert {(facts["metric"], facts["value"]) for facts in found.values()} == {(YES_NO.name, 0.5)}
    everything = found["cmm"]["details"]["all"]
    assert (everything["yes_share"], everything["recall"], everything["recall_of_no"]) == (1, 1, 0)
    assert found["cmm"]["details"].keys() == {"all", CMM["category"], CMM["sub_category"], "event-level"}
    assert read_results(tmp_path / "out") == found
    gains = gains_of(str(tmp_path / "out"), "cmm", found)
    assert [(gain.sense, gain.value, gain.questions) for gain in gains] == [("sound", 0.0, 8), ("picture", 0.0, 8)]
    assert all(gain.low < 0 < gain.high for gain in gains)
    assert command.yes_no_lines("cmm", found["cmm"])[0] == (
        "cmm, all: precision of yes 0.500, recall 1.000, F1 0.667, recall of no 0.000; yes 100.0% of the answers, "
        "50.0% of the references"
    )


def test_a_model_that_listens(tmp_path: Path) -> None:
    rows = [{**CMM, "answer": ("yes", "no")[n % 2], "question": f"Did you hear {n}?"} for n in range(20)]
    suites = yes_no.yes_no_suites("cmm", yes_no.cmm(cmm(tmp_path, *rows)), files.readers(), views=True)

    def reply(request: Request) -> str:
        number = int(request.text.split("hear ")[1].split("?")[0])
        return ("yes", "no")[number % 2] if request.sounds else "yes"

    found = evaluate(Scripted(reply), suites, tmp_path / "out", "m")
    sound, picture = gains_of(str(tmp_path / "out"), "cmm", found)
    assert (sound.value, picture.value) == (0.5, 0.0)
    assert sound.low > 0
    assert {"avhbench", "cmm"} <= {*command.SUITES}
