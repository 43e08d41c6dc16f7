"""Take the picture of a report for the documentation, with Chromium.

python -m tests.report_screenshot ROOT      # of the demo's run; writes docs/report.png
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.report.build import ReportOptions, write_report
from tests.chromium import opened

FILE = Path(__file__).parents[1] / "docs" / "report.png"
WIDTH, CARD = 1200, 760  # pixels: of the page, and of the height that is shown of a card
COLOURS = 128  # of the file, which stays under 400 kB so
# The first card with questions and speech; the path of the run is of no interest.
CHOOSE = """() => {
  document.querySelector(".place").textContent = "out";
  location.hash = window.olaReport.cards.find((card) => card.questions.length && card.transcript).id;
}"""
LOADED = "() => [...document.querySelectorAll('#card img')].every((image) => image.complete && image.naturalWidth)"


def take(root: str) -> Image.Image:
    """Return a picture of the funnel above one of a clip's card."""
    with tempfile.TemporaryDirectory() as folder, opened() as browser:
        index = write_report(root, ReportOptions(Path(folder) / "report"))
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        page.goto(index.as_uri())
        page.evaluate(CHOOSE)
        page.wait_for_function(LOADED)
        tops = [place(page, name)["y"] for name in ("#funnel", "#clips")]
        end = place(page, "#funnel .funnel")
        with Image.open(io.BytesIO(page.screenshot(full_page=True))) as image:
            boxes = [(tops[0], end["y"] + end["height"]), (tops[1], tops[1] + CARD)]
            parts = [image.convert("RGB").crop((0, round(top), WIDTH, round(bottom))) for top, bottom in boxes]
    whole = Image.new("RGB", (WIDTH, sum(each.height for each in parts)))
    whole.paste(parts[0], (0, 0))
    whole.paste(parts[1], (0, parts[0].height))
    return whole


def place(page: Any, name: str) -> dict[str, float]:
    """Return where an element is, from the top of the page."""
    box: dict[str, float] = page.locator(name).bounding_box()
    return box | {"y": box["y"] + page.evaluate("() => scrollY")}


def main() -> None:
    """Write the picture."""
    take(sys.argv[1]).quantize(COLOURS).save(FILE, optimize=True)


if __name__ == "__main__":
    main()
