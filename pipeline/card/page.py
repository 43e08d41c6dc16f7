"""The text of the card: what is in the shards, where it comes from, what was left out, and measured biases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.card.facts import CardFacts, Others, Row
from pipeline.card.header import UNKNOWN
from pipeline.card.markdown import Code, share, table, text, without_uris
from pipeline.card.provenance import Provenance
from pipeline.config import Config
from pipeline.monitoring.run_facts import NEEDED, RunFacts
from pipeline.removal.card_copies import MARK

REASONS = 12  # reasons shown for each step
CODE = """\
from glob import glob

import webdataset

tars = sorted(glob("{folder}/{split}-*.tar"))
for sample in webdataset.WebDataset(tars, shardshuffle=False, empty_check=False):
    print(sample["__key__"], [name for name in sample if not name.startswith("__")])
"""
REMOVAL = """\
If you are in one of the videos, or hold rights in one, ask the publisher of this data set to take it out, and name the
video. The publisher runs `ola remove ROOT VIDEO`, which deletes its frames, sound, texts and samples, packs what shared
a group with it again and keeps the video out of later runs, and then `ola card ROOT`, which writes this page again.
Copies that others have downloaded, and models trained on them, stay as they are."""


def page(facts: CardFacts, name: str, provenance: Provenance | None, config: Config) -> str:
    """Return the card without its header. provenance: None for a root with imported shards alone."""
    run = facts.run
    sections: list[tuple[str, str]] = [
        ("Contents", _contents(facts)),
        ("Read the shards", _reading(facts)),
        ("Sources", _sources(facts)),
        ("Licences", _licences(facts)),
        ("Languages", _languages(facts.rows.languages)),
    ]
    if run is not None and provenance is not None:
        sections += [
            ("Filters and their yield", _filters(run, config)),
            ("Models and prompts", _provenance(facts, provenance)),
            ("Known biases", _biases(facts, run, config)),
        ]
    sections.append(("Removal of data", REMOVAL))
    body = "\n\n".join(f"## {title}\n\n{words}" for title, words in sections if words)
    return f"{MARK}\n\n# {text(name)}\n\n{summary(facts)}\n\n{body}\n"


def summary(facts: CardFacts) -> str:
    """Return what the data set is, in two sentences of plain text."""
    stages = facts.content.stages.values()
    samples, tasks = (sum(stage[count] for stage in stages) for count in ("samples", "tasks"))
    says = (
        f"{samples:,} samples with {tasks:,} conversations about pictures, videos and their sound, as WebDataset tars."
    )
    if facts.run is None:
        return says
    return (
        f"{says} Captions, questions and answers were made by a model from videos, and were not all checked by people."
    )


def _contents(facts: CardFacts) -> str:
    content = facts.content
    stages = [
        (stage, each["files"], each["samples"], each["tasks"], each["bytes"] / 1e6)
        for stage, each in content.stages.items()
        if each["files"]
    ]
    found = [
        table(["stage", "files", "samples", "tasks", "MB"], stages),
        table(["stage", "kind of task", "train", "val", "tokens"], content.kinds),
        table(["split", "samples", "tasks", "videos", "tokens"], content.splits),
    ]
    if facts.run is not None and facts.run.packed:
        rows = [(name, *map(_round, amounts)) for name, amounts in facts.run.packed.items()]
        found.append(table(["made by this run", "in the shards", "before filters"], rows))
    found.append(
        "Tokens are the length of a task in Ola's context, estimated for text. "
        f"Videos in both splits: {content.in_both:,}."
    )
    return "\n\n".join(found)


def _round(number: float | None) -> float | int | None:
    return number if number is None or isinstance(number, int) else round(float(number), 2)


def _reading(facts: CardFacts) -> str:
    first = next((each for each in facts.content.sets if each.tasks), None)
    if first is None:
        return ""
    code = CODE.format(folder=first.folder, split="train" if first.tasks.get("train") else "val")
    return (
        "A sample is a clip in one stage: `json` with conversations and times, `jpg` or `mjpg` with pictures, `wav` "
        f"with sound. From the folder of this page:\n\n```python\n{code}```\n\n"
        "`croissant.json` describes the files, and `shards.parquet` in each set has a row for each task."
    )


def _sources(facts: CardFacts) -> str:
    found = []
    if facts.rows.sources:
        rows = [(_value(value, "folders"), *counts) for value, *counts in facts.rows.sources]
        found.append(table(["store and folder", "sources", "videos read", "videos in the shards"], rows))
    if facts.content.has_imports:
        found.append(_imports(facts))
    return "\n\n".join(found)


def _imports(facts: CardFacts) -> str:
    names = [each for each in facts.content.sets if each.is_imported]
    rows = [(each.name, sum(each.tasks.values())) for each in names]
    return f"{table(['imported set', 'tasks'], rows)}\n\nSources and licences of imported sets are not known here."


def _licences(facts: CardFacts) -> str:
    if not facts.rows.licences:
        return ""
    read = {str(value): count for value, count in facts.rows.read_licences}
    rows = [
        (_value(value, "licences"), read.get(str(value), 0), videos, clips, hours, tasks)
        for value, videos, clips, hours, tasks in facts.rows.licences
    ]
    heads = ["licence", "videos read", "videos in the shards", "clips", "hours", "tasks"]
    note = (
        "As the metadata of the videos name them; nobody checked that they are right. Texts made by a model may be "
        "under further terms."
    )
    return f"{table(heads, rows)}\n\n{note}"


def _languages(languages: Sequence[Row]) -> str:
    if not languages:
        return ""
    total = sum(tasks for *_, tasks in languages)
    rows = [
        (_value(value, "languages"), videos, clips, hours, tasks, share(tasks, total))
        for value, videos, clips, hours, tasks in languages
    ]
    heads = ["language of the speech", "videos", "clips", "hours", "tasks", "share of tasks"]
    return f"{table(heads, rows)}\n\n`{UNKNOWN}`: nothing is said, or too little to tell."


def _value(value: Any, plural: str) -> str:
    if isinstance(value, Others):
        return Code(f"{value.values:,} other {plural}")
    return Code(UNKNOWN) if value is None else str(value)


def _filters(run: RunFacts, config: Config) -> str:
    heads = ["step", "inputs", "ok", "dropped", "failed", "outputs"]
    funnel = [
        (step.name, count.inputs, count.ok, count.dropped, count.failed, count.outputs)
        for step in run.steps
        for count in [step.counts]
    ]
    found = [table(heads, funnel)]
    if reasons := [row for step in run.steps for row in _reasons(step.name, step.reasons())]:
        found.append(table(["step", "reason", "inputs"], reasons))
    rules = [("pack.where", config.pack.where), ("pack.cross_modal_needs", ", ".join(config.pack.cross_modal_needs)),
             ("pack.agreement", str(config.pack.agreement)), ("pack.val", str(config.pack.val))]  # fmt: skip
    rules += [("pack.evidence", config.pack.evidence)] if config.ask.style == "evidence" else []
    return "\n\n".join([*found, table(["setting", "value"], [(name, text(value, 2000)) for name, value in rules])])


def _reasons(step: str, reasons: Sequence[tuple[str, int]]) -> Iterable[Row]:
    yield from ((step, without_uris(reason), count) for reason, count in reasons[:REASONS])
    if rest := reasons[REASONS:]:
        yield step, Code(f"{len(rest):,} other reasons"), sum(count for _, count in rest)


def _provenance(facts: CardFacts, provenance: Provenance) -> str:
    run = facts.run
    tokens = [(step.name, *step.tokens.values()) for step in run.steps if step.tokens] if run else []
    made = [(step, software or Code(UNKNOWN), rows) for step, software, rows in facts.rows.made_by]
    tables: list[tuple[list[str], Sequence[Row]]] = [
        (["use", "model", "digest of the weights"], provenance.models),
        (["step", "software, dtype and device", "rows"], made),
        (["step", "tokens asked", "tokens read", "tokens written"], tokens),
        (["transcripts from", "clips", "words"], facts.rows.origins),
        (["step", "prompt", "digest of its text"], provenance.prompts),
        (["step", "key of its settings"], list(provenance.keys.items())),
    ]
    return "\n\n".join(table(heads, rows) for heads, rows in tables if rows)


def _biases(facts: CardFacts, run: RunFacts, config: Config) -> str:
    found = []
    if letters := facts.rows.letters:
        totals: dict[int, int] = {}
        for options, _, count in letters:
            totals[options] = totals.get(options, 0) + count
        rows = [
            (options, letter, count, share(count, totals[options]), share(1, options))
            for options, letter, count in letters
        ]
        heads = ["options", "right letter", "packed questions", "share", "share by chance"]
        found.append(f"Right answers of multiple choice:\n\n{table(heads, rows)}")
    if answers := facts.rows.answers:
        given = [(kind, answer, count, share(count, total)) for kind, answer, count, total in answers]
        heads = ["kind of question", "answer", "packed questions", "share of the kind"]
        found.append(f"The most frequent answers in words, of those given more than once:\n\n{table(heads, given)}")
    if run.needs:
        needs = [(kind, *(counts[need] for need in NEEDED)) for kind, counts in run.needs.items()]
        found.append(
            f"What all verified questions need, by the model's answers under each view and `pack.agreement` = "
            f"{config.pack.agreement:g}:\n\n{table(['kind of question', *NEEDED], needs)}"
        )
    return "\n\n".join(found) or "There are no questions to measure. See the tables of languages and sources."
