"""`ola report` without a browser: which clips it draws, what it writes, its limits, and the reviews that come back."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests import views
from manifests.records import ID_DIGITS
from pipeline.errors import ConfigError
from pipeline.pack.candidates import create_candidates
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.report import reviews, score_table
from pipeline.report.build import ReportOptions, write_report
from pipeline.report.cards import make_cards
from pipeline.report.charts import histogram
from pipeline.report.distributions import Histogram, Threshold
from pipeline.report.markup import Markup, element
from pipeline.report.media import write_media
from pipeline.report.page import SCRIPTS
from pipeline.report.sample import Drawn, draw
from pipeline.report.score_table import LEAST, MOST, passed_positions, slider_positions
from pipeline.report.training import read_training
from pipeline.run import all_manifests
from stages.training_log import LOG, READ_SCHEMA
from tests.object_store import client, watched
from tests.pipeline.report_root import ANSWER, TITLE, make_root
from tests.pipeline.test_whatif import run_of
from tests.runs import ola, rows, status


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return make_root(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(plan.root, ReportOptions(tmp_path_factory.mktemp("made") / "out"))


def data_of(page: Path) -> dict[str, Any]:
    text = (page.parent / "data.js").read_text(encoding="ascii")
    found: dict[str, Any] = json.loads(text.removeprefix("window.olaReport = ").removesuffix(";\n"))
    return found


class Tags(HTMLParser):
    """The tags and attributes of a page, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_card_says_all_of_its_clip(plan: Plan, page: Path) -> None:
    cards = {card["id"]: card for card in data_of(page)["cards"]}
    packed = {clip for (clip,) in rows(plan.root, "SELECT DISTINCT input FROM pack WHERE status = 'ok'")}
    assert len(cards) == 18 + 2, "18 clips, and the two videos that gave none"
    assert {name for name, card in cards.items() if card["ended"][0] == "packed"} <= packed
    first = next(card for card in cards.values() if card["title"] == TITLE and card["questions"])
    assert first["questions"][0]["views"]["video"]["answer"] == ANSWER
    after = ["extract", "transcribe", "screen", "caption", "ask", "verify", "pack"]
    assert [name for name, *_ in first["steps"]] == after
    assert len(first["frames"]) == 4
    assert first["frames"][0][1] == 250
    for name in (first["sound"]["src"], *(src for src, _ in first["frames"])):
        assert (page.parent / name).stat().st_size > 100
    needs = dict(rows(plan.root, f"SELECT q.id, {NEEDS} FROM ask q JOIN verify v ON v.question = q.id"))
    assert all(each["needs"] == needs[each["id"]] for card in cards.values() for each in card["questions"])


NEEDS = """CASE WHEN v.text.agreement >= 0.5 THEN 'text' WHEN v.video.agreement >= 0.5 THEN 'video'
WHEN v.audio.agreement >= 0.5 THEN 'audio' WHEN v.both.agreement >= 0.5 THEN 'both' ELSE 'none-agrees' END"""


def test_the_reason_of_a_task_is_that_of_pack(plan: Plan, page: Path) -> None:
    cards = data_of(page)["cards"]
    said = Counter(task["kind"] for card in cards for task in card["tasks"] if task["reason"] is None)
    assert said == dict(rows(plan.root, "SELECT kind, count(*) FROM shards GROUP BY ALL"))
    assert {"pack.where", "no transcript"} <= {task["reason"] for card in cards for task in card["tasks"]}


def drawn(plan: Plan, count: int, seed: int = 0, step: str | None = None, where: str | None = None) -> list[Drawn]:
    with views.connect(plan.root, all_manifests(plan), {}) as connection:
        create_candidates(connection, plan, PackSettings())
        return draw(connection, plan, count, seed, step, where)


def test_the_same_seed_draws_the_same_and_every_reason_has_a_card(plan: Plan) -> None:
    assert drawn(plan, 6, 1) == drawn(plan, 6, 1) != drawn(plan, 6, 2)
    ended = Counter(each.step for each in drawn(plan, 8))
    assert ended.total() == 8
    assert ended["packed"] == 4
    assert {"ingest", "split", "transcribe"} <= set(ended)


def test_cards_of_one_step_and_of_a_condition(plan: Plan, tmp_path: Path) -> None:
    assert {each.step for each in drawn(plan, 50, step="transcribe")} == {"transcribe"}
    german = dict(rows(plan.root, "SELECT clip, text_language FROM transcribe WHERE text_language = 'de'"))
    assert {each.id for each in drawn(plan, 50, where="text_language = 'de'")} <= set(german)
    chosen = write_report(plan.root, ReportOptions(tmp_path / "out", step="transcribe")).read_text(encoding="utf-8")
    assert "figures are of the whole run. --step transcribe chooses the cards under Clips only" in chosen
    with pytest.raises(ConfigError, match=r"--where: expected a condition.*columns: clip, video"):
        drawn(plan, 1, where="colour = 1")
    with pytest.raises(ConfigError, match=r"--step asks: expected a step of this run"):
        drawn(plan, 1, step="asks")


def test_the_page_is_html_without_scripts_and_styles_of_its_own(page: Path) -> None:
    html = Tags(page.read_text(encoding="utf-8"))
    assert [facts["src"] for tag, facts in html.tags if tag == "script"] == list(SCRIPTS)
    assert not [facts for _, facts in html.tags if "style" in facts or any(name.startswith("on") for name in facts)]
    policy = next(facts["content"] for _, facts in html.tags if facts.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|fetch\(|XMLHttp", scripts())


def scripts() -> str:
    folder = Path(reviews.__file__).parent / "page"
    return "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.js"))


def test_markup_is_escaped() -> None:
    made = element("a", "<b>", ["&", Markup("<i></i>"), None], href='"x', data_value=1, hidden=True, title=None)
    assert made == '<a href="&quot;x" data-value="1" hidden>&lt;b&gt;&amp;<i></i></a>'


def test_media_stop_at_the_limit(plan: Plan, page: Path, tmp_path: Path) -> None:
    with views.connect(plan.root, all_manifests(plan), {}) as connection:
        cards = make_cards(connection, plan, PackSettings(), drawn(plan, 20))
    all_media = sum(path.stat().st_size for path in (page.parent / "media").iterdir())
    written = write_media(cards, plan.root, tmp_path, all_media // 2)
    assert written == sum(path.stat().st_size for path in (tmp_path / "media").iterdir())
    assert all_media / 3 < written <= all_media // 2
    named = [src for card in cards for src, _ in card.get("frames", ())]
    assert sorted(named) == sorted(f"media/{path.name}" for path in (tmp_path / "media").glob("*.jpg"))
    assert {card["note"] for card in cards if card["clip"] and not card.get("frames")} == {"left out by --megabytes"}
    assert "pictures" not in cards[0]


def test_a_folder_of_something_else_is_not_touched(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"--out .*: expected a new folder or that of a report, got one with thesis"):
        write_report(plan.root, ReportOptions(tmp_path))
    for _ in range(2):
        said = ola("report", plan.root, "--clips", "3")
        assert (said.code, said.out) == (0, f"{plan.root}/report/index.html\n")
    assert ola("report", tmp_path).err.startswith("ola: no run at")


@pytest.mark.parametrize(("comparison", "expected"), [(LEAST, [0, 1, 2, 3, 3, 0]), (MOST, [3, 3, 2, 1, 0, 0])])
def test_positions_of_a_slider_compare_as_sql_does(comparison: str, expected: list[int]) -> None:
    values = np.array([0.05, 0.1, 0.2, 0.3, 0.4, np.nan])
    positions = [0.1, 0.2, 0.3] if comparison == LEAST else [0.3, 0.2, 0.1]
    assert passed_positions(values, positions, comparison).tolist() == expected
    made = slider_positions(np.linspace(0, 7, 500), comparison)
    assert made == sorted(made, reverse=comparison == MOST)
    assert all(position == float(f"{position:g}") for position in made)
    assert 20 <= len(made) <= 100


def test_thresholds_are_drawn_where_they_are() -> None:
    shape = Histogram("motion", "", 0.0, 10.0, [1, 0, 3, 0], [0, 0, 0, 2], 0, 5.0, [Threshold(2.5, "pack.where")])
    made = Tags(histogram(shape))
    assert [facts["x1"] for tag, facts in made.tags if tag == "line"][1:] == ["1.0"]
    assert Counter(facts["class"] for tag, facts in made.tags if tag == "rect") == {"bar train": 2, "bar val": 1}


def test_present_thresholds_come_from_settings_and_from_pack_where(page: Path) -> None:
    texts = Tags(page.read_text(encoding="utf-8")).texts
    for note in (
        "pack.where: motion >= 0.5",
        "split.shortest = 2",
        "pack.agreement = 0.5",
        "ask.least_informative = 0.5",
    ):
        assert note in texts, note


def test_reviews_come_back_as_rows(plan: Plan, tmp_path: Path) -> None:
    questions = [name for (name,) in rows(plan.root, "SELECT id FROM ask WHERE status = 'ok' ORDER BY id LIMIT 8")]
    fine = dict(rows(plan.root, "SELECT id, verify.both.agreement >= 0.5 FROM verify WHERE status = 'ok'"))
    marks = [
        {"id": name, "clip": name[:40], "question": name, "mark": "good" if fine[name] or n == 0 else "wrong",
         "note": "a\u2028b", "reviewer": "ann", "marked_at": "2026-01-01T00:00:00Z"}
        for n, name in enumerate(questions)
    ]  # fmt: skip
    file = tmp_path / "reviews.jsonl"
    file.write_text("".join(f"{json.dumps(mark)}\n" for mark in marks), encoding="utf-8")
    said = ola("review", plan.root, file)
    assert (said.code, said.out[:7]) == (0, "8 marks"), said
    again = {**marks[1], "mark": "bad", "marked_at": "2026-01-02T00:00:00Z"}
    file.write_text(json.dumps(again), encoding="utf-8")
    assert ola("review", plan.root, file).code == 0
    found = dict(rows(plan.root, "SELECT id, mark FROM review"))
    assert found == {mark["id"]: mark["mark"] for mark in marks} | {questions[1]: "bad"}
    with duckdb.connect(f"{plan.root}/manifest.duckdb", read_only=True) as stored:
        assert dict(stored.sql("SELECT id, mark FROM review").fetchall()) == found
    agreed = sum((found[name] == "good") == fine[name] for name in questions)
    low, high = reviews.wilson(agreed, 8)
    text = write_report(plan.root, ReportOptions(tmp_path / "out")).read_text(encoding="utf-8")
    assert f"{agreed} ({agreed / 8:.0%})" in text
    assert f"{low:.0%} to {high:.0%}" in text


def test_a_table_above_its_limit_is_an_even_sample(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_table, "CLIPS", 9)
    made = data_of(write_report(plan.root, ReportOptions(tmp_path / "out", clips=4)))["yield"]
    found = rows(plan.root, "SELECT clip FROM extract WHERE ('0x' || md5(clip)[1:8])::UBIGINT < 9 / 18 * 4294967296")
    assert (made["total"], made["count"]) == (18, len(found))
    assert 0 < made["count"] < 18
    kept = ", ".join(f"'{clip}'" for (clip,) in found)
    ((questions,),) = rows(plan.root, f"SELECT count(*) FROM verify WHERE status = 'ok' AND clip IN ({kept})")
    clips = np.frombuffer(base64.b64decode(made["questions"]["clip"]), "<u4")
    assert len(clips) == questions
    assert set(clips) <= set(range(len(found)))
    assert "18 of 18" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8"), "the funnel is of all clips"


def test_wilson() -> None:
    assert reviews.wilson(0, 0) == (0.0, 1.0)
    assert reviews.wilson(8, 10) == pytest.approx((0.490, 0.943), abs=0.001)  # Agresti and Coull 1998
    assert reviews.wilson(10, 10) == pytest.approx((0.722, 1.0), abs=0.001)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "expected a line of JSON for each mark"),
        ("{", ":1: expected a JSON object"),
        ('{"id": "x"}', ":1: expected an object with id, clip"),
        ('{"id": "x", "mark": "fine"}', ":1: mark: expected good, bad, wrong, got 'fine'"),
        (f'{{"id": "{"0" * ID_DIGITS}", "mark": "good"}}', f"expected ids of .*, got {'0' * ID_DIGITS}"),
    ],
)
def test_a_wrong_review_is_refused(plan: Plan, tmp_path: Path, line: str, words: str) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text(line, encoding="utf-8")
    said = ola("review", plan.root, file)
    assert said.code == 2
    assert re.search(words, said.err), said.err


def test_training_and_evaluation(plan: Plan, tmp_path: Path) -> None:

    folder = tmp_path / "trained" / "omni"
    for name in ("log", "read", "step-000002"):
        (folder / name).mkdir(parents=True)
    lines = [
        {"step": n, "steps": 2, "epoch": 0, "loss": 2.0 / n, "norm": 1.0, "tokens": 10, "seconds": 1.0, "waited": 0.0,
         "skipped": 0, "by_kind": [{"name": "subtitle", "value": 1.0}], "rates": [{"name": "decoder", "value": 1e-5}]}
        for n in (1, 2)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(lines, LOG), folder / "log" / "step-000002.parquet")
    read = [
        {"step": 1, "epoch": 0, "task": f"{'c' * 20}-0-1-{kind}-0"} for kind in ("subtitle", "subtitle", "video_qa")
    ]
    pq.write_table(pa.Table.from_pylist(read, READ_SCHEMA), folder / "read" / "step-000002.parquet")
    phase = {"phase": {"tasks": {"subtitle": 0.5, "video_qa": 0.5}, "replay": {"image": 0.2}}}
    (folder / "step-000002" / "training.json").write_text(json.dumps({"step": 2, "facts": phase}))
    result = {"metric": "accuracy", "falls": False, "value": 0.8, "n": 10}
    (tmp_path / "trained" / "results.json").write_text(json.dumps({"<suite>": result}))
    [curves], [score] = read_training(tmp_path / "trained")
    assert (curves.name, curves.losses["all"], curves.rates["decoder"][0]) == ("omni", [(1, 2.0), (2, 1.0)], (1, 1e-5))
    assert curves.planned == {"subtitle": 0.4, "video_qa": 0.4, "replay image": 0.2}
    assert curves.realised == {"subtitle": pytest.approx(2 / 3), "video_qa": pytest.approx(1 / 3)}
    assert (score.low, score.high) == pytest.approx((0.490, 0.943), abs=0.001)
    page = write_report(plan.root, ReportOptions(tmp_path / "out", training=tmp_path / "trained"))
    assert "&lt;suite&gt;" in page.read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="expected log/step"):
        read_training(tmp_path / "out")


def test_a_run_without_questions_and_without_pack_has_a_report(tmp_path: Path) -> None:
    made = run_of(tmp_path / "plain", 4)
    page = write_report(made.root, ReportOptions(tmp_path / "out", clips=5))
    assert "Nothing is packed yet." in page.read_text(encoding="utf-8")
    assert status(made.root)["transcribe"]["inputs"] == 12
    assert PackSettings().agreement == data_of(page)["agreement"]


def test_a_root_in_a_store_has_a_report_and_keeps_reviews(tmp_path: Path) -> None:
    made = make_root(tmp_path / "made", 3)
    with watched("reports") as (store, _):
        for path in Path(made.root).rglob("*"):
            if path.is_file():
                client().upload_file(str(path), "reports", f"root/{path.relative_to(made.root)}")
        refused = ola("report", f"{store}/root")
        assert refused.err.startswith("ola: --out: expected a local folder")
        assert ola("report", f"{store}/root", "--out", tmp_path / "out").code == 0
        cards = data_of(tmp_path / "out" / "index.html")["cards"]
        assert (tmp_path / "out" / cards[0]["sound"]["src"]).is_file()
        (tmp_path / "r.jsonl").write_text(json.dumps({"id": cards[0]["id"], "mark": "good"}))
        assert ola("review", f"{store}/root", tmp_path / "r.jsonl").code == 0
        assert rows(f"{store}/root", "SELECT id, mark FROM review") == [(cards[0]["id"], "good")]


def test_a_removed_video_is_in_no_report_and_no_review(tmp_path: Path) -> None:
    made = make_root(tmp_path / "made", 3)
    cards = data_of(write_report(made.root, ReportOptions()))["cards"]
    marks = [{"id": card["id"], "mark": "good"} for card in cards]
    (tmp_path / "r.jsonl").write_text("".join(f"{json.dumps(mark)}\n" for mark in marks))
    assert ola("review", made.root, tmp_path / "r.jsonl").code == 0
    said = ola("remove", made.root, cards[0]["uri"], "--yes")
    assert said.code == 0, said
    assert not (Path(made.root) / "report" / "index.html").exists()
    kept = {name for (name,) in rows(made.root, "SELECT id FROM review")}
    assert kept == {card["id"] for card in cards if card["uri"] != cards[0]["uri"]}
    assert 0 < len(kept) < len(cards)
