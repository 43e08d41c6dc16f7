"""Ola: the paper's figure. Encoders and projectors turn media into embeddings that Qwen2 reads between its words.

In: `Prompt`s. Out: the next-token loss where they have labels, else logits. Generation lives in `ola.generation`;
since the decoder is Qwen2 as it is in transformers, whatever takes `inputs_embeds` can run it.

Legend: L positions of a sequence, C width of the decoder, V vocabulary, n chunks, T audio frames, D encoder width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, Qwen2ForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from ola.beats import Beats
from ola.config import OlaConfig
from ola.projectors import SpeechProjector, VisualProjector
from ola.prompt import IGNORE, IMAGE, SPEECH, Prompt, Sound, Visual
from ola.vision import OryxViT

# Bounds the memory of one pass: BEATs holds two float32 tables of 12 x 1496 x 1496 a chunk.
CHUNKS_PER_PASS = 8


class SpeechEncoder(nn.Module):
    """Whisper for speech beside BEATs for all else, frame by frame."""

    def __init__(self, config: OlaConfig) -> None:
        super().__init__()
        self.whisper = WhisperEncoder(config.whisper)
        self.beats = Beats(config.beats)

    def forward(self, mel_nFT: Tensor, fbank_nTF: Tensor) -> Tensor:
        """Chunks (n, bins, 100 a second) and (n, 100 a second - 2, bins) to (n, T, D), T 50 a second.

        BEATs ends a few frames short (1496 of 1500 for 30 s) and is padded with zeros.
        """
        weight = self.whisper.conv1.weight
        speech_nTD = self.whisper(mel_nFT.to(weight)).last_hidden_state
        sound_nTD = self.beats(fbank_nTF.to(weight.device))
        padded = F.pad(sound_nTD, (0, 0, 0, speech_nTD.shape[1] - sound_nTD.shape[1]))
        return torch.cat([speech_nTD, padded.to(speech_nTD.dtype)], dim=-1)


class OlaForConditionalGeneration(Qwen2ForCausalLM):
    """The whole model. `config.has_speech` False leaves out all that hears (Ola-Image, Ola-Video)."""

    config: OlaConfig
    config_class = OlaConfig

    def __init__(self, config: OlaConfig) -> None:
        super().__init__(config)
        self.vision_tower = OryxViT(config.vision)
        self.visual_projector = VisualProjector(config)
        if config.has_speech:
            self.speech_encoder = SpeechEncoder(config)
            self.speech_projector = SpeechProjector(config)
        self.post_init()

    def encode_visuals(self, visuals: Sequence[Visual]) -> list[Tensor]:
        """Images and videos to their embeddings (tokens, C), all in one pass of the tower."""
        features = iter(self.vision_tower([view for visual in visuals for view in visual.views]))
        return [self._project(visual, [next(features) for _ in visual.views]) for visual in visuals]

    def _project(self, visual: Visual, views: Sequence[Tensor]) -> Tensor:
        return self.visual_projector.image(views) if visual.kind == "image" else self.visual_projector.video(*views)

    def encode_sounds(self, sounds: Sequence[Sound]) -> list[Tensor]:
        """Sounds to their embeddings (tokens, C), some chunks at a time. ValueError of a model that cannot hear."""
        if not sounds:
            return []
        if not self.config.has_speech:
            raise ValueError("this model has no speech encoder: leave the sounds out, or load an omni checkpoint")
        mel, fbank = torch.cat([sound.mel for sound in sounds]), torch.cat([sound.fbank for sound in sounds])
        passes = zip(mel.split(CHUNKS_PER_PASS), fbank.split(CHUNKS_PER_PASS), strict=True)
        frames_nTD = torch.cat([self.speech_encoder(*some) for some in passes])
        return [self.speech_projector(part) for part in frames_nTD.split([len(sound.mel) for sound in sounds])]

    def encode(self, prompts: Sequence[Prompt]) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        """The embedded visuals and sounds of each prompt, with the media of all of them encoded together."""
        visuals = iter(self.encode_visuals([visual for prompt in prompts for visual in prompt.visuals]))
        sounds = iter(self.encode_sounds([sound for prompt in prompts for sound in prompt.sounds]))
        return (([next(visuals) for _ in p.visuals], [next(sounds) for _ in p.sounds]) for p in prompts)

    def splice(self, prompt: Prompt, visuals: Sequence[Tensor], sounds: Sequence[Tensor]) -> Tensor:
        """The sequence (L, C) of a prompt whose media are encoded. ValueError where placeholders and media differ.

        The first placeholders, of whichever kind, take the visuals and the others the sounds: the model was trained
        that way, and hears after it has seen.
        """
        places = placeholders(prompt)
        text_LC = self.get_input_embeddings()(prompt.input_ids.clamp(min=0).to(self.device))
        return torch.cat(_between(text_LC, places, [*visuals, *sounds]))

    def forward(self, prompts: Sequence[Prompt] | None = None, **decoder: Any) -> CausalLMOutputWithPast:
        """Of prompts: padded on the right; where they have labels, the mean loss and the logits (supervised, V) alone.

        Without prompts it is Qwen2's own forward, of `input_ids` (B, L) or `inputs_embeds` (B, L, C).
        """
        if prompts is None:
            out: CausalLMOutputWithPast = super().forward(**decoder)
            return out
        media = list(self.encode(prompts))
        sequences = [self.splice(prompt, *spans) for prompt, spans in zip(prompts, media, strict=True)]
        mask_BL = pad_sequence([torch.ones_like(x_LC[:, 0], dtype=torch.long) for x_LC in sequences], True)
        hidden_BLC = self.model(inputs_embeds=pad_sequence(sequences, True), attention_mask=mask_BL).last_hidden_state
        if any(prompt.labels is None for prompt in prompts):
            return CausalLMOutputWithPast(logits=self.lm_head(hidden_BLC))
        labels = [spliced_labels(prompt, *spans) for prompt, spans in zip(prompts, media, strict=True)]
        return self._loss(hidden_BLC, pad_sequence(labels, True, IGNORE))

    def _loss(self, hidden_BLC: Tensor, labels_BL: Tensor) -> CausalLMOutputWithPast:
        targets = labels_BL[:, 1:].to(hidden_BLC.device)
        learned = targets != IGNORE
        if not learned.any():
            raise ValueError("nothing to learn: every label of the batch is ignored")
        logits_NV = self.lm_head(hidden_BLC[:, :-1][learned])
        return CausalLMOutputWithPast(loss=F.cross_entropy(logits_NV.float(), targets[learned]), logits=logits_NV)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        folder: str | Path,
        *,
        config: OlaConfig | None = None,
        dtype: torch.dtype | str = "auto",
        device: torch.device | str = "cpu",
        attn_implementation: str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        **ignored: Any,
    ) -> Self:
        """The model of a folder, of this project or of the released layout, in evaluation mode.

        Every tensor that is missing, unexpected or of another shape is named in one `ola.weights.BadCheckpoint`, before
        any is read. dtype `auto` is that of `config.json`; BEATs stays float32.
        """
        from ola.weights import config_of, load

        config = config or config_of(Path(folder))
        if attn_implementation:
            config._attn_implementation = attn_implementation
        return load(cls, Path(folder), config, torch_dtype or dtype, device)


def spliced_labels(prompt: Prompt, visuals: Sequence[Tensor], sounds: Sequence[Tensor]) -> Tensor:
    """Labels (L,) of a prompt once its media are spliced in; those are not learned. ValueError without labels."""
    if prompt.labels is None:
        raise ValueError("a prompt without labels cannot be learned from: make it with `OlaProcessor.sample`")
    nothing = [torch.full((len(span),), IGNORE) for span in (*visuals, *sounds)]
    return torch.cat(_between(prompt.labels, placeholders(prompt), nothing))


def placeholders(prompt: Prompt) -> list[int]:
    """Where the placeholders are. ValueError where they are not as many as the media."""
    ids = prompt.input_ids
    for tag, kind, media in ((IMAGE, "image or video", prompt.visuals), (SPEECH, "sound", prompt.sounds)):
        if (count := int((ids == tag).sum())) != len(media):
            raise ValueError(f"the text has {count} {kind} placeholders but there are {len(media)} of these media")
    return torch.nonzero((ids == IMAGE) | (ids == SPEECH))[:, 0].tolist()


def _between(text: Tensor, places: Sequence[int], spans: Sequence[Tensor]) -> list[Tensor]:
    """`text` cut at its placeholders, with the spans in their stead."""
    parts, start = [], 0
    for place, span in zip(places, spans, strict=True):
        parts += [text[start:place], span.to(text)]
        start = place + 1
    return [*parts, text[start:]]


AutoModelForCausalLM.register(OlaConfig, OlaForConditionalGeneration)
