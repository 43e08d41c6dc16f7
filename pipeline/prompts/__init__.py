"""The words that models and conversations are given: a file each, so that a change of text is a change of key."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def prompt(name: str) -> str:
    """Text of `<name>.md`, without the newline at its end. Raises FileNotFoundError."""
    return files(__name__).joinpath(f"{name}.md").read_text(encoding="utf-8").strip()
