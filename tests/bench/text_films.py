"""Made films with text in the picture: subtitles that say what is said, or something else, and text on things.

A film of 14 seconds has scenes with a camera that moves over a picture of noise, or stands (see `duplicate_films`). In
some of them boards with names stand in the picture. What is said is in a file of subtitles beside the film, in
sentences of a few words. The same seed gives the same film.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.media.safety import ffmpeg_exe
from pipeline.synthetic.world.textures import landscape
from tests.runs import srt

WIDTH, HEIGHT, FPS, SECONDS = 640, 360, 4, 14
SIZES = (0.045, 0.06, 0.08)  # of the letters of subtitles, in shares of the height
PLACES = {"bottom": 0.93, "top": 0.07}  # where the lowest line ends, and the uppermost begins
WIDEST = 0.86  # of a line of subtitles
ADJECTIVES = "old small red quiet broken wooden distant heavy young clever hungry golden narrow frozen empty".split()  # noqa: SIM905
NOUNS = """
    harbour river mountain teacher window garden bridge doctor market engine island letter kitchen soldier village
    camera winter forest dragon painter bottle station captain mirror orange planet rabbit saddle temple wagon
    """.split()  # noqa: SIM905
VERBS = "watches follows carries repairs forgets paints crosses leaves finds answers hides opens sells counts".split()  # noqa: SIM905
SIGNS = "BAKERY HOTEL OPEN EXIT PHARMACY Cafe Roma PARKING Museum TICKETS Platform SALE Library GARAGE Books".split()  # noqa: SIM905
STYLES = (("white", "black"), ("yellow", "black"), ("white", "box"))  # letters, and what is around them

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class TextFilm:
    """What a film shows. size, place: of its subtitles; 0 for none. says: whether these are what is said.

    signs: whether boards with names stand in it. stands: whether the camera does.
    """

    seed: int
    size: float = 0.0
    place: str = "bottom"
    says: bool = True
    signs: bool = False
    stands: bool = False

    @property
    def name(self) -> str:
        """Return the name of its file."""
        kind = f"{'same' if self.says else 'other'}-{self.size:g}-{self.place}" if self.size else "none"
        return f"{self.seed}-{kind}-{'signs' if self.signs else 'bare'}-{'stands' if self.stands else 'moves'}"


Cue = tuple[float, float, str]


def make_text_film(folder: Path, film: TextFilm) -> Path:
    """Write the film as .mp4, with what is said as .srt beside it."""
    draw = np.random.default_rng([film.seed, 31])
    said, file = make_cues(draw), folder / f"{film.name}.mp4"
    shown = said if film.says else make_cues(draw)
    style = STYLES[int(draw.integers(len(STYLES)))]
    frames = []
    for n, picture in enumerate(draw_scenes(draw, film)):
        text = next((text for start, end, text in shown if start <= n / FPS < end), "")
        frames.append(burn_in(picture, text, film, style) if film.size and text else picture)
    file.with_suffix(".srt").write_text(srt(*said), encoding="utf-8")
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "pipe:0")
    sound = ("-f", "lavfi", "-i", f"sine=f=330:d={SECONDS}")
    codecs = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "24", "-pix_fmt", "yuv420p", "-c:a", "aac")
    command = [ffmpeg_exe(), "-y", "-v", "error", *raw, *sound, *codecs, "-shortest", str(file)]
    subprocess.run(command, input=b"".join(frame.tobytes() for frame in frames), check=True)
    return file


def make_cues(draw: np.random.Generator) -> list[Cue]:
    """Make the sentences of a film with their times."""
    found: list[Cue] = []
    at = float(draw.uniform(0.2, 0.8))
    while at < SECONDS - 2:
        end = min(SECONDS - 0.2, at + float(draw.uniform(1.6, 3.4)))
        found.append((round(at, 2), round(end, 2), make_sentence(draw)))
        at = end + float(draw.uniform(0.1, 0.8))
    return found


def make_sentence(draw: np.random.Generator) -> str:
    """Make a sentence of five to ten words."""
    one, other = (f"{draw.choice(ADJECTIVES)} {draw.choice(NOUNS)}" for _ in range(2))
    tail = f" near the {draw.choice(NOUNS)}" if draw.random() < 0.4 else ""
    return f"The {one} {draw.choice(VERBS)} the {other}{tail}."


def draw_scenes(draw: np.random.Generator, film: TextFilm) -> list[Picture]:
    """Draw the frames without subtitles: scenes of three to six seconds."""
    found: list[Picture] = []
    while len(found) < SECONDS * FPS:
        wide = landscape(draw, 2 * HEIGHT, 2 * WIDTH)
        if film.signs:
            wide = put_signs(draw, wide)
        start, way = draw.uniform(0.1, 0.9, 2), draw.uniform(-0.4, 0.4, 2) * (not film.stands)
        count = int(draw.integers(3 * FPS, 6 * FPS))
        for n in range(count):
            y, x = (np.clip(start + way * n / count, 0, 1) * (HEIGHT, WIDTH)).astype(int)
            found.append(wide[y : y + HEIGHT, x : x + WIDTH])
    return found[: SECONDS * FPS]


def put_signs(draw: np.random.Generator, wide: Picture) -> Picture:
    """Draw boards with names all over a picture, four times as large as the frame."""
    image = Image.fromarray(wide)
    pencil = ImageDraw.Draw(image)
    for row in range(4):
        for column in range(3):
            font = ImageFont.load_default(size=float(draw.uniform(0.05, 0.13)) * HEIGHT)
            x, y = (column + draw.uniform(0.1, 0.6)) * 2 * WIDTH / 3, (row + draw.uniform(0.1, 0.6)) * HEIGHT / 2
            text = " ".join(str(word) for word in draw.choice(SIGNS, int(draw.integers(1, 3)), replace=False))
            dark, light = tuple(draw.integers(0, 90, 3).tolist()), tuple(draw.integers(170, 256, 3).tolist())
            back, ink = (dark, light) if draw.random() < 0.5 else (light, dark)
            left, top, right, bottom = pencil.textbbox((x, y), text, font=font)
            pencil.rectangle((left - 8, top - 6, right + 8, bottom + 6), fill=back)
            pencil.text((x, y), text, font=font, fill=ink)
    return np.asarray(image)


def burn_in(picture: Picture, text: str, film: TextFilm, style: tuple[str, str]) -> Picture:
    """Return a frame with a subtitle of one or two lines."""
    image = Image.fromarray(picture)
    pencil, font = ImageDraw.Draw(image), ImageFont.load_default(size=film.size * HEIGHT)
    lines, height = wrap_text(text, font), 1.3 * film.size * HEIGHT
    edge = PLACES[film.place] * HEIGHT
    first = edge + height / 2 if film.place == "top" else edge - height * (len(lines) - 0.5)
    ink, around = style
    for n, line in enumerate(lines):
        at = (WIDTH / 2, first + n * height)
        if around == "box":
            pencil.rectangle(pencil.textbbox(at, line, font=font, anchor="mm"), fill="black")
        stroke = 0 if around == "box" else max(1, round(film.size * HEIGHT / 12))
        pencil.text(at, line, font=font, anchor="mm", fill=ink, stroke_width=stroke, stroke_fill="black")
    return np.asarray(image)


def wrap_text(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Sequence[str]:
    """Return the text as one line, or as two of about one length."""
    words = text.split()
    if font.getlength(text) <= WIDEST * WIDTH:
        return [text]
    middle = min(range(1, len(words)), key=lambda n: abs(len(" ".join(words[:n])) - len(" ".join(words[n:]))))
    return [" ".join(words[:middle]), " ".join(words[middle:])]
