"""Choose the picture stream of a file with several."""

from __future__ import annotations

from typing import Any


def choose_picture(container: Any) -> Any:
    """Return the picture stream that a player shows, or None: marked as default before others, then the largest.

    Of equals the first is chosen. Cover art, thumbnails and still pictures are never chosen.
    """
    from av.stream import Disposition

    def rank(stream: Any) -> tuple[bool, bool, int]:
        codec = stream.codec_context
        size = 0 if codec is None else codec.width * codec.height
        return codec is not None, bool(stream.disposition & Disposition.default), size

    never = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    moving = [stream for stream in container.streams.video if not stream.disposition & never]
    return max(moving, key=rank, default=None)  # of equals, `max` takes the first
