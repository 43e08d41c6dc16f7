"""Draw random pictures with a label for each patch, to train the vision tower.

Figures have random positions and sizes. In some pictures their colours are none of the named ones, which teaches shapes
independently of colours; other pictures have only pairs of the split. No picture shows a pair that the split holds out.

Legend: n pictures, h x w pixels, gh x gw their patches, M = `CELLS`^2 cells of a patch.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.synthetic.world.frames import GRAIN_STD, SIGNED_DISTANCE
from pipeline.synthetic.world.scenes import SIDE, Placement
from pipeline.synthetic.world.vocabulary import COLOURS, SHAPES, SIZES, WorldSplit

GROUND = "ground"
COLOUR_CLASSES, SHAPE_CLASSES, SIZE_CLASSES = (GROUND, *COLOURS), (GROUND, *SHAPES), tuple(SIZES)
LEVELS = 10  # bins of a figure's column, row and width
CLASSES = {
    "colour": len(COLOUR_CLASSES),
    "shape": len(SHAPE_CLASSES),
    "size": len(SIZE_CLASSES),
    **dict.fromkeys(("column", "row", "width"), LEVELS),
}
"""Labels of each patch, in the order of the fields of `LabelledPictures`, with their numbers of classes."""
IGNORED = -100  # class of patches without a label
PATCH, CELLS = 16, 8  # pixels and cells along a side of a patch
# Cover from which a patch gets a figure's labels. A small figure owns at least its most covered patch.
MIN_OWN_COVER = 0.15
STORED_SIDE = 3 * SIDE  # pixels a side of frames that `extract` stores
MIN_GROUND_DISTANCE = 40  # distance of an unnamed colour from the ground; white is 255
MIN_BARRED_DISTANCE = 28  # its distance from colours held out for its shape, which vary by up to 12
COMPRESSED_SHARE = 0.4  # share of the pictures that are compressed as in a stored film
NAMED, ANY, BRIGHT = "named", "any", "bright"  # kinds of colours in a picture
MEETING_SCALE = 0.75  # radius of figures that meet, relative to single ones
MAX_CROWD = 6  # figures of a crowded picture
MIN_SPACING = 1.15  # distance of two figures, relative to the sum of their radii


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures with labels. pixels: (n, 3, h, w) uint8. mask: covered share of each cell (n, M, gh, gw), 0..1.

    The other fields are classes of each patch (n, gh, gw). column, row, width: of the figure that owns the patch.
    """

    pixels: Tensor
    mask: Tensor
    colour: Tensor
    shape: Tensor
    size: Tensor
    column: Tensor
    row: Tensor
    width: Tensor

    @property
    def cover(self) -> Tensor:
        """Covered share of each patch (n, gh, gw), 0..1."""
        return self.mask.mean(1)


@dataclass(frozen=True)
class PictureFigure:
    """A figure of a picture. colour, size: None if it is none of the named ones."""

    colour: str | None
    shape: str
    size: str | None
    rgb: tuple[int, int, int]
    placement: Placement


class PictureSampler:
    """Draw random labelled pictures of a split, different ones at every call.

    crowded: share of the pictures with more figures than the world shows, which train faster.
    """

    def __init__(self, split: WorldSplit, seed: int, crowded: float = 0.0) -> None:
        self.split, self.crowded, self.rng = split, crowded, Random(f"pictures {split.name} {seed}")
        self.noise = np.random.default_rng(self.rng.randrange(1 << 32))

    def sample(self, count: int, side: int = SIDE, named: float = 0.5, bright: float = 0.0) -> LabelledPictures:
        """Draw `count` pictures. side: in pixels. named: share of pictures with named colours.

        bright: share of pictures with only unnamed colours that are brighter than the ground.
        """
        pictures = [self._sample_picture(side, self._choose_colouring(named, bright)) for _ in range(count)]
        pixels = torch.from_numpy(np.stack([pixels for pixels, *_ in pictures])).permute(0, 3, 1, 2).contiguous()
        mask = torch.from_numpy(np.stack([mask for _, mask, _ in pictures]))
        classes = torch.from_numpy(np.stack([classes for *_, classes in pictures]))
        return LabelledPictures(pixels, mask, *classes.unbind(1))

    def _choose_colouring(self, named: float, bright: float) -> str:
        if self.rng.random() < bright:
            return BRIGHT
        return NAMED if self.rng.random() < named else ANY

    def _sample_picture(self, side: int, colours: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        grey = self.rng.randrange(100, 160)
        figures = self._choose_figures(grey, colours)
        picture, covers = np.full((SIDE, SIDE, 3), grey, np.float32), []
        for figure in figures:
            covers.append(compute_cover(figure.shape, figure.placement, SIDE))
            picture += covers[-1][..., None] * (np.array(figure.rgb, np.float32) - picture)
        picture += GRAIN_STD * self.noise.standard_normal((SIDE, SIDE, 1), np.float32)
        pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
        if self.rng.random() < COMPRESSED_SHARE:
            pixels = simulate_storage(pixels, self.rng.randrange(30, 90))
        if side != SIDE:
            pixels = np.asarray(Image.fromarray(pixels).resize((side, side)))
        return pixels, *label_patches(figures, covers, side // PATCH)

    def _choose_figures(self, grey: int, colours: str) -> list[PictureFigure]:
        if self.rng.random() < self.crowded:
            return [self._make_figure(grey, colours, *each) for each in self._place_crowd()]
        kind = self.rng.random()
        if kind < 0.03:
            return []
        if kind < 0.65:
            size, radius = self._choose_size()
            return [
                self._make_figure(
                    grey, colours, size, Placement(self._choose_coordinate(0.22), self._choose_coordinate(0.22), radius)
                )
            ]
        sizes = [self.rng.choice(tuple(SIZES)) for _ in range(2)]
        left, right = (MEETING_SCALE * SIZES[size] / SIDE for size in sizes)
        progress, y = self.rng.random(), self._choose_coordinate(0.3)
        places = (
            Placement(0.17 + progress * (0.33 - left), y, left),
            Placement(0.83 - progress * (0.33 - right), y, right),
        )
        return [self._make_figure(grey, colours, *each) for each in zip(sizes, places, strict=True)]

    def _place_crowd(self) -> list[tuple[str | None, Placement]]:
        placed: list[tuple[str | None, Placement]] = []
        for _ in range(2 * MAX_CROWD):
            size, radius = self._choose_size()
            new = Placement(self._choose_coordinate(0.1), self._choose_coordinate(0.1), radius)
            room = (np.hypot(p.x - new.x, p.y - new.y) > MIN_SPACING * (p.radius + radius) for _, p in placed)
            placed += [(size, new)] if len(placed) < MAX_CROWD and all(room) else []
        return placed

    def _choose_size(self) -> tuple[str | None, float]:
        size = self.rng.choice((*SIZES, None))
        return size, SIZES[size] * self.rng.choice((MEETING_SCALE, 1.0)) / SIDE if size else self.rng.uniform(
            0.07, 0.29
        )

    def _choose_coordinate(self, edge: float) -> float:
        return self.rng.uniform(edge, 1 - edge)

    def _make_figure(self, grey: int, colours: str, size: str | None, place: Placement) -> PictureFigure:
        colour, shape = self.rng.choice(self.split.figures)
        if colours == NAMED:
            red, green, blue = (max(0, min(255, value + self.rng.randrange(-12, 13))) for value in COLOURS[colour])
            return PictureFigure(colour, shape, size, (red, green, blue), place)
        shape = self.rng.choice(SHAPES)
        barred = [COLOURS[colour] for colour in COLOURS if (colour, shape) not in self.split.figures]
        while True:
            rgb = self.rng.randrange(256), self.rng.randrange(256), self.rng.randrange(256)
            is_distinct = _colour_distance(rgb, (grey, grey, grey)) > MIN_GROUND_DISTANCE and all(
                _colour_distance(rgb, other) > MIN_BARRED_DISTANCE for other in barred
            )
            if is_distinct and (colours != BRIGHT or sum(rgb) / 3 > grey + MIN_GROUND_DISTANCE):
                return PictureFigure(None, shape, size, rgb, place)


def _colour_distance(rgb: tuple[int, int, int], other: tuple[int, int, int]) -> int:
    return max(abs(a - b) for a, b in zip(rgb, other, strict=True))


def compute_cover(shape: str, place: Placement, side: int) -> np.ndarray:
    """Return the share of each pixel that a shape covers, (side, side) float32, 0..1."""
    covered, radius = np.zeros((side, side), np.float32), place.radius * side
    # Shapes end within 1.1 radii; other pixels stay 0.
    rows, columns = (
        slice(max(0, int(middle - 1.1 * radius) - 2), int(middle + 1.1 * radius) + 3)
        for middle in (place.y * side, place.x * side)
    )
    steps = np.arange(side) + 0.5
    u, v = np.meshgrid((steps[columns] - place.x * side) / radius, (steps[rows] - place.y * side) / radius)
    covered[rows, columns] = np.clip(0.5 - SIGNED_DISTANCE[shape](u, v) * radius, 0.0, 1.0)
    return covered


def simulate_storage(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Compress a picture (SIDE, SIDE, 3) as a film and `extract` do.

    quality: JPEG quality in place of the film's codec, which also reduces colour resolution, 1..95.
    """
    large = _compress(Image.fromarray(pixels), quality).resize((STORED_SIDE, STORED_SIDE))
    return np.asarray(_compress(large, 90).resize((SIDE, SIDE)))


def _compress(picture: Image.Image, quality: int) -> Image.Image:
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=quality)
    return Image.open(sink)


def label_patches(
    figures: Sequence[PictureFigure], covers: Sequence[np.ndarray], grid: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask (M, grid, grid) and the classes (len(CLASSES), grid, grid) of all patches.

    covers: of each figure, (SIDE, SIDE). The figure with the largest cover owns a patch. `GROUND` has no size and no
    position.
    """
    best, classes = np.zeros((grid, grid), np.float32), np.zeros((len(CLASSES), grid, grid), np.int64)
    classes[2:] = IGNORED
    mask = np.zeros((CELLS**2, grid, grid), np.float32)
    for figure, pixels in zip(figures, covers, strict=True):
        cell = SIDE // grid // CELLS
        cells = pixels.reshape(grid, CELLS, cell, grid, CELLS, cell).mean((2, 5)).transpose(1, 3, 0, 2)
        mask += cells.reshape(mask.shape)
        share = cells.mean((0, 1))
        colour = COLOUR_CLASSES.index(figure.colour) if figure.colour else IGNORED
        size = SIZE_CLASSES.index(figure.size) if figure.size else IGNORED
        own = (share > best) & (share >= min(MIN_OWN_COVER, share.max()))
        place = (int(LEVELS * value) for value in (figure.placement.x, figure.placement.y, 2 * figure.placement.radius))
        classes[:, own] = np.array([colour, SHAPE_CLASSES.index(figure.shape), size, *place])[:, None]
        best = np.maximum(best, share)
    return mask.clip(0, 1), classes
