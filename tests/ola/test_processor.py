"""Requests and samples to prompts: lengths, thinning, digests, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from ola.processor import OlaProcessor
from ola.prompt import IGNORE, IMAGE, SPEECH, Request, Sound, Visual, Wave
from tests.ola import tiny

RATE = 16_000
CHUNK_TOKENS = 11  # of two seconds of sound
FRAME_TOKENS = 91  # of 288 x 288 pixels


def processor(**changes: Any) -> OlaProcessor:
    return OlaProcessor(tiny.tokenizer(), tiny.config(**changes))


PROCESSOR = processor()


def frames(count: int, size: tuple[int, int] = (288, 288)) -> list[np.ndarray]:
    """Each of its own grey."""
    return [np.full((size[1], size[0], 3), n % 256, np.uint8) for n in range(count)]


def sound(seconds: float, seed: int = 0) -> Wave:
    return Wave(0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE)), RATE)


def greys(visual: Visual) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in visual.views[0]]


def test_an_image_has_two_views() -> None:
    visual = PROCESSOR.image(Image.new("RGB", (100, 75), (1, 2, 3)))
    assert [tuple(view.shape) for view in visual.views] == [(1, 3, 320, 416), (1, 3, 96, 128)]
    assert visual.views[0].dtype == torch.uint8
    assert visual.views[1][0, :, 40, 60].tolist() == [1, 2, 3]


def test_a_long_video_is_sampled_evenly() -> None:
    visual = processor(max_frames=4).video(frames(100))
    assert visual.views[0].shape == (4, 3, 288, 288)
    assert greys(visual) == [0, 33, 66, 99]


@pytest.mark.parametrize("count", [1, 3])
def test_a_short_video_keeps_every_frame_once(count: int) -> None:
    assert greys(PROCESSOR.video(frames(count))) == list(range(count))


def test_a_video_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="0 of 0 frames"):
        PROCESSOR.prompt(Request("Why?", video=[]))


def test_a_sound_is_cut_into_chunks() -> None:
    features = PROCESSOR.sound(sound(4.1))
    assert features.mel.shape == (3, 128, 200)
    assert features.fbank.shape == (3, 198, 128)


def test_digests_name_the_content() -> None:
    picture, other = frames(2)
    wave = sound(1)
    media: list[Visual | Sound] = [
        PROCESSOR.image(picture),
        PROCESSOR.image(other),
        PROCESSOR.video([picture]),
        PROCESSOR.video([picture, picture]),
        PROCESSOR.sound(wave),
        PROCESSOR.sound(sound(1, seed=1)),
        PROCESSOR.sound(replace(wave, rate=8000)),
    ]
    assert len({medium.digest for medium in media}) == len(media)
    assert PROCESSOR.image(picture).digest == PROCESSOR.image(Image.fromarray(picture)).digest
    assert PROCESSOR.sound(wave).digest == PROCESSOR.sound(Wave(np.stack([wave.samples, wave.samples]))).digest


def test_length_counts_every_medium() -> None:
    request = Request("Why?", images=[Image.new("RGB", (100, 75))], video=frames(3), sounds=[sound(3)])
    prompt = PROCESSOR.prompt(request)
    ids = prompt.input_ids.tolist()
    assert (ids.count(IMAGE), ids.count(SPEECH)) == (2, 1)
    image, video, heard = 2 + 10 * 14 + 1 + 3 * 5, 2 + 3 * FRAME_TOKENS, 2 + 2 * CHUNK_TOKENS
    assert prompt.length == len(ids) - 3 + image + video + heard
    assert [visual.kind for visual in prompt.visuals] == ["image", "video"]
    assert prompt.labels is None
    assert prompt.notes == ()


def test_media_given_ready_are_taken_as_they_are() -> None:
    image, video, heard = PROCESSOR.image(frames(1)[0]), PROCESSOR.video(frames(2)), PROCESSOR.sound(sound(1))
    prompt = PROCESSOR.prompt(Request(images=[image], video=video, sounds=[heard], spoken_question=heard))
    assert prompt.visuals == (image, video)
    assert prompt.sounds == (heard, heard)


def test_a_spoken_question_is_the_last_sound() -> None:
    prompt = PROCESSOR.prompt(Request(sounds=[sound(1)], spoken_question=sound(3)))
    assert [len(heard.mel) for heard in prompt.sounds] == [1, 2]


def test_sampling_is_noted() -> None:
    assert processor(max_frames=4).prompt(Request("Why?", video=frames(9))).notes == ("9 frames -> 4",)


def test_what_does_not_fit_is_thinned_alike() -> None:
    request = Request("Why?", video=frames(20), sounds=[sound(40)], max_new_tokens=800)
    whole, both = PROCESSOR.prompt(request), FRAME_TOKENS + CHUNK_TOKENS
    prompt = processor(tokenizer_model_max_length=whole.length - 10 * both + 800).prompt(request)
    kept = [0, 2, 4, 6, 8, 10, 12, 14, 16, 19]
    assert prompt.notes == ("20 frames -> 10", "20 chunks of sound -> 10")
    assert prompt.length == whole.length - 10 * both
    assert greys(prompt.visuals[0]) == kept
    assert torch.equal(prompt.sounds[0].mel, whole.sounds[0].mel[kept])
    assert torch.equal(prompt.sounds[0].fbank, whole.sounds[0].fbank[kept])
    assert prompt.visuals[0].digest != whole.visuals[0].digest
    assert prompt.sounds[0].digest != whole.sounds[0].digest
    assert torch.equal(prompt.input_ids, whole.input_ids)
    assert whole.notes == ()


def test_questions_and_images_are_never_thinned() -> None:
    request = Request(images=[Image.new("RGB", (100, 75))], video=frames(9), spoken_question=sound(10))
    least = PROCESSOR.prompt(replace(request, video=frames(1))).length
    small = processor(tokenizer_model_max_length=least + 100)
    prompt = small.prompt(replace(request, max_new_tokens=100))
    assert prompt.length == least
    assert [len(visual.views[-1]) for visual in prompt.visuals] == [1, 1]
    assert len(prompt.sounds[0].mel) == 5
    says = rf"takes {least} positions at least .* where {least - 1} are free \({least + 100}, less 101 for the answer\)"
    with pytest.raises(ValueError, match=says):
        small.prompt(replace(request, max_new_tokens=101))


def test_the_error_says_what_each_part_takes() -> None:
    request = Request("Why?", images=[Image.new("RGB", (100, 75))], video=frames(2), sounds=[sound(1)])
    with pytest.raises(ValueError, match=r"\(text \d+, image 158, video 93, sound 13\)"):
        processor(tokenizer_model_max_length=64).prompt(replace(request, max_new_tokens=1))


def test_a_training_sample_has_labels() -> None:
    turns = [("human", "<image>Why?"), ("gpt", "So.")]
    prompt = PROCESSOR.sample(turns, [PROCESSOR.video(frames(2))])
    assert prompt.labels is not None
    assert prompt.labels.shape == prompt.input_ids.shape
    assert prompt.labels[prompt.input_ids == IMAGE].tolist() == [IGNORE]
    assert prompt.length == len(prompt.input_ids) - 1 + 2 + 2 * FRAME_TOKENS


def test_a_long_training_sample_is_thinned_too() -> None:
    turns, video = [("human", "<image>Why?"), ("gpt", "So.")], PROCESSOR.video(frames(9))
    small = processor(tokenizer_model_max_length=PROCESSOR.sample(turns, [video]).length - 6 * FRAME_TOKENS)
    assert small.sample(turns, [video]).notes == ("9 frames -> 3",)
    with pytest.raises(ValueError, match=r"text \d{3}, video 93"):
        small.sample([turns[0], ("gpt", "So. " * 200)], [video])


def test_spoken_questions_of_training_are_kept_whole() -> None:
    turns, heard = [("human", "<speech>"), ("gpt", "So.")], PROCESSOR.sound(sound(40))
    small = processor(tokenizer_model_max_length=PROCESSOR.sample(turns, sounds=[heard]).length - 8 * CHUNK_TOKENS)
    assert small.sample(turns, sounds=[heard]).notes == ("20 chunks of sound -> 12",)
    with pytest.raises(ValueError, match="sound 222"):
        small.sample(turns, sounds=[heard], spoken=True)


@pytest.mark.parametrize(
    ("value", "visuals", "sounds", "says"),
    [
        ("Why?", 1, 0, "0 <image> tags for 1 image"),
        ("<image><image>Why?", 1, 0, "2 <image> tags for 1 image"),
        ("<image>Why?", 1, 2, "0 <speech> tags for 2 sound"),
        ("<speech>Why?", 0, 0, "1 <speech> tags for 0 sound"),
    ],
)
def test_tags_and_media_must_be_as_many(value: str, visuals: int, sounds: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PROCESSOR.sample(
            [("human", value), ("gpt", "So.")],
            [PROCESSOR.video(frames(1))] * visuals,
            [PROCESSOR.sound(sound(1))] * sounds,
        )


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request(), "asks nothing"),
        (Request(" \n", images=frames(1)), "asks nothing"),
        (Request("Why?", history=[("Who?", "He."), ("", "So.")]), "turn 2 of the history asks nothing"),
        (Request("Why?", images=[PROCESSOR.video(frames(1))]), "other's place"),
        (Request("Why?", video=PROCESSOR.image(frames(1)[0])), "other's place"),
        (Request("Why?", video=[*frames(1), *frames(1, (320, 288))]), "frame 1 of the video is 320x288"),
        (Request("Why?", images=frames(1), media_turns=[1]), "expected 1 numbers of turns from 0 to 0"),
        (Request("Why?", images=frames(2), media_turns=[0]), "expected 2 numbers of turns from 0 to 0"),
        (Request("Why?", images=frames(2), history=[("Who?", "He.")], media_turns=[1, 0]), "that never fall"),
        (Request("Why?", sounds=[Wave(np.full(3, np.nan))]), "3 of 3 that are NaN"),
    ],
)
def test_bad_requests_are_named(request_: Request, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PROCESSOR.prompt(request_)


def test_an_earlier_turn_may_only_show_a_picture() -> None:
    asked = Request("And?", images=frames(1), history=[("Hm?", "So."), ("", "Thus.")], media_turns=[1])
    prompt = PROCESSOR.prompt(asked)
    assert int((prompt.input_ids < 0).sum()) == 1
    with pytest.raises(ValueError, match="turn 2 of the history asks nothing"):
        PROCESSOR.prompt(replace(asked, media_turns=()))


def test_a_model_that_cannot_hear_says_so() -> None:
    deaf, heard = processor(has_speech=False), PROCESSOR.sound(sound(1))
    for given in (sound(1), heard):
        with pytest.raises(ValueError, match="no speech encoder"):
            deaf.prompt(Request("Why?", sounds=[given]))
    with pytest.raises(ValueError, match="no speech encoder"):
        deaf.sample([("human", "<speech>Why?"), ("gpt", "So.")], sounds=[heard])
    assert deaf.prompt(Request("Why?", video=frames(1))).sounds == ()


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    PROCESSOR.save_pretrained(tmp_path)
    again = OlaProcessor.from_pretrained(tmp_path, trust_remote_code=False)
    assert again.config.to_dict() == PROCESSOR.config.to_dict()
    request = Request("Why <|im_end|>\n\nthen? 漢字", images=[Image.new("RGB", (9, 9))])
    ours, theirs = PROCESSOR.prompt(request), again.prompt(request)
    assert torch.equal(ours.input_ids, theirs.input_ids)
    assert [visual.digest for visual in ours.visuals] == [visual.digest for visual in theirs.visuals]
    assert type(AutoProcessor.from_pretrained(tmp_path)) is OlaProcessor


def test_a_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at most 100 tokens"):
        OlaProcessor(tiny.tokenizer(), tiny.config(vocab_size=100))
