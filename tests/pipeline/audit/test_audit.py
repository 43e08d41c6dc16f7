"""Audits: the sample, the page and what it may load, answers in the manifest, and the figures that follow."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from manifests.records import AuditAnswer
from pipeline.audit import agreement
from pipeline.audit.agreement import audit_facts, audit_lines, cohen_kappa, merge_auditors, wilson
from pipeline.audit.page import format_page
from pipeline.audit.sample import share_out
from tests.media import pattern
from tests.pipeline.scripted import ENGINE
from tests.runs import copy_of, ola, rows, status, talking

HOSTILE = '</script><img src=x onerror="document.title=1">{script} \u2028 <!-- &amp; \' " \\'


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with three questions about one clip."""
    folder = tmp_path_factory.mktemp("audit")
    talking(folder / "films", "talk", pattern("audit.mp4", 4), 4)
    sets = (f"annotator.engine={ENGINE}", "extract.frames.cap=3", "caption.kinds=[image]", "pack.val=0")
    said = ola("run", folder / "films", "--root", folder / "out", *(a for each in sets for a in ("--set", each)))
    assert said.code == 0, said
    return folder / "out"


def audited(root: Path, folder: Path, *arguments: str) -> Path:
    said = ola("audit", root, "--out", folder, *arguments)
    assert said.code == 0, said
    return folder


class Elements(HTMLParser):
    """The elements of a page, and the text of each script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.scripts: list[str] = []
        self.policy = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag] += 1
        if tag == "meta" and dict(attrs).get("http-equiv"):
            self.policy = str(dict(attrs)["content"])
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"], "no code in attributes"

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts.append(data)


def content_of(page: str) -> Any:
    return json.loads(Elements(page).scripts[0])


def test_the_page_shows_no_verdict_and_its_media_lie_beside_it(root: Path, tmp_path: Path) -> None:
    page = (audited(root, tmp_path / "page") / "index.html").read_text(encoding="utf-8")
    content = content_of(page)
    assert len(content["questions"]) == 3
    assert {(each["text"],) for each in content["questions"]} == set(rows(root, "SELECT question FROM ask"))
    for each in content["questions"]:
        assert each.keys() == {"question", "text", "options", "answer", "frames", "ms", "sound"}, (
            "blind to our verdicts"
        )
        files = [tmp_path / "page" / name for name in (*each["frames"], each["sound"])]
        assert [file.read_bytes()[:4] for file in files] == [b"\xff\xd8\xff\xe0"] * 3 + [b"RIFF"]
        assert len(each["ms"]) == 3
    assert not re.search(r"none-agrees|needs|packed|left out|stratum", page)
    assert not re.search(r"https?:|//(?!\s)", re.sub(r"(?m)^\s*//.*$", "", page).replace("script>", "")), "no address"


def test_the_same_seed_draws_the_same_sample(root: Path, tmp_path: Path) -> None:
    pages = [
        (audited(root, tmp_path / name, "--n", "2", "--seed", seed) / "index.html").read_bytes()
        for name, seed in (("a", "5"), ("b", "5"), ("c", "6"))
    ]
    assert pages[0] == pages[1] != pages[2]
    said = ola("audit", root, "--out", tmp_path / "a")
    message = f"ola: --out: expected a new or empty folder, got {tmp_path / 'a'}; name another one\n"
    assert (said.code, said.err) == (2, message)


BARE = {"question": "q", "text": HOSTILE, "options": [HOSTILE], "answer": HOSTILE, "frames": [], "ms": [], "sound": ""}


def test_hostile_text_is_text() -> None:
    question = {**BARE, "question": HOSTILE}
    page, plain = (Elements(format_page({"audit": "a", "questions": each})) for each in ([question], []))
    assert page.found == plain.found, "no element came in"
    assert page.policy == plain.policy
    assert page.policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in page.policy
    (found,) = json.loads(page.scripts[0])["questions"]
    assert found["text"] == HOSTILE.replace("\u2028", " ")
    assert "innerHTML" not in page.scripts[1]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser")
def test_a_browser_shows_hostile_text_and_turns_picture_and_sound_on(tmp_path: Path) -> None:
    """The browser runs the page's script under its policy; a script of the text would change the title."""
    (tmp_path / "index.html").write_text(format_page({"audit": "n1", "questions": [BARE] * 2}), encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    url = (tmp_path / "index.html").as_uri()
    dom = subprocess.run([*command, "--dump-dom", url], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "<title>Audit of questions</title>" in dom
    assert 'id="progress">1 of 2, 0 answered<' in dom
    assert '<h1 id="text">&lt;/script&gt;&lt;img src=x' in dom
    assert 'id="picture" type="button" aria-pressed="false"' in dom
    assert 'id="frame" alt="" src="" class=""' in dom


@pytest.mark.parametrize(
    ("sizes", "count", "found"),
    [
        ({"both, packed": 100, "video, left out": 100, "text, left out": 100}, 40, [20, 10, 10]),
        ({"both, packed": 5, "video, left out": 100, "text, left out": 100}, 40, [5, 17, 18]),
        ({"both, packed": 100, "video, left out": 2, "text, left out": 3}, 40, [35, 2, 3]),
        ({"not verified, left out": 50}, 40, [40]),
        ({"both, packed": 3}, 40, [3]),
    ],
)
def test_half_of_a_sample_is_measured_both(sizes: dict[str, int], count: int, found: list[int]) -> None:
    assert list(share_out(sizes, count).values()) == found


def given(page: Path, auditor: str, right: bool = True, leave: int = 0, **changes: Any) -> Path:
    content = content_of((page / "index.html").read_text(encoding="utf-8"))
    file = page / f"{auditor}.jsonl"
    lines = [
        {
            "audit": content["audit"],
            "auditor": auditor,
            "question": each["question"],
            "right": right,
            "without_sound": False,
            "without_picture": False,
            **changes,
        }
        for each in content["questions"]
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines[leave:]), encoding="utf-8")
    return file


def test_answers_go_into_the_manifest_and_the_status(root: Path, tmp_path: Path) -> None:
    root = copy_of(root, tmp_path)
    page = audited(root, tmp_path / "page")
    said = ola("audit", root, "--read", given(page, "ada", leave=1))
    assert said.code == 0, said
    assert said.out.startswith("2 of 3 answers by ada are in the view audit\naudit: 2 questions by ada\n")
    law = "SELECT status, count(*), count(DISTINCT input) FROM audit GROUP BY ALL ORDER BY 1"
    assert rows(root, law) == [("dropped", 1, 1), ("ok", 2, 2)]
    assert ola("audit", root, "--read", given(page, "ada")).code == 0
    assert ola("audit", root, "--read", given(page, "bo", without_sound=True)).code == 0
    counts = "SELECT auditor, count(*) FROM audit WHERE status = 'ok' GROUP BY ALL ORDER BY 1"
    assert rows(root, counts) == [("ada", 3), ("bo", 3)]
    said = ola("status", root)
    assert "audit: 3 questions by ada, bo\n" in said.out
    assert "  kappa of ada, bo: 0.00 (3 questions)\n" in said.out
    assert json.loads(ola("status", root, "--json").out)["audit"]["recall"]["count"] == 0
    assert "needs both, precision: - of 0" in said.out
    assert status(root)["verify"]["ok"] == 3
    assert ola("sql", root, "SELECT count(*) FROM audit", "--format", "csv").out.split() == ["count_star()", "6"]
    assert ola("check", root).out == "no fault\n"
    assert "audit" not in ola("clean", root).out


LINE = json.dumps(
    {"audit": "NAME", "auditor": "a", "question": "q", "right": True, "without_sound": True, "without_picture": True}
)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", "line 1: expected an answer of the page: Field required"),
        (LINE.replace("NAME", "../run"), "expected the name of an audit, got '../run'"),
        (LINE.replace("NAME", "n9"), "the run has no audit 'n9'"),
        ("", "expected the answers of one auditor to one audit, got 0 lines"),
    ],
)
def test_files_that_are_no_answers(root: Path, tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text(line)
    said = ola("audit", root, "--read", file)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert message in said.err


def answer(name: str, needs: str, both: bool, weight: float = 1.0, auditor: str = "ada") -> AuditAnswer:
    return AuditAnswer(
        id=f"{auditor} {name}",
        audit="a",
        auditor=auditor,
        clip="c",
        question=name,
        kind="count" if name == "x" else "order",
        needs=needs,
        packed=False,
        stratum=needs,
        weight=weight,
        right=True,
        without_sound=not both,
        without_picture=False,
    )


def test_precision_and_recall_count_what_a_question_stands_for() -> None:
    found = [answer(f"b{n}", "both", n < 9) for n in range(10)]
    found += [answer(f"v{n}", "video", n < 1, 9.0) for n in range(10)]
    questions = merge_auditors(found)
    assert agreement.precision(questions).value == 0.9
    recall = agreement.recall(questions)
    assert recall.value == pytest.approx(9 / (9 + 9)), "one of ten questions of the other stratum stands for nine"
    effective = 18**2 / (9 + 81)
    assert (recall.low, recall.high) == pytest.approx(wilson(0.5, effective))
    facts = audit_facts([*found, answer("x", "both", False)])
    assert facts["by_kind"]["count"]["precision"]["value"] == 0.0
    assert audit_lines(facts)[1] == "  needs both, precision: 81.8% [52.3%, 94.9%] of 11"


def test_wilson_intervals() -> None:
    """Those of a published table: 95 % of 10 of 10, and of 1 of 10."""
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0.1, 10) == pytest.approx((0.0179, 0.4042), abs=1e-4)


def test_a_question_truly_needs_both_if_most_auditors_say_so() -> None:
    votes = [answer("q", "both", both, auditor=name) for name, both in (("ada", True), ("bo", False))]
    assert not merge_auditors(votes)[0].both
    assert merge_auditors([*votes, answer("q", "both", True, auditor="cy")])[0].both
    wrong = replace(votes[0], right=False)
    assert not merge_auditors([wrong])[0].both


def test_kappa() -> None:
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    assert cohen_kappa(pairs) == pytest.approx(0.4)
    assert cohen_kappa([(True, True)] * 3) is None
    assert cohen_kappa([(True, False), (False, True)]) == pytest.approx(-1)
