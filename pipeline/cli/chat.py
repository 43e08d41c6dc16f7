"""`ola chat`: ask a model about pictures, a video and sounds; stream the answer as text and as speech."""

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
class MediaFiles:
    """The media files of a question."""

    images: Sequence[Path] = ()
    video: Path | None = None
    sounds: Sequence[Path] = ()


def chat(
    folder: Path, files: MediaFiles, request: Request, speak_to: Path | None, device: str | None, dtype: str
) -> None:
    """Answer a request; if it has no text, answer each line of standard input. Raises RunError and BadMedia."""
    from ola.generation import Ola
    from ola.model import OlaForConditionalGeneration
    from ola.processor import OlaProcessor

    try:  # media before weights, so that a wrong file fails at once
        processor = OlaProcessor.from_pretrained(folder)
        request = add_media(processor, files, request)
        model = OlaForConditionalGeneration.from_pretrained(folder, dtype=dtype, device=device_of(device))
        if request.text:
            answer(Ola(model, processor), request, speak_to)
        else:
            converse(Ola(model, processor), request, speak_to)
    except (ValueError, OSError) as error:  # errors about the folder or the request
        raise RunError(str(error)) from error


def device_of(named: str | None) -> str:
    """Return the device that is named, else a GPU if there is one, else the CPU. Raises ConfigError."""
    import torch

    try:
        kind = torch.device(named or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ConfigError(f"--device: expected a device (cpu, cuda, cuda:1, …), got {named!r}") from error
    if kind.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {named}: torch sees no GPU; do ola doctor")
    return str(kind)


def add_media(processor: OlaProcessor, files: MediaFiles, request: Request) -> Request:
    """Return the request with the files' media, which are prepared once for all turns."""
    from pipeline.media.user_media import load_image, load_sound, load_video

    sounds = [load_sound(str(path)) for path in files.sounds]
    frames, own_sound = load_video(str(files.video), processor.config.max_frames) if files.video else ([], None)
    if own_sound is not None and processor.config.has_speech:
        sounds.insert(0, own_sound)
    return replace(
        request,
        images=[processor.image(load_image(str(path))) for path in files.images],
        video=processor.video(frames) if frames else None,
        sounds=[processor.sound(sound) for sound in sounds],
    )


def converse(ola: Ola, request: Request, speak_to: Path | None) -> None:
    """Answer each line of standard input, with the history. Ctrl-C ends an answer, Ctrl-D the conversation."""
    turn = 0
    while (text := _read_line()) is not None:
        if text.strip():
            turn += 1
            reply = answer(ola, replace(request, text=text), speak_to and speak_to.with_stem(f"{speak_to.stem}-{turn}"))
            request = replace(request, history=[*request.history, (text, reply)])


def _read_line() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "")
    except (EOFError, KeyboardInterrupt):
        return None


def answer(ola: Ola, request: Request, speak_to: Path | None) -> str:
    """Print the answer while it is generated, and return it. speak_to: WAV file for the spoken answer, or None."""
    texts: list[str] = []

    def show(piece: str) -> None:
        texts.append(piece)
        print(piece, end="", flush=True)

    prompt = ola.processor.prompt(request)
    for note in prompt.notes:
        print(f"({note})", file=sys.stderr)
    with closing(ola.stream(request)) as pieces, suppress(KeyboardInterrupt):
        if speak_to is None:
            for piece in pieces:
                show(piece)
        else:
            _speak_answer(pieces, speak_to, show)
    print()
    return "".join(texts)


def _speak_answer(pieces: Iterator[str], speak_to: Path, show: Callable[[str], None]) -> None:
    from ola.speech.speakers import Espeak, write_wav
    from ola.speech.streaming import speak

    try:
        speaker = Espeak()
    except ImportError as error:
        raise RunError(str(error)) from error
    with speak(pieces, speaker) as speech:
        seconds = write_wav(speak_to, _show_text_and_yield_sound(speech, show), speaker.rate)
    first = speech.metrics.first_sound
    heard = f"first sound after {first:.2f} s" if first is not None else "nothing to say"
    print(f"\n({seconds:.1f} s in {speak_to}; {heard})", end="", file=sys.stderr)


def _show_text_and_yield_sound(speech: Speech, show: Callable[[str], None]) -> Iterator[Samples]:
    from ola.speech.streaming import Pcm, Text

    for event in speech:
        if isinstance(event, Text):
            show(event.text)
        elif isinstance(event, Pcm):
            yield event.samples
