"""Draw charts as SVG: bars of the funnel, histograms with thresholds, shares, lines.

Widths are percentages and colours are classes of the page's styles, so that charts fit every width and both themes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.report.distributions import Histogram
from pipeline.report.markup import Markup, element

HEIGHT = 64  # of a half of a histogram, in units of its own box


def stacked_bar(parts: Sequence[tuple[str, float, str]], whole: float) -> Markup:
    """Draw parts of a bar one after the other. parts: class, amount, and text on hover. whole: amount of the width."""
    shown, left = [], 0.0
    for name, amount, text in parts:
        if amount > 0 and whole > 0:
            width = 100 * amount / whole
            title = element("title", text)
            shown.append(
                element("rect", title, x=f"{left:.3f}%", width=f"{width:.3f}%", height="100%", class_=f"bar {name}")
            )
            left += width
    return element("svg", shown, class_="stack", role="img", aria_label="; ".join(text for _, _, text in parts if text))


def histogram(shape: Histogram) -> Markup:
    """Draw train above and val below a line, each to its own scale, with the thresholds as lines across."""
    bars = []
    for name, counts, up in (("train", shape.train, True), ("val", shape.val, False)):
        most = max(counts, default=0)
        for n, count in enumerate(counts):
            if count:
                tall = max(1.0, HEIGHT * count / most)
                low, high = (shape.low + (shape.high - shape.low) * edge / len(counts) for edge in (n, n + 1))
                title = element("title", f"{name}: {count:,} from {low:.4g} to {high:.4g}")
                box = {"x": n + 0.06, "y": HEIGHT - tall if up else HEIGHT, "width": 0.88, "height": f"{tall:.2f}"}
                bars.append(element("rect", title, **box, class_=f"bar {name}"))
    count, total = len(shape.train), 2 * HEIGHT if any(shape.val) else HEIGHT
    lines = [
        element("line", element("title", f"{each.origin} = {each.value:g}"), x1=place, x2=place, y1=0, y2=total,
                class_="threshold")
        for each in shape.thresholds
        if shape.low <= each.value <= shape.high
        for place in [round(count * (each.value - shape.low) / (shape.high - shape.low), 3)]
    ]  # fmt: skip
    return element(
        "svg", bars, element("line", x1=0, x2=count, y1=HEIGHT, y2=HEIGHT, class_="axis"), lines,
        viewBox=f"0 0 {count} {total}", preserveAspectRatio="none", class_="histogram", role="img",
        aria_label=f"histogram of {shape.name}",
    )  # fmt: skip


def lines(series: Mapping[str, Sequence[tuple[float, float]]], low: float, high: float) -> Markup:
    """Draw lines in a box from the first to the last x and from `low` to `high`. Lines differ in colour and dashes."""
    points = [point for line in series.values() for point in line]
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    across, up = (last - first) or 1.0, (high - low) or 1.0
    drawn = []
    for number, (name, line) in enumerate(series.items()):
        path = " ".join(
            f"{'L' if n else 'M'}{100 * (x - first) / across:.2f} {60 - 60 * (y - low) / up:.2f}"
            for n, (x, y) in enumerate(line)
        )
        drawn.append(element("path", element("title", name), d=path, class_=f"line series-{number % 8}"))
    return element(
        "svg", drawn, viewBox="0 -2 100 64", preserveAspectRatio="none", class_="lines", role="img",
        aria_label=f"lines of {', '.join(series)}",
    )  # fmt: skip


def interval_bar(value: float, low: float, high: float, text: str) -> Markup:
    """Draw a share, 0..1, as a bar with the interval around it."""
    inner = {"x": f"{100 * low:.2f}%", "width": f"{100 * (high - low):.2f}%", "y": "38%", "height": "24%"}
    return element(
        "svg", element("title", text),
        element("rect", x="0", width=f"{100 * value:.2f}%", height="100%", class_="bar train"),
        element("rect", **inner, class_="interval"), class_="stack", role="img", aria_label=text,
    )  # fmt: skip
