"""The model at its released 7B sizes on torch's meta device, which stands in for a GPU.

The meta device computes shapes and dtypes only, so 7B sizes run in seconds, with a few layers of each kind. A hidden
synchronisation (`.item()`, `nonzero`, a mask as an index) is an error there; with `tests.ola.strict_device` a tensor of
another device and a dtype that does not fit are errors, too. Token ids, positions of placeholders and prompts stay on
the CPU, as in production. The two calls that read results back from the device, `tolist` and `cpu`, are counted:
a step of a batch waits once, for the ids and margins of its tokens, and scores are read once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ola import decoding
from ola import model as model_module
from ola.batching import padding_to_step
from ola.config import OlaConfig
from ola.decoding import TorchDecoder
from ola.generation import Ola
from ola.model import OlaForConditionalGeneration
from ola.packing import PACKED
from ola.processor import OlaProcessor
from ola.prompt import Prompt, Request, Sound, Visual, Wave
from stages import parameters
from tests.ola import tiny
from tests.ola.strict_device import strict_device

NEW = 5  # tokens to write
FEW_LAYERS: dict[str, Any] = {
    "num_hidden_layers": 2,
    "vision": {"num_hidden_layers": 2},
    "whisper": {"encoder_layers": 2},
    "beats": {"num_hidden_layers": 2},
}
PARTS = ("vision_tower", "visual_projector", "speech_encoder", "speech_projector", "model.layers")


@pytest.fixture(scope="module")
def processor() -> OlaProcessor:
    return OlaProcessor(tiny.tokenizer(), OlaConfig(**tiny.RELEASED_DECODER))


@pytest.fixture(scope="module")
def clip(processor: OlaProcessor) -> Visual:
    return processor.video([Image.new("RGB", (512, 288))] * 3)


@pytest.fixture(scope="module")
def picture(processor: OlaProcessor) -> Visual:
    return processor.image(Image.new("RGB", (640, 480)))


@pytest.fixture(scope="module")
def heard(processor: OlaProcessor) -> Sound:
    return processor.sound(Wave(np.zeros(16_000 * 40, np.float32), 16_000))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts what is read back from the device; zeros are read."""
    counts = Counter[str]()

    def counted(name: str) -> Any:
        method = getattr(Tensor, name)

        def read(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if tensor.device.type != "meta":
                return method(tensor, *args, **kwargs)
            counts[name] += 1
            return method(torch.zeros(tensor.shape, dtype=tensor.dtype), *args, **kwargs)

        return read

    for name in ("tolist", "cpu"):
        monkeypatch.setattr(Tensor, name, counted(name))
    return counts


def released(**changes: Any) -> OlaForConditionalGeneration:
    """The released widths and dtypes (BEATs in float32, the rest in bfloat16) with two layers of each kind."""
    with torch.device("meta"):
        made = OlaForConditionalGeneration(OlaConfig(**tiny.RELEASED_DECODER | FEW_LAYERS | changes)).bfloat16()
    assert made.speech_encoder.beats.norm.weight.dtype == torch.float32
    made.eval()
    return made


def zeros(*shape: int, dtype: torch.dtype = torch.bfloat16, device: str = "meta") -> Tensor:
    return torch.zeros(*shape, dtype=dtype, device=device)


def test_hidden_synchronisations_are_errors() -> None:
    numbers = zeros(3)
    for read in (
        lambda: numbers.sum().item(),
        lambda: bool(numbers[0] > 0),
        lambda: int(numbers[0]),
        lambda: numbers.to("cpu"),
        lambda: torch.equal(numbers, numbers),
        numbers.nonzero,
        lambda: numbers[numbers > 0],
        lambda: torch.masked_select(numbers, numbers > 0),
        lambda: torch.repeat_interleave(numbers, zeros(3, dtype=torch.long)),
    ):
        with pytest.raises((RuntimeError, NotImplementedError)):
            read()


def test_tensors_of_another_device_or_dtype_are_errors() -> None:
    """Most of these pass on the meta device alone."""
    weight, ids = zeros(4, 3), torch.zeros(2, 1, dtype=torch.long)
    here, exact, heads = zeros(2, 3, device="cpu"), zeros(2, 3, dtype=torch.float32), zeros(1, 2, 3, 4)
    picture, kernel = zeros(1, 1, 4, 4), zeros(1, 1, 2, 2)
    for wrong in (
        lambda: weight + zeros(4, 3, device="cpu"),
        lambda: torch.cat([weight, here]),
        lambda: F.linear(here, weight),
        lambda: F.linear(exact, weight),
        lambda: F.linear(zeros(2, 3), weight, zeros(4, dtype=torch.float32)),
        lambda: F.embedding(ids, weight),
        lambda: weight.gather(1, ids),
        lambda: weight.scatter(1, ids, zeros(2, 1)),
        lambda: F.conv2d(picture.float(), kernel),
        lambda: F.conv2d(zeros(1, 1, 4, 4, device="cpu"), kernel),
        lambda: F.layer_norm(exact, (3,), zeros(3), zeros(3)),
        lambda: F.scaled_dot_product_attention(heads, heads, heads, attn_mask=zeros(3, 3, dtype=torch.float32)),
    ):
        with strict_device(), pytest.raises(RuntimeError):
            wrong()
    with strict_device():
        F.linear(zeros(2, 3), weight)
        assert weight[ids[:, 0]].shape == (2, 3)


@pytest.fixture(params=["growing", "static"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> TorchDecoder:
    """A decoder whose shapes grow, and one whose shapes are those of CUDA, without its graphs."""
    if request.param == "static":
        monkeypatch.setattr(decoding, "padding_to_step", lambda length, _device: padding_to_step(length, "cuda"))
    return TorchDecoder(released(), static=request.param == "static")


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.7}, {"temperature": 0.7, "top_p": 0.9}])
def test_a_token_costs_one_read_and_no_other(
    processor: OlaProcessor,
    clip: Visual,
    picture: Visual,
    heard: Sound,
    reads: Counter[str],
    decoder: TorchDecoder,
    sampling: dict[str, Any],
) -> None:
    """Half of the rows leave before the end."""
    requests = [
        Request("What is said?", video=clip, sounds=[heard], max_new_tokens=NEW, **sampling),
        Request("What is this?", images=[picture], max_new_tokens=NEW, **sampling),
        Request("Hello", max_new_tokens=NEW - 2, **sampling),
        Request("Hello, and a longer question", max_new_tokens=NEW - 2, **sampling),
    ]
    with strict_device():
        answers = Ola(decoder_model(decoder), processor, decoder).generate(requests)
    assert [len(answer.tokens) for answer in answers] == [NEW, NEW, NEW - 2, NEW - 2]
    assert reads == {"tolist": NEW}


def decoder_model(decoder: TorchDecoder) -> OlaForConditionalGeneration:
    assert isinstance(decoder.model, OlaForConditionalGeneration)
    return decoder.model


def test_prefixes_are_shared_without_a_read(
    processor: OlaProcessor, clip: Visual, heard: Sound, reads: Counter[str], decoder: TorchDecoder
) -> None:
    """Of frames, and of frames with sound; then again from what was kept."""
    views = [{"video": clip, "sounds": [heard]}, {"video": clip}]
    questions = [(view, text) for view in views for text in ("Who?", "What happens in the end?")]
    ola = Ola(decoder_model(decoder), processor, decoder)
    with strict_device():
        for _ in range(2):
            ola.generate([Request(text, max_new_tokens=NEW, **view) for view, text in questions])  # type: ignore[arg-type]
    assert 0 < decoder.prefixes.read < decoder.prefixes.asked / 4
    assert reads == {"tolist": 2 * NEW}


def test_scores_are_read_once(
    processor: OlaProcessor, clip: Visual, reads: Counter[str], decoder: TorchDecoder
) -> None:
    requests = [Request(text, video=clip) for text in ("Is it so?", "Is that a longer question than the first?")]
    with strict_device():
        chosen = Ola(decoder_model(decoder), processor, decoder).choose([*requests, Request("And now?")], ("yes", "no"))
    assert len(chosen) == 3
    assert reads == {"cpu": 1}


def test_losses_and_logits_need_no_gradients_and_no_read(
    processor: OlaProcessor, clip: Visual, picture: Visual, heard: Sound, reads: Counter[str]
) -> None:
    """Losses as the evaluation takes them, and logits of prompts without labels."""
    given = samples(processor, (clip, picture, heard))
    for attention in ("sdpa", PACKED):
        model = released(attn_implementation=attention)
        with strict_device(), torch.inference_mode():
            out: Any = model(given)
            asked = model([replace(prompt, labels=None) for prompt in given])
        assert (out.losses.dtype, out.logits.dtype) == (torch.float32, torch.bfloat16)
        assert asked.logits.shape[::2] == (len(given), model.config.vocab_size)
    assert not reads


def samples(processor: OlaProcessor, media: Sequence[Visual | Sound]) -> list[Prompt]:
    """A conversation about each of the media, and one without any."""
    made = []
    for medium in media:
        tag, visuals, sounds = ("<speech>", [], [medium]) if isinstance(medium, Sound) else ("<image>", [medium], [])
        turns = [("human", f"{tag}\nWhat is it?"), ("gpt", "Something to learn.")]
        made.append(processor.sample(turns, visuals, sounds))
    return [*made, processor.sample([("human", "Hello"), ("gpt", "Hello to you")])]


@pytest.mark.parametrize(("attention", "recompute"), [("sdpa", False), (PACKED, False), (PACKED, True)])
@pytest.mark.parametrize("part", PARTS)
def test_a_step_of_training_computes_in_the_released_dtypes(
    processor: OlaProcessor,
    clip: Visual,
    picture: Visual,
    heard: Sound,
    reads: Counter[str],
    part: str,
    attention: str,
    recompute: bool,
) -> None:
    """One batch with media of all kinds, one without: trained modules get gradients in both."""
    model = released(attn_implementation=attention)
    model.train()
    if recompute:
        parameters.enable_recompute(model)
    for name, parameter in model.named_parameters():
        # Whisper's positions are no weights, and BEATs' classifier is no part of what Ola hears.
        parameter.requires_grad_(name.startswith(part) and "embed_positions" not in name and "predictor" not in name)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with strict_device():
        for media in ((clip, picture, heard), ()):
            out: Any = model(samples(processor, media))
            assert (out.losses.dtype, out.losses.device.type) == (torch.float32, "meta")
            out.loss.backward()
            assert all(parameter.grad is not None for parameter in trained)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        torch.optim.AdamW(trained).step()
    assert not reads


def test_the_logits_of_a_long_row_are_never_whole(
    processor: OlaProcessor, monkeypatch: pytest.MonkeyPatch, reads: Counter[str]
) -> None:
    monkeypatch.setattr(model_module, "LOGITS_AT_ONCE", 8)
    model = released(attn_implementation=PACKED)
    largest = 0

    def note(_module: Any, _inputs: Any, logits: Tensor) -> None:
        nonlocal largest
        largest = max(largest, len(logits))

    model.lm_head.register_forward_hook(note)
    with strict_device():
        out: Any = model([processor.sample([("human", "Count"), ("gpt", "one two three four five six seven " * 4)])])
        out.loss.backward()
    assert len(out.losses) > largest == 8
    assert out.logits is None
    assert not reads
