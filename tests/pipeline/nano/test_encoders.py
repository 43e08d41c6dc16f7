"""Labels of the encoders' training data are right, and the encoders learn from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.synthetic.nano import audio, encoders
from pipeline.synthetic.nano.audio import (
    SOUND_CLASSES,
    WORD_CLASSES,
    WORDS,
    ClipMixer,
    LabelledClips,
    make_signals,
    make_utterances,
    speak,
)
from pipeline.synthetic.nano.encoders import (
    audio_loss,
    bright_share,
    learning_rate_factor,
    pretrain_audio,
    pretrain_vision,
    vision_loss,
)
from pipeline.synthetic.nano.images import (
    CLASSES,
    COLOUR_CLASSES,
    IGNORED,
    LEVELS,
    SHAPE_CLASSES,
    SIZE_CLASSES,
    LabelledPictures,
    PictureFigure,
    PictureSampler,
    compute_cover,
    label_patches,
    simulate_storage,
)
from pipeline.synthetic.nano.initial_weights import initial_model
from pipeline.synthetic.world.audio import RATE, render_sound
from pipeline.synthetic.world.frames import draw_frame, interpolate_placement
from pipeline.synthetic.world.scenes import SIDE, Placement, Voice, compose_scene
from pipeline.synthetic.world.vocabulary import COLOURS, SHAPES, SOUNDS, SPLITS, WorldSplit, split_of_seed

TRAIN, PAIRS = split_of_seed(0), split_of_seed(4000)
HELD_OUT = (("HELD_OUT_PICTURES", 4), ("HELD_OUT_CLIPS", 2))
VOICE = Voice("en-us+m1", 160, 50)


def test_shapes_cover_what_the_world_draws() -> None:
    scene = compose_scene(0, 0)
    (figure,) = scene.sights[0].figures
    pixels = draw_frame(scene, 1.0).astype(float)
    share = compute_cover(figure.shape, interpolate_placement(scene.sights[0], figure, 1.0), SIDE)[..., None]
    meant = scene.grey + share * (np.array(figure.rgb) - scene.grey)
    assert np.abs(pixels - meant).mean() < 5  # its grain


def test_the_figure_with_the_largest_cover_owns_a_patch() -> None:
    figures = [
        PictureFigure("red", "square", "large", (205, 35, 40), Placement(0.25, 0.5, 20 / SIDE)),
        PictureFigure(None, "circle", None, (9, 99, 199), Placement(0.75, 0.5, 0.09)),
    ]
    mask, (colour, shape, size, *_) = label_patches(
        figures, [compute_cover(f.shape, f.placement, SIDE) for f in figures], 6
    )
    red, square = COLOUR_CLASSES.index("red"), SHAPE_CLASSES.index("square")
    assert (shape == square).sum() == (colour == red).sum() == (size == SIZE_CLASSES.index("large")).sum() > 3
    assert shape[3, 4] == SHAPE_CLASSES.index("circle")
    assert (colour[3, 4], size[3, 4], size[0, 0]) == (IGNORED, IGNORED, IGNORED)
    assert (colour[0, 0], shape[0, 0], mask[:, 0, 0].max()) == (0, 0, 0.0)
    assert mask[:, 2, 1].min() == 1.0
    upper = mask[:, 3, 4].reshape(8, 8)[0]  # a row of the patch whose upper left corner is near the circle's centre
    assert upper[0] == 1.0


def test_the_smallest_figure_has_a_patch() -> None:
    figure = PictureFigure("red", "star", "small", (205, 35, 40), Placement(1 / 3, 1 / 3, 0.07))
    _, (_, shape, *_) = label_patches([figure], [compute_cover("star", figure.placement, SIDE)], 6)
    assert (shape > 0).any()


@pytest.mark.parametrize("split", [TRAIN, PAIRS], ids=lambda split: split.name)
def test_pictures_show_the_pairs_of_their_split(split: WorldSplit) -> None:
    pictures = PictureSampler(split, 0).sample(40, named=1.0)
    named = pictures.colour > 0
    pairs = {
        (COLOUR_CLASSES[c], SHAPE_CLASSES[s])
        for c, s in zip(pictures.colour[named], pictures.shape[named], strict=True)
    }
    assert pairs <= set(split.figures)
    assert len(pairs) > 4


def test_unnamed_colours_are_far_from_those_of_held_out_pairs() -> None:
    sampler = PictureSampler(TRAIN, 0)
    for _ in range(300):
        for figure in sampler._choose_figures(128, "any"):
            barred = [COLOURS[colour] for colour, shape in PAIRS.figures if shape == figure.shape]
            assert all(np.abs(np.subtract(figure.rgb, other)).max() > 28 for other in barred)
            assert np.abs(np.subtract(figure.rgb, 128)).max() > 40
            assert figure.colour is None


def test_pictures_differ_between_calls_and_repeat_with_the_seed() -> None:
    sampler = PictureSampler(TRAIN, 3)
    first, second, low = sampler.sample(3), sampler.sample(3), sampler.sample(2, 64)
    assert torch.equal(first.pixels, PictureSampler(TRAIN, 3).sample(3).pixels)
    assert not torch.equal(first.pixels, second.pixels)
    assert (first.pixels.shape, low.pixels.shape, low.shape.shape) == ((3, 3, 96, 96), (2, 3, 64, 64), (2, 4, 4))


def test_stored_pictures_differ_a_little() -> None:
    pixels = draw_frame(compose_scene(0, 0), 1.0)
    assert 0.5 < np.abs(simulate_storage(pixels, 60).astype(float) - pixels).mean() < 8


def test_sounds_lie_where_the_labels_say() -> None:
    utterance = speak("two dogs", VOICE)
    clip = ClipMixer([utterance], make_signals(0)[:1], 0)
    clip._place_sounds = lambda: iter([(1.0, utterance), (3.0, make_signals(0)[0])])  # type: ignore[method-assign]
    wave, words, sounds = clip._mix_clip()
    two, dogs, beep = (WORD_CLASSES.index(name) for name in ("two", "dogs", "beep"))
    assert [int(kind) for n, kind in enumerate(words) if not n or kind != words[n - 1]] == [0, two, dogs, 0, beep, 0]
    assert abs(50 + utterance.seconds * 50 - np.flatnonzero(words == dogs)[-1]) <= 2
    level = [np.abs(wave[int(n * 320) : int(n * 320) + 320]).max() for n in range(200)]
    assert max(level[n] for n in range(200) if not words[n]) < 0.2 < np.mean([level[n] for n in range(155, 170)])
    assert set(sounds[7:8]) == {SOUND_CLASSES.index("voice")}
    assert sounds[0] == sounds[-1] == 0


def test_features_have_the_shapes_of_ola() -> None:
    clips = ClipMixer(make_utterances(TRAIN, 2, 0, stretched=True), make_signals(0), 0).mix(2)
    assert (clips.mel.shape, clips.fbank.shape) == ((2, 80, 400), (2, 398, 128))
    assert (clips.words.shape, clips.sounds.shape) == ((2, 200), (2, 24))


def test_crowded_clips_have_more_sounds_and_beats_gets_only_some_clips() -> None:
    spoken = [speak("two dogs", VOICE)]
    plain, crowded = (ClipMixer(spoken, make_signals(0), 0, share).mix(12, beats_count=3) for share in (0.0, 1.0))
    assert (crowded.words > 0).float().mean() > 1.3 * (plain.words > 0).float().mean()
    assert (len(crowded.words), len(crowded.sounds), len(crowded.fbank)) == (12, 3, 3)


def test_utterances_are_the_world_s() -> None:
    scene = next(s for s in (compose_scene(0, n) for n in range(10)) if s.sounds and s.sounds[0].name == "voice")
    sound, (heard, *_) = render_sound(scene)
    utterance = speak(heard.sound.text, scene.voice)
    assert [word for word, _, _ in utterance.events] == heard.sound.text.split()
    assert abs(utterance.seconds - (heard.end - heard.start)) < 0.01
    assert len(speak(heard.sound.text, scene.voice, 1.1).samples) < len(utterance.samples)
    assert len(sound) == scene.seconds * RATE


def test_labels_of_a_patch_have_the_position_of_its_figure() -> None:
    pictures = PictureSampler(TRAIN, 0).sample(8)
    own = pictures.shape > 0
    assert own.any()
    for name, axis in (("column", 2), ("row", 1)):
        levels = getattr(pictures, name)
        assert (levels[~own] == IGNORED).all()
        assert ((levels[own] >= 0) & (levels[own] < LEVELS)).all()
        patches = torch.nonzero(own)[:, axis] / 6
        assert (levels[own] / LEVELS - patches).abs().max() < 0.35, f"{name}: no further off than a figure is wide"


def test_class_names_are_unique() -> None:
    assert len(set(WORD_CLASSES)) == len(WORD_CLASSES) == 1 + len(WORDS) + len(SOUNDS)
    assert set(COLOURS) | set(SHAPES) <= set(WORDS)


def test_right_predictions_have_no_loss() -> None:
    pictures = PictureSampler(TRAIN, 0).sample(4)
    scores = {name: _sure(getattr(pictures, name), kinds) for name, kinds in CLASSES.items()}
    sharp = replace(pictures, mask=pictures.mask.round())
    assert float(vision_loss({**scores, "mask": 100 * (sharp.mask - 0.5)}, sharp)) < 1e-6
    assert set(encoders.vision_accuracy(scores, pictures).values()) == {1.0}


def test_shapes_are_not_learned_from_colours_with_a_name() -> None:
    named, unnamed = (PictureSampler(TRAIN, 0).sample(4, named=share) for share in (1.0, 0.0))
    for pictures, learned in ((named, False), (unnamed, True)):
        scores = {name: torch.zeros(4, kinds, 6, 6) for name, kinds in (*CLASSES.items(), ("mask", 64))}
        shape = torch.zeros(4, 7, 6, 6, requires_grad=True)
        vision_loss(scores | {"shape": shape}, pictures).backward()  # type: ignore[no-untyped-call]
        assert shape.grad is not None
        assert bool((shape.grad.abs().sum(1) > 0)[pictures.shape > 0].any()) == learned


def test_patches_without_a_label_have_no_loss() -> None:
    pictures = PictureSampler(TRAIN, 0).sample(2)
    empty, ground = torch.full_like(pictures.size, IGNORED), torch.zeros_like(pictures.shape)
    blank_ones = LabelledPictures(pictures.pixels, torch.zeros_like(pictures.mask), empty, ground, *[empty] * 4)
    scores = {"shape": _sure(ground, 7), "mask": torch.full_like(pictures.mask, -50.0)}
    unsure = {name: torch.zeros(2, kinds, 6, 6) for name, kinds in CLASSES.items() if name != "shape"}
    assert float(vision_loss(scores | unsure, blank_ones)) < 1e-6


def test_a_word_is_right_if_most_of_its_frames_are() -> None:
    words = torch.zeros(1, 20, dtype=torch.long)
    words[0, 3:9], words[0, 9:14], words[0, 15:18] = 1, 2, WORD_CLASSES.index("beep")
    clips = LabelledClips(torch.zeros(1), torch.zeros(1), words, torch.zeros(1, 4, dtype=torch.long))
    said_so = words.clone()
    said_so[0, 3:5], said_so[0, 9:12] = 0, 7
    found = encoders.audio_accuracy((_sure(said_so, len(WORD_CLASSES)), _sure(clips.sounds, len(SOUND_CLASSES))), clips)
    assert (found["words"], found["signals"], found["steps"], found["silence"]) == (0.5, 1.0, 1.0, 1.0)
    assert float(audio_loss((_sure(words, 42), _sure(clips.sounds, 7)), clips)) < 1e-6


def _sure(target: torch.Tensor, kinds: int) -> torch.Tensor:
    """Return scores (n, K, ...) that are certain of the target (n, ...)."""
    one_hot = torch.nn.functional.one_hot(target.clamp(min=0), kinds)
    return 50.0 * one_hot.movedim(-1, 1).float()


def test_the_rate_rises_stays_and_falls() -> None:
    rates = [learning_rate_factor(step, 1000) for step in range(1000)]
    assert rates[0] < 0.05
    assert rates[59] == rates[599] == 1.0
    assert rates[800] == pytest.approx(0.5, abs=0.01)
    assert rates[-1] == pytest.approx(0.0, abs=1e-6)


def test_figures_are_bright_in_the_first_steps() -> None:
    assert [bright_share(step, 1000) for step in (0, 150, 275, 400, 999)] == [1.0, 1.0, 0.5, 0.0, 0.0]
    for figure in PictureSampler(TRAIN, 0)._choose_figures(128, "bright") * 5:
        assert figure.colour is None
        assert np.mean(figure.rgb) > 168


def test_splits_that_are_measured_exist() -> None:
    assert {"train", "val", "test-voices", "test-pairs", "test-both"} <= {split.name for split in SPLITS}


def test_encoders_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps move the encoders and nothing else, and the loss falls."""
    for name, value in (
        ("BATCH_PICTURES", 8),
        ("BATCH_CLIPS", 2),
        ("REPORT_EVERY", 4),
        ("WARMUP_STEPS", 2),
        ("HELD_OUT_UTTERANCES", 4),
        *HELD_OUT,
    ):
        monkeypatch.setattr(encoders, name, value)
    monkeypatch.setattr(audio, "SIGNALS_PER_KIND", 2)
    model, before, said_so = initial_model(0), initial_model(0).state_dict(), list[str]()
    pretrain_vision(model, 8, 0, said_so.append)
    pretrain_audio(model, 8, 0, said_so.append, spoken=4)
    moved = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"vision_tower", "speech_encoder"}
    losses = [float(line.split("loss ")[1].split(";")[0]) for line in said_so]
    assert losses[1] < losses[0]
    assert losses[3] < losses[2]
    assert all(p.grad is None for p in model.model.parameters())
