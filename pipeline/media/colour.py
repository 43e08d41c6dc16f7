"""Read how a frame's colours are coded (ITU-T H.273), and convert HDR and wide-gamut frames to sRGB.

HDR light is relative to reference white, 203 cd/m² (ITU-R BT.2408). Light below three quarters of reference white stays
as it is; a knee compresses the light above into the rest of the range.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# ffmpeg's names; other values are `unknown`
TRANSFERS = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100", 10: "log316",
    11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084",
    17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020", 10: "smpte428",
    11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip
MATRICES = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp",
}  # fmt: skip
RANGES = {1: "tv", 2: "pc"}
UNKNOWN = "unknown"

PQ, HLG = "smpte2084", "arib-std-b67"
XY_OF = {
    "bt709": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "smpte432": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
D65 = (0.3127, 0.3290)
WIDE = ("bt2020", "smpte432")

WHITE = 203.0  # cd/m² of reference white, ITU-R BT.2408
HLG_WHITE = 0.265  # scene light of reference white, signal 75 %
# HLG leaves the rendering to the screen: gamma is 1.2 at a peak of 1000 cd/m² and lower on darker screens, ITU-R
# BT.2100 note 5f. 1.08 is the gamma at 500 cd/m², near the brightest light that the knee still shows.
HLG_GAMMA = 1.08
LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020's primaries
KNEE = 0.75  # of reference white
LEVELS = 4096  # of the tables

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Colour:
    """Transfer, primaries, matrix and range by ffmpeg's names."""

    transfer: str = UNKNOWN
    primaries: str = UNKNOWN
    matrix: str = UNKNOWN
    range: str = UNKNOWN

    @property
    def hdr(self) -> bool:
        """Whether the transfer codes light above reference white."""
        return self.transfer in (PQ, HLG)

    @property
    def mapped(self) -> bool:
        """Whether the frame is HDR or has wide-gamut primaries, so that `to_sdr` must convert it to sRGB."""
        return self.hdr or self.primaries in WIDE


def colour_of(frame: Any) -> Colour:
    """Return the colour coding that an `av.VideoFrame` declares."""
    return Colour(
        TRANSFERS.get(int(frame.color_trc), UNKNOWN),
        PRIMARIES.get(int(frame.color_primaries), UNKNOWN),
        MATRICES.get(int(frame.colorspace), UNKNOWN),
        RANGES.get(int(frame.color_range), UNKNOWN),
    )


def to_sdr(rgb: NDArray[np.uint16], colour: Colour) -> NDArray[np.uint8]:
    """Convert full-range R'G'B' (height, width, 3) of a `mapped` colour to 8-bit sRGB with BT.709 primaries."""
    light = _linear_light(colour.transfer)[rgb >> 4]
    if colour.transfer == HLG:
        light *= np.power(light @ LUMINANCE, np.float32(HLG_GAMMA - 1))[..., None]
    light = np.maximum(light @ _to_bt709(colour.primaries).T, 0)
    if colour.hdr:
        light *= _tone_map_factor(np.maximum.reduce([light[..., n] for n in range(3)]))[..., None]
    # indexed by the square root: finer steps in the dark, as in the eye
    roots = np.sqrt(np.minimum(light, 1)) * np.float32(LEVELS - 1)
    levels: NDArray[np.uint8] = _srgb()[np.rint(roots).astype(np.uint16)]
    return levels


def _tone_map_factor(peak: Floats) -> Floats:
    """Return the factor for a pixel whose strongest primary is `peak`; one factor for all primaries keeps the hue."""
    over = np.maximum(peak - np.float32(KNEE), 0) / np.float32(1 - KNEE)
    mapped = np.minimum(peak, np.float32(KNEE)) + np.float32(1 - KNEE) * over / (1 + over)
    factor: Floats = mapped / np.maximum(peak, np.float32(1e-6))
    return factor


@cache
def _linear_light(transfer: str) -> Floats:
    """Return the light of each level, 1 at reference white: scene light for HLG, else display light.

    Transfers other than PQ and HLG count as sRGB.
    """
    signal = np.linspace(0, 1, LEVELS)
    if transfer == PQ:  # BT.2100 table 4
        root = signal ** (32 / 2523)
        light = 10000 / WHITE * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (16384 / 2610)
    elif transfer == HLG:  # BT.2100 table 5
        bright = (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
        light = np.where(signal <= 0.5, signal**2 / 3, bright) / HLG_WHITE
    else:
        light = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


@cache
def _srgb() -> NDArray[np.uint8]:
    """Return a table from the square root of light to 8-bit sRGB."""
    light = np.linspace(0, 1, LEVELS) ** 2
    signal = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    levels: NDArray[np.uint8] = np.rint(255 * signal).astype(np.uint8)
    return levels


@cache
def _to_bt709(primaries: str) -> Floats:
    """Return the matrix from light in these primaries to light in BT.709's. Unknown primaries of HDR are BT.2020's."""
    wide = _to_xyz(XY_OF.get(primaries, XY_OF["bt2020"]))
    return np.linalg.solve(_to_xyz(XY_OF["bt709"]), wide).astype(np.float32)


def _to_xyz(corners: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """Return the matrix from RGB with these chromaticities to XYZ, with D65 as white (SMPTE RP 177)."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in (*corners, D65)]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])
