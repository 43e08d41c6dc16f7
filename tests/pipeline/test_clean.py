"""`ola clean` lists old files with their sizes and deletes them with --yes; current, imported and open ones stay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests import storage
from pipeline.pack import groups
from pipeline.pack.check import check_run
from pipeline.pack.publish import pack
from pipeline.plan import Plan
from pipeline.plan import build_plan as planned
from pipeline.removal.leftovers import delete_leftovers, find_leftovers
from stages.catalogue import current
from tests.object_store import bucket
from tests.pipeline.removals import SETTINGS, made_root, rows, write
from tests.pipeline.test_pack_groups import stats

PARTS = (range(1, 3), range(4, 6))


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A run with everything that may be left behind, and what looks so and is not."""
    monkeypatch.setattr(groups, "LARGEST_GROUP", 2)
    root = tmp_path / "root"
    made = made_root(root, PARTS)
    pack(made, SETTINGS.model_copy(update={"where": "motion > 1"}), write)
    pack(made, SETTINGS, write)
    litter(made, root)
    return made


def litter(plan: Plan, root: Path) -> None:
    extract = Path(plan.find_step("extract").manifest.folder_uri)
    old = extract.with_name("03-extract-0123456789ab")
    shutil.copytree(extract, old)
    (extract / "part-000000.journal").write_text("of a part that is done\n")
    (extract / "part-000007.journal").write_text("of a part under way\n")
    (extract / "part-000001-00112233.tar").write_bytes(bytes(1024))
    (root / "pack/group-000000-old.arrow").write_bytes(b"x" * 10)
    (root / "shards/omni/feedbeefcafe").mkdir(parents=True)
    (root / "shards/omni/feedbeefcafe/train-000000.tar").write_bytes(b"imported")
    (root / "import-feedbeefcafe.parquet").write_bytes(b"its report")
    facts = json.loads((root / "shards/current.json").read_text())
    shutil.copytree(root / facts["folders"]["omni"], root / "shards/omni/mine")
    facts["folders"]["omni_mine"] = "shards/omni/mine"
    (root / "shards/current.json").write_text(json.dumps(facts))


def paths(plan: Plan) -> dict[str, int]:
    return {each.path: each.bytes for each in find_leftovers(plan, SETTINGS)}


def expected(plan: Plan) -> set[str]:
    """The litter, and the sets and rows of the pack before."""
    extract = plan.find_step("extract").manifest.folder
    now = current(plan.root)["omni"].rpartition("/")[2]
    listed = {entry.path for entry in storage.listing(plan.root, recursive=True)}
    sets = {
        "/".join(path.split("/")[:3]) + "/" for path in listed if path.startswith("shards/") and path.count("/") > 2
    }
    packs = {path.split("/")[0] + "/" for path in listed if "-pack-" in path}
    keeps = {"shards/omni/mine/", "shards/omni/feedbeefcafe/"}
    old = {path for path in sets | packs if now not in path} - keeps
    assert len(old) == 2
    tar, journal = f"{extract}/part-000001-00112233.tar", f"{extract}/part-000000.journal"
    return {*old, "03-extract-0123456789ab/", tar, journal, "pack/group-000000-old.arrow"}


def test_what_is_old_is_listed_and_nothing_else(plan: Plan) -> None:
    before = {entry.path for entry in storage.listing(plan.root, recursive=True)}
    assert paths(plan).keys() == expected(plan)
    assert paths(plan)["pack/group-000000-old.arrow"] == 10
    assert {entry.path for entry in storage.listing(plan.root, recursive=True)} == before


def test_what_is_deleted_leaves_the_run_as_it_was(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "root/shards/current.json.draft-999999-00000000").write_text("half")
    assert "shards/current.json.draft-999999-00000000" in paths(plan)
    tars, held = stats(plan.root), rows(plan)
    delete_leftovers(plan.root, find_leftovers(plan, SETTINGS))
    assert paths(plan) == {}
    assert (stats(plan.root), rows(plan)) == (tars, held)
    extract = Path(plan.find_step("extract").manifest.folder_uri)
    assert (extract / "part-000007.journal").exists()
    assert (tmp_path / "root/shards/omni/feedbeefcafe/train-000000.tar").exists()
    assert not [fault for fault in check_run(plan.root) if "is also in" not in fault], "but for the set that is a copy"
    pack(plan, SETTINGS, write)
    assert stats(plan.root) == tars, "there is nothing to pack again"


def test_a_pack_that_was_killed_keeps_what_it_has(plan: Plan, tmp_path: Path) -> None:
    open_set = tmp_path / "root/shards/omni/abcabcabcabc"
    open_set.mkdir()
    (open_set / "train-000000.tar").write_bytes(b"half a set")
    choices = [["pack/group-000000-old.arrow", {}]]
    facts = {"folders": {"omni": "shards/omni/abcabcabcabc"}, "choices": choices}
    (tmp_path / "root/shards/packing.json").write_text(json.dumps(facts))
    assert not {"shards/omni/abcabcabcabc/", "pack/group-000000-old.arrow"} & paths(plan).keys()
    (tmp_path / "root/shards/packing.json").unlink()
    assert {"shards/omni/abcabcabcabc/", "pack/group-000000-old.arrow"} <= paths(plan).keys()


@pytest.fixture
def at_store() -> Iterator[str]:
    with bucket("leftovers") as uri:
        yield uri


def test_a_root_in_a_store_is_cleaned_too(plan: Plan, at_store: str) -> None:
    for path in sorted(Path(plan.root).rglob("*")):
        if path.is_file() and path.name != ".lock":
            storage.write_bytes(f"{at_store}/root/{path.relative_to(plan.root)}", path.read_bytes())
    remote = planned(f"{at_store}/root", [each.step for each in plan.steps])
    wanted = {path for path in expected(remote) if not path.startswith("pack/")}
    assert wanted <= paths(remote).keys()
    delete_leftovers(remote.root, find_leftovers(remote, SETTINGS))
    assert paths(remote) == {}
    assert not [fault for fault in check_run(remote.root) if "is also in" not in fault]
    assert rows(remote) == rows(plan)
