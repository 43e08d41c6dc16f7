"""Commands that use a model or look into its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.commands import Device, Dtype
from pipeline.cli.exit_codes import GOOD, POOR

PANEL = "Model"
app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def chat(  # noqa: PLR0913, PLR0917
    model: Annotated[Path, typer.Option(help="Folder of the weights, or nano.")],
    text: Annotated[str, typer.Argument(help="The question; default: lines of standard input.")] = "",
    image: Annotated[list[Path] | None, typer.Option(help="A picture. Repeat.", exists=True)] = None,
    video: Annotated[Path | None, typer.Option(help="A video, with its sound.", exists=True)] = None,
    sound: Annotated[list[Path] | None, typer.Option(help="A sound. Repeat.", exists=True)] = None,
    speak: Annotated[Path | None, typer.Option(help="WAV file for the spoken answer.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 1024,
    temperature: Annotated[float, typer.Option(min=0, help="0: the likeliest tokens; above: sampled.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    device: Device = None,
    dtype: Dtype = "auto",
) -> None:
    """Ask a model about pictures, a video or sounds. The answer is printed while it is generated."""
    from ola.prompt import Request
    from pipeline.cli.chat import MediaFiles, chat

    request = Request(text, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    chat(model, MediaFiles(image or (), video, sound or ()), request, speak, device, dtype)


@app.command("model", rich_help_panel=PANEL)
def model_command(
    folder: Annotated[Path, typer.Argument(help="Folder of the weights.")],
    merge: Annotated[
        Path | None,
        typer.Option(help="A checkpoint of `ola train`; its model is written to FOLDER first.", exists=True),
    ] = None,
) -> None:
    """Print sizes and dtypes of a model by module, and every fault of its files. Exit 1 if there is one."""
    from pipeline.cli.model import show_model

    if merge is not None:
        from stages.merging import merge as merge_checkpoint

        merge_checkpoint(merge, folder)
    raise typer.Exit(GOOD if show_model(folder) else POOR)
