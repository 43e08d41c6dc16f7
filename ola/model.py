"""The Ola model: encoders and projectors turn media into embeddings, which Qwen2 reads between token embeddings.

In: `Prompt`s. Out: next-token losses for prompts with labels, else logits. Generation is in `ola.generation`. The
decoder is transformers' Qwen2, so any code that takes `inputs_embeds` can run it.

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

from ola import locate_model
from ola.beats import CHUNKS_PER_PASS, Beats
from ola.config import OlaConfig
from ola.packing import SharedPrefix, group_prefixes, is_packed, row_arguments
from ola.projectors import SpeechProjector, VisualProjector
from ola.prompt import IGNORE, Prompt, Sound, Visual
from ola.splicing import interleave, placeholder_positions, placeholders, spliced_labels
from ola.vision import OryxViT

# Supervised tokens whose logits are computed at once in training: 0.9 GB in float32 with the released vocabulary. The
# logits of a row of 16k tokens would take 10 GB, and their gradients as much again.
LOGITS_AT_ONCE = 1536

Medium = TypeVar("Medium", Visual, Sound)


@dataclass
class OlaOutput(CausalLMOutputWithPast):
    """Output for labelled prompts: `logits` (N, V) and `losses` (N,) of the supervised tokens, and their mean `loss`.

    Order: by prompt, then by token. Logits are in the model's dtype, losses in float32 (nats). There are no logits if
    gradients are needed for more than LOGITS_AT_ONCE tokens.
    """

    losses: Tensor | None = None


class SpeechEncoder(nn.Module):
    """Whisper for speech and BEATs for other sounds, concatenated frame by frame."""

    def __init__(self, config: OlaConfig) -> None:
        super().__init__()
        self.whisper = WhisperEncoder(config.whisper)
        self.beats = Beats(config.beats)

    def forward(self, mel_nFT: Tensor, fbank_nTF: Tensor) -> Tensor:
        """Encode chunks (n, bins, 100 per s) and (n, 100 per s - 2, bins) to (n, T, D), with T of 50 per s.

        BEATs gives a few frames less (1496 of 1500 for 30 s) and is padded with zeros. Each encoder splits the chunks
        itself and is called only once, since ranks that shard its weights gather them at each call.
        """
        weight = self.whisper.conv1.weight
        passes = [self.whisper(some).last_hidden_state for some in mel_nFT.to(weight).split(CHUNKS_PER_PASS)]
        speech_nTD = torch.cat(passes)
        sound_nTD = self.beats(fbank_nTF.to(weight.device))
        padded = F.pad(sound_nTD, (0, 0, 0, speech_nTD.shape[1] - sound_nTD.shape[1]))
        return torch.cat([speech_nTD, padded.to(speech_nTD.dtype)], dim=-1)


class OlaForConditionalGeneration(Qwen2ForCausalLM):
    """The whole model; without audio encoders if `config.has_speech` is False (Ola-Image, Ola-Video)."""

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
        """Encode images and videos to embeddings (tokens, C), in one call of the tower."""
        features = iter(self.vision_tower([view for visual in visuals for view in visual.views]))
        return [self._project(visual, [next(features) for _ in visual.views]) for visual in visuals]

    def _project(self, visual: Visual, views: Sequence[Tensor]) -> Tensor:
        return self.visual_projector.image(views) if visual.kind == "image" else self.visual_projector.video(*views)

    def encode_sounds(self, sounds: Sequence[Sound]) -> list[Tensor]:
        """Encode sounds to embeddings (tokens, C). Raises ValueError for a model without audio encoders."""
        if not sounds:
            return []
        if not self.config.has_speech:
            raise ValueError("this model has no speech encoder: leave the sounds out, or load an omni checkpoint")
        mel, fbank = torch.cat([sound.mel for sound in sounds]), torch.cat([sound.fbank for sound in sounds])
        frames_nTD = self.speech_encoder(mel, fbank)
        return [self.speech_projector(part) for part in frames_nTD.split([len(sound.mel) for sound in sounds])]

    def encode(self, prompts: Sequence[Prompt]) -> list[list[Tensor]]:
        """Return the embeddings of each prompt's media, visuals before sounds; equal media are encoded once.

        Media are equal if their digests are equal and not empty.
        """
        visuals = _unique_media([visual for prompt in prompts for visual in prompt.visuals])
        sounds = _unique_media([sound for prompt in prompts for sound in prompt.sounds])
        spans = dict(zip(visuals, self.encode_visuals(list(visuals.values())), strict=True))
        spans |= dict(zip(sounds, self.encode_sounds(list(sounds.values())), strict=True))
        return [[spans[_medium_key(medium)] for medium in prompt.media] for prompt in prompts]

    def splice(self, prompt: Prompt, spans: Sequence[Tensor]) -> Tensor:
        """Return a prompt's sequence of embeddings (L, C). Raises ValueError if placeholders and media do not match.

        The first placeholders, whatever their kind, take the visuals and the others the sounds, as in training.
        """
        placeholders(prompt)
        return self._splice_ids(prompt.input_ids, spans)

    def _splice_ids(self, ids: Tensor, spans: Sequence[Tensor]) -> Tensor:
        text_LC = self.get_input_embeddings()(ids.clamp(min=0).to(self.device))
        return torch.cat(interleave(text_LC, placeholder_positions(ids), spans))

    def forward(self, prompts: Sequence[Prompt] | None = None, **decoder: Any) -> CausalLMOutputWithPast:
        """Run the model on prompts: return `OlaOutput` if all have labels, else logits (B, L, V), padded on the right.

        The prompts are padded to the longest, or joined in one row if `attn_implementation` is "packed"
        (`ola.packing`). Without prompts, this is Qwen2's forward of `input_ids` (B, L) or `inputs_embeds` (B, L, C).
        """
        if prompts is None:
            out: CausalLMOutputWithPast = super().forward(**decoder)
            return out
        for prompt in prompts:
            placeholders(prompt)
        media, learns = self.encode(prompts), all(prompt.labels is not None for prompt in prompts)
        read = self._run_packed if is_packed(self.config) else self._run_padded
        hidden_NC, rows = read(prompts, media, list(self._absent_media(prompts)) if learns else [])
        if not learns:
            return CausalLMOutputWithPast(logits=self.lm_head(pad_sequence([hidden_NC[at] for at in rows], True)))
        labels = [spliced_labels(prompt, spans) for prompt, spans in zip(prompts, media, strict=True)]
        return self._supervised_output(hidden_NC, rows, labels)

    def _run_padded(
        self, prompts: Sequence[Prompt], media: list[list[Tensor]], absent: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Run the decoder on padded prompts. Return hidden states (N, C), and the indices (L,) of each prompt in them.

        No mask is needed: the padding comes after each sequence, which causal attention does not see.
        """
        sequences = [self._splice_ids(prompt.input_ids, spans) for prompt, spans in zip(prompts, media, strict=True)]
        sequences[0] = torch.cat([sequences[0], *absent])
        embeds_BLC = pad_sequence(sequences, True)
        hidden_BLC, longest = self.model(inputs_embeds=embeds_BLC).last_hidden_state, embeds_BLC.shape[1]
        rows = [n * longest + torch.arange(len(x_LC)) for n, x_LC in enumerate(sequences)]
        return hidden_BLC.flatten(0, 1), rows

    def _run_packed(
        self, prompts: Sequence[Prompt], media: list[list[Tensor]], absent: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Run the decoder on prompts in one row, with shared prefixes. Return values as in `_run_padded`."""
        pieces, prefixes = list[Tensor](), list[SharedPrefix]()
        lengths = [len(p.input_ids) + sum(len(span) - 1 for span in s) for p, s in zip(prompts, media, strict=True)]
        for alike in group_prefixes(prompts, lengths):
            some, spans = prompts[alike.first : alike.end], media[alike.first : alike.end]
            begin = [self._splice_ids(some[0].input_ids[: alike.ids], spans[0])] if alike.ids else []
            media_of = [[]] * len(some) if alike.ids else spans
            rests = [self._splice_ids(p.input_ids[alike.ids :], s) for p, s in zip(some, media_of, strict=True)]
            prefixes.append(SharedPrefix(sum(map(len, begin)), tuple(map(len, rests))))
            pieces += begin + rests
        pieces[0] = torch.cat([pieces[0], *absent])
        hidden_NC = self.model(**row_arguments(pieces, self.config, prefixes)).last_hidden_state[0]
        starts = accumulate(map(len, prefixes), initial=0)
        return hidden_NC, [
            at + place for at, prefix in zip(starts, prefixes, strict=False) for place in prefix.sequence_positions()
        ]

    def _supervised_output(self, hidden_NC: Tensor, rows: list[Tensor], labels: list[Tensor]) -> OlaOutput:
        # Each position predicts the next; the last position of a sequence predicts none.
        targets = torch.cat([F.pad(labels_L[1:], (0, 1), value=IGNORE) for labels_L in labels])
        learned = torch.nonzero(targets != IGNORE)[:, 0]
        if not len(learned):
            raise ValueError("labels: expected at least one that is not ignored, got none in the batch")
        hidden_NC, targets_N = hidden_NC[torch.cat(rows)[learned].to(self.device)], targets[learned].to(self.device)
        if torch.is_grad_enabled() and len(learned) > LOGITS_AT_ONCE:
            losses_N = self._losses_in_chunks(hidden_NC, targets_N)
            return OlaOutput(loss=losses_N.mean(), losses=losses_N)
        logits_NV = self.lm_head(hidden_NC)
        losses_N = F.cross_entropy(logits_NV.float(), targets_N, reduction="none")
        return OlaOutput(loss=losses_N.mean(), logits=logits_NV, losses=losses_N)

    def _losses_in_chunks(self, hidden_NC: Tensor, targets_N: Tensor) -> Tensor:
        """Return losses (N,). Logits are computed chunk by chunk, and again in the backward pass."""

        def losses(hidden_nC: Tensor, targets_n: Tensor) -> Tensor:
            return F.cross_entropy(self.lm_head(hidden_nC).float(), targets_n, reduction="none")

        chunks = zip(hidden_NC.split(LOGITS_AT_ONCE), targets_N.split(LOGITS_AT_ONCE), strict=True)
        return torch.cat([checkpoint(losses, *chunk, use_reentrant=False) for chunk in chunks])

    def _absent_media(self, prompts: Sequence[Prompt]) -> Iterator[Tensor]:
        """Yield empty embeddings (0, C) for each trained kind of media that no prompt has.

        Ranks reduce the gradients of all trained parameters together, whichever media each rank has. The empty
        embeddings do not change the loss, but give these parameters gradients of zero.
        """
        if not torch.is_grad_enabled():
            return
        if not any(prompt.visuals for prompt in prompts) and _is_trained(self.vision_tower, self.visual_projector):
            view = torch.zeros(1, 3, self.config.cell, self.config.cell)
            yield self.encode_visuals([Visual("image", (view, view), "")])[0][:0]
        if not self.config.has_speech or any(prompt.sounds for prompt in prompts):
            return
        if _is_trained(self.speech_encoder, self.speech_projector):
            yield self.speech_projector(self._encode_silence())[:0]

    def _encode_silence(self) -> Tensor:
        """Return the audio frames (1, T, D) of one token of silence.

        They are encoded only if an encoder is trained, because Whisper always encodes a whole chunk.
        """
        if _is_trained(self.speech_encoder):
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
        """Load a model in evaluation mode from a folder in this project's or the released layout, or `nano`.

        Raises `ola.weights.BadCheckpoint`, which names every missing, unexpected or misshapen tensor, before any is
        read. dtype: `auto` for the stored one (float16 becomes float32 on a CPU); BEATs stays float32.
        """
        from ola.weights import config_of, load

        folder = locate_model(folder)
        config = config or config_of(folder)
        if attn_implementation:
            config._attn_implementation = attn_implementation
        return load(cls, folder, config, torch_dtype or dtype, device)


def _is_trained(*modules: nn.Module) -> bool:
    return any(parameter.requires_grad for module in modules for parameter in module.parameters())


def _unique_media(media: Sequence[Medium]) -> dict[str | int, Medium]:
    return {_medium_key(medium): medium for medium in media}


def _medium_key(medium: Visual | Sound) -> str | int:
    """Return a key that is equal for media of equal content: the digest, else the object's id."""
    return medium.digest or id(medium)


AutoModelForCausalLM.register(OlaConfig, OlaForConditionalGeneration)
