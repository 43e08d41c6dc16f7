"""`pack.given`: captions and questions that came with a data set become tasks of their own kinds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli.whatif import pack_yields, parse_given
from pipeline.config import load_run
from pipeline.errors import ConfigError
from pipeline.pack.check import check_run
from pipeline.pack.facts import pack_facts
from pipeline.pack.settings import PackSettings
from pipeline.sources.given import given_tasks
from pipeline.state.keys import load as load_keys
from stages.catalogue import current
from stages.shards import ShardReader
from tests.containers import done, loose, tar
from tests.media import pattern
from tests.runs import rows

BOTH = ["pack.given=[caption,qa]", "pack.val=0"]
SHORT = ("split.shortest=1", "split.longest=2")


def stamps(start: str, end: str) -> dict[str, str]:
    return {"start_timestamp": start, "end_timestamp": end}


# The fields of FineVideo that matter here, in its very form.
SCENES = {
    "content_fine_category": "Cooking",
    "content_metadata": {
        "title": "A film",
        "description": "All of the film",
        "qAndA": [{"question": "What is it?", "answer": "A pattern."}],
        "scenes": [
            {"sceneId": 1, "title": "The first half", "timestamps": stamps("00:00:00.000", "00:00:02.100"),
             "activities": [{"description": "it moves", "timestamp": stamps("00:00:00.000", "00:00:02.000")},
                            {"description": "too short", "timestamp": stamps("00:00:00.500", "00:00:01.000")}]},
            {"sceneId": 2, "title": "The second half", "timestamps": stamps("00:00:02.100", "00:00:04.000"),
             "activities": [{"description": "no times", "timestamp": stamps("soon", "later")}]},
        ],
    },
}  # fmt: skip


def given_in(root: Path) -> dict[tuple[int, str, int], tuple[str, str, str]]:
    """Question, answer and field of each given task, by the start of its clip, its kind and number."""
    found = {}
    for folder in current(str(root)).values():
        for path in sorted((root / folder).glob("*.tar")):
            for raw in ShardReader(path):
                sample = json.loads(bytes(raw.members["json"]))
                for task in sample["tasks"]:
                    assert task["origin"] in ("given", "model", "transcript"), "all tasks of a set have the same fields"
                    assert (task["origin"] == "given") == task["kind"].startswith("given_") == bool(task["field"])
                    if task["origin"] == "given":
                        asked, answer = (turn["value"] for turn in task["conversations"])
                        key = sample["start_ms"], task["kind"], int(task["id"].rpartition("-")[2])
                        found[key] = (asked, answer, task["field"])
    return found


@pytest.fixture(scope="module")
def film() -> bytes:
    return pattern("given.mp4", 4).read_bytes()


@pytest.fixture(scope="module")
def finevideo(tmp_path_factory: pytest.TempPathFactory, film: bytes) -> Path:
    """A run over FineVideo's form, with clips of two seconds, that packs nothing that was given."""
    folder = tmp_path_factory.mktemp("finevideo")
    pq.write_table(pa.table({"mp4": [film], "json": [SCENES]}), folder / "train-00000.parquet")
    return done(folder / "root", folder / "train-00000.parquet", sets=[*SHORT, "pack.val=0"])


def bytes_below(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((root / "shards").rglob("*")) if path.is_file()}


def test_scenes_go_to_the_clips_that_they_cover(finevideo: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(finevideo, root)
    done(root, *load_run(str(root)).inputs, sets=[*SHORT, *BOTH])
    caption = "<image>\nGive a caption for this video."
    scenes = "json.content_metadata.scenes"
    assert given_in(root) == {
        (0, "given_caption", 0): (caption, "The first half", f"{scenes}[0]"),
        (0, "given_caption", 1): (caption, "it moves", f"{scenes}[0].activities[0]"),
        (2000, "given_caption", 0): (caption, "The second half", f"{scenes}[1]"),
    }
    assert list(check_run(str(root))) == []
    assert rows(root, "SELECT DISTINCT status FROM extract") == [("ok",)]


def test_nothing_is_given_by_default(finevideo: Path) -> None:
    before = bytes_below(finevideo)
    assert not any(b"given" in data or b'"origin":"model"' in data for data in before.values())
    config = load_run(str(finevideo))
    facts = pack_facts(config.plan(str(finevideo)), config.pack)
    assert "given" not in facts["settings"], "the key of a root of before stays"
    assert "given_caption" not in facts["prompts"]
    stored = next(facts for folder, facts in load_keys(str(finevideo)).facts.items() if "pack" in folder)
    assert {name: stored[name] for name in facts} == facts
    done(finevideo, *config.inputs, sets=[*SHORT, "pack.val=0"])
    assert bytes_below(finevideo) == before


def test_whatif_compares_with_and_without(finevideo: Path) -> None:
    config = load_run(str(finevideo))
    plan = config.plan(str(finevideo))
    now, then = pack_yields(plan, config.pack, "true", given=("caption", "qa"))
    assert ("video", "given_caption") not in now.tasks
    assert then.tasks["video", "given_caption"][0] == 3
    both = config.pack.model_copy(update={"given": ("caption", "qa")})
    now, then = pack_yields(plan, both, "task_origin = 'given'", given=())
    assert (now.tasks["video", "given_caption"][0], then.tasks) == (3, {})
    assert parse_given("qa,caption") == ("caption", "qa")
    with pytest.raises(ConfigError, match=r"pack\.given"):
        parse_given("captions")


TALK = [
    {"from": "human", "value": "<image>\nWhat moves?"},
    {"from": "gpt", "value": "A square."},
    {"from": "human", "value": "Which colour?\n"},
    {"from": "gpt", "value": "Red."},
]
EXPECTED = {
    (0, "given_caption", 0): ("<image>\nGive a caption for this video.", "A pattern that moves", "caption"),
    (0, "given_qa", 0): ("<image>\nWhat moves?", "A square.", "conversations[0]"),
    (0, "given_qa", 1): ("<image>\nWhich colour?", "Red.", "conversations[1]"),
}


@pytest.mark.parametrize("form", ["loose", "tar", "list"])
def test_texts_and_conversations_beside_a_video(form: str, film: bytes, tmp_path: Path) -> None:
    told = {"conversations": TALK, "id": "7"}
    files = {"0.mp4": film, "0.json": json.dumps(told).encode(), "0.txt": b"A pattern that moves\n"}
    named: Path = loose(tmp_path / "in", files if form == "loose" else {})
    (tmp_path / "in").mkdir(exist_ok=True)
    if form == "tar":  # video2dataset's form
        named = tar(tmp_path / "in" / "00000.tar", list(files.items()))
    elif form == "list":  # LLaVA-Video-178K: compressed tars, and records that name the videos in them
        tar(tmp_path / "in" / "videos_1.tar.gz", [("academic/0.mp4", film)], mode="w:gz")
        named = tmp_path / "in" / "records.jsonl"
        row = {"video": "videos_1.tar.gz#academic/0.mp4", "caption": "A pattern that moves", **told}
        named.write_text(json.dumps(row))
    root = done(tmp_path / "root", named, sets=BOTH)
    assert given_in(root) == EXPECTED
    assert rows(root, "SELECT count(*) FROM source") == [(1,)]


def test_a_text_that_was_not_read_before_is_read_once_it_is_given(film: bytes, tmp_path: Path) -> None:
    named = loose(tmp_path / "in", {"0.mp4": film, "0.txt": b"one"})
    root = done(tmp_path / "root", named, sets=["pack.val=0"])
    assert rows(root, "SELECT meta FROM ingest") == [("{}",)]
    [media] = root.glob("*-extract-*/*.tar")
    written = media.stat().st_mtime_ns
    done(root, named, sets=BOTH)
    assert [answer for _, answer, _ in given_in(root).values()] == ["one"]
    (named / "0.txt").write_bytes(b"two and more")
    done(root, named, sets=BOTH)
    assert [answer for _, answer, _ in given_in(root).values()] == ["two and more"]
    assert media.stat().st_mtime_ns == written, "no frame was decoded again"


def test_the_rules(film: bytes) -> None:
    def found(meta: Any, clip: Any = None, is_whole: bool = True) -> list[str]:
        tasks = given_tasks(("caption", "qa"), json.dumps(meta), json.dumps(clip or {}), 0, 4000, is_whole)
        return [task["answer"] for task in tasks]

    assert found({"caption": "x"}) == ["x"]
    assert found({"caption": "x"}, is_whole=False) == []
    assert found({}, {"caption": "of the clip"}, is_whole=False) == ["of the clip"], "a row of a list with a span"
    assert found({"caption": "x"}, {"caption": "x"}) == ["x"], "the same words once"
    assert found({"caption": ["x"], "conversations": "none", "json": 3}) == []
    assert found({"json": json.dumps(SCENES)}) == ["All of the film", "A pattern."], "a column of JSON texts"
    assert found({"conversations": TALK[1:]}) == ["Red."], "an answer without a question before it is none"
    assert found({"conversations": [*TALK[:1], {"from": "gpt", "value": ""}, *TALK[2:]]}) == ["Red."]
    assert found({"messages": [{"role": "user", "content": "a?"}, {"role": "assistant", "content": 5}]}) == ["5"]


def test_a_list_with_spans_speaks_of_each_span(film: bytes, tmp_path: Path) -> None:
    loose(tmp_path, {"a.mp4": film})
    (tmp_path / "list.csv").write_text("path,start,end,caption\na.mp4,1,2,one second\na.mp4,2,4,two seconds\n")
    root = done(tmp_path / "root", tmp_path / "list.csv", sets=BOTH)
    answers = {start: answer for (start, *_), (_, answer, _) in given_in(root).items()}
    assert answers == {1000: "one second", 2000: "two seconds"}
    (tmp_path / "list.csv").write_text("path,start,end,caption\na.mp4,1,2,one second\n")
    root = done(tmp_path / "root1", tmp_path / "list.csv", sets=BOTH)
    assert [answer for _, answer, _ in given_in(root).values()] == ["one second"]


def test_settings_are_checked() -> None:
    assert PackSettings(given=("qa", "caption", "qa")).given == ("caption", "qa")
    assert PackSettings(caps={"given_caption": 1}).caps
    with pytest.raises(ValueError, match="given"):
        PackSettings(given=("titles",))  # type: ignore[arg-type]
