"""What can go wrong in training and evaluation, for a user to read as one line."""

from __future__ import annotations


class StagesError(Exception):
    """A recipe, shards, a model or a checkpoint cannot be used, or training cannot go on; says what, which, and why."""
