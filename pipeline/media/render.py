"""From decoded frames to the JPEGs that are stored: upright, deinterlaced, in SDR, at the size that Ola trains on."""

from __future__ import annotations

import io
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ola.geometry import video_size
from pipeline.media.colour import UNKNOWN, Colour, colour_of, to_sdr
from pipeline.media.interlace import DEINTERLACE, combed
from pipeline.media.orientation import Orientation, turning_filters

GREY = 127  # Ola pads with it (upstream's fill value)


class FrameSource(Protocol):
    """What a FrameRenderer must know of a video: a `Video`, or the facts of `probe`."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def rotation(self) -> int: ...

    @property
    def mirrored(self) -> bool: ...

    @property
    def interlaced(self) -> bool: ...


class FrameRenderer:
    """Makes JPEGs of one video's frames: `jpeg(frame) -> bytes`, all of `size` (width, height)."""

    def __init__(
        self, width: int, height: int, rotation: int, quality: int, mirrored: bool = False, interlaced: bool = False
    ) -> None:
        """width, height: as displayed; rotation: degrees clockwise that make the coded picture upright.

        mirrored: whether its left and right are swapped before; interlaced: whether frames may be, though they do
        not say so.
        """
        fit = video_size(width, height)
        self.size, self.quality, self.interlaced = fit.size, quality, interlaced
        self.orientation = Orientation(rotation % 360, mirrored)
        self.inner = fit.size if fit.how == "resize" else (width, height)
        self.graphs: dict[tuple[Any, ...], Any] = {}

    @classmethod
    def of(cls, video: FrameSource, quality: int) -> FrameRenderer:
        """The painter of a video's frames as libav decodes them."""
        return cls(video.width, video.height, video.rotation, quality, video.mirrored, video.interlaced)

    def jpeg(self, frame: Any) -> bytes:
        """The JPEG of an `av.VideoFrame`."""
        from PIL import Image

        sink = io.BytesIO()
        Image.fromarray(self.pixels(frame)).save(sink, "JPEG", quality=self.quality)
        return sink.getvalue()

    def pixels(self, frame: Any) -> NDArray[np.uint8]:
        """The picture as (height, width, 3) uint8 RGB."""
        colour = colour_of(frame)
        frame.pts = None  # frames come out of order of time when only some are wanted; the graph must not mind
        if (frame.interlaced_frame or self.interlaced) and combed(frame):
            graph = self._build(frame, colour, DEINTERLACE)  # a graph of its own: its neighbours in time are others
            graph.push(frame)
            graph.push(None)
        else:
            graph = self._graph(frame, colour)
            graph.push(frame)
        rgb = graph.pull().to_ndarray()
        return self._padded(to_sdr(rgb, colour) if colour.mapped else rgb)

    def _graph(self, frame: Any, colour: Colour) -> Any:
        # a stream may change its size or colours midway: one graph for each
        key = (frame.width, frame.height, frame.format.name, colour)
        if key not in self.graphs:
            self.graphs[key] = self._build(frame, colour)
        return self.graphs[key]

    def _build(self, frame: Any, colour: Colour, *first: tuple[str, str]) -> Any:
        from fractions import Fraction

        import av.filter

        graph = av.filter.Graph()
        size = {"width": frame.width, "height": frame.height}
        last = graph.add_buffer(**size, format=frame.format, time_base=Fraction(1, 1000))
        for name, options in (*first, *self._filters(colour), ("buffersink", "")):
            following = graph.add(name, options)
            last.link_to(following)
            last = following
        graph.configure()
        return graph

    def _filters(self, colour: Colour) -> list[tuple[str, str]]:
        width, height = self.inner if self.orientation.rotation in (0, 180) else self.inner[::-1]
        scale = f"{width}:{height}:flags=bicubic"
        if colour.hdr and colour.matrix == UNKNOWN:
            scale += ":in_color_matrix=bt2020"
        form = ("format", "rgb48le" if colour.mapped else "rgb24")
        return [("scale", scale), form, *turning_filters(self.orientation)]

    def _padded(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.inner == self.size:
            return rgb
        (width, height), (inner_width, inner_height) = self.size, self.inner
        left, top = (width - inner_width) // 2, (height - inner_height) // 2
        padded = np.full((height, width, 3), GREY, np.uint8)
        padded[top : top + inner_height, left : left + inner_width] = rgb
        return padded
