"""Errors of training and evaluation; the message is one line for the user."""

from __future__ import annotations


class StagesError(Exception):
    """A recipe, shards, a model or a checkpoint cannot be used, or training cannot continue."""


class Stopped(StagesError):
    """A training stopped on request after it saved its last step."""

    @property
    def saved(self) -> str:
        """The saved step and how to resume, as the last line of a command."""
        return f"{self}; run the same command again to resume"
