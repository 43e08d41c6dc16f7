"""Licences are compared by one name whatever their spelling; clips that name none are apart."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.pack.facts import pack_facts
from pipeline.pack.licences import licence_name
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from tests.pipeline import test_pack_tasks
from tests.pipeline.test_pack import video
from tests.pipeline.test_pack_tasks import annotated, verdicts

NAMES = {
    "CC-BY": [
        "CC BY 4.0",
        "cc-by-4.0",
        "CC_BY",
        "by",
        "creativeCommon",
        "Creative Commons Attribution license (reuse allowed)",
        "https://creativecommons.org/licenses/by/4.0/",
        "Attribution 4.0 (CC BY)",
    ],
    "CC-BY-NC-SA": [
        "by-nc-sa",
        "CC BY-NC-SA 3.0 IGO",
        "http://creativecommons.org/licenses/by-nc-sa/2.0/",
        "Creative Commons Attribution-NonCommercial-ShareAlike",
    ],
    "CC-BY-NC-ND": ["cc-by-nc-nd-4.0", "Creative Commons Attribution Non-Commercial No Derivatives"],
    "CC0": ["CC0-1.0", "cc0", "https://creativecommons.org/publicdomain/zero/1.0/", "Creative Commons Zero v1.0"],
    "PUBLIC-DOMAIN": ["Public Domain", "https://creativecommons.org/publicdomain/mark/1.0/"],
    "STANDARD-YOUTUBE-LICENSE": ["Standard YouTube License"],
    "APACHE-2.0": ["Apache-2.0", "apache 2.0"],
    "unknown": ["", " ", "unknown", "N/A", "Creative Commons", "None", "?"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in NAMES.items() for text in texts])
def test_spellings_have_one_name(name: str, text: str) -> None:
    assert licence_name(text) == name


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Four videos: CC BY under two keys, CC BY-NC, and none."""
    metas = {0: '{"licence": "CC BY 4.0"}', 1: '{"license": "cc-by-3.0"}', 2: '{"licence": "CC BY-NC"}', 3: "{}"}
    monkeypatch.setattr(test_pack_tasks, "video", lambda number: replace(video(number), meta=metas[number]))
    return annotated(tmp_path, [range(4)])


def test_other_licences_and_unknown_ones_are_left_out_each_with_its_reason(plan: Plan) -> None:
    def counted(*licences: str) -> Counter[str]:
        found = verdicts(plan, licence=licences)
        clips = {(name[:20], reason) for (name, *_), reason in found.items() if reason is None or "licence" in reason}
        return Counter(reason or "kept" for _, reason in clips)

    assert counted() == {"kept": 4}
    assert counted("cc by") == {"kept": 2, "licence": 1, "licence unknown": 1}
    assert counted("CC-BY", "CC-BY-NC") == {"kept": 3, "licence unknown": 1}
    assert counted("unknown") == {"kept": 1, "licence": 3}


def test_the_licence_is_a_column(plan: Plan) -> None:
    kept = {name[:20] for (name, *_), reason in verdicts(plan, where="licence = 'CC-BY-NC'").items() if reason is None}
    assert kept == {video(2).id}


def test_no_licence_keeps_the_key_and_spellings_share_one(plan: Plan) -> None:
    assert "licence" not in pack_facts(plan, PackSettings())["settings"]
    by = pack_facts(plan, PackSettings(licence=("CC BY 4.0", "mit")))
    assert by == pack_facts(plan, PackSettings(licence=("MIT", "cc-by")))
    assert by != pack_facts(plan, PackSettings())
