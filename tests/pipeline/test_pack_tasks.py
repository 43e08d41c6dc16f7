"""Pack on synthetic annotations: the tasks of a clip by stage, the reasons against others, and their readers."""

from __future__ import annotations

import io
import json
import wave
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

from manifests import views
from manifests.records import (
    Caption,
    Media,
    ModelCall,
    Outcome,
    PackedTask,
    Question,
    Screening,
    Verification,
    ViewAnswer,
)
from manifests.schema import from_rows
from pipeline.engine.engines import InlineEngine
from pipeline.engine.lane_plan import LanePlan
from pipeline.media.media_store import MediaTar
from pipeline.pack import build
from pipeline.pack.build import make_task
from pipeline.pack.candidates import TOKENS, create_candidates
from pipeline.pack.check import check_run, check_sample
from pipeline.pack.export import export_ola_json
from pipeline.pack.publish import pack
from pipeline.pack.rules import judge_candidates
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.plan import build_plan as planned
from pipeline.steps import ask, caption, extract, ingest, screen, split, transcribe, verify
from stages.catalogue import current
from stages.samples import KINDS, media_tokens, text_tokens
from stages.shards import ShardReader
from tests.pipeline.test_pack import clip, footage, ok, reasons_of, transcript, video, video_id

VIDEOS = 8  # of three clips; the first says nothing, the second is silent, the third has captions alone
ASKED = ModelCall(prompt="p", answer="a", finish="stop", prompt_tokens=1, answer_tokens=1, latency=0.0)
# of each of a clip's questions: what agrees with the reference
AGREES = {0: ("both",), 1: ("both", "video"), 2: ("both", "video", "audio", "text"), 3: ("both", "audio"), 4: ()}
NEEDS = {0: "both", 1: "video", 2: "text", 3: "audio", 4: "none-agrees"}


def caption_of(name: str, view: str) -> Caption:
    text = "a <image> of a dog" if view == "joint" and name.endswith("000002000") else f"a dog, by {view}"
    return Caption(id=f"{name}-{view}", clip=name, footage=name, view=view, text=text, asked=ASKED)


def question_of(name: str, number: int) -> Question:
    return Question(
        id=f"{name}-q{number}",
        clip=name,
        footage=name,
        transcript=name,
        number=number,
        kind="reason",
        question=f"Why does the dog bark {number} times?",
        answer="B" if number == 3 else "It is happy",
        options=("Hunger", "Joy", "Fear", "Boredom") if number == 3 else (),
        asked=ASKED,
    )


def verdict_of(question: Question) -> Verification:
    def attempt(view: str) -> ViewAnswer:
        agrees = view in AGREES[question.number]
        return ViewAnswer(answer="x", agreement=0.7 if agrees else 0.2, exact=agrees, f1=float(agrees))

    views: dict[str, Any] = {view: attempt(view) for view in ("both", "video", "audio", "text")}
    return Verification(id=question.id, clip=question.clip, question=question.id, **views)


def annotated(root: Path, parts: Sequence[Sequence[int]]) -> Plan:
    """A run of all steps whose manifests are made up; `parts`: numbers of videos by part."""
    steps = (
        ingest.Ingest(),
        split.Split(),
        extract.Extract(),
        transcribe.Transcribe(),
        screen.Screen(),
        caption.Captioning(),
        ask.Ask(),
        verify.Verify(),
    )
    made = planned(str(root), steps)
    for number, members in enumerate(parts):
        commit_part(root, made, number, members)
    return made


def commit_part(root: Path, made: Plan, part: int, members: Sequence[int]) -> None:
    manifests = {step.step.name: step.manifest for step in made.steps}
    videos, clips = [video(n) for n in members], [clip(n, place) for n in members for place in range(3)]
    path = manifests["extract"].path(part, "tar")
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    tar = MediaTar(path, str(root / path))
    names = [c.id for c in clips]
    spoken = {c.id for c in clips if c.video != video_id(0)}
    bare = {c.id for c in clips if c.video in (video_id(0), video_id(2))}

    def one(record: Any) -> Outcome:
        return ok(record.id, record)

    questions = [[] if name in bare else [question_of(name, number) for number in AGREES] for name in names]
    asked = [question for some in questions for question in some]
    silent = {c.id for c in clips if c.video == video_id(1)}
    rows: dict[str, list[Outcome]] = {
        "ingest": [ok(v.source, v) for v in videos],
        "split": [ok(v.id, *(c for c in clips if c.video == v.id)) for v in videos],
        "extract": [one(footage(c, tar, silent=c.id in silent)) for c in clips],
        "transcribe": [
            one(transcript(c, "one two three")) if c.id in spoken else Outcome(c.id, "dropped", 0.0, (), "nothing said")
            for c in clips
        ],
        "screen": [
            one(Screening(id=n, clip=n, footage=n, transcript=n, complete=0.9, informative=0.4))
            for n in names
            if n in spoken
        ],
        "caption": [ok(n, *(caption_of(n, view) for view in ("image", "video", "sound", "joint"))) for n in names],
        "ask": [
            ok(name, *some) if some else Outcome(name, "dropped", 0.0, (), "not informative")
            for name, some in zip(names, questions, strict=True)
        ],
        "verify": [one(verdict_of(question)) for question in asked if not question.id.startswith(video_id(7))],
    }
    tar.close()
    for name, outcomes in rows.items():
        manifests[name].commit(part, [outcome.input for outcome in outcomes], outcomes)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return annotated(tmp_path_factory.mktemp("annotated"), [range(VIDEOS)])


def packed(plan: Plan, **settings: Any) -> list[PackedTask]:
    pack(plan, PackSettings(**settings), lambda make, numbers: InlineEngine().map([LanePlan(make)], numbers))
    tables = [pq.read_table(Path(plan.root, folder, "shards.parquet")) for folder in current(plan.root).values()]
    return [row for table in tables for row in from_rows(PackedTask, table.to_pylist())]


def verdicts(plan: Plan, **settings: Any) -> dict[tuple[str, str, int], str | None]:
    """Why each candidate is left out, by clip, kind and number."""
    chosen = PackSettings(**settings)
    with views.connect(plan.root, plan.manifests, {}) as connection:
        create_candidates(connection, plan, chosen)
        judge_candidates(connection, chosen, {"reason": chosen.where})
        found = connection.sql("SELECT clip, kind, number, reason FROM verdicts").fetchall()
    assert len({row[:3] for row in found}) == len(found)
    return {(name, kind, number): reason for name, kind, number, reason in found}


def raw_samples(plan: Plan, stage: str) -> Iterator[Any]:
    for path in sorted(Path(plan.root, current(plan.root)[stage]).glob("*.tar")):
        yield from ShardReader(path)


def samples(plan: Plan, stage: str) -> list[dict[str, Any]]:
    return [json.loads(bytes(raw.members["json"])) for raw in raw_samples(plan, stage)]


def test_every_kind_goes_into_its_stage(plan: Plan) -> None:
    rows = packed(plan)
    assert Counter((row.stage, row.kind) for row in rows) == {
        ("image", "image_caption"): 24,
        ("video", "video_caption"): 24,
        ("video", "video_qa"): 15,  # five videos are asked about and verified, one of them silent
        ("omni", "cross_modal_qa"): 24,  # of the four that sound, the questions that need both or the sound
        ("omni", "joint_caption"): 14,  # one clip of each video has a tag in it, and one video is silent
        ("omni", "sound_caption"): 21,
        ("omni", "speech_recognition"): 18,
        ("omni", "subtitle"): 18,
    }
    assert {row.id for row in rows if row.kind == "cross_modal_qa"} == {
        f"{row.clip}-cross_modal_qa-{number}" for row in rows if row.kind == "cross_modal_qa" for number in (0, 3)
    }
    assert all(row.id == f"{row.clip}-{row.kind}-0" for row in rows if not row.kind.endswith("_qa"))
    assert list(check_run(plan.root)) == []


def test_every_candidate_that_is_left_out_has_its_reason(plan: Plan) -> None:
    found = verdicts(plan)
    for (name, kind, number), reason in found.items():
        if kind in ("subtitle", "speech_recognition") and name.startswith(video_id(0)):
            assert reason == "no transcript"
        elif name.startswith(video_id(1)) and KINDS[kind].stage == "omni":
            assert reason == "no sound"
        elif kind == "joint_caption" and name.endswith("000002000"):
            assert reason == "a tag in its text"
        elif kind.endswith("_qa") and name.startswith(video_id(7)):
            assert reason == "not verified"
        elif kind == "cross_modal_qa" and number in (2, 4):
            assert reason == f"needs {NEEDS[number]}"
        else:
            assert reason is None, (name, kind, number)
    assert {kind for _, kind, number in found if number == 1} == {"video_qa", "cross_modal_qa"}  # one unverified


def test_every_clip_has_one_outcome_whatever_its_tasks(plan: Plan) -> None:
    reasons = reasons_of(plan, PackSettings(where="kind = 'cross_modal_qa'"))
    assert len(reasons) == VIDEOS * 3
    assert {reason for name, reason in reasons.items() if name.startswith(video_id(0))} == {
        "no transcript; pack.where",
        "a tag in its text; no transcript; pack.where",
    }
    assert {reason for name, reason in reasons.items() if name.startswith(video_id(3))} == {""}


def test_thresholds_over_scores_move_no_model(plan: Plan) -> None:
    def kept(**settings: Any) -> Counter[str]:
        return Counter(kind for (_, kind, _), reason in verdicts(plan, **settings).items() if reason is None)

    assert kept(agreement=0.8)["cross_modal_qa"] == 0
    assert kept(agreement=0.1, cross_modal_needs=("text",))["cross_modal_qa"] == 4 * 3 * 5  # all agrees: words suffice
    assert kept(cross_modal_needs=("both", "video"))["cross_modal_qa"] == 4 * 3 * 2
    assert kept(cross_modal_needs=("both", "video"))["video_qa"] == 5 * 3
    assert kept(where="agree_both > 0.5 AND agree_audio > 0.5 AND question_kind = 'reason'") == {"cross_modal_qa": 12}
    assert kept(where="complete > 0.8 AND informative > 0.5") == {}
    assert kept(where="answer LIKE 'a dog%'").keys() == {
        "image_caption",
        "video_caption",
        "sound_caption",
        "joint_caption",
    }


def test_caps_keep_the_first_of_a_kind_that_may_stay(plan: Plan) -> None:
    found = verdicts(plan, caps={"cross_modal_qa": 1, "subtitle": 0})
    of = {number: found[clip(3, 0).id, "cross_modal_qa", number] for number in (0, 2, 3, 4)}
    assert of == {0: None, 2: "needs text", 3: "over pack.caps", 4: "needs none-agrees"}
    later = verdicts(plan, caps={"cross_modal_qa": 1}, where="number <> 0 OR kind <> 'cross_modal_qa'")
    assert (later[clip(3, 0).id, "cross_modal_qa", 0], later[clip(3, 0).id, "cross_modal_qa", 3]) == (
        "pack.where",
        None,
    )
    assert found[clip(3, 0).id, "subtitle", 0] == "over pack.caps"
    with pytest.raises(ValidationError, match=r"expected a kind of task, got 'subtitles' \(choices: image_caption"):
        PackSettings(caps={"subtitles": 1})


def test_conversations_begin_with_the_tags_of_what_they_use(plan: Plan) -> None:
    packed(plan)
    for stage in ("image", "video", "omni"):
        for task in (task for sample in samples(plan, stage) for task in sample["tasks"]):
            human, answer = (turn["value"] for turn in task["conversations"])
            tags, _, asked = human.partition("\n")
            assert tags == KINDS[task["kind"]].tags
            if task["kind"].endswith("_qa"):
                number = int(task["id"][-1])
                assert asked.splitlines()[0] == f"Why does the dog bark {number} times?"
                assert task["needs"] == NEEDS[number]
                assert answer == ("B" if number == 3 else "It is happy")
                options = ["A) Hunger", "B) Joy", "C) Fear", "D) Boredom"] if number == 3 else []
                assert asked.splitlines()[1:] == options


def test_an_image_sample_reads_its_one_frame() -> None:
    read: list[Media] = []

    def reader(media: Media) -> memoryview:
        read.append(media)
        return memoryview(bytes(media.size))

    sample = SimpleNamespace(stage="image", model_dump_json=lambda **_: "{}")
    row = {"pictures": {"uri": "a.tar", "offset": 100, "size": 10}, "frame_bytes": [3, 5, 2], "sound": None}
    assert [len(data) for data in build.sample_members(cast(Any, sample), row, cast(Any, reader)).values()] == [2, 5]
    assert read == [Media(uri="a.tar", offset=103, size=5)]


def test_an_image_sample_is_the_middle_frame(plan: Plan) -> None:
    packed(plan)
    raw = next(raw_samples(plan, "image"))
    with Image.open(io.BytesIO(bytes(raw.members["jpg"]))) as image:
        assert image.getpixel((0, 0)) == pytest.approx((50, 50, 50), abs=3)  # the second of three shades
    sample = json.loads(bytes(raw.members["json"]))
    assert (sample["pictures"]["ms"], sample["sound"]) == ([1000], None)
    assert set(raw.members) == {"json", "jpg"}


def test_every_sample_of_a_stage_has_the_types_of_the_first(plan: Plan) -> None:
    """Hugging Face datasets infer types from the first samples; here the first clips have no speech or questions."""
    packed(plan)
    for stage in ("image", "video", "omni"):
        types = [pa.Table.from_pylist([sample]).schema for sample in samples(plan, stage)]
        assert all(one == types[0] for one in types)
    assert {len(sample["tasks"]) for sample in samples(plan, "omni")} > {1, 2}


def test_the_exported_tasks_carry_only_the_media_they_use(plan: Plan, tmp_path: Path) -> None:
    packed(plan, val=0.0)
    count = export_ola_json(plan.root, tmp_path / "ola.json")
    records = json.loads((tmp_path / "ola.json").read_text())
    assert count == len(records) == 158
    media = {"<speech><image>": {"video", "audio"}, "<speech>": {"audio"}}
    for record in records:
        kind = record["id"].split("-")[3]
        tags = record["conversations"][0]["value"].partition("\n")[0]
        seen = "image" if KINDS[kind].stage == "image" else "video"
        assert record.keys() - {"id", "conversations"} == media.get(tags, {seen}), record
    heard = next(record for record in records if "sound_caption" in record["id"])["audio"]
    with open(heard["patch"], "rb") as file:
        file.seek(heard["start_num"])
        with wave.open(io.BytesIO(file.read(heard["size"]))) as sound:
            assert sound.getnframes() == 32000
    (shown,) = {type(record["image"]["size"]) for record in records if "image" in record}
    assert shown is int


def test_the_order_within_a_part_does_not_change_the_bytes(plan: Plan, tmp_path: Path) -> None:
    settings = {"shard_mb": 1, "caps": {"cross_modal_qa": 1}}
    packed(plan, **settings)
    turned = annotated(tmp_path, [range(VIDEOS - 1, -1, -1)])
    packed(turned, **settings)

    def files(made: Plan) -> dict[str, bytes]:
        folders = [Path(made.root, folder) for folder in current(made.root).values()]
        return {
            f"{path.parent.parent.name}/{path.name}": path.read_bytes() for f in folders for path in f.glob("*.tar*")
        }

    assert files(plan) == files(turned)
    assert current(plan.root) == current(turned.root)


def test_tokens_in_sql_are_those_of_the_model() -> None:
    """For all sizes of frames, and durations around each chunk."""
    sizes = [(w, h) for w in range(32, 1537, 32) for h in (32, 288, 320, 448, 704, 1536, w)]
    with duckdb.connect() as connection:
        connection.execute(TOKENS)
        connection.execute("CREATE TABLE sizes AS SELECT unnest(?) AS size", [[list(size) for size in sizes]])
        query = "SELECT size[1], size[2], media_tokens('image', true, false, size[1], size[2], 7, 10.0) FROM sizes"
        for width, height, tokens in connection.sql(query).fetchall():
            assert tokens == media_tokens("image_caption", width, height, 7, 10.0), (width, height)
        for seconds in (0.0, 0.001, 29.999, 30.0, 30.001, 59.99, 60.0, 601.7):
            query = (
                "SELECT media_tokens('omni', true, true, 448, 320, 7, ?), media_tokens('omni', false, true, 1, 1, 1, ?)"
            )
            found = connection.execute(query, [seconds, seconds]).fetchall()[0]
            kinds = ("subtitle", "speech_recognition")
            assert found == tuple(media_tokens(kind, 448, 320, 7, seconds) for kind in kinds), seconds
        for text in ("", "a", "abc", "abcd", "é…漢字"):
            assert connection.execute("SELECT text_tokens(?)", [text]).fetchall() == [(text_tokens(text),)]


def test_tokens_of_a_row_count_what_the_task_uses(plan: Plan) -> None:
    for row in packed(plan, where="kind <> 'joint_caption'"):
        floor = media_tokens(row.kind, 64, 32, 3, 2.0)
        assert floor < row.tokens < floor + 40


def test_a_task_of_another_stage_or_with_other_tags_is_a_fault(plan: Plan) -> None:
    rows = [row for row in packed(plan) if row.stage == "video"]
    raw = next(raw_samples(plan, "video"))
    rows = [row for row in rows if row.key == raw.key]
    whole = memoryview(b"")

    def faults(old: str, new: str) -> list[str]:
        changed = bytes(raw.members["json"]).decode().replace(old, new, 1)
        members = {**raw.members, "json": memoryview(changed.encode())}
        return [fault for fault in check_sample(replace(raw, members=members), "video", rows, whole) if "json" in fault]

    assert faults("", "") == []
    assert faults('"kind":"video_caption"', '"kind":"subtitle"') == [
        f"json: task {rows[0].id} is a 'subtitle', which stage video does not have"
    ]
    assert faults("<image>", "<speech>") == [f"json: task {rows[0].id} has <speech>, a video_caption has <image>"]


def test_a_task_says_what_its_row_says() -> None:
    row = {"clip": "c", "kind": "video_qa", "number": 2, "question": "Who?", "options": None, "answer": "A dog",
           "segments": None, "needs": "video"}  # fmt: skip
    task = make_task(row)
    assert (task.id, task.conversations[0].value, task.needs) == ("c-video_qa-2", "<image>\nWho?", "video")
    assert [said.text for said in (*task.times, *task.words)] == ["", ""]
