"""Text that was read in frames, as columns of `pack.where`: of clips and questions, also in older roots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from manifests import views
from manifests.records import Caption, Inspection, ScreenText
from pipeline.pack.candidates import create_candidates
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan, build_plan
from pipeline.steps import inspection
from tests.pipeline import test_pack_tasks
from tests.pipeline.test_pack import clip, ok, video
from tests.pipeline.test_pack_tasks import annotated, caption_of, packed

NEW = ("text_area", "subtitles", "text_times", "screen_text", "speech_share", "nudity")


def inspected(made: Plan, texts: Mapping[str, str | None]) -> Plan:
    """Add the step `inspect`, part by part; texts: the line in the frame at 0.3 s by clip; None: no frame was read."""
    plan = build_plan(made.root, (*(each.step for each in made.steps), inspection.Inspect()))
    manifest = plan.find_step("inspect").manifest
    for part in plan.find_step("extract").manifest.committed():
        rows = plan.find_step("extract").manifest.read(part).to_pylist()
        names = [row["clip"] for row in rows if row["status"] == "ok"]
        manifest.commit(part, names, [ok(name, read(name, texts.get(name))) for name in names])
    return plan


def read(name: str, text: str | None) -> Inspection:
    if text is None:
        return Inspection(id=name, clip=name, sharpness=0.1)
    line = ScreenText(time=0.3, kind="subtitle", text=text, score=0.9, left=0.2, top=0.8, right=0.8, bottom=0.9)
    lines = (line,) if text else ()
    return Inspection(id=name, clip=name, text_area=0.06 * len(lines), text_times=(0.3,), screen_text=lines)


def columns(plan: Plan, names: str, where: str) -> list[tuple[Any, ...]]:
    with views.connect(plan.root, plan.manifests, {}) as connection:
        create_candidates(connection, plan, PackSettings())
        return connection.sql(f"SELECT DISTINCT {names} FROM candidates WHERE {where} ORDER BY ALL").fetchall()


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Of the clips of video 3, the first shows what it says, the second something else, the third was not read."""
    texts = {clip(3, 0).id: "onetwo three", clip(3, 1).id: "It is happy", clip(4, 0).id: ""}
    return inspected(annotated(tmp_path_factory.mktemp("root"), [[3], [4]]), texts)


def test_words_on_screen_are_those_of_the_clip(plan: Plan) -> None:
    found = columns(plan, "clip, words_on_screen", f"clip LIKE '{clip(3, 0).video}%' OR clip = '{clip(4, 0).id}'")
    expected = {clip(3, 0).id: 1.0, clip(3, 1).id: 0.0, clip(3, 2).id: None, clip(4, 0).id: 0.0}
    assert dict(found) == expected
    assert columns(plan, "clip", "answer_on_screen IS NOT NULL AND question IS NULL") == []


def test_the_answer_is_looked_up_in_the_frames_of_its_clip(plan: Plan) -> None:
    found = columns(plan, "clip, answer_on_screen", f"answer = 'It is happy' AND clip LIKE '{clip(3, 0).video}%'")
    assert found == [(clip(3, 0).id, 0.0), (clip(3, 1).id, 1.0), (clip(3, 2).id, None)]


def test_packing_by_them_leaves_samples_without_the_lines(plan: Plan) -> None:
    rows = packed(plan, where="coalesce(words_on_screen, 0) < 0.5 AND coalesce(described, 0) < 0.5")
    assert clip(3, 0).id not in {row.clip for row in rows}
    assert clip(3, 1).id in {row.clip for row in rows}
    assert all("text" not in name for name in rows[0].__slots__)


def test_what_is_said_is_looked_up_in_the_caption_of_the_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def caption(name: str, view: str) -> Caption:
        return replace(caption_of(name, view), text="Two dogs sit at one door" if view == "video" else "one two three")

    monkeypatch.setattr(test_pack_tasks, "caption_of", caption)
    made = annotated(tmp_path, [[0, 3]])  # nothing is said in video 0
    found: dict[str, float | None] = dict(columns(made, "video, described", "true"))
    assert found == {video(0).id: None, video(3).id: pytest.approx(2 / 3)}


def test_a_root_of_an_earlier_release_has_no_words_on_screen(tmp_path: Path) -> None:
    plan = inspected(annotated(tmp_path, [[3]]), {clip(3, 0).id: "one two three"})
    manifest = plan.find_step("inspect").manifest
    path = Path(manifest.folder_uri, manifest.file_names()[0])
    table = pq.read_table(path)
    assert set(NEW) <= set(table.column_names)
    pq.write_table(table.drop_columns(list(NEW)).replace_schema_metadata(table.schema.metadata), path)
    assert columns(plan, "words_on_screen, text_area", f"clip = '{clip(3, 0).id}'") == [(None, None)]
    assert packed(plan, where="coalesce(words_on_screen, 0) < 0.5")


def test_without_the_step_the_columns_are_null(tmp_path: Path) -> None:
    made = annotated(tmp_path, [[3]])
    assert columns(made, "words_on_screen, answer_on_screen", "true") == [(None, None)]
