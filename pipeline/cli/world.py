"""`ola world`: small clips whose truth is known, and what a run made of them beside that truth."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

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
    from pipeline.world.making import make_world

    made = Counter(scene.kind for scene in make_world(out, clips, seed, subtitles))
    kinds = ", ".join(f"{count} {kind}" for kind, count in made.most_common())
    typer.echo(f"{made.total()} clips in {out}: {kinds}")
