"""What happens to films on their way: changes of copies, and faults of the picture, as options of ffmpeg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LOGO = "drawbox=iw*0.8:ih*0.05:iw*0.14:ih*0.14:white:fill,drawbox=iw*0.83:ih*0.08:iw*0.08:ih*0.08:red:fill"
LETTERS = ",".join(f"drawbox=iw*{0.2 + 0.05 * n}:ih*0.87:iw*0.03:ih*0.07:white:fill" for n in range(12))
SUBTITLES = f"drawbox=0:ih*0.82:iw:ih*0.18:black:fill,{LETTERS}"
COPY, PART = "copy", "part of"


@dataclass(frozen=True)
class Change:
    """A change of a copy. relation: of the copy to the original. speed: how much faster it plays.

    start, seconds: of the part that is kept; 0 for all.
    """

    options: tuple[str, ...]
    relation: str = COPY
    speed: float = 1.0
    start: float = 0.0
    seconds: float = 0.0

    def length(self, seconds: float) -> float:
        """Return the length of the copy of a film of some seconds."""
        return min(self.seconds, seconds - self.start) if self.seconds else seconds / self.speed


def _speed_up(speed: float) -> Change:
    return Change(("-vf", f"setpts=PTS/{speed}", "-af", f"atempo={speed}"), speed=speed)


def trim(start: float, seconds: float) -> Change:
    """Return the change that keeps some seconds."""
    return Change(("-ss", str(start), "-t", str(seconds)), PART, start=start, seconds=seconds)


CHANGES: Mapping[str, Change] = {
    "re-encode": Change(("-crf", "36", "-b:a", "32k")),
    "resize": Change(("-vf", "scale=iw/2:ih/2")),
    "fps": Change(("-r", "8")),
    "crop 5 %": Change(("-vf", "crop=iw*0.95:ih*0.95")),
    "crop 10 %": Change(("-vf", "crop=iw*0.9:ih*0.9")),
    "letterbox": Change(("-vf", "pad=iw:ih*4/3:0:(oh-ih)/2")),
    "mirror": Change(("-vf", "hflip")),
    "logo": Change(("-vf", LOGO)),
    "subtitle bar": Change(("-vf", SUBTITLES)),
    "speed 1.1": _speed_up(1.1),
    "speed 1.25": _speed_up(1.25),
    "trim": trim(3.3, 7.0),
    "grey": Change(("-vf", "hue=s=0")),
    "brightness": Change(("-vf", "eq=brightness=0.12:contrast=1.1")),
    "resampled sound": Change(("-af", "aresample=11025,aresample=44100,asetrate=44982,aresample=44100")),
}
LEAK = trim(1.0, 5.0)  # the part of a benchmark's film that is found in the films of a run

# Filters of the picture; a film of seconds {seconds} at {rate} frames a second.
FAULTS: Mapping[str, str] = {
    "still": "loop=-1:1,trim=duration={seconds}",
    "slides": "fps=1/2,fps={rate}",
    "letterbox": "pad=iw:ih*4/3:0:(oh-ih)/2",
    "blurred": "gblur=4",
    "noisy": "noise=alls=40:allf=t",
}


def fault_options(name: str, seconds: float, rate: int) -> Sequence[str]:
    """Return ffmpeg's options for a fault of the picture; none for another name."""
    return ("-vf", FAULTS[name].format(seconds=seconds, rate=rate)) if name in FAULTS else ()
