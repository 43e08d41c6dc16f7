"""Render decoded frames to the JPEGs that are stored: upright, deinterlaced, in SDR, at the size that Ola trains on."""

from __future__ import annotations

import io
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ola.geometry import video_size
from pipeline.media.colour import UNKNOWN, Colour, colour_of, to_sdr
from pipeline.media.interlace import DEINTERLACE, has_combs
from pipeline.media.orientation import Orientation, turning_filters

GREY = 127  # Ola pads with it (upstream's fill value)


class FrameSource(Protocol):
    """Properties of a video that a FrameRenderer needs: a `Video`, or the facts of `probe`."""

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
    """Renders JPEGs of one video's frames: `jpeg(frame) -> bytes`, all of `size` (width, height)."""

    def __init__(
        self, width: int, height: int, rotation: int, quality: int, mirrored: bool = False, interlaced: bool = False
    ) -> None:
        """width, height: as displayed; rotation: degrees clockwise that turn the coded picture upright.

        mirrored: whether left and right are swapped before the rotation; interlaced: whether frames without the flag
        may be interlaced.
        """
        fit = video_size(width, height)
        self.size, self.quality, self.interlaced = fit.size, quality, interlaced
        self.orientation = Orientation(rotation % 360, mirrored)
        self.inner_size = fit.size if fit.how == "resize" else (width, height)
        self.graphs: dict[tuple[Any, ...], Any] = {}

    @classmethod
    def for_video(cls, video: FrameSource, quality: int) -> FrameRenderer:
        """Return the renderer of a video's frames as libav decodes them."""
        return cls(video.width, video.height, video.rotation, quality, video.mirrored, video.interlaced)

    def jpeg(self, frame: Any) -> bytes:
        """Return an `av.VideoFrame` as a JPEG."""
        from PIL import Image

        sink = io.BytesIO()
        Image.fromarray(self.pixels(frame)).save(sink, "JPEG", quality=self.quality)
        return sink.getvalue()

    def pixels(self, frame: Any) -> NDArray[np.uint8]:
        """Return an `av.VideoFrame` as (height, width, 3) uint8 RGB."""
        colour = colour_of(frame)
        frame.pts = None  # wanted frames come out of order; the graph would reject their times
        if (frame.interlaced_frame or self.interlaced) and has_combs(frame):
            graph = self._build_graph(frame, colour, DEINTERLACE)  # the filter must not mix in the frames before
            graph.push(frame)
            graph.push(None)
        else:
            graph = self._cached_graph(frame, colour)
            graph.push(frame)
        rgb = graph.pull().to_ndarray()
        return self._pad(to_sdr(rgb, colour) if colour.mapped else rgb)

    def _cached_graph(self, frame: Any, colour: Colour) -> Any:
        # a stream may change its size or colours midway
        key = (frame.width, frame.height, frame.format.name, colour)
        if key not in self.graphs:
            self.graphs[key] = self._build_graph(frame, colour)
        return self.graphs[key]

    def _build_graph(self, frame: Any, colour: Colour, *first: tuple[str, str]) -> Any:
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
        width, height = self.inner_size if self.orientation.rotation in (0, 180) else self.inner_size[::-1]
        scale = f"{width}:{height}:flags=bicubic"
        if colour.hdr and colour.matrix == UNKNOWN:
            scale += ":in_color_matrix=bt2020"
        form = ("format", "rgb48le" if colour.mapped else "rgb24")
        return [("scale", scale), form, *turning_filters(self.orientation)]

    def _pad(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.inner_size == self.size:
            return rgb
        (width, height), (inner_width, inner_height) = self.size, self.inner_size
        left, top = (width - inner_width) // 2, (height - inner_height) // 2
        padded = np.full((height, width, 3), GREY, np.uint8)
        padded[top : top + inner_height, left : left + inner_width] = rgb
        return padded
