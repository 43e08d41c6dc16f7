"""Write HTML and SVG: every text and every attribute is escaped, unless it was made by `element`.

element("td", "a < b", class_="number")  ->  <td class="number">a &lt; b</td>
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

VOID = frozenset({"meta", "link", "input", "rect", "line", "path", "br"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """Return an element. children: text, markup, or lists of both; None is left out.

    attributes: `class_` for `class`, and `_` for `-` in all others; True is written without a value, None is left out.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    if name in VOID and not children:
        return Markup(f"<{name}{written}>" if name in ("meta", "link", "input", "br") else f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-") if key != "viewBox" else key
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'


def join(children: Iterable[object]) -> Markup:
    """Return children one after the other, with texts escaped."""
    parts = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, (list, tuple)):
            parts.append(join(child))
        elif child is not None:
            parts.append(Markup(html.escape(str(child))))
    return Markup("".join(parts))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], **attributes: object) -> Markup:
    """Return a table that scrolls in its own box. Cells of the first column are headings; `<td>` markup stays."""
    head = element("thead", element("tr", [element("th", text, scope="col") for text in heads]))
    body = element("tbody", [_row(cells) for cells in rows])
    return element("div", element("table", head, body, **attributes), class_="scroll", tabindex="0")


def _row(cells: Sequence[object]) -> Markup:
    first, *rest = cells
    made = [cell if isinstance(cell, Markup) and cell.startswith("<td") else element("td", cell) for cell in rest]
    return element("tr", element("th", first, scope="row"), made)
