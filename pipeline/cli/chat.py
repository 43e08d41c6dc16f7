"""`ola chat`: ask a model about pictures, a video and sounds; read the answer as it comes, and hear it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError, RunError

if TYPE_CHECKING:
    from ola.generation import Ola
    from ola.processor import OlaProcessor
    from ola.prompt import Request
    from ola.speech.speakers import Samples
    from ola.speech.streaming import Speech


@dataclass(frozen=True)
class Shown:
    """Files to ask about."""

    images: Sequence[Path] = ()
    video: Path | None = None
    sounds: Sequence[Path] = ()


def chat(folder: Path, shown: Shown, asked: Request, speak_to: Path | None, device: str | None, dtype: str) -> None:
    """Answer `asked`; where it has no text, answer line after line of standard input. Raises RunError and BadMedia."""
    from ola.generation import Ola
    from ola.model import OlaForConditionalGeneration
    from ola.processor import OlaProcessor

    try:  # the media first: a wrong file should not cost the minutes in which weights are read
        processor = OlaProcessor.from_pretrained(folder)
        request = with_media(processor, shown, asked)
        model = OlaForConditionalGeneration.from_pretrained(folder, dtype=dtype, device=device_of(device))
        if asked.text:
            answer(Ola(model, processor), request, speak_to)
        else:
            converse(Ola(model, processor), request, speak_to)
    except (ValueError, OSError) as error:  # what the model says of a folder or of a request
        raise RunError(str(error)) from error


def device_of(asked: str | None) -> str:
    """The device asked for, or the GPU if there is one. Raises ConfigError."""
    import torch

    try:
        kind = torch.device(asked or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ConfigError(f"--device {asked}: no such device (cpu, cuda, cuda:1, …)") from error
    if kind.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {asked}: this torch sees no GPU (see: ola doctor)")
    return str(kind)


def with_media(processor: OlaProcessor, shown: Shown, asked: Request) -> Request:
    """The request with the media of the files, prepared once for all its turns."""
    from pipeline.media.user_media import load_image, load_sound, load_video

    sounds = [load_sound(str(path)) for path in shown.sounds]
    frames, own_sound = load_video(str(shown.video), processor.config.max_frames) if shown.video else ([], None)
    if own_sound is not None and processor.config.has_speech:
        sounds.insert(0, own_sound)
    return replace(
        asked,
        images=[processor.image(load_image(str(path))) for path in shown.images],
        video=processor.video(frames) if frames else None,
        sounds=[processor.sound(sound) for sound in sounds],
    )


def converse(ola: Ola, request: Request, speak_to: Path | None) -> None:
    """Answer line after line, with the conversation so far; Ctrl-C ends an answer, Ctrl-D the conversation."""
    turn = 0
    while (text := _line()) is not None:
        if text.strip():
            turn += 1
            said = answer(ola, replace(request, text=text), speak_to and speak_to.with_stem(f"{speak_to.stem}-{turn}"))
            request = replace(request, history=[*request.history, (text, said)])


def _line() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "")
    except (EOFError, KeyboardInterrupt):
        return None


def answer(ola: Ola, request: Request, speak_to: Path | None) -> str:
    """Print the answer as it comes; with a file to speak to, write its sound there as well."""
    said: list[str] = []

    def show(piece: str) -> None:
        said.append(piece)
        print(piece, end="", flush=True)

    prompt = ola.processor.prompt(request)
    for note in prompt.notes:
        print(f"({note})", file=sys.stderr)
    with closing(ola.stream(request)) as pieces, suppress(KeyboardInterrupt):
        if speak_to is None:
            for piece in pieces:
                show(piece)
        else:
            _say(pieces, speak_to, show)
    print()
    return "".join(said)


def _say(pieces: Iterator[str], speak_to: Path, show: Callable[[str], None]) -> None:
    from ola.speech.speakers import Espeak, write_wav
    from ola.speech.streaming import speak

    try:
        speaker = Espeak()
    except ImportError as error:
        raise RunError(str(error)) from error
    with speak(pieces, speaker) as speech:
        seconds = write_wav(speak_to, _sounds(speech, show), speaker.rate)
    first = speech.metrics.first_sound
    heard = f"first sound after {first:.2f} s" if first is not None else "nothing to say"
    print(f"\n({seconds:.1f} s in {speak_to}; {heard})", end="", file=sys.stderr)


def _sounds(speech: Speech, show: Callable[[str], None]) -> Iterator[Samples]:
    from ola.speech.streaming import Pcm, Text

    for event in speech:
        if isinstance(event, Text):
            show(event.text)
        elif isinstance(event, Pcm):
            yield event.samples
