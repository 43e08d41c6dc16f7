"""The page of `ola report` in a real browser, from disk: its numbers, its sound, its keys, and what hostile texts do.

Skipped without Playwright or Chromium: `pip install playwright`, and `apt-get install chromium`.
"""

from __future__ import annotations

import json
import random
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.whatif import pack_yields
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from pipeline.report.build import ReportOptions, write_report
from tests.chromium import PROGRAM, opened
from tests.pipeline.report_root import ANSWER, TITLE, make_root
from tests.runs import ola, rows, status

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium: apt-get install chromium")
SETTINGS: dict[str, Any] = {"caps": {"cross_modal_qa": 1}, "cross_modal_needs": ["both", "audio", "video"]}
Open = Callable[..., Any]

# Texts with too little contrast by WCAG 2.1 AA: 4.5, or 3 for large letters. Disabled controls are exempt.
LOW_CONTRAST = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = (node) => {
    for (let each = node; each; each = each.parentElement) {
      const colour = channels(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || node.closest("svg, :disabled, option")) continue;
    if (!node.getClientRects().length) continue;
    const style = getComputedStyle(node), size = parseFloat(style.fontSize);
    const [one, other] = [light(channels(style.color)), light(behind(node))].sort((a, b) => b - a);
    const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    count += 1;
    if ((one + 0.05) / (other + 0.05) < least) found.push(`${node.className} ${walker.currentNode.data.slice(0, 40)}`);
  }
  return { count, found };
}"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return make_root(tmp_path_factory.mktemp("page"), **SETTINGS)


@pytest.fixture(scope="module")
def folder(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(plan.root, ReportOptions(tmp_path_factory.mktemp("report") / "a report"), []).parent


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened() as chromium:
        yield chromium


@pytest.fixture
def open_page(browser: Any, folder: Path) -> Iterator[Open]:
    """Open the page; at the end of the test there are no errors in the console, and no request has left the folder."""
    faults: list[str] = []
    contexts = []

    def opener(mark: str = "", width: int = 1000, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: None if inside(request.url, folder) else faults.append(request.url))
        page.goto(f"{folder.as_uri()}/index.html{mark}")
        return page

    yield opener
    for context in contexts:
        context.close()
    assert faults == []


def inside(url: str, folder: Path) -> bool:
    return url.startswith((f"{folder.as_uri()}/", f"blob:{folder.as_uri().partition('//')[0]}", "blob:null"))


def card_with(folder: Path, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    text = (folder / "data.js").read_text(encoding="ascii").removeprefix("window.olaReport = ").removesuffix(";\n")
    return next(card for card in json.loads(text)["cards"] if wanted(card))


def speaks(card: dict[str, Any]) -> bool:
    return bool(card["questions"]) and len(card["transcript"]["segments"][0]["words"]) > 5


def test_the_funnel_is_that_of_status(open_page: Open, plan: Plan) -> None:
    page = open_page()
    shown = page.eval_on_selector_all(
        "#steps tbody tr", "rows => rows.map(row => [row.cells[0].textContent, "
        "...[...row.querySelectorAll('td[data-value]')].map(cell => Number(cell.dataset.value))])",
    )  # fmt: skip
    names = ("inputs", "ok", "dropped", "failed", "outputs")
    assert shown == [[name, *(facts[each] for each in names)] for name, facts in status(plan.root).items()]
    widths = page.eval_on_selector_all(".funnel .row", "rows => rows.map(row => [...row.querySelectorAll('rect')]"
        ".map(bar => parseFloat(bar.getAttribute('width'))))")  # fmt: skip
    assert widths[0] == pytest.approx([100 * 7 / 8, 100 / 8], abs=0.01)


def test_all_bars_have_one_scale(open_page: Open) -> None:
    for width in (400, 1000):
        page = open_page(width=width)
        wide = page.eval_on_selector_all("#funnel .funnel svg", "all => all.map(each => each.clientWidth)")
        assert len(wide) == 9
        assert set(wide) == {wide[0]}
        assert wide[0] > width / 3


def test_a_card_plays_and_shows_the_word_that_is_said(open_page: Open, folder: Path) -> None:
    page = open_page(f"#{card_with(folder, speaks)['id']}")
    page.keyboard.press("Space")
    page.wait_for_function("() => document.querySelector('audio').currentTime > 0.3")
    page.wait_for_function("() => document.querySelector('.word.now')")
    page.keyboard.press("Space")
    page.wait_for_function("() => document.querySelector('audio').paused")
    for seconds, word in ((1.1, "five"), (0.6, "three")):
        page.evaluate("seconds => { document.querySelector('audio').currentTime = seconds; }", seconds)
        page.wait_for_function("word => document.querySelector('.word.now')?.textContent === word", arg=word)
    assert page.locator(".frame.now figcaption").text_content() == "0:00.3"
    page.locator(".word", has_text="two").click()
    page.wait_for_function("() => Math.abs(document.querySelector('audio').currentTime - 0.25) < 0.01")


def move(page: Any, name: str, position: int) -> None:
    page.locator(f"#slider-{name}").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", position
    )


def test_the_yield_of_the_sliders_is_that_of_whatif(open_page: Open, plan: Plan) -> None:
    page, dice = open_page(), random.Random(7)
    ranges = "all => all.map(each => [each.id.slice(7), Number(each.max)])"
    names = page.eval_on_selector_all("input[type=range]", ranges)
    assert {"agreement", "motion", "words", "silence", "loudness", "complete"} <= {name for name, _ in names}
    seen = set()
    for turn in range(6):
        page.click("#reset")
        for name, most in dice.sample(names, turn % 4):
            move(page, name, dice.randrange(most // 2))
        move(page, "agreement", dice.randrange(100))
        shown = json.loads(page.locator("#yields").get_attribute("data-yield"))
        words = shlex.split(page.locator("#whatif").text_content())
        agreement = float(words[-1]) if "--agreement" in words else 0.5
        settings = PackSettings(where="motion >= 0.5", agreement=agreement, val=0.3, **SETTINGS)
        _, then = pack_yields(plan, settings, words[3])
        kinds = page.evaluate("window.olaReport.yield.kinds")
        pairs = zip(kinds, shown["kinds"], strict=True)
        tasks = {(stage, kind): tuple(found) for (kind, stage), found in pairs if found[0]}
        assert (shown["clips"], tasks, shown["tokens"]) == (then.clips, then.tasks, then.tokens), words
        assert shown["hours"] == pytest.approx(then.seconds / 3600)
        seen.add(shown["tasks"])
    assert len(seen) > 3, "the sliders do something"
    said = ola(*words[1:])
    assert said.code == 0, said
    assert said.out.split()[-1] == f"{shown['tokens']:,}"


def test_filters_and_keys(open_page: Open, plan: Plan) -> None:
    page = open_page()
    chosen = "[aria-selected=true]"
    first = page.locator(chosen).get_attribute("data-id")
    page.keyboard.press("j")
    second = page.locator(chosen).get_attribute("data-id")
    assert second != first
    assert page.url.endswith(f"#{second}")
    page.keyboard.press("k")
    assert page.locator(chosen).get_attribute("data-id") == first
    for step, count in (("transcribe", "SELECT count(*) FROM transcribe WHERE status <> 'ok'"), ("ingest", "SELECT 1")):
        page.select_option("[data-filter=step]", step)
        assert page.locator("#list li").count() == rows(plan.root, count)[0][0]
    page.click("#clear")
    page.select_option("[data-filter=language]", "de")
    spoken = {id for (id,) in rows(plan.root, "SELECT clip FROM transcribe WHERE text_language = 'de'")}
    assert set(page.eval_on_selector_all("#list li", "all => all.map(each => each.dataset.id)")) == spoken
    for name in ("reason", "kind", "needs", "split"):
        page.click("#clear")
        page.locator(f"[data-filter={name}]").select_option(index=1)
        assert 0 < page.locator("#list li").count() < 20, name
    page.fill("#find", "film number 3")
    assert all("Film number 3" in text for text in page.locator("#list li").all_text_contents())
    page.keyboard.press("j")
    assert page.input_value("#find") == "film number 3j"
    page.goto(page.url.partition("#")[0] + f"#{second}")
    assert page.locator(".card").get_attribute("data-id") == second


def test_picture_and_sound_are_switched_off_one_by_one(open_page: Open, folder: Path) -> None:
    page = open_page(f"#{card_with(folder, speaks)['id']}")
    views = [page.locator(".answers tr.now").first.get_attribute("data-view")]
    for name in ("sees", "hears", "sees"):
        page.locator(f"[data-switch={name}]").click()
        views.append(page.locator(".answers tr.now").first.get_attribute("data-view"))
    assert views == ["both", "audio", "text", "video"]
    assert page.locator(".strip").is_visible()
    assert not page.locator("audio").is_visible()
    assert not page.locator(".transcript").is_visible()


def test_hostile_texts_are_texts(open_page: Open, folder: Path) -> None:
    card = card_with(folder, lambda card: card["title"] == TITLE and bool(card["questions"]))
    for width in (400, 1600):
        page = open_page(f"#{card['id']}", width)
        assert page.title() == "Report: root"
        assert page.locator(".card h3").text_content() == TITLE
        shown = page.locator("tr[data-view=video] .said").first
        assert shown.text_content() == ANSWER
        assert shown.evaluate("each => getComputedStyle(each).unicodeBidi") == "isolate"
        assert shown.bounding_box()["height"] < 250
        assert page.locator("img[src=x], a[href^=javascript]").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(open_page: Open, folder: Path, scheme: str) -> None:
    page = open_page(f"#{card_with(folder, speaks)['id']}", scheme=scheme)
    page.keyboard.press("1")
    page.evaluate("document.querySelector('audio').currentTime = 0.6")
    page.wait_for_function("() => document.querySelector('.word.now')")
    found = page.evaluate(LOW_CONTRAST)
    assert found["count"] > 200
    assert found["found"] == []
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colour == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 28)"}[scheme]
    page.click("#theme")
    assert page.locator("#theme").text_content() == "theme: light"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_marks_stay_and_come_back_into_the_run(open_page: Open, plan: Plan, folder: Path, tmp_path: Path) -> None:
    card = card_with(folder, speaks)
    page = open_page(f"#{card['id']}")
    page.keyboard.press("3")
    page.keyboard.press("n")
    page.keyboard.type("two dogs, not one")
    question = page.locator(".question").first
    question.locator("[data-mark=good]").click()
    page.reload()
    assert page.locator(".card-head .note").input_value() == "two dogs, not one"
    assert page.locator(f"#list [data-id='{card['id']}'] .marked").text_content() == "wrong"
    page.fill("#reviewer", "Ann")
    with page.expect_download() as download:
        page.click("#export")
    file = tmp_path / "reviews.jsonl"
    download.value.save_as(file)
    assert ola("review", plan.root, file).out.startswith("2 marks")
    found = rows(plan.root, "SELECT id, clip, mark, note, reviewer FROM review ORDER BY id")
    assert found == [
        (card["id"], card["id"], "wrong", "two dogs, not one", "Ann"),
        (card["questions"][0]["id"], card["id"], "good", "", "Ann"),
    ]
