"""How a frame must be turned to be upright: what its display matrix says, as a mirror and a rotation."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, degrees
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Orientation:
    """mirrored: left and right of the coded picture are swapped first; rotation: degrees clockwise after that."""

    rotation: int = 0
    mirrored: bool = False


def orientation_of(frame: Any) -> Orientation:
    """The orientation of an `av.VideoFrame`, to the nearest quarter turn."""
    from av.sidedata.sidedata import Type

    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return Orientation()
    # x' = ax + cy and y' = bx + dy; a mirror of x changes the signs of a and b alone
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype="<i4")[:5].astype(float)
    return Orientation(round(degrees(atan2(-c, d)) / 90) * 90 % 360, bool(a * d - b * c < 0))


def turning_filters(orientation: Orientation) -> list[tuple[str, str]]:
    """ffmpeg's filters, as (name, options), that make the coded picture upright."""
    mirror = [("hflip", "")] if orientation.mirrored else []
    return mirror + [("transpose", "clock")] * (orientation.rotation % 360 // 90)
