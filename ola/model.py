"""Ola: the paper's figure. Encoders and projectors turn media into embeddings that Qwen2 reads between its words.

In: `Prompt`s. Out: the next-token losses where they have labels, else logits. Generation lives in `ola.generation`;
since the decoder is Qwen2 as it is in transformers, whatever takes `inputs_embeds` can run it.

Legend: B sequences, L positions of one, N supervised tokens, C width of the decoder, V vocabulary, n chunks, T audio
frames, D encoder width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, Qwen2ForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from ola import located
from ola.beats import CHUNKS_PER_PASS, Beats
from ola.config import OlaConfig
from ola.packing import SharedPrefix, bunched, is_packed, row
from ola.projectors import SpeechProjector, VisualProjector
from ola.prompt import IGNORE, Prompt, Sound, Visual
from ola.splicing import between, placeholders, places, spliced_labels
from ola.vision import OryxViT

# Supervised tokens whose logits are held at once in training: 0.9 GB in float32 with the released vocabulary, where
# those of a row of 16k tokens would take 10 GB, and their gradients as much again.
LOGITS_AT_ONCE = 1536

Medium = TypeVar("Medium", Visual, Sound)


@dataclass
class OlaOutput(CausalLMOutputWithPast):
    """What labelled prompts give: `logits` (N, V) and `losses` (N,) of the supervised tokens, and `loss`, their mean.

    In order of the prompts and of their tokens, logits in the model's dtype, losses in float32 (nats). Where gradients
    are kept for more than LOGITS_AT_ONCE tokens, there are no logits.
    """

    losses: Tensor | None = None


class SpeechEncoder(nn.Module):
    """Whisper for speech beside BEATs for all else, frame by frame."""

    def __init__(self, config: OlaConfig) -> None:
        super().__init__()
        self.whisper = WhisperEncoder(config.whisper)
        self.beats = Beats(config.beats)

    def forward(self, mel_nFT: Tensor, fbank_nTF: Tensor) -> Tensor:
        """Chunks (n, bins, 100 a second) and (n, 100 a second - 2, bins) to (n, T, D), T 50 a second.

        BEATs ends a few frames short (1496 of 1500 for 30 s) and is padded with zeros. Some chunks at a time; each of
        the two is called once all the same, since ranks that share its weights gather them at each call.
        """
        weight = self.whisper.conv1.weight
        passes = [self.whisper(some).last_hidden_state for some in mel_nFT.to(weight).split(CHUNKS_PER_PASS)]
        speech_nTD = torch.cat(passes)
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
        """Sounds to their embeddings (tokens, C). ValueError of a model that cannot hear."""
        if not sounds:
            return []
        if not self.config.has_speech:
            raise ValueError("this model has no speech encoder: leave the sounds out, or load an omni checkpoint")
        mel, fbank = torch.cat([sound.mel for sound in sounds]), torch.cat([sound.fbank for sound in sounds])
        frames_nTD = self.speech_encoder(mel, fbank)
        return [self.speech_projector(part) for part in frames_nTD.split([len(sound.mel) for sound in sounds])]

    def encode(self, prompts: Sequence[Prompt]) -> list[list[Tensor]]:
        """The embedded media of each prompt, visuals before sounds; all are encoded together, the same ones once.

        Media are the same whose digests are, unless these are empty.
        """
        visuals = _once([visual for prompt in prompts for visual in prompt.visuals])
        sounds = _once([sound for prompt in prompts for sound in prompt.sounds])
        spans = dict(zip(visuals, self.encode_visuals(list(visuals.values())), strict=True))
        spans |= dict(zip(sounds, self.encode_sounds(list(sounds.values())), strict=True))
        return [[spans[_name(medium)] for medium in prompt.media] for prompt in prompts]

    def splice(self, prompt: Prompt, spans: Sequence[Tensor]) -> Tensor:
        """The sequence (L, C) of a prompt whose media are encoded. ValueError where placeholders and media differ.

        The first placeholders, of whichever kind, take the visuals and the others the sounds: the model was trained
        that way, and hears after it has seen.
        """
        placeholders(prompt)
        return self._spliced(prompt.input_ids, spans)

    def _spliced(self, ids: Tensor, spans: Sequence[Tensor]) -> Tensor:
        text_LC = self.get_input_embeddings()(ids.clamp(min=0).to(self.device))
        return torch.cat(between(text_LC, places(ids), spans))

    def forward(self, prompts: Sequence[Prompt] | None = None, **decoder: Any) -> CausalLMOutputWithPast:
        """Of prompts: `OlaOutput` where all have labels, else their logits (B, L, V), padded on the right.

        They are read padded to the longest, or as one row where `attn_implementation` is "packed" (`ola.packing`).
        Without prompts it is Qwen2's own forward, of `input_ids` (B, L) or `inputs_embeds` (B, L, C).
        """
        if prompts is None:
            out: CausalLMOutputWithPast = super().forward(**decoder)
            return out
        for prompt in prompts:
            placeholders(prompt)
        media, learns = self.encode(prompts), all(prompt.labels is not None for prompt in prompts)
        read = self._packed if is_packed(self.config) else self._padded
        hidden_NC, rows = read(prompts, media, list(self._absent(prompts)) if learns else [])
        if not learns:
            return CausalLMOutputWithPast(logits=self.lm_head(pad_sequence([hidden_NC[at] for at in rows], True)))
        labels = [spliced_labels(prompt, spans) for prompt, spans in zip(prompts, media, strict=True)]
        return self._learning(hidden_NC, rows, labels)

    def _padded(
        self, prompts: Sequence[Prompt], media: list[list[Tensor]], absent: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return what the decoder makes of all positions (N, C), and where those of each prompt are among them (L,).

        No mask is needed: padding lies behind each sequence, where causal attention does not look.
        """
        sequences = [self._spliced(prompt.input_ids, spans) for prompt, spans in zip(prompts, media, strict=True)]
        sequences[0] = torch.cat([sequences[0], *absent])
        embeds_BLC = pad_sequence(sequences, True)
        hidden_BLC, longest = self.model(inputs_embeds=embeds_BLC).last_hidden_state, embeds_BLC.shape[1]
        rows = [n * longest + torch.arange(len(x_LC)) for n, x_LC in enumerate(sequences)]
        return hidden_BLC.flatten(0, 1), rows

    def _packed(
        self, prompts: Sequence[Prompt], media: list[list[Tensor]], absent: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """The same of one row, in which what neighbours begin with is read once."""
        pieces, bunches = list[Tensor](), list[SharedPrefix]()
        lengths = [len(p.input_ids) + sum(len(span) - 1 for span in s) for p, s in zip(prompts, media, strict=True)]
        for alike in bunched(prompts, lengths):
            some, spans = prompts[alike.first : alike.end], media[alike.first : alike.end]
            begin = [self._spliced(some[0].input_ids[: alike.ids], spans[0])] if alike.ids else []
            media_of = [[]] * len(some) if alike.ids else spans
            rests = [self._spliced(p.input_ids[alike.ids :], s) for p, s in zip(some, media_of, strict=True)]
            bunches.append(SharedPrefix(sum(map(len, begin)), tuple(map(len, rests))))
            pieces += begin + rests
        pieces[0] = torch.cat([pieces[0], *absent])
        hidden_NC = self.model(**row(pieces, self.config, bunches)).last_hidden_state[0]
        starts = accumulate(map(len, bunches), initial=0)
        return hidden_NC, [at + place for at, bunch in zip(starts, bunches, strict=False) for place in bunch.places()]

    def _learning(self, hidden_NC: Tensor, rows: list[Tensor], labels: list[Tensor]) -> OlaOutput:
        # What a position says of the next; the last one of a sequence has none to speak of.
        targets = torch.cat([F.pad(labels_L[1:], (0, 1), value=IGNORE) for labels_L in labels])
        learned = torch.nonzero(targets != IGNORE)[:, 0]
        if not len(learned):
            raise ValueError("nothing to learn: every label of the batch is ignored")
        hidden_NC, targets_N = hidden_NC[torch.cat(rows)[learned].to(self.device)], targets[learned].to(self.device)
        if torch.is_grad_enabled() and len(learned) > LOGITS_AT_ONCE:
            losses_N = self._losses_in_chunks(hidden_NC, targets_N)
            return OlaOutput(loss=losses_N.mean(), losses=losses_N)
        logits_NV = self.lm_head(hidden_NC)
        losses_N = F.cross_entropy(logits_NV.float(), targets_N, reduction="none")
        return OlaOutput(loss=losses_N.mean(), logits=logits_NV, losses=losses_N)

    def _losses_in_chunks(self, hidden_NC: Tensor, targets_N: Tensor) -> Tensor:
        """Losses (N,), whose logits are made a chunk at a time, and again in the backward pass."""

        def losses(hidden_nC: Tensor, targets_n: Tensor) -> Tensor:
            return F.cross_entropy(self.lm_head(hidden_nC).float(), targets_n, reduction="none")

        chunks = zip(hidden_NC.split(LOGITS_AT_ONCE), targets_N.split(LOGITS_AT_ONCE), strict=True)
        return torch.cat([checkpoint(losses, *chunk, use_reentrant=False) for chunk in chunks])

    def _absent(self, prompts: Sequence[Prompt]) -> Iterator[Tensor]:
        """No embeddings at all (0, C) of each kind of media that is trained but that no prompt has.

        Ranks that share a model reduce the gradients of all that is trained together, whichever media each has read:
        spliced in, nothing makes no difference to the loss, yet gives these parameters gradients, which are zero.
        """
        if not torch.is_grad_enabled():
            return
        if not any(prompt.visuals for prompt in prompts) and _trained(self.vision_tower, self.visual_projector):
            view = torch.zeros(1, 3, self.config.cell, self.config.cell)
            yield self.encode_visuals([Visual("image", (view, view), "")])[0][:0]
        if not self.config.has_speech or any(prompt.sounds for prompt in prompts):
            return
        if _trained(self.speech_encoder, self.speech_projector):
            yield self.speech_projector(self._silence())[:0]

    def _silence(self) -> Tensor:
        """The least audio frames (1, T, D) that make a token; encoded only where that is trained, for Whisper takes
        no less than a chunk."""
        if _trained(self.speech_encoder):
            whisper, beats = self.config.whisper, self.config.beats
            mel = torch.zeros(1, whisper.num_mel_bins, 2 * whisper.max_source_positions)
            frames: Tensor = self.speech_encoder(mel, torch.zeros(1, beats.patch_size, beats.num_mel_bins))
            return frames
        linear, stack = self.speech_projector.linear1, self.speech_projector.stack
        return torch.zeros(1, stack, linear.in_features // stack).to(linear.weight)

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
        """The model of a folder, of this project or of the released layout, or `nano`; in evaluation mode.

        Every tensor that is missing, unexpected or of another shape is named in one `ola.weights.BadCheckpoint`, before
        any is read. dtype `auto`: as stored (float16 becomes float32 on a CPU); BEATs stays float32.
        """
        from ola.weights import config_of, load

        folder = located(folder)
        config = config or config_of(folder)
        if attn_implementation:
            config._attn_implementation = attn_implementation
        return load(cls, folder, config, torch_dtype or dtype, device)


def _trained(*modules: nn.Module) -> bool:
    return any(parameter.requires_grad for module in modules for parameter in module.parameters())


def _once(media: Sequence[Medium]) -> dict[str | int, Medium]:
    return {_name(medium): medium for medium in media}


def _name(medium: Visual | Sound) -> str | int:
    """What media of the same content have in common."""
    return medium.digest or id(medium)


AutoModelForCausalLM.register(OlaConfig, OlaForConditionalGeneration)
