"""`ola world`: small clips whose truth is known, and what a run made of them beside that truth."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipeline.synthetic.world.metrics import ScoredQuestion

world = typer.Typer(help="Small clips whose truth is known, and how much of it a run has found.", no_args_is_help=True)


@world.command()
def make(
    out: Annotated[Path, typer.Argument(help="Folder for the films and their truth.")],
    clips: Annotated[int, typer.Option(min=1, help="How many.")] = 12,
    seed: Annotated[int, typer.Option(help="Of the world; its range is the split: 0-999 train, 1000-1999 val, …")] = 0,
    subtitles: Annotated[
        bool, typer.Option("--subtitles", help="An .srt beside each clip in which a voice is.")
    ] = False,
) -> None:
    """Write clips (H.264 and AAC), each with its truth as JSON beside it; the same seed gives the same files."""
    from pipeline.synthetic.world.generate import make_world

    made = Counter(scene.kind for scene in make_world(out, clips, seed, subtitles))
    kinds = ", ".join(f"{count} {kind}" for kind, count in made.most_common())
    typer.echo(f"{made.total()} clips in {out}: {kinds}")


@world.command()
def score(
    root: Annotated[str, typer.Argument(help="Folder or URI of a run over films of the world.")],
    as_json: Annotated[bool, typer.Option("--json", help="For scripts, with every fault.")] = False,
    faults: Annotated[int, typer.Option(min=0, help="How many faults are shown.")] = 8,
    questions: Annotated[int, typer.Option(min=0, help="How many questions are shown, with their truth.")] = 0,
) -> None:
    """What a run made of its films beside their truth: transcripts, captions, questions, needs, what was packed."""
    from pipeline.synthetic.world.score import RunScore

    found = RunScore(root)
    facts = found.report()
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for line in table(facts):
        typer.echo(line)
    for each in spread(found.questions, questions):
        packed = ", in the shards" if each.packed else ""
        typer.echo(f"{each.film}: {each.question} {each.answer}")
        typer.echo(f"    {each.verdict}; needs {each.true_needs}, measured {each.measured_needs}{packed}")
    for fault in facts["faults"][:faults]:
        typer.echo(f"{fault['film']}: {fault['fault']}: {fault['said']}")
    if len(facts["faults"]) > faults:
        typer.echo(f"and {len(facts['faults']) - faults} more: --json has all")


def spread(found: Sequence[ScoredQuestion], count: int) -> Sequence[ScoredQuestion]:
    """So many of them, from all over the run, those in the shards first."""
    some = [each for each in found if each.packed] or found
    return some[:: max(1, len(some) // count)][:count] if count else ()


def table(facts: dict[str, Any]) -> Iterator[str]:
    """The measures for people, a line each; the confusion matrix has the truth at its side."""
    for part in ("clips", "transcripts", "questions", "cross_modal"):
        yield f"{part:<13}" + ", ".join(
            f"{name.replace('_', ' ')} {shown(value)}" for name, value in facts[part].items()
        )
    for view, row in facts["captions"].items():
        yield f"{'caption ' + view:<15}" + ", ".join(f"{name} {shown(value)}" for name, value in row.items())
    heads = list(next(iter(facts["needs"].values())))
    yield f"{'needs':<13}" + "".join(f"{head:>13}" for head in heads)
    for truth, counts in facts["needs"].items():
        yield f"{'truly ' + truth:<13}" + "".join(f"{counts[head]:>13}" for head in heads)


def shown(value: float | int | None) -> str:
    """A count, a share in percent, or a dash where there is nothing to count."""
    if value is None:
        return "-"
    return f"{value:.1%}" if isinstance(value, float) else str(value)
