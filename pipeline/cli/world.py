"""`ola world`: make synthetic clips with known truth, and score a run against it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipeline.synthetic.world.metrics import ScoredQuestion

world = typer.Typer(help="Make synthetic clips with known truth, and score a run on them.", no_args_is_help=True)


@world.command()
def make(
    out: Annotated[Path, typer.Argument(help="Folder for the clips and their truth.")],
    clips: Annotated[int, typer.Option(min=1, help="Number of clips.")] = 12,
    seed: Annotated[int, typer.Option(help="Random seed; its range is the split: 0-999 train, 1000-1999 val, …")] = 0,
    subtitles: Annotated[
        bool, typer.Option("--subtitles", help="Write an .srt file for each clip with speech.")
    ] = False,
    wordless: Annotated[
        bool, typer.Option("--wordless", help="Make only clips with signals and without a voice.")
    ] = False,
    plant: Annotated[
        list[str] | None,
        typer.Option("--plant", help="What to plant, in turn: names or `questions`, `curation`, `copies`; repeatable."),
    ] = None,
) -> None:
    """Write clips (H.264 and AAC), each with its truth as JSON. The same seed gives the same files."""
    from pipeline.synthetic.world.generate import make_world
    from pipeline.synthetic.world.scenes import WORDLESS

    scenes = make_world(out, clips, seed, subtitles, WORDLESS if wordless else "", plant or ())
    clips_by_kind = Counter(scene.plant or scene.kind for scene in scenes)
    kinds = ", ".join(f"{count} {kind}" for kind, count in clips_by_kind.most_common())
    typer.echo(f"{clips_by_kind.total()} clips in {out}: {kinds}")


@world.command()
def score(
    root: Annotated[str, typer.Argument(help="Folder or URI of a run on clips of `ola world make`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with every fault, for scripts.")] = False,
    faults: Annotated[int, typer.Option(min=0, help="Most faults to print.")] = 8,
    questions: Annotated[int, typer.Option(min=0, help="Most questions to print, with their truth.")] = 0,
) -> None:
    """Compare a run's transcripts, captions, questions, needs and packed tasks with the truth of its clips."""
    from pipeline.synthetic.world.score import RunScore

    found = RunScore(root)
    facts = found.report()
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for line in measure_lines(facts):
        typer.echo(line)
    for each in pick_evenly(found.questions, questions):
        packed = ", in the shards" if each.packed else ""
        typer.echo(f"{each.film}: {each.question} {each.answer}")
        typer.echo(f"    {each.verdict}; needs {each.true_needs}, measured {each.measured_needs}{packed}")
    for fault in facts["faults"][:faults]:
        typer.echo(f"{fault['film']}: {fault['fault']}: {fault['said']}")
    if len(facts["faults"]) > faults:
        typer.echo(f"and {len(facts['faults']) - faults} more: --json has all")


def pick_evenly(found: Sequence[ScoredQuestion], count: int) -> Sequence[ScoredQuestion]:
    """Return up to `count` questions, spread evenly over the run; packed ones first."""
    some = [each for each in found if each.packed] or found
    return some[:: max(1, len(some) // count)][:count] if count else ()


def measure_lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the measures as text lines; the confusion matrix has a row per true value."""
    for part in ("clips", "transcripts", "questions", "cross_modal"):
        yield f"{part:<13}" + ", ".join(
            f"{name.replace('_', ' ')} {value_text(value)}" for name, value in facts[part].items()
        )
    for name, row in facts["by_speech"].items():
        rate = "-" if row["per_clip"] is None else f"{row['per_clip']:.2f}"
        counts = f"clips {row['clips']}, verified {row['verified']}, a clip {rate}, right {value_text(row['right'])}"
        yield f"{name.replace('_', ' '):<13}{counts}"
    for view, row in facts["captions"].items():
        yield f"{'caption ' + view:<15}" + ", ".join(f"{name} {value_text(value)}" for name, value in row.items())
    for view, row in facts["invented"].items():
        yield f"{'invented ' + view:<15}" + f"facts {row['invented']}, a caption {row['per_caption']:.2f}"
    for sense, row in facts["spans"].items():
        yield (
            f"{'spans ' + sense:<13}" + f"{row['spans']}, IoU {row['iou']:.2f}, at least 0.7 {value_text(row['good'])}"
        )
    heads = list(next(iter(facts["needs"].values())))
    yield f"{'needs':<13}" + "".join(f"{head:>13}" for head in heads)
    for truth, counts in facts["needs"].items():
        yield f"{'truly ' + truth:<13}" + "".join(f"{counts[head]:>13}" for head in heads)
    yield from plant_lines(facts)


def plant_lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield what became of planted shortcuts, faults, copies and leaks, a line each."""
    for plant, row in facts["planted"].items():
        if not row["questions"] and not row["need_both"]:
            continue
        through = row["let_through"]
        known = (
            "-" if through["share"] is None else f"{through['share']:.1%} ({through['low']:.1%}-{through['high']:.1%})"
        )
        vetoes = ", ".join(f"{name} {count}" for name, count in row["vetoes"].items()) or "-"
        yield (
            f"{'planted ' + plant:<22} clips {row['clips']}, questions {row['questions']}, let through "
            f"{through['count']}: {known}; vetoes {vetoes}; others that need both {row['need_both']}, "
            f"packed {row['kept']}"
        )
    for plant, row in facts["separation"].items():
        areas = ", ".join(f"{column} {area:.3f}" for column, area in row["auc"].items()) or "no score of it in this run"
        yield f"{'fault ' + plant:<22} clips {row['clips']} beside {row['beside']}, AUC: {areas}"
    found = facts["copies"]
    for plant, row in found["copies"].items():
        yield f"{plant:<22} found {row['found']} of {row['copies']}, right relation {row['right_relation']}"
    if found["copies"]:
        yield f"{'unlike films':<22} pairs {found['unlike_pairs']}, taken for copies {found['false_pairs']}"
    if found["leaks"]["leaks"]:
        leaks = found["leaks"]
        yield f"{'leaked':<22} found {leaks['found']} of {leaks['leaks']}, others taken for leaks {leaks['false']}"


def value_text(value: float | int | None) -> str:
    """Return a count, a share in percent, or a dash for None."""
    if value is None:
        return "-"
    return f"{value:.1%}" if isinstance(value, float) else str(value)
