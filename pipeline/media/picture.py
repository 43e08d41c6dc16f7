"""From decoded frames to the JPEGs that are stored: turned upright, pixels made square, at the size Ola trains on."""

from __future__ import annotations

import io
from typing import Any

from ola.geometry import video_size

GREY = "0x7F7F7F"  # Ola pads with 127 (upstream's fill value)


class Painter:
    """Makes JPEGs of one video's frames: `jpeg(frame) -> bytes`, all of `size` (width, height)."""

    def __init__(self, width: int, height: int, rotation: int, quality: int) -> None:
        """width, height: as displayed; rotation: degrees clockwise that make the coded picture upright."""
        fit = video_size(width, height)
        self.size, self.rotation, self.quality = fit.size, rotation % 360, quality
        self.inner = fit.size if fit.how == "resize" else (width, height)
        self.graphs: dict[tuple[int, int, str], Any] = {}

    def jpeg(self, frame: Any) -> bytes:
        """The JPEG of an `av.VideoFrame`."""
        from PIL import Image

        sink = io.BytesIO()
        Image.fromarray(self.pixels(frame)).save(sink, "JPEG", quality=self.quality)
        return sink.getvalue()

    def pixels(self, frame: Any) -> Any:
        """The picture as (height, width, 3) uint8 RGB."""
        graph = self._graph(frame)  # a stream may change its size midway: one graph for each
        frame.pts = None  # frames come out of order of time when only some are wanted; the graph must not mind
        graph.push(frame)
        return graph.pull().to_ndarray()

    def _graph(self, frame: Any) -> Any:
        key = (frame.width, frame.height, frame.format.name)
        if key not in self.graphs:
            self.graphs[key] = self._build(*key)
        return self.graphs[key]

    def _build(self, width: int, height: int, pixel_format: str) -> Any:
        from fractions import Fraction

        import av
        import av.filter

        graph = av.filter.Graph()
        form = av.VideoFormat(pixel_format)
        last = graph.add_buffer(width=width, height=height, format=form, time_base=Fraction(1, 1000))
        for name, options in self._filters():
            following = graph.add(name, options)
            last.link_to(following)
            last = following
        sink = graph.add("buffersink")
        last.link_to(sink)
        graph.configure()
        return graph

    def _filters(self) -> list[tuple[str, str]]:
        inner_width, inner_height = self.inner if self.rotation in (0, 180) else self.inner[::-1]
        width, height = self.size
        filters = [("scale", f"{inner_width}:{inner_height}:flags=bicubic"), ("format", "rgb24")]
        filters += [("transpose", "clock")] * (self.rotation // 90)
        if self.inner != self.size:
            filters.append(("pad", f"{width}:{height}:(ow-iw)/2:(oh-ih)/2:color={GREY}"))
        return filters
