"""The model's parts: batches equal single inputs, and inputs that do not fit raise an error."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ola.model import OlaForConditionalGeneration
from ola.projectors import LocalGlobalPooling
from ola.prompt import IGNORE, IMAGE, SPEECH, Prompt, Sound, Visual
from ola.vision import PATCHES_PER_PASS
from tests.ola import tiny


@pytest.fixture(scope="module")
def model() -> OlaForConditionalGeneration:
    return tiny.model()


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def image(seed: int = 0) -> Visual:
    return Visual("image", (pixels(1, 3, 32, 64, seed=seed), pixels(1, 3, 64, 96, seed=seed)), f"image {seed}")


def video(frames: int = 3, seed: int = 0) -> Visual:
    return Visual("video", (pixels(frames, 3, 64, 32, seed=seed),), f"video {frames} {seed}")


def sound(chunks: int = 1, seed: int = 0) -> Sound:
    random = torch.Generator().manual_seed(seed)
    return Sound(torch.randn(chunks, 128, 200, generator=random), torch.randn(chunks, 198, 128, generator=random), "")


def prompt(ids: list[int], *media: Visual | Sound, labels: list[int] | None = None) -> Prompt:
    visuals = tuple(medium for medium in media if isinstance(medium, Visual))
    sounds = tuple(medium for medium in media if isinstance(medium, Sound))
    return Prompt(torch.tensor(ids), visuals, sounds, None if labels is None else torch.tensor(labels))


@torch.no_grad()
def test_pictures_of_many_sizes_are_encoded_as_if_alone(
    model: OlaForConditionalGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [(2, 3, 64, 96), (1, 3, 40, 72), (1, 3, 96, 64), (3, 3, 64, 96), (1, 3, 1, 1)]
    batches = [pixels(*size, seed=i) for i, size in enumerate(sizes)]
    alone = [torch.cat([model.vision_tower([one])[0] for one in batch.split(1)]) for batch in batches]
    for patches_per_pass in (16_384, 30, 1):
        monkeypatch.setitem(PATCHES_PER_PASS, "cpu", patches_per_pass)
        for together, expected in zip(model.vision_tower(batches), alone, strict=True):
            torch.testing.assert_close(together, expected, rtol=0, atol=1e-5)
    assert model.vision_tower([]) == []


@torch.no_grad()
def test_bytes_and_scaled_floats_are_the_same_picture(model: OlaForConditionalGeneration) -> None:
    raw = pixels(1, 3, 64, 96)
    one, other = model.vision_tower([raw, raw.float() / 127.5 - 1])
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_pooling_needs_whole_windows() -> None:
    with pytest.raises(ValueError, match="3x4 patches cannot be pooled 2x2"):
        LocalGlobalPooling(8, 2)(torch.zeros(1, 3, 4, 8))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_pooling_of_what_is_even_changes_nothing(stride: int) -> None:
    even = torch.arange(6.0).expand(2, 4, 8, 6)
    pooled = LocalGlobalPooling(6, stride)(even)
    torch.testing.assert_close(pooled, even[:, : 4 // stride, : 8 // stride])


@torch.no_grad()
def test_sounds_are_encoded_as_if_alone(model: OlaForConditionalGeneration) -> None:
    sounds = [sound(1, 1), sound(9, 2), sound(2, 3)]
    for together, one in zip(model.encode_sounds(sounds), sounds, strict=True):
        torch.testing.assert_close(together, model.encode_sounds([one])[0], rtol=0, atol=1e-4)
        assert len(together) == 2 + len(one.mel) * model.config.speech_chunk_tokens


@torch.no_grad()
def test_what_is_seen_comes_before_what_is_heard(model: OlaForConditionalGeneration) -> None:
    seen, heard = video(), sound()
    for order in ([SPEECH, IMAGE], [IMAGE, SPEECH]):
        asked = prompt([5, order[0], 6, order[1], 7], seen, heard)
        [media] = model.encode([asked])
        words = model.get_input_embeddings()(torch.tensor([5, 6, 7]))
        expected = torch.cat([words[:1], media[0], words[1:2], media[1], words[2:]])
        torch.testing.assert_close(model.splice(asked, media), expected)


@pytest.mark.parametrize(
    ("ids", "media", "message"),
    [
        ([1, IMAGE, 2], (), "1 image or video placeholders but there are 0"),
        ([1, 2], (sound(),), "0 sound placeholders but there are 1"),
        ([1, IMAGE, IMAGE], (image(), sound()), "2 image or video placeholders but there are 1"),
    ],
)
def test_placeholders_and_media_that_differ(
    ids: list[int], media: tuple[Visual | Sound, ...], message: str, model: OlaForConditionalGeneration
) -> None:
    with pytest.raises(ValueError, match=message):
        model([prompt(ids, *media)])


def test_a_model_that_only_sees_says_so() -> None:
    with pytest.raises(ValueError, match="no speech encoder"):
        tiny.model(has_speech=False)([prompt([1, SPEECH, 2], sound())])


@torch.no_grad()
def test_padding_changes_no_logits(model: OlaForConditionalGeneration) -> None:
    prompts = [prompt([1, 2, 3]), prompt([4, IMAGE, 5, 6], image()), prompt([7, IMAGE, SPEECH], video(), sound())]
    together = model(prompts).logits
    for row, one in zip(together, prompts, strict=True):
        alone = model([one]).logits[0]
        torch.testing.assert_close(row[: len(alone)], alone, rtol=0, atol=1e-4)


def test_the_loss_is_the_mean_over_what_is_supervised(model: OlaForConditionalGeneration) -> None:
    ids = [1, IMAGE, 2, 3, 4]
    learned = prompt(ids, image(), labels=[1, IGNORE, IGNORE, 3, 4])
    out = model([learned, prompt([5, 6], labels=[5, IGNORE])])
    logits = model([prompt(ids, image())]).logits[0]
    expected = torch.nn.functional.cross_entropy(logits[-3:-1], torch.tensor([3, 4]))
    torch.testing.assert_close(out.loss, expected)
    assert out.logits.shape == (2, model.config.vocab_size)
    out.loss.backward()
    newline = model.visual_projector.image_newline.grad
    assert newline is not None
    assert newline.abs().sum() > 0
    model.zero_grad()


def test_nothing_to_learn_is_an_error(model: OlaForConditionalGeneration) -> None:
    with pytest.raises(ValueError, match="expected at least one that is not ignored"):
        model([prompt([1, 2], labels=[1, IGNORE])])


@torch.no_grad()
def test_beats_computes_in_float32_inside_a_bfloat16_model() -> None:
    model = tiny.model().bfloat16()
    heard = sound()
    assert model.speech_encoder.beats(heard.fbank).dtype == torch.float32
    assert model.encode_sounds([heard])[0].dtype == torch.bfloat16
    assert model([prompt([1, IMAGE, SPEECH, 2], image(), heard)]).logits.isfinite().all()
