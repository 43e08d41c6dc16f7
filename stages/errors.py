"""What can go wrong in training and evaluation, for a user to read as one line."""

from __future__ import annotations


class StagesError(Exception):
    """A recipe, shards, a model or a checkpoint cannot be used, or training cannot go on; says what, which, and why."""


class Stopped(StagesError):
    """A training was asked to stop, and has saved its last step. saved: for the line that a command ends with."""

    @property
    def saved(self) -> str:
        """Which step is saved, and how to go on."""
        return f"{self}; give the same command again to go on after it"
