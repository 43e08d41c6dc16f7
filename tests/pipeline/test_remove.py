"""`ola remove` on synthetic manifests: no trace of the video is left, all else is unchanged, and it stays out."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from manifests import blocks, storage
from manifests.sources import Registered
from pipeline.errors import ConfigError, RunError
from pipeline.pack import groups
from pipeline.pack.check import check_run
from pipeline.pack.publish import pack
from pipeline.plan import Plan
from pipeline.removal.record import check_finished, read_record, unfinished_sources
from pipeline.state.ledger_law import law_violations, read_counts
from pipeline.state.registration import register
from pipeline.state.reopen import known_outcomes, reopen_part
from stages.catalogue import current
from tests.killing import Killed, killed_at
from tests.pipeline.removals import SETTINGS, found, made_root, media, plain, rows, source, take_out, write
from tests.pipeline.removals import register as register_parts
from tests.pipeline.test_pack import video_id
from tests.pipeline.test_pack_groups import contents, stats

PARTS = (range(1, 3), range(4, 7), range(8, 10))
GONE = 5


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "LARGEST_GROUP", 3)


def others(before: dict[str, list[dict[str, object]]], gone: int = GONE) -> dict[str, list[dict[str, object]]]:
    """Rows of all steps but those of a video."""
    mine = (video_id(gone), source(gone).id)
    return {step: [row for row in of if not str(row["input"]).startswith(mine)] for step, of in before.items()}


def needles(gone: int = GONE) -> list[bytes]:
    return [video_id(gone).encode(), source(gone).uri.encode(), f"video {gone}.mp4".encode()]


def check_whole(plan: Plan) -> None:
    wrong = {law.step for law in law_violations(plan, read_counts(plan))}
    assert wrong <= {"ask", "verify"}, "made up without regard to the screening and to video 7"
    assert list(check_run(plan.root)) == []


def check_references(plan: Plan) -> None:
    """The rows of extract find their media in the one tar of their part."""
    held = media(plan.root)
    for row in rows(plan)["extract"]:
        data = Path(plan.root, row["frames"]["uri"]).read_bytes()[row["frames"]["offset"] :][: row["frames"]["size"]]
        assert data == held[f"{row['clip']}.mjpg"]
    assert len(list(Path(plan.root).glob("*-extract-*/part-000001*.tar"))) == 1


def test_nothing_of_a_video_is_left_and_all_else_is_as_it_was(tmp_path: Path) -> None:
    plan = made_root(tmp_path, PARTS, asked=True)
    before, kept, tars = rows(plan, place_too=False), media(tmp_path), stats(plan.root)
    assert take_out(plan, video_id(GONE), note="asked by its owner") == ()
    assert found(tmp_path, needles()) == []
    after = rows(plan, place_too=False)
    assert others(after) == others(before)
    dropped = [row for row in after["ingest"] if row["input"] == source(GONE).id]
    assert [(row["status"], row["reason"], row["id"]) for row in dropped] == [("dropped", "removed", None)]
    assert [row["input"] for row in after["ingest"]] == [row["input"] for row in before["ingest"]]
    assert media(tmp_path) == {name: data for name, data in kept.items() if not name.startswith(video_id(GONE))}
    check_references(plan)
    check_whole(plan)
    inodes = {facts[0] for facts in stats(plan.root).values()}
    linked = [name for name, facts in tars.items() if facts[0] in inodes]
    assert linked, "shards of other groups are not written again"
    (line,) = read_record(plan.root)
    assert (line["note"], line["asked"]) == ("asked by its owner", [video_id(GONE)])
    assert [each["video"] for each in line["videos"]] == [video_id(GONE)]


def test_the_same_shards_come_as_of_a_run_that_never_had_it(tmp_path: Path) -> None:
    plan = made_root(tmp_path / "removed", PARTS)
    take_out(plan, video_id(GONE))
    never = made_root(tmp_path / "never", (PARTS[0], [4, 6], PARTS[2]))
    mine, theirs = (
        {str(path.relative_to(plan.root)): path.read_bytes() for path in Path(plan.root).glob("shards/*/*/*.tar")}
        for plan in (plan, never)
    )
    assert list(mine) or list(theirs)
    assert mine == theirs


def test_old_sets_keys_journals_and_choices_lose_it_too(tmp_path: Path) -> None:
    plan = made_root(tmp_path, PARTS)
    pack(plan, SETTINGS.model_copy(update={"where": "motion >= 0"}), write)
    for planned in plan.steps[2:]:
        old = Path(planned.manifest.folder_uri)
        other = old.with_name(f"{old.name.rpartition('-')[0]}-0123456789ab")
        other.mkdir()
        for path in old.iterdir():
            os.link(path, other / path.name)
        line = json.dumps({"done": {"input": f"{video_id(GONE)}-000000000-000002000"}})
        keep = json.dumps({"done": {"input": f"{video_id(6)}-000000000-000002000"}})
        (other / "part-000001.journal").write_text(f"{line}\n{keep}\n")
        (other / "part-000001.journal-notes").write_text(json.dumps([f"{video_id(GONE)}-x", 0.5]) + "\n")
        (other / "part-000001.tar.draft.boot.name.holder").write_text(video_id(GONE))
    (tmp_path / "pack/group-000000-old.arrow").write_bytes(video_id(GONE).encode())
    assert len(list(tmp_path.glob("pack/group-*"))) > 1
    take_out(plan, source(GONE).uri)
    assert found(tmp_path, needles()) == []
    assert len(list(tmp_path.glob("shards/omni/*"))) == 1
    assert video_id(6) in next(tmp_path.glob("*-0123456789ab/part-000001.journal")).read_text()
    check_whole(plan)


def test_an_old_set_without_the_video_stays(tmp_path: Path) -> None:
    plan = made_root(tmp_path, PARTS[:1])
    old = current(plan.root)
    plain(tmp_path, PARTS[:2])
    register_parts(plan, PARTS[:2])
    pack(plan, SETTINGS, write)
    take_out(plan, video_id(GONE))
    assert all((tmp_path / folder / "shards.parquet").exists() for folder in old.values())
    assert len(list(tmp_path.glob("shards/omni/*"))) == 2
    assert found(tmp_path, needles()) == []


def test_parts_in_block_files_are_rewritten_within_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 2)
    monkeypatch.setattr("pipeline.removal.rows.BLOCK", 2)
    plan = made_root(tmp_path, (*PARTS, range(12, 13)))
    before = rows(plan, place_too=False)
    for planned in plan.steps:
        for number in (0, 1):
            blocks.write_block(planned.manifest.folder_uri, planned.manifest.schema, number)
    left = Path(plan.steps[0].manifest.uri(1))  # beside its block file
    for path in tmp_path.glob("0*-*/part-0*.parquet"):
        if path != left:
            path.unlink()
    pack(plan, SETTINGS, write)
    take_out(plan, video_id(GONE))
    assert found(tmp_path, needles()) == []
    assert not left.exists()
    assert len(list(tmp_path.glob("02-split-*/parts-*.parquet"))) == 2
    assert others(rows(plan, place_too=False)) == others(before)
    check_whole(plan)


def test_exact_copies_are_removed_with_it(tmp_path: Path) -> None:
    plan = made_root(tmp_path, PARTS)
    held = plan.sources.registered()
    copy = replace(source(GONE), id="source copy", uri="/films/copy.mp4", twin=source(GONE).uri)
    plan.sources.write(1, [*held, Registered(copy, 3, 0)])
    take_out(plan, "copy.mp4")
    gone = {each.source.uri for each in plan.sources.registered() if each.source.removed}
    assert gone == {copy.uri, source(GONE).uri}
    assert found(tmp_path, needles()) == []


def test_it_stays_out_by_its_uri_and_by_its_content(tmp_path: Path) -> None:
    plan = made_root(tmp_path, PARTS)
    take_out(plan, video_id(GONE))
    changed = replace(source(GONE), bytes=7, stamp="9", id="another", sha256=None)  # another file at its uri
    copy = replace(source(GONE), uri="/films/renamed.mp4", id="renamed", sha256=None)
    found_now = [source(n) for part in PARTS for n in part if n != GONE] + [changed, copy]

    def digests(wanted: object) -> dict[str, str]:
        return {copy.uri: str(source(GONE).sha256)}

    changes: list[object] = []
    register(plan.sources, found_now, None, None, digests, lambda _: {s.uri for s in found_now}, changes.extend)
    by_uri = {each.source.uri: each for each in plan.sources.registered()}
    assert by_uri[changed.uri].source.removed
    assert by_uri[copy.uri].source.removed
    assert by_uri[copy.uri].part == len(PARTS), "its own place stays its own"
    assert changes == []
    assert sum(each.source.removed for each in by_uri.values()) == 2


def test_all_videos_of_a_group_may_go(tmp_path: Path) -> None:
    plan = made_root(tmp_path, PARTS)
    take_out(plan, *(video_id(n) for n in PARTS[1]))
    assert found(tmp_path, [needle for n in PARTS[1] for needle in needles(n)[:1]]) == []
    check_whole(plan)
    assert not list(tmp_path.glob("*-extract-*/part-000001*.tar"))


def test_again_changes_nothing(tmp_path: Path) -> None:
    plan = made_root(tmp_path, PARTS)
    take_out(plan, video_id(GONE))
    before = contents(plan.root), rows(plan), read_record(plan.root)
    take_out(plan, video_id(GONE))
    take_out(plan, source(GONE).uri)
    assert (contents(plan.root), rows(plan), read_record(plan.root)) == before


def test_kills_at_any_write_are_completed_by_the_same_command(tmp_path: Path) -> None:
    plan = made_root(tmp_path, PARTS[:2])
    before, attempts, done = rows(plan, place_too=False), 0, False
    while not done:
        attempts += 1
        try:
            with killed_at(attempts, after=attempts % 2 == 1):  # gets one write further each time
                take_out(plan, video_id(GONE), note="n")
            done = True
        except Killed:
            storage.remove_drafts(plan.root)
            if unfinished_sources(plan.root):
                with pytest.raises(RunError, match="cut off"):
                    check_finished(plan.root)
    assert attempts > 5
    assert found(plan.root, needles()) == []
    assert others(rows(plan, place_too=False)) == others(before)
    assert len(read_record(plan.root)) == 1
    check_whole(plan)
    assert len(list(tmp_path.glob("shards/omni/*"))) == 1


def test_a_kill_is_completed_without_naming_the_videos_again(tmp_path: Path) -> None:
    plan = made_root(tmp_path, PARTS[:2])
    with pytest.raises(Killed), killed_at(11, after=False):
        take_out(plan, video_id(GONE))
    storage.remove_drafts(plan.root)
    take_out(plan)
    assert found(plan.root, needles()) == []
    assert len(read_record(plan.root)) == 1
    check_whole(plan)


def test_names_that_mean_no_video_or_several_are_refused(tmp_path: Path) -> None:
    plan = made_root(tmp_path, PARTS[:1])
    other = replace(source(50), uri="/more/video 1.mp4")
    plan.sources.write(1, [*plan.sources.registered(), Registered(other, 1, 0)])
    before = contents(plan.root)
    for name, said in [
        ("nothing.mp4", "got 'nothing.mp4'"),
        (f"{video_id(1)}-000000000-000002000", "got the id of a clip"),
        ("video 1.mp4", "which means 2"),
    ]:
        with pytest.raises(ConfigError, match=said):
            take_out(plan, name)
    assert contents(plan.root) == before
    assert read_record(plan.root) == []


def test_a_part_that_is_open_is_extracted_again(tmp_path: Path) -> None:
    plan = made_root(tmp_path, PARTS)
    extract = plan.find_step("extract")
    reopen_part(extract, 1)
    assert any(video_id(6) in str(outcome) for outcome in known_outcomes(extract, 1))
    take_out(plan, video_id(GONE))
    assert found(tmp_path, needles()) == []
    assert known_outcomes(extract, 1) == [], "their media were in the tar that is gone"
    assert not list(tmp_path.glob("*-extract-*/part-000001*.tar"))


def test_a_damaged_part_is_named_in_one_line(tmp_path: Path) -> None:
    plan = made_root(tmp_path, PARTS)
    Path(plan.find_step("transcribe").manifest.uri(1)).write_bytes(b"PAR1")
    with pytest.raises(RunError, match=r"part-000001.parquet is damaged.*then do `ola remove` again"):
        take_out(plan, video_id(GONE))
    assert unfinished_sources(plan.root) == [source(GONE).uri]
