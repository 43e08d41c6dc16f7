"""Pre-train nano's vision and audio encoders on the world, before any language.

Each encoder learns with a linear head of its own, thrown away afterwards, from endless clips of the split `train`:
what each patch of a picture shows, which word or signal each frame of sound belongs to. Heads read what Ola's
projectors read. What is measured is held out: voices that were never heard, pairs that were never seen.

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
WARMUP_STEPS = 60  # steps
COOLDOWN_SHARE = 0.4  # share of the steps in which the rate falls to nothing
BATCH_PICTURES, BATCH_CLIPS = 64, 32  # a batch
BEATS_CLIPS = 8  # clips of a batch that BEATs hears, which has less to learn
# Shares of the steps until which all pictures are bright, and from which on none is. An edge is the same whichever side
# of it is darker; where both come at once, neither is found, and shapes are still unknown after 500 steps.
BRIGHT_UNTIL, NOT_BRIGHT_FROM = 0.15, 0.4
NAMED_SHARE = 0.25  # of the other pictures: colours are learned soon
CROWDED_SHARE = 0.6  # of the pictures and the clips
HELD_OUT_PICTURES, HELD_OUT_CLIPS = 256, 128  # that are measured
REPORT_EVERY = 100  # steps from one report to the next
SMALL_SIDE = 64  # pixels a side of an image's low view; a third of the batches
GROUND_WEIGHT = 0.2  # of six patches five are ground
PLACE_WEIGHT = 0.3  # of column, row and width, each
INSIDE_COVER = 0.5  # cover of a patch that is well inside of a figure
UTTERANCES, HELD_OUT_UTTERANCES = 9000, 300  # utterances
BANDS = 8  # of BEATs, in a row at each step

Report = Callable[[str], object]


class VisionHeads(nn.Module):
    """What a patch shows: scores of its `CLASSES`, and of its cells that figures cover them (mask)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        outputs = {**CLASSES, "mask": CELLS**2}
        self.heads = nn.ModuleDict({name: nn.Linear(width, count) for name, count in outputs.items()})

    def forward(self, x_nggD: Tensor) -> dict[str, Tensor]:
        """(n, gh, gw, D) to (n, K, gh, gw) each."""
        return {name: head(x_nggD).permute(0, 3, 1, 2) for name, head in self.heads.items()}


class HearingHeads(nn.Module):
    """What is heard: scores of the word or signal of a frame of Whisper, and of the kind of a step of BEATs."""

    def __init__(self, whisper: int, beats: int) -> None:
        super().__init__()
        self.words, self.sounds = nn.Linear(whisper, len(WORD_CLASSES)), nn.Linear(beats, len(SOUND_CLASSES))

    def forward(self, speech_nTD: Tensor, sound_nLD: Tensor) -> tuple[Tensor, Tensor]:
        """(n, T, D) and (n, P * BANDS, D) to (n, K, T) and (n, K, P)."""
        steps_nPD = sound_nLD.unflatten(1, (-1, BANDS)).mean(2)  # type: ignore[no-untyped-call]
        return self.words(speech_nTD).transpose(1, 2), self.sounds(steps_nPD).transpose(1, 2)


def pretrain_vision(model: OlaForConditionalGeneration, steps: int, seed: int, report: Report) -> dict[str, float]:
    """Train the vision tower in place; what it can at the end, as `seen`. say: told of loss and that, now and then."""
    heads = _initialise_heads(VisionHeads(model.config.vision.hidden_size), seed)
    sampler = PictureSampler(find_split("train"), seed, CROWDED_SHARE)
    fresh = {
        name: PictureSampler(find_split(split), seed) for name, split in (("seen", "val"), ("unseen", "test-pairs"))
    }
    held_out = {name: sampler.sample(HELD_OUT_PICTURES, named=1.0) for name, sampler in fresh.items()}

    def loss(step: int) -> Tensor:
        pictures = sampler.sample(
            BATCH_PICTURES, SMALL_SIDE if step % 3 == 2 else SIDE, NAMED_SHARE, bright_share(step, steps)
        )
        return vision_loss(_vision_scores(model, heads, pictures), pictures)

    def able() -> dict[str, float]:
        return {
            f"{what} {name}": share
            for name, pictures in held_out.items()
            for what, share in vision_accuracy(_vision_scores(model, heads, pictures), pictures).items()
        }

    return _train_encoders((model.vision_tower, heads), steps, loss, able, report)


def pretrain_hearing(
    model: OlaForConditionalGeneration, steps: int, seed: int, report: Report, spoken: int = UTTERANCES
) -> dict[str, float]:
    """Train Whisper and BEATs in place; what they can at the end, as `heard`.

    spoken: utterances that clips are mixed of; 9000 take two minutes to make. Raises ConfigError without espeak-ng.
    """
    heads = _initialise_heads(HearingHeads(model.config.whisper.d_model, model.config.beats.hidden_size), seed)
    mixer = ClipMixer(
        make_utterances(find_split("train"), spoken, seed, stretched=True), make_signals(seed), seed, CROWDED_SHARE
    )
    fresh = {name: f"test-{split}" for name, split in (("", "voices"), (" of unseen pairs", "both"))}
    held_out = {
        name: ClipMixer(
            make_utterances(find_split(split), HELD_OUT_UTTERANCES, seed, stretched=False), make_signals(seed + 1), seed
        ).mix(HELD_OUT_CLIPS)
        for name, split in fresh.items()
    }

    def loss(_step: int) -> Tensor:
        clips = mixer.mix(BATCH_CLIPS, BEATS_CLIPS)
        return hearing_loss(_audio_scores(model, heads, clips), clips)

    def able() -> dict[str, float]:
        return {
            f"{what}{name}": share
            for name, clips in held_out.items()
            for what, share in audio_accuracy(_audio_scores(model, heads, clips), clips).items()
        }

    encoders = (model.speech_encoder.whisper, model.speech_encoder.beats)
    return _train_encoders((*encoders, heads), steps, loss, able, report)


def vision_loss(scores: dict[str, Tensor], pictures: LabelledPictures) -> Tensor:
    """Cross-entropy of all classes, in which ground and places weigh less, and of the mask, added.

    Shapes are learned from colours without a name alone: with a name, the colour would tell which shape it cannot be.
    Where a figure is, is asked because an encoder that need not tell forgets it, and then nothing is seen to move.
    """
    targets = {name: getattr(pictures, name) for name in CLASSES}
    targets["shape"] = pictures.shape.masked_fill(pictures.colour > 0, IGNORED)
    # A mask says what edges there are in whatever colours, which classes of shapes alone are slow to teach.
    losses = [F.binary_cross_entropy_with_logits(scores["mask"], pictures.mask)]
    for name, target in targets.items():
        weight = torch.ones(scores[name].shape[1])
        weight[0] = GROUND_WEIGHT if name in ("colour", "shape") else 1.0
        if (target != IGNORED).any():  # the mean of nothing is no number
            loss = F.cross_entropy(scores[name].float(), target, weight, ignore_index=IGNORED)
            losses.append(loss * (PLACE_WEIGHT if name in ("column", "row", "width") else 1.0))
    return torch.stack(losses).sum()


def hearing_loss(scores: tuple[Tensor, Tensor], clips: LabelledClips) -> Tensor:
    """Cross-entropy of words and of sounds, added."""
    words, sounds = (each.float() for each in scores)
    return F.cross_entropy(words, clips.words) + F.cross_entropy(sounds, clips.sounds)


def vision_accuracy(scores: dict[str, Tensor], pictures: LabelledPictures) -> dict[str, float]:
    """Share of right patches: of all classes `INSIDE` figures, and of shape on all that is of a figure."""
    inside, figures = pictures.cover > INSIDE_COVER, pictures.shape > 0
    targets = {name: getattr(pictures, name) for name in CLASSES}
    right = {name: scores[name].argmax(1) == target for name, target in targets.items()}
    return {
        **{name: _mean(right[name][inside & (target != IGNORED)]) for name, target in targets.items()},
        "edge shape": _mean(right["shape"][figures]),
        "ground": _mean(right["shape"][~figures]),
    }


def audio_accuracy(scores: tuple[Tensor, Tensor], clips: LabelledClips) -> dict[str, float]:
    """Share of words and of signals most of whose frames are right, of steps right for BEATs, and of silence."""
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
    """The class of each run of frames, and whether it is what most of them were taken for."""
    pairs = zip(classes_T.tolist(), frames_T.tolist(), strict=True)
    for kind, run in groupby(pairs, key=lambda pair: pair[0]):
        taken = torch.tensor([frame for _, frame in run])
        yield int(kind), int(taken.mode().values) == kind


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
    """Drawn from the seed, low."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.normal_(0, 0.02, generator=rng)
    return heads


def _train_encoders(
    modules: Sequence[nn.Module],
    steps: int,
    loss: Callable[[int], Tensor],
    able: Callable[[], dict[str, float]],
    report: Report,
) -> dict[str, float]:
    """Take the steps, and tell now and then the mean loss since and what the modules are able to; that at the end."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, LEARNING_RATE, BETAS, weight_decay=WEIGHT_DECAY)
    losses, found = [], {}
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * learning_rate_factor(step, steps)
        lost = loss(step)
        optimiser.zero_grad()
        lost.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, GRADIENT_CLIP)
        optimiser.step()
        losses.append(lost.item())
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == steps:
            with torch.no_grad():
                found = able()
            told = ", ".join(f"{name} {share:.3f}" for name, share in found.items())
            report(f"step {step + 1}: loss {sum(losses) / len(losses):.4f}; {told}")
            losses.clear()
    return found


def learning_rate_factor(step: int, steps: int) -> float:
    """Share of the highest rate: it rises in `WARM` steps, stays, and falls by a cosine in the last `COOL` of them."""
    falling = max(0.0, (step + 1 - (1 - COOLDOWN_SHARE) * steps) / (COOLDOWN_SHARE * steps))
    return min(1.0, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * min(1.0, falling)))


def bright_share(step: int, steps: int) -> float:
    """Share of the pictures whose figures are brighter than the ground: all, then fewer and fewer, then none."""
    return min(1.0, max(0.0, (NOT_BRIGHT_FROM * steps - step) / ((NOT_BRIGHT_FROM - BRIGHT_UNTIL) * steps)))
