"""Write the pages of docs/reference/ that follow from the code: settings, recipes, commands, records, metrics, codes.

python -m tests.reference_pages
"""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import re
import signal
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Any, TypeGuard, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from manifests import records
from manifests.records import PackedTask, Source
from manifests.schema import arrow_type, hints
from pipeline.cli import app, exit_codes
from pipeline.config import Config
from pipeline.engine.signals import ENDING
from pipeline.monitoring.metrics import METRICS
from pipeline.step import Resources
from pipeline.steps import STEPS
from stages.recipe import Phase, packaged_recipes

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
MADE = "<!-- Written by `python -m tests.reference_pages`: change the code instead. -->"


def settings_page() -> str:
    """Return the page of all settings with types and defaults."""
    intro = (
        "`ola run --config run.yaml`, `--set key=value`, or both. See [how to choose settings](../how-to/settings.md)."
    )
    return _page("Settings", intro, [*_sections(Config, ""), *_resources()])


def _sections(model: type[BaseModel], prefix: str) -> Iterator[str]:
    if rows := list(_settings(model, prefix)):
        yield f"## {prefix.rstrip('.') or 'The run'}"
        yield _cell(inspect.getdoc(model) or "").replace("\\|", "|")
        yield "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])
    for name, field in model.model_fields.items():
        if _is_section(field.annotation):
            yield from _sections(field.annotation, f"{prefix}{name}.")


def _is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _settings(model: type[BaseModel], prefix: str) -> Iterator[str]:
    texts = meanings(model)
    for name, field in model.model_fields.items():
        if not _is_section(field.annotation):
            default = field.get_default(call_default_factory=True)
            shown = "required" if default is PydanticUndefined else f"`{json.dumps(default)}`"
            yield f"| `{prefix}{name}` | {_type(field.annotation)} | {shown} | {_cell(texts.get(name, ''))} |"


def meanings(source: Any) -> dict[str, str]:
    """Return the text below each field of a class, or below each constant of a module."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(source)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else tree.body
    texts = {}
    for before, after in pairwise(body):
        match before, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                texts[name] = text
    return texts


def _resources() -> Iterator[str]:
    names = list(Resources.model_fields)
    yield "## resources.&lt;step&gt;"
    yield _cell(inspect.getdoc(Resources) or "")
    texts = meanings(Resources)
    yield "\n".join(
        ["| key | meaning |", "|---|---|", *(f"| `{name}` | {_cell(texts.get(name, ''))} |" for name in names)]
    )
    yield "The defaults of the steps, `transcribe` without the source `ola`:"
    rows = [f"| `{name}` | {' | '.join(f'{_default_of(name, key):g}' for key in names)} |" for name in STEPS]
    yield "\n".join([f"| step | {' | '.join(names)} |", f"|---{'|---' * len(names)}|", *rows])


def _default_of(step: str, key: str) -> float:
    value: float = getattr(STEPS[step]().resources, key)
    return value


def recipes_page() -> str:
    """Return the page of the keys of a recipe's phases, and of the recipes that come along."""
    intro = (
        "A recipe is a YAML file with `phases:`, a list; each phase has these keys. `ola train --set key=value` sets a "
    )
    intro += "key of all phases, `--set phase.key=value` of one. See [how to train](../how-to/train.md)."
    table = "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *_settings(Phase, "")])
    return _page("Training recipes", intro, ["## Keys of a phase", table, *_packaged()])


def _packaged() -> Iterator[str]:
    yield "## Recipes of the package"
    for name in packaged_recipes():
        text = (resources.files("stages") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
        yield f"### {name}"
        yield f"```yaml\n{text.strip()}\n```"


def _type(annotation: Any) -> str:
    """Return a type in YAML's words: `null`, lists and mappings."""
    kinds = [each for each in get_args(annotation) if each is not ...]
    match get_origin(annotation):
        case None:
            return "`null`" if annotation is NoneType else f"`{annotation.__name__}`"
        case typing.Literal:
            return ", ".join(f"`{choice}`" for choice in kinds)
        case typing.Union | types.UnionType:
            return " or ".join(_type(each) for each in kinds)
        case typing.Annotated:
            return _type(kinds[0])
        case builtins.tuple:
            return f"list of {_type(kinds[0])}"
    return f"mapping of {_type(kinds[0])} to {_type(kinds[1])}"


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
    intro = (
        "Columns of the views of `ola sql`. Each row of a step also has `input` (id of the step's input), `status` "
        "(`ok`, `dropped` or `failed`), `seconds` (time that the step took), and for an input that was dropped or "
        "failed `reason` and `detail`."
    )
    return _page("Records", intro, (part for name in records.__all__ for part in _record(getattr(records, name))))


def _record(record: type) -> Iterator[str]:
    if record.__name__ in ("Drop", "Outcome"):  # no rows of their own
        return
    texts, types_of = meanings(record), hints(record)
    yield f"## {record.__name__}"
    views = {Source: "source", PackedTask: "shards"} | {step.gives: name for name, step in STEPS.items()}
    view = f" The view `{views[record]}`." if record in views else ""
    yield f"{inspect.getdoc(record)}{view}"
    cells = [
        (f"`{each.name}`", _column_type(types_of[each.name]), _default(each), _cell(texts.get(each.name, "")))
        for each in fields(record)
    ]
    rows = [f"| {' | '.join(row)} |" for row in cells]
    yield "\n".join(["| column | type | default | meaning |", "|---|---|---|---|", *rows])


def _column_type(hint: Any) -> str:
    """Return the Arrow type of a scalar, or a link to the record of a nested column."""
    kinds = [each for each in get_args(hint) if each not in (..., NoneType)]
    if get_origin(hint) is tuple:
        return f"list of {_column_type(kinds[0])}"
    kind = kinds[0] if kinds else hint
    if isinstance(kind, type) and is_dataclass(kind):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    return f"`{arrow_type(kind)}`"


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


def exit_codes_page() -> str:
    """Return the page of the exit codes."""
    texts = meanings(exit_codes)
    rows = [f"| {getattr(exit_codes, name)} | {_cell(text)} |" for name, text in texts.items()]
    rows += [
        f"| {128 + number} | Ended by {_signal(number)}; one line says how to go on. |" for number in sorted(ENDING)
    ]
    group: Any = typer.main.get_command(app)
    ones = [
        f"| `{name}` | {reason} |" for name, reason in _reasons(group, typer.Context(group, info_name="ola"), "ola")
    ]
    codes = "\n".join(["| code | meaning |", "|---|---|", *rows])
    return _page(
        "Exit codes",
        "How `ola COMMAND` ends. Errors are one line on standard error.",
        [codes, "## Exit code 1", "\n".join(["| command | what its help says |", "|---|---|", *ones])],
    )


def _signal(number: int) -> str:
    return "Ctrl-C (SIGINT)" if number == signal.SIGINT else signal.Signals(number).name


def _reasons(group: Any, context: Any, name: str) -> Iterator[tuple[str, str]]:
    """Yield the help of each command and option that may end with 1."""
    for command in (group.get_command(context, each) for each in group.list_commands(context)):
        path = f"{name} {command.name}"
        if hasattr(command, "list_commands"):
            yield from _reasons(command, context, path)
            continue
        helps = [(path, command.help)]
        helps += [(f"{path} {each.opts[0]}", getattr(each, "help", None)) for each in command.params]
        yield from ((who, _cell(text)) for who, text in helps if re.search(r"Exit (with )?1\b", text or ""))


def _page(title: str, intro: str, parts: Any) -> str:
    return "\n\n".join([f"# {title}", MADE, intro, *parts]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "recipes.md": recipes_page,
    "commands.md": commands_page,
    "records.md": records_page,
    "metrics.md": metrics_page,
    "exit-codes.md": exit_codes_page,
}


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
