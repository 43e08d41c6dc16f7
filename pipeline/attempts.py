"""How often workers died over a number of a lane that keeps no journal."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pipeline.errors import RunError


class Attempts:
    """Counts how often each number was begun: Ray Data would give it to new workers without end."""

    def __init__(self) -> None:
        """Nothing was begun."""
        self.begun: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        """Return how often the number was begun before."""
        self.begun[number] += 1
        return self.begun[number] - 1


def begin(attempts: Any, number: int, retries: int) -> None:
    """Count one more attempt of a number. Raises RunError if workers died over it more than `retries` times.

    attempts: a Ray actor of `Attempts`.
    """
    import ray

    deaths = ray.get(attempts.begin.remote(number))
    if deaths > retries:
        raise RunError(f"a worker failed: it died {deaths} times over number {number}")
