"""The model at its released 7B sizes on torch's meta device, which stands in for a GPU.

The meta device computes shapes and dtypes only, so 7B sizes run in seconds. A tensor that was made on another device, a
dtype that does not fit, and a hidden synchronisation (`.item()`, `nonzero`, a mask as an index) are errors there. Token
ids, positions of placeholders and prompts stay on the CPU, as in production. The two calls that read results back from
the device, `tolist` and `cpu`, are counted instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ola import model as model_module
from ola.config import OlaConfig
from ola.generation import Ola
from ola.model import OlaForConditionalGeneration
from ola.packing import PACKED
from ola.processor import OlaProcessor
from ola.prompt import Prompt, Request, Sound, Visual, Wave
from tests.ola import tiny

NEW = 5  # tokens to write
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
    """The released sizes and dtypes: BEATs in float32, the rest in bfloat16."""
    with torch.device("meta"):
        made = OlaForConditionalGeneration(OlaConfig(**tiny.RELEASED_DECODER | changes)).bfloat16()
    assert made.speech_encoder.beats.norm.weight.dtype == torch.float32
    made.eval()
    return made


def test_the_meta_device_finds_hidden_synchronisations() -> None:
    numbers = torch.zeros(3, device="meta")
    for read in (lambda: numbers.sum().item(), numbers.nonzero, lambda: numbers[numbers > 0]):
        with pytest.raises((RuntimeError, NotImplementedError)):
            read()


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.7, "top_p": 0.9}])
def test_a_token_costs_one_read_and_no_other(
    processor: OlaProcessor, clip: Visual, picture: Visual, heard: Sound, reads: Counter[str], sampling: dict[str, Any]
) -> None:
    requests = [
        Request("What is said?", video=clip, sounds=[heard], max_new_tokens=NEW, **sampling),
        Request("What is this?", images=[picture], max_new_tokens=NEW, **sampling),
        Request("Hello", max_new_tokens=NEW - 2, **sampling),
    ]
    answers = Ola(released(), processor).generate(requests)
    assert [len(answer.tokens) for answer in answers] == [NEW, NEW, NEW - 2]
    assert reads == {"tolist": NEW}


def test_scores_are_read_once(processor: OlaProcessor, clip: Visual, reads: Counter[str]) -> None:
    requests = [Request(text, video=clip) for text in ("Is it so?", "Is that a longer question than the first?")]
    assert len(Ola(released(), processor).choose(requests, ("yes", "no"))) == len(requests)
    assert reads == {"cpu": 1}


def samples(processor: OlaProcessor, media: Sequence[Visual | Sound]) -> list[Prompt]:
    """A conversation about each of the media, and one without any."""
    made = []
    for medium in media:
        tag, visuals, sounds = ("<speech>", [], [medium]) if isinstance(medium, Sound) else ("<image>", [medium], [])
        turns = [("human", f"{tag}\nWhat is it?"), ("gpt", "Something to learn.")]
        made.append(processor.sample(turns, visuals, sounds))
    return [*made, processor.sample([("human", "Hello"), ("gpt", "Hello to you")])]


@pytest.mark.parametrize("attention", ["sdpa", PACKED])
@pytest.mark.parametrize("part", PARTS)
def test_a_step_of_training_computes_in_the_released_dtypes(
    processor: OlaProcessor, clip: Visual, picture: Visual, heard: Sound, reads: Counter[str], part: str, attention: str
) -> None:
    """One batch with media of all kinds, one without: trained modules get gradients in both."""
    model = released(attn_implementation=attention, num_hidden_layers=2)
    model.train()
    for name, parameter in model.named_parameters():
        # Whisper's positions are no weights, and BEATs' classifier is no part of what Ola hears.
        parameter.requires_grad_(name.startswith(part) and "embed_positions" not in name and "predictor" not in name)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for media in ((clip, picture, heard), ()):
        out: Any = model(samples(processor, media))
        assert (out.losses.dtype, out.losses.device.type) == (torch.float32, "meta")
        out.loss.backward()
        assert all(parameter.grad is not None for parameter in trained)
    torch.optim.AdamW(trained).step()
    assert not reads


def test_the_logits_of_a_long_row_are_never_whole(
    processor: OlaProcessor, monkeypatch: pytest.MonkeyPatch, reads: Counter[str]
) -> None:
    monkeypatch.setattr(model_module, "LOGITS_AT_ONCE", 8)
    model = released(attn_implementation=PACKED, num_hidden_layers=2)
    largest = 0

    def note(_module: Any, _inputs: Any, logits: Tensor) -> None:
        nonlocal largest
        largest = max(largest, len(logits))

    model.lm_head.register_forward_hook(note)
    out: Any = model([processor.sample([("human", "Count"), ("gpt", "one two three four five six seven " * 4)])])
    out.loss.backward()
    assert len(out.losses) > largest == 8
    assert out.logits is None
    assert not reads
