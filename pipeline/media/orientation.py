"""Read the display matrix of a frame as a mirror and a rotation, and make the filters that turn the frame upright."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, degrees
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Orientation:
    """mirrored: swap left and right of the coded picture first; rotation: then turn by these degrees clockwise."""

    rotation: int = 0
    mirrored: bool = False


def orientation_of(frame: Any) -> Orientation:
    """Return the orientation of an `av.VideoFrame`, to the nearest quarter turn."""
    from av.sidedata.sidedata import Type

    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return Orientation()
    # x' = ax + cy and y' = bx + dy; a mirror of x changes the signs of a and b alone
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype="<i4")[:5].astype(float)
    return Orientation(round(degrees(atan2(-c, d)) / 90) * 90 % 360, bool(a * d - b * c < 0))


def turning_filters(orientation: Orientation) -> list[tuple[str, str]]:
    """Return ffmpeg's filters, as (name, options), that turn the coded picture upright."""
    mirror = [("hflip", "")] if orientation.mirrored else []
    return mirror + [("transpose", "clock")] * (orientation.rotation % 360 // 90)
