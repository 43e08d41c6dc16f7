"""Cut the text of an answer before a stop string, while the text is generated piece by piece."""

from __future__ import annotations

from collections.abc import Iterable


class StopStrings:
    """Cuts a stream of text before the first stop string.

    An end of the text that may begin a stop string is held back until the next text decides it.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self.stops = [stop for stop in stops if stop]
        self.stopped = False
        self._held = ""

    def push(self, text: str, last: bool = False) -> str:
        """Add text; return the text that is final. last: no more text follows."""
        if self.stopped:
            return ""
        self._held += text
        found = [(at + len(stop), at) for stop in self.stops if (at := self._held.find(stop)) >= 0]
        self.stopped = bool(found)
        until = min(found)[1] if found else len(self._held) - (0 if last else self._begun())
        given, self._held = self._held[:until], self._held[until:]
        return given

    def _begun(self) -> int:
        """Return the length of the longest end of the text that may begin a stop string."""
        sizes = (size for stop in self.stops for size in range(1, len(stop)) if self._held.endswith(stop[:size]))
        return max(sizes, default=0)
