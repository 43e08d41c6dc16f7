"""Draw the frames of a scene: flat shapes on grey with noise. The same scene gives the same pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.synthetic.world.lettering import draw_text
from pipeline.synthetic.world.scenes import CUTS, RATE, SIDE, Placement, Scene, SceneFigure, Sight
from pipeline.synthetic.world.textures import landscape

Picture = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float64]
LARGE_SIDE = 3 * SIDE  # pixels
GRAIN_STD = 5.0  # standard deviation of the noise; white is 255


def _star_distance(u: Field, v: Field) -> Field:
    """Return the distance from a five-pointed star.

    All points are folded onto the same one. Its edge is the line from the tip (1, 0) to the notch beside it.
    """
    turn = np.abs(np.mod(np.arctan2(u, -v) + np.pi / 5, 2 * np.pi / 5) - np.pi / 5)
    along, across = np.hypot(u, v) * np.cos(turn), np.hypot(u, v) * np.sin(turn)
    dent = 0.45 * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
    edge = dent - (1.0, 0.0)
    return np.asarray((along - 1.0) * edge[1] - across * edge[0]) / float(np.hypot(*edge))


# Signed distance of a point from the edge of a shape of radius 1, in radii: positive is outside; y grows downwards.
SIGNED_DISTANCE: dict[str, Callable[[Field, Field], Field]] = {
    "circle": lambda u, v: np.hypot(u, v) - 1,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) - 0.85,
    "triangle": lambda u, v: np.maximum(v - 0.75, 0.87 * (np.abs(u) - (v + 1) * 0.55)),
    "star": _star_distance,
    "diamond": lambda u, v: 0.8 * (1.4 * np.abs(u) + np.abs(v) - 1.05),
    "cross": lambda u, v: np.maximum(np.minimum(np.abs(u), np.abs(v)) - 0.3, np.maximum(np.abs(u), np.abs(v)) - 0.95),
}


def interpolate_placement(sight: Sight, figure: SceneFigure, seconds: float) -> Placement:
    """Return the position and radius of a figure at a time of the clip, seconds."""
    way = (seconds - sight.start) / (sight.end - sight.start)
    first, last = figure.first, figure.last
    x, y, radius = (a + (b - a) * way for a, b in ((first.x, last.x), (first.y, last.y), (first.radius, last.radius)))
    return Placement(x, y, radius)


def draw_frame(scene: Scene, seconds: float, side: int = SIDE) -> Picture:
    """Draw the picture at a time, (side, side, 3) RGB. The noise depends on the frame that is shown at this time."""
    picture = _background(scene, seconds, side)
    for sight in scene.sights:
        if sight.start <= seconds < sight.end:
            for figure in sight.figures:
                share = _coverage(figure.shape, interpolate_placement(sight, figure, seconds), side)[..., None]
                picture += share * (np.array(figure.rgb, float) - picture)
    grain = np.random.default_rng([scene.seed, scene.number, int(seconds * RATE + 1e-6)])
    picture += GRAIN_STD * grain.standard_normal((side, side, 1))
    drawn: Picture = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    for text in scene.texts:
        if text.start <= seconds < text.end:
            drawn = draw_text(drawn, text)
    return drawn


def _background(scene: Scene, seconds: float, side: int) -> Field:
    """Return a grey picture; for `cuts`, a picture with texture that is another one for each shot."""
    if scene.kind != CUTS:
        return np.full((side, side, 3), float(scene.grey))
    shot = sum(sight.start <= seconds for sight in scene.sights)
    return _shot_background(scene.seed, scene.number, shot, side).astype(float)


@lru_cache(maxsize=16)
def _shot_background(seed: int, number: int, shot: int, side: int) -> Picture:
    return landscape(np.random.default_rng([seed, number, shot]), side, side)


def _coverage(shape: str, place: Placement, side: int) -> Field:
    """Return the share of each pixel that a shape covers, (side, side), 0..1."""
    radius, steps = place.radius * side, np.arange(side) + 0.5
    u, v = np.meshgrid((steps - place.x * side) / radius, (steps - place.y * side) / radius)
    return np.clip(0.5 - SIGNED_DISTANCE[shape](u, v) * radius, 0.0, 1.0)


def draw_frames(scene: Scene) -> list[Picture]:
    """Draw all frames of a scene."""
    return [draw_frame(scene, n / RATE, side_of(scene)) for n in range(round(scene.seconds * RATE))]


def side_of(scene: Scene) -> int:
    """Return the side of a scene's frames, in pixels. Texts and texture need larger ones to be seen."""
    return LARGE_SIDE if scene.texts or scene.kind == CUTS else SIDE
