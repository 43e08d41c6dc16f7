"""Write the pages of docs/reference/ that follow from the code: settings, commands, records and metrics.

python -m tests.reference_pages
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from manifests import records
from manifests.schema import record_schema
from pipeline.cli import app
from pipeline.config import Config
from pipeline.monitoring.metrics import METRICS

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
MADE = "<!-- Written by `python -m tests.reference_pages`: change the code instead. -->"


def settings_page() -> str:
    """Return the page of all settings with types and defaults."""
    return _page("Settings", "`ola run --config run.yaml`, `--set key=value`, or both.", _sections(Config, ""))


def _sections(model: type[BaseModel], prefix: str) -> Iterator[str]:
    plain, inner = [], []
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
            inner.append((name, annotation))
            continue
        default = field.get_default(call_default_factory=True)
        shown = "required" if default is PydanticUndefined else f"`{default!r}`"
        plain.append(f"| `{prefix}{name}` | {_type(annotation)} | {shown} | {_cell(field.description or '')} |")
    if plain:
        yield f"## {prefix.rstrip('.') or 'The run'}"
        yield _cell(inspect.getdoc(model) or "").replace("\\|", "|")
        yield "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *plain])
    for name, annotation in inner:
        yield from _sections(annotation, f"{prefix}{name}.")


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    name = annotation.__name__ if inspect.isclass(annotation) and not get_args(annotation) else str(annotation)
    return f"`{name.replace('typing.', '').replace('|', ' or ').replace('  ', ' ')}`"


def commands_page() -> str:
    """Return the page of all commands with their arguments and options."""
    group: Any = typer.main.get_command(app)
    context = typer.Context(group, info_name="ola")
    return _page("Commands", "`ola COMMAND --help` says the same.", _commands(group, context, "ola"))


def _commands(group: Any, context: Any, name: str) -> Iterator[str]:
    for command in (group.get_command(context, each) for each in group.list_commands(context)):
        path = f"{name} {command.name}"
        if hasattr(command, "list_commands"):
            yield from _commands(command, context, path)
            continue
        yield f"## {path}"
        yield _cell(command.help or "").replace("\\|", "|")
        rows = [_option(each) for each in command.params if each.name != "help"]
        yield "\n".join(["| argument or option | meaning |", "|---|---|", *rows]) if rows else "No options."


def _option(parameter: Any) -> str:
    name = ", ".join(parameter.opts) if parameter.opts[0].startswith("-") else (parameter.metavar or parameter.name)
    return f"| `{name}` | {_cell(getattr(parameter, 'help', None) or '')} |"


def records_page() -> str:
    """Return the page of the records, which are the columns of the views."""
    intro = "Columns of the views (`ola sql`). Each row also has `input`, `status`, `seconds`, `reason` and `detail`."
    return _page("Records", intro, (part for name in records.__all__ for part in _record(getattr(records, name))))


def _record(record: type) -> Iterator[str]:
    if record.__name__ in ("Drop", "Outcome"):  # no rows of their own
        return
    schema = record_schema(record)
    yield f"## {record.__name__}"
    yield inspect.getdoc(record) or ""
    rows = [
        f"| `{field.name}` | `{_cell(str(schema.field(field.name).type))}` | {_default(field)} |"
        for field in fields(record)
    ]
    yield "\n".join(["| column | Arrow type | default |", "|---|---|---|", *rows])


def _default(field: Any) -> str:
    return "" if field.default is MISSING else f"`{field.default!r}`"


def metrics_page() -> str:
    """Return the page of the metrics."""
    rows = [
        f"| `{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {each.help} |"
        for each in METRICS.values()
    ]
    intro = "Served by Ray under the prefix `ray_`, or written by `ola run --metrics FILE`: see "
    intro += "[how to watch a run](../how-to/metrics.md)."
    return _page("Metrics", intro, ["\n".join(["| metric | kind | labels | meaning |", "|---|---|---|---|", *rows])])


def _page(title: str, intro: str, parts: Any) -> str:
    return "\n\n".join([f"# {title}", MADE, intro, *parts]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "records.md": records_page,
    "metrics.md": metrics_page,
}


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
