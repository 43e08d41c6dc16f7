"""Which picture stream of a file is read, where there are several."""

from __future__ import annotations

from typing import Any


def chosen_picture(container: Any) -> Any:
    """The picture stream that a player shows, or None: one marked as default, of these the largest, then the first.

    Cover art, thumbnails and still pictures are never chosen.
    """
    from av.stream import Disposition

    def rank(stream: Any) -> tuple[bool, bool, int]:
        codec = stream.codec_context
        size = 0 if codec is None else codec.width * codec.height
        return codec is not None, bool(stream.disposition & Disposition.default), size

    never = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    moving = [stream for stream in container.streams.video if not stream.disposition & never]
    return max(moving, key=rank, default=None)  # of equals, `max` takes the first
