"""Pre-train nano's vision and audio encoders as classifiers, before any language.

Each encoder is trained with temporary linear heads on random data of the split `train`: they predict the content of
each patch, and the word or signal of each frame of sound. The heads read the same outputs as Ola's projectors.
Accuracy is measured on held-out voices and pairs.

Legend: n pictures or clips, gh x gw patches, T frames, P steps, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.synthetic.nano.audio import (
    SOUND_CLASSES,
    WORD_CLASSES,
    WORDS,
    ClipMixer,
    LabelledClips,
    make_signals,
    make_utterances,
)
from pipeline.synthetic.nano.images import CELLS, CLASSES, IGNORED, LabelledPictures, PictureSampler
from pipeline.synthetic.world.scenes import SIDE
from pipeline.synthetic.world.vocabulary import find_split

if TYPE_CHECKING:
    from ola.model import OlaForConditionalGeneration

LEARNING_RATE, BETAS, WEIGHT_DECAY, GRADIENT_CLIP = 1.5e-3, (0.9, 0.98), 0.01, 1.0
WARMUP_STEPS = 60
COOLDOWN_SHARE = 0.4  # last share of the steps, in which the learning rate falls to 0
BATCH_PICTURES, BATCH_CLIPS = 64, 32  # a batch
BEATS_CLIPS = 8  # clips of a batch for BEATs, which learns faster
# Shares of the steps: up to the first all figures are brighter than the ground, after the second only by chance.
# With bright and dark figures from the start, shapes are still not learned after 500 steps.
BRIGHT_UNTIL, NOT_BRIGHT_FROM = 0.15, 0.4
NAMED_SHARE = 0.25  # share of the other pictures with named colours, which are learned fast
CROWDED_SHARE = 0.6  # share of the pictures and of the clips
HELD_OUT_PICTURES, HELD_OUT_CLIPS = 256, 128
REPORT_EVERY = 100  # steps
SMALL_SIDE = 64  # pixels a side, as an image's low view; used for a third of the batches
GROUND_WEIGHT = 0.2  # five of six patches are ground
PLACE_WEIGHT = 0.3  # weight of column, row and width each
INSIDE_COVER = 0.5  # patches with more cover count as inside of a figure
UTTERANCES, HELD_OUT_UTTERANCES = 9000, 300
BANDS = 8  # frequency bands of BEATs at each step

Report = Callable[[str], object]


class VisionHeads(nn.Module):
    """Predict the `CLASSES` of a patch, and which of its cells are covered by figures (mask)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        outputs = {**CLASSES, "mask": CELLS**2}
        self.heads = nn.ModuleDict({name: nn.Linear(width, count) for name, count in outputs.items()})

    def forward(self, x_nggD: Tensor) -> dict[str, Tensor]:
        """Map features (n, gh, gw, D) to scores (n, K, gh, gw) by name."""
        return {name: head(x_nggD).permute(0, 3, 1, 2) for name, head in self.heads.items()}


class AudioHeads(nn.Module):
    """Predict the word or signal of each frame of Whisper, and the kind of sound of each step of BEATs."""

    def __init__(self, whisper: int, beats: int) -> None:
        super().__init__()
        self.words, self.sounds = nn.Linear(whisper, len(WORD_CLASSES)), nn.Linear(beats, len(SOUND_CLASSES))

    def forward(self, speech_nTD: Tensor, sound_nLD: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (n, T, D) and (n, P * BANDS, D) to scores (n, K, T) and (n, K, P)."""
        steps_nPD = sound_nLD.unflatten(1, (-1, BANDS)).mean(2)  # type: ignore[no-untyped-call]
        return self.words(speech_nTD).transpose(1, 2), self.sounds(steps_nPD).transpose(1, 2)


def pretrain_vision(model: OlaForConditionalGeneration, steps: int, seed: int, report: Report) -> dict[str, float]:
    """Train the vision tower in place; returns its final `vision_accuracy`. report: gets loss and accuracy as text."""
    heads = _initialise_heads(VisionHeads(model.config.vision.hidden_size), seed)
    sampler = PictureSampler(find_split("train"), seed, CROWDED_SHARE)
    samplers = {
        name: PictureSampler(find_split(split), seed) for name, split in (("seen", "val"), ("unseen", "test-pairs"))
    }
    held_out = {name: sampler.sample(HELD_OUT_PICTURES, named=1.0) for name, sampler in samplers.items()}

    def loss(step: int) -> Tensor:
        pictures = sampler.sample(
            BATCH_PICTURES, SMALL_SIDE if step % 3 == 2 else SIDE, NAMED_SHARE, bright_share(step, steps)
        )
        return vision_loss(_vision_scores(model, heads, pictures), pictures)

    def measure() -> dict[str, float]:
        return {
            f"{metric} {name}": share
            for name, pictures in held_out.items()
            for metric, share in vision_accuracy(_vision_scores(model, heads, pictures), pictures).items()
        }

    return _train_encoders((model.vision_tower, heads), steps, loss, measure, report)


def pretrain_audio(
    model: OlaForConditionalGeneration, steps: int, seed: int, report: Report, spoken: int = UTTERANCES
) -> dict[str, float]:
    """Train Whisper and BEATs in place; returns their final `audio_accuracy`. Raises ConfigError without espeak-ng.

    spoken: number of utterances that clips are mixed from; 9000 take two minutes to synthesise.
    """
    heads = _initialise_heads(AudioHeads(model.config.whisper.d_model, model.config.beats.hidden_size), seed)
    mixer = ClipMixer(
        make_utterances(find_split("train"), spoken, seed, stretched=True), make_signals(seed), seed, CROWDED_SHARE
    )
    splits = {name: f"test-{split}" for name, split in (("", "voices"), (" of unseen pairs", "both"))}
    held_out = {
        name: ClipMixer(
            make_utterances(find_split(split), HELD_OUT_UTTERANCES, seed, stretched=False), make_signals(seed + 1), seed
        ).mix(HELD_OUT_CLIPS)
        for name, split in splits.items()
    }

    def loss(_step: int) -> Tensor:
        clips = mixer.mix(BATCH_CLIPS, BEATS_CLIPS)
        return audio_loss(_audio_scores(model, heads, clips), clips)

    def measure() -> dict[str, float]:
        return {
            f"{metric}{name}": share
            for name, clips in held_out.items()
            for metric, share in audio_accuracy(_audio_scores(model, heads, clips), clips).items()
        }

    encoders = (model.speech_encoder.whisper, model.speech_encoder.beats)
    return _train_encoders((*encoders, heads), steps, loss, measure, report)


def vision_loss(scores: dict[str, Tensor], pictures: LabelledPictures) -> Tensor:
    """Return the sum of the cross-entropies of all classes and of the mask. Ground and position weigh less.

    Shapes are learned only from figures without a named colour, since held-out pairs would make a named colour tell
    about the shape. Positions are trained because an encoder that need not predict them loses them, and so motions.
    """
    targets = {name: getattr(pictures, name) for name in CLASSES}
    targets["shape"] = pictures.shape.masked_fill(pictures.colour > 0, IGNORED)
    # The mask teaches edges in all colours; the classes of shapes alone teach them slowly.
    losses = [F.binary_cross_entropy_with_logits(scores["mask"], pictures.mask)]
    for name, target in targets.items():
        weight = torch.ones(scores[name].shape[1])
        weight[0] = GROUND_WEIGHT if name in ("colour", "shape") else 1.0
        if (target != IGNORED).any():  # the mean of an empty tensor is NaN
            loss = F.cross_entropy(scores[name].float(), target, weight, ignore_index=IGNORED)
            losses.append(loss * (PLACE_WEIGHT if name in ("column", "row", "width") else 1.0))
    return torch.stack(losses).sum()


def audio_loss(scores: tuple[Tensor, Tensor], clips: LabelledClips) -> Tensor:
    """Return the sum of the cross-entropies of words and sounds."""
    words, sounds = (each.float() for each in scores)
    return F.cross_entropy(words, clips.words) + F.cross_entropy(sounds, clips.sounds)


def vision_accuracy(scores: dict[str, Tensor], pictures: LabelledPictures) -> dict[str, float]:
    """Return shares of right patches: of each class inside of figures, of shapes on whole figures, and of ground."""
    inside, figures = pictures.cover > INSIDE_COVER, pictures.shape > 0
    targets = {name: getattr(pictures, name) for name in CLASSES}
    right = {name: scores[name].argmax(1) == target for name, target in targets.items()}
    return {
        **{name: _mean(right[name][inside & (target != IGNORED)]) for name, target in targets.items()},
        "edge shape": _mean(right["shape"][figures]),
        "ground": _mean(right["shape"][~figures]),
    }


def audio_accuracy(scores: tuple[Tensor, Tensor], clips: LabelledClips) -> dict[str, float]:
    """Return shares of words and signals with most frames right, and of right steps of BEATs and silent frames."""
    frames, steps = (each.argmax(1) for each in scores)
    runs = [run for row in zip(frames, clips.words, strict=True) for run in _score_runs(*row)]
    words = [right for kind, right in runs if WORD_CLASSES[kind] in WORDS]
    events = [right for kind, right in runs if kind and WORD_CLASSES[kind] not in WORDS]
    return {
        "words": _mean(torch.tensor(words)),
        "signals": _mean(torch.tensor(events)),
        "steps": _mean(steps == clips.sounds),
        "silence": _mean(frames[clips.words == 0] == 0),
    }


def _score_runs(frames_T: Tensor, classes_T: Tensor) -> Iterator[tuple[int, bool]]:
    """Yield the class of each run of frames with the same class, and whether most of its predictions are right."""
    pairs = zip(classes_T.tolist(), frames_T.tolist(), strict=True)
    for kind, run in groupby(pairs, key=lambda pair: pair[0]):
        predicted = torch.tensor([frame for _, frame in run])
        yield int(kind), int(predicted.mode().values) == kind


def _mean(right: Tensor) -> float:
    return float(right.float().mean())


def _vision_scores(
    model: OlaForConditionalGeneration, heads: nn.Module, pictures: LabelledPictures
) -> dict[str, Tensor]:
    scores: dict[str, Tensor] = heads(torch.cat(model.vision_tower([pictures.pixels])))
    return scores


def _audio_scores(model: OlaForConditionalGeneration, heads: nn.Module, clips: LabelledClips) -> tuple[Tensor, Tensor]:
    encoder = model.speech_encoder
    scores: tuple[Tensor, Tensor] = heads(encoder.whisper(clips.mel).last_hidden_state, encoder.beats(clips.fbank))
    return scores


def _initialise_heads(heads: nn.Module, seed: int) -> nn.Module:
    """Draw small initial weights of a seed."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.normal_(0, 0.02, generator=rng)
    return heads


def _train_encoders(
    modules: Sequence[nn.Module],
    steps: int,
    loss: Callable[[int], Tensor],
    measure: Callable[[], dict[str, float]],
    report: Report,
) -> dict[str, float]:
    """Train modules; reports the mean loss and the accuracy every `REPORT_EVERY` steps, returns the last accuracy."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, LEARNING_RATE, BETAS, weight_decay=WEIGHT_DECAY)
    losses, accuracy = [], {}
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * learning_rate_factor(step, steps)
        step_loss = loss(step)
        optimiser.zero_grad()
        step_loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, GRADIENT_CLIP)
        optimiser.step()
        losses.append(step_loss.item())
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == steps:
            with torch.no_grad():
                accuracy = measure()
            text = ", ".join(f"{name} {share:.3f}" for name, share in accuracy.items())
            report(f"step {step + 1}: loss {sum(losses) / len(losses):.4f}; {text}")
            losses.clear()
    return accuracy


def learning_rate_factor(step: int, steps: int) -> float:
    """Return a factor of the learning rate: warm-up, constant, then cosine decay."""
    falling = max(0.0, (step + 1 - (1 - COOLDOWN_SHARE) * steps) / (COOLDOWN_SHARE * steps))
    return min(1.0, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * min(1.0, falling)))


def bright_share(step: int, steps: int) -> float:
    """Return the share of pictures whose figures are brighter than the ground; it falls from 1 to 0."""
    return min(1.0, max(0.0, (NOT_BRIGHT_FROM * steps - step) / ((NOT_BRIGHT_FROM - BRIGHT_UNTIL) * steps)))
