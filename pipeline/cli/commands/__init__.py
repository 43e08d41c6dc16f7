"""Declarations of the commands: flags and help here, the work in the file named as the command."""

from __future__ import annotations

from typing import Annotated

import typer

Root = Annotated[str, typer.Argument(help="Folder or URI of the run.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="A setting, as in split.longest=20. Repeat.")]
Config = Annotated[str | None, typer.Option(help="YAML file of settings.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1; default: the GPU if there is one.")]
Dtype = Annotated[str, typer.Option(help="auto (as stored), bfloat16, float16 or float32.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
