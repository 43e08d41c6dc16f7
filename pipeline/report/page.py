"""Write `index.html`: the parts of the report that need no script, and the places that the scripts fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline.cli.cell_text import duration
from pipeline.monitoring.run_facts import NEEDED, RunFacts, StepFacts
from pipeline.report.charts import histogram, interval_bar, lines, stacked_bar
from pipeline.report.distributions import Histogram
from pipeline.report.markup import Markup, element, join, table
from pipeline.report.reviews import Agreement, mark_counts
from pipeline.report.training import PhaseCurves, SuiteScore

# No script, style or picture but the files beside the page; texts cannot become HTML, not even by a fault of a script.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
)
SCRIPTS = ("dom.js", "data.js", "theme.js", "yields.js", "player.js", "reviews.js", "cards.js", "browser.js")
STATUSES = ("ok", "dropped", "failed")


def section(name: str, title: str, *children: object) -> Markup:
    """Return a section of the page with its heading."""
    return element(
        "section", element("h2", title, id=f"{name}-title"), children, id=name, aria_labelledby=f"{name}-title"
    )


def page(title: str, root: str, sections: Sequence[tuple[str, str, Markup]]) -> str:
    """Return the whole page. sections: id, name in the navigation, markup."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("link", rel="icon", href="icon.svg"),
        element("link", rel="stylesheet", href="report.css"),
        [element("script", src=name, defer=True) for name in SCRIPTS],
    )
    links = [element("a", text, href=f"#{name}") for name, text, _ in sections]
    theme = element("button", "theme: system", id="theme", type="button")
    header = element("header", element("h1", title), element("p", root, class_="place", dir="auto"),
                     element("nav", links, aria_label="Sections"), theme)  # fmt: skip
    body = element("body", header, element("main", [made for _, _, made in sections]))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def funnel(facts: RunFacts, choice: str = "") -> Markup:
    """Return the funnel as bars to scale and as a table, with all reasons. choice: options that choose cards."""
    whole = element("p", f"All figures are of the whole run. {choice} chooses the cards under Clips only.",
                    class_="quiet") if choice else None  # fmt: skip
    most = {unit: max(step.counts.inputs for step in facts.steps if step.unit == unit) for unit in _units(facts.steps)}
    rows, before = [], ""
    for step in facts.steps:
        if step.unit != before:
            rows.append(element("p", f"{most[step.unit]:,} {step.unit} = full width", class_="unit"))
        before = step.unit
        rows.append(_funnel_row(step, most[step.unit]))
    legend = element("p", [element("span", status, class_=f"key {status}") for status in STATUSES], class_="legend")
    faults = element("ul", [element("li", fault) for fault in facts.faults], class_="faults") if facts.faults else None
    return section("funnel", "Funnel", whole, _packed(facts), legend, element("div", rows, class_="funnel"), faults,
                   element("div", _step_table(facts), element("div", element("h3", "Reasons"), _reason_table(facts)),
                           class_="beside"))  # fmt: skip


def _packed(facts: RunFacts) -> Markup:
    """Return what is in the shards, of how much."""
    if not facts.packed:
        return element("p", "Nothing is packed yet.", class_="quiet")
    cells = [
        element("div", element("dt", f"{name} packed"), element("dd", _amount(number), element(
            "span", "" if whole is None else f" of {_amount(whole)}", class_="quiet"), data_packed=name))
        for name, (number, whole) in facts.packed.items()
    ]  # fmt: skip
    return element("dl", cells, class_="totals")


def _amount(number: float) -> str:
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,.3g}" if number < 100 else f"{number:,.1f}"


def _units(steps: Sequence[StepFacts]) -> list[str]:
    return list(dict.fromkeys(step.unit for step in steps))


def _funnel_row(step: StepFacts, whole: int) -> Markup:
    counts = step.counts
    reasons = "; ".join(f"{count:,} x {reason}" for reason, count in step.reasons()[:6])
    texts = {status: f"{getattr(counts, status):,} {status}" for status in STATUSES}
    hover = {status: f"{text}: {reasons}" if status != "ok" and reasons else text for status, text in texts.items()}
    bar = stacked_bar([(status, getattr(counts, status), hover[status]) for status in STATUSES], whole)
    text = f"{counts.ok:,} of {counts.inputs:,}" + f" → {counts.outputs:,}" * (counts.outputs != counts.ok)
    return element("div", element("span", step.name, class_="step"), bar, element("span", text, class_="amount"),
                   class_="row")  # fmt: skip


def _step_table(facts: RunFacts) -> Markup:
    total = sum(step.counts.seconds for step in facts.steps)
    heads = ("step", "inputs", "ok", "dropped", "failed", "outputs", "time", "of all time", "s a record",
             "tokens asked", "read", "written")  # fmt: skip
    return table(heads, [_step_cells(step, total) for step in facts.steps], id="steps", class_="numbers")


def _step_cells(step: StepFacts, total: float) -> list[object]:
    counts = step.counts
    tokens = [f"{count:,}" for count in step.tokens.values()] or [""] * 3
    numbers = [
        element("td", f"{getattr(counts, name):,}", data_value=getattr(counts, name), class_=name)
        for name in ("inputs", "ok", "dropped", "failed", "outputs")
    ]
    share = counts.seconds / total if total else 0.0
    bar = stacked_bar([("time", share, f"{share:.1%}")], 1.0)
    each = f"{counts.seconds / counts.inputs:.3g}" if counts.inputs else "–"
    return [step.name, *numbers, duration(counts.seconds), element("td", bar, class_="wide"), each,
            *tokens]  # fmt: skip


def _reason_table(facts: RunFacts) -> Markup:
    rows = [(step.name, f"{count:,}", reason) for step in facts.steps for reason, count in step.reasons()]
    if not rows:
        return element("p", "Nothing was dropped, and nothing failed.", class_="quiet")
    return table(("step", "inputs", "reason"), rows, class_="texts")


def yields() -> Markup:
    """Return the place of the sliders."""
    return section(
        "yield", "Yield", element("p", "Move a threshold to see what it would put into the shards. Nothing is run.",
        class_="quiet"), element("div", id="yields"),
    )  # fmt: skip


def distributions(shapes: Sequence[Histogram], tongues: Sequence[tuple[str, int, int]]) -> Markup:
    """Return a histogram for each score, and languages as bars."""
    legend = element("p", element("span", "train", class_="key train"), element("span", "val", class_="key val"),
                     element("span", "threshold", class_="key threshold"), class_="legend")  # fmt: skip
    figures = [_figure(shape) for shape in shapes]
    if tongues:
        most = max(train + val for _, train, val in tongues)
        rows = [
            element("div", element("span", name, class_="step"),
                    stacked_bar([("train", train, f"{train:,} train"), ("val", val, f"{val:,} val")], most),
                    element("span", f"{train + val:,}", class_="amount"), class_="row")
            for name, train, val in tongues
        ]  # fmt: skip
        figures.append(element("figure", element("figcaption", element("b", "language")), rows, class_="funnel"))
    return section("scores", "Scores", legend, element("div", figures, class_="grid"))


def _figure(shape: Histogram) -> Markup:
    unit = f" {shape.unit}" if shape.unit else ""
    missing = f" · {shape.missing:,} without" if shape.missing else ""
    caption = element(
        "figcaption", element("b", shape.name), element("span", f"median {shape.middle:.3g}{unit}{missing}")
    )
    ends = element("p", element("span", f"{shape.low:.3g}"), element("span", f"{shape.high:.3g}{unit}"), class_="ends")
    notes = [element("p", f"{each.origin} = {each.value:g}" if "pack.where" not in each.origin else each.origin,
                     class_="threshold-note") for each in shape.thresholds]  # fmt: skip
    return element("figure", caption, histogram(shape), ends, notes, data_score=shape.name)


def needs(counts: Mapping[str, Mapping[str, int]], agreement: float) -> Markup:
    """Return what questions need, by their kind."""
    if not counts:
        return section("needs", "Needs", element("p", "No question was verified.", class_="quiet"))
    legend = element("p", [element("span", name, class_=f"key needs-{name}") for name in NEEDED], class_="legend")
    rows = []
    for kind, found in counts.items():
        total = sum(found.values())
        bar = stacked_bar([(f"needs-{n}", found[n], f"{found[n]:,} {n}") for n in NEEDED], total)
        cells = [f"{found[name]:,} ({found[name] / total:.0%})" for name in NEEDED]
        rows.append([kind, f"{total:,}", element("td", bar, class_="wide"), *cells])
    note = (
        f"What a question needs: the least media from which the model's answer agrees (pack.agreement {agreement:g})."
    )
    return section("needs", "Needs", element("p", note, class_="quiet"), legend,
                   table(("kind of question", "questions", "", *NEEDED), rows, class_="numbers"))  # fmt: skip


def clips() -> Markup:
    """Return the place of the cards."""
    keys = [("j", "next"), ("k", "previous"), ("space", "play"), ("1 2 3", "good, bad, wrong"), ("n", "note")]
    hint = [[element("kbd", key), f" {text} "] for key, text in keys]
    return section("clips", "Clips", element("p", hint, class_="quiet hint"), element("div", id="browser"))


def reviews(rows: pa.Table, agreement: Mapping[str, Agreement]) -> Markup:
    """Return the marks that were read back with `ola review`, and the place of those of this browser."""
    counts = ", ".join(f"{count} {mark}" for mark, count in mark_counts(rows).items())
    none = "No review was read back yet: mark cards, export them, and run ola review."
    found: list[object] = [element("p", f"Read back with ola review: {counts}." if len(rows) else none, class_="quiet")]
    if agreement:
        heads = ("mark", "questions", "people and verify agree", "", "95 % interval")
        found.append(table(heads, [_agreement_cells(name, each) for name, each in agreement.items()], class_="numbers"))
    return section("review", "Review", found, element("div", id="reviews"))


def _agreement_cells(name: str, each: Agreement) -> list[object]:
    share = each.agreed / each.marked
    bar = interval_bar(share, each.low, each.high, f"{share:.0%}, {each.low:.0%} to {each.high:.0%}")
    return [name, each.marked, f"{each.agreed} ({share:.0%})", element("td", bar, class_="wide"),
            f"{each.low:.0%} to {each.high:.0%}"]  # fmt: skip


def training(phases: Sequence[PhaseCurves], scores: Sequence[SuiteScore]) -> Markup:
    """Return losses, rates and mixes of the phases, and the scores of the suites with intervals."""
    made: list[object] = [_phase(phase) for phase in phases]
    if scores:
        rows = [
            [each.suite, each.model, f"{each.metric}{' ↓' * each.falls}", f"{each.value:.3f}",
             element("td", interval_bar(min(each.value, 1), min(each.low, 1), each.high,
                                        f"{each.value:.3f}, {each.low:.3f} to {each.high:.3f}"), class_="wide"),
             f"{each.low:.3f} to {each.high:.3f}", each.questions]
            for each in sorted(scores, key=lambda each: (each.suite, each.model))
        ]  # fmt: skip
        heads = ("suite", "model", "metric", "score", "", "95 % interval", "questions")
        made += [element("h3", "Evaluation"), table(heads, rows, class_="numbers")]
    return section("training", "Training", made)


def _phase(phase: PhaseCurves) -> Markup:
    charts = [_line_figure("loss", phase.losses, phase.steps), _line_figure("learning rate", phase.rates, phase.steps)]
    kinds = list(dict.fromkeys([*phase.planned, *phase.realised]))
    rows = [[kind, *(f"{mix[kind]:.1%}" if kind in mix else "–" for mix in (phase.planned, phase.realised))]
            for kind in kinds]  # fmt: skip
    mix = element("figure", element("figcaption", element("b", "mix")), table(("kind", "planned", "realised"), rows))
    return join([element("h3", f"Phase {phase.name}"), element("div", charts, mix, class_="grid wide-figures")])


def _line_figure(name: str, series: Mapping[str, list[tuple[float, float]]], steps: int) -> Markup | None:
    values = [y for line in series.values() for _, y in line]
    if not values:
        return None
    legend = [element("span", each, class_=f"key series-{n % 8}") for n, each in enumerate(series)]
    low, high = (0.0, max(values)) if min(values) >= 0 else (min(values), max(values))
    ends = element("p", element("span", f"0 to {high:.3g}"), element("span", f"{steps:,} steps"), class_="ends")
    return element("figure", element("figcaption", element("b", name)), lines(series, low, high), ends,
                   element("p", legend, class_="legend"))  # fmt: skip
