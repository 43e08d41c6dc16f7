"""Convert requests and training samples to prompts: `OlaProcessor`.

In: raw pictures, frames, sounds and text. Out: `Prompt`s, whose length is known without a model. Videos and sounds that
exceed the context are thinned, and the prompt's notes say so. Questions, answers and images are never cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from torch import Tensor
from transformers import AutoProcessor, PreTrainedTokenizerBase

from ola import geometry, locate_model
from ola.config import OlaConfig
from ola.conversation import Layouts, Turn
from ola.features import chunks, fbank, log_mel, mono16k
from ola.geometry import frame_indices, parts_kept
from ola.pictures import image_views, video_views
from ola.prompt import IMAGE, SPEECH, Picture, Prompt, Request, Sound, Visual, Wave
from ola.tokenizer_files import load_tokenizer, save_tokenizer
from ola.weights import config_of

Medium = Visual | Sound


class OlaProcessor:
    """Prepares text, pictures and sounds for one model."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: OlaConfig) -> None:
        """Raises ValueError if the tokenizer lacks a control token, or has more tokens than the model."""
        if len(tokenizer) > config.vocab_size:
            raise ValueError(
                f"tokenizer: expected at most {config.vocab_size} tokens (the model), got {len(tokenizer)}"
            )
        self.tokenizer, self.config = tokenizer, config
        self.layouts = Layouts(tokenizer)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **ignored: Any) -> OlaProcessor:
        """Load the tokenizer files and config.json of a folder. Other arguments of transformers are ignored."""
        folder = locate_model(folder)
        config = config_of(folder)
        return cls(load_tokenizer(folder, config), config)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the files that `from_pretrained` reads."""
        self.config.save_pretrained(folder)
        save_tokenizer(self.tokenizer, folder)

    def image(self, picture: Picture) -> Visual:
        """Prepare both views of an image. Raises ValueError for a picture with pixel values of unknown range."""
        views = image_views(picture, self.config.fits)
        low, high = (_channels_first(view[None]) for view in views)
        return Visual("image", (low, high), _digest("image", *views))

    def video(self, frames: Sequence[Picture], digest: str = "") -> Visual:
        """Prepare at most `max_frames` evenly spaced frames. Raises ValueError without frames, or for several sizes.

        digest: a name of the content, if the caller has one; "" for a digest of the pixels.
        """
        indices = frame_indices(len(frames), min(len(frames), self.config.max_frames))
        views = video_views(frames, indices, self.config.fits)
        return Visual("video", (_channels_first(views),), digest or _digest("video", views), len(frames))

    def sound(self, wave: Wave) -> Sound:
        """Compute the features of a sound. Raises ValueError for a bad sound, or a model without audio encoders."""
        self._check_hears()
        samples = mono16k(wave)
        chunks_NS = chunks(samples, self.config.audio_chunk_seconds)
        mel = log_mel(chunks_NS, self.config.whisper.num_mel_bins)
        return Sound(mel, fbank(chunks_NS, self.config.beats.num_mel_bins), _digest("sound", samples))

    def prompt(self, request: Request) -> Prompt:
        """Convert a request to a prompt in the inference layout, with room for the answer.

        Raises ValueError for an empty question, a medium in the wrong field, and media that cannot be thinned to fit.
        """
        _check_questions(request)
        visuals = [medium if isinstance(medium, Visual) else self.image(medium) for medium in request.images]
        notes: list[str] = []
        if request.video is not None:
            video = request.video if isinstance(request.video, Visual) else self.video(request.video)
            visuals.append(video)
            notes = _note(video, video.given, _parts(video))
        images = len(request.images)
        if any(visual.kind != ("image" if n < images else "video") for n, visual in enumerate(visuals)):
            raise ValueError("an image or a video in the other's place: `images` takes images, `video` the one video")
        asking = [] if request.spoken_question is None else [request.spoken_question]
        sounds = [medium if isinstance(medium, Sound) else self.sound(medium) for medium in (*request.sounds, *asking)]
        heard = len(request.sounds)
        _check_media_turns(request, len(visuals) + heard)
        ids = self.layouts.inference(request, heard, len(visuals))
        prompt = self._fit_context(ids, [*visuals, *sounds], sounds[heard:], request.max_new_tokens)
        return replace(prompt, notes=(*notes, *prompt.notes))

    def sample(
        self, turns: Sequence[Turn], visuals: Sequence[Visual] = (), sounds: Sequence[Sound] = (), spoken: bool = False
    ) -> Prompt:
        """Convert a conversation with `<image>` and `<speech>` tags to a prompt in the training layout, with labels.

        spoken: the sounds are questions, and the human turns stay unchanged. Raises ValueError if the numbers of tags
        and media differ, and for media that cannot be thinned to fit.
        """
        ids, labels = self.layouts.training(turns, spoken)
        for tag, media in ((IMAGE, visuals), (SPEECH, sounds)):
            if ids.count(tag) != len(media):
                name, noun = ("<image>", "images or videos") if tag == IMAGE else ("<speech>", "sounds")
                raise ValueError(f"the turns have {ids.count(tag)} {name} tags for {len(media)} {noun}; give as many")
        prompt = self._fit_context(ids, [*visuals, *sounds], sounds if spoken else ())
        return replace(prompt, labels=torch.tensor(labels))

    def tokens(self, medium: Medium) -> int:
        """Return the number of positions of a medium."""
        if isinstance(medium, Sound):
            return geometry.sound_tokens(len(medium.mel), 1, self.config.speech_chunk_tokens)
        (_, _, low_height, low_width), (frames, _, height, width) = medium.views[0].shape, medium.views[-1].shape
        if medium.kind == "video":
            return geometry.video_tokens(width, height, frames, self.config.cell)
        return geometry.image_tokens(width, height, (low_width, low_height), self.config.cell)

    def _fit_context(
        self, ids: list[int], media: Sequence[Medium], questions: Sequence[Sound], answer: int = 0
    ) -> Prompt:
        """Return the prompt, with media thinned to leave `answer` positions. questions: sounds that stay whole."""
        if any(isinstance(medium, Sound) for medium in media):
            self._check_hears()
        text, room = len(ids) - len(media), self.config.tokenizer_model_max_length - answer
        parts = [1 if medium in questions else _parts(medium) for medium in media]
        keep = parts_kept(parts, [self.tokens(medium) for medium in media], room - text)
        kept = [medium if k == n else _reduce(medium, k) for medium, n, k in zip(media, parts, keep, strict=True)]
        sizes = [self.tokens(medium) for medium in kept]
        if text + sum(sizes) > room:
            each = "".join(f", {_kind(medium)} {size}" for medium, size in zip(kept, sizes, strict=True))
            raise ValueError(
                f"the prompt takes {text + sum(sizes)} positions at least (text {text}{each}) where {room} are free "
                f"({room + answer}, less {answer} for the answer); give fewer or smaller media, or less text"
            )
        notes = [note for medium, n, k in zip(media, parts, keep, strict=True) for note in _note(medium, n, k)]
        visuals = tuple(medium for medium in kept if isinstance(medium, Visual))
        sounds = tuple(medium for medium in kept if isinstance(medium, Sound))
        return Prompt(torch.tensor(ids), visuals, sounds, None, text + sum(sizes), tuple(notes))

    def _check_hears(self) -> None:
        if not self.config.has_speech:
            raise ValueError("this model has no speech encoder: leave the sounds out, or take a model that hears")


def _check_questions(request: Request) -> None:
    shows = request.images or request.video is not None or request.sounds
    shown = set(request.media_turns) or ({0} if shows else set())
    for number, (question, _) in enumerate(request.history):
        if not question.strip() and number not in shown:
            raise ValueError(f"turn {number + 1} of the history asks nothing; give its question")
    if not request.text.strip() and request.spoken_question is None:
        raise ValueError("the request asks nothing; give it a text or a spoken question")


def _check_media_turns(request: Request, media: int) -> None:
    turns, last = list(request.media_turns), len(request.history)
    if turns and (len(turns) != media or turns != sorted(turns) or not 0 <= turns[0] <= turns[-1] <= last):
        raise ValueError(
            f"media_turns: expected {media} numbers of turns from 0 to {last} that never fall, got {turns}; "
            "give one for each image, then for the video, then for each sound"
        )


def _kind(medium: Medium) -> str:
    return "sound" if isinstance(medium, Sound) else medium.kind


def _parts(medium: Medium) -> int:
    """Return the number of parts for thinning: chunks of a sound, frames of a video, 1 for an image."""
    return len(medium.mel) if isinstance(medium, Sound) else len(medium.views[-1])


def _reduce(medium: Medium, keep: int) -> Medium:
    indices = frame_indices(_parts(medium), keep)
    digest = blake3(f"{medium.digest} {indices}".encode()).hexdigest()
    if isinstance(medium, Sound):
        return Sound(medium.mel[indices], medium.fbank[indices], digest)
    return Visual(medium.kind, (medium.views[-1][indices],), digest)


def _note(medium: Medium, parts: int, kept: int) -> list[str]:
    unit = "chunks of sound" if isinstance(medium, Sound) else "frames"
    return [f"{parts} {unit} -> {kept}"] if kept < parts else []


def _channels_first(views_THWC: np.ndarray) -> Tensor:
    return torch.from_numpy(views_THWC).permute(0, 3, 1, 2)


def _digest(kind: str, *arrays: np.ndarray) -> str:
    hasher = blake3(kind.encode())
    for array in arrays:
        hasher.update(f"{array.dtype}{array.shape}".encode()).update(array.ravel().view(np.uint8).data)
    return hasher.hexdigest()


AutoProcessor.register(OlaConfig, OlaProcessor)
