"""The reckoned memory against what tensors take: small models on the CPU, the released sizes on the meta device."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor

from ola import media_embeddings, memory
from ola.config import OlaConfig
from ola.decoding import Reply, TorchDecoder
from ola.media_embeddings import Encodings
from ola.memory import DecodingBatch, decoding_bytes, sound_bytes, visual_bytes
from ola.model import OlaForConditionalGeneration
from ola.prefixes import Prefix
from ola.prompt import SPEECH, Prompt, Sound, Visual
from tests.ola import tiny
from tests.ola.live_bytes import FusedAttention, LiveBytes

WITHIN = 0.15
TINY_DECODER: dict[str, Any] = {"num_hidden_layers": 6}
NARROW: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
}
WIDE: dict[str, Any] = {
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}
MODELS = {"tiny": TINY_DECODER, "narrow": NARROW, "wide": WIDE}
BATCHES = {
    "equal": DecodingBatch((200,) * 4, 4),
    "unequal": DecodingBatch((300, 280, 150, 20), 4),
    "long answers": DecodingBatch((20,) * 3, 40),
    "sampled": DecodingBatch((12,) * 40, 3, sampled=True),
    "a shared prefix": DecodingBatch((220, 210, 200), 4, shared=180),
}
RELEASED_BATCHES = {
    "a long prompt": DecodingBatch((16_000,), 4),
    "equal": DecodingBatch((2_048,) * 32, 3),
    "unequal": DecodingBatch((6_000, 4_000, 3_990, 200), 3),
    "a clip": DecodingBatch((6_100, 6_050, 6_000), 4, shared=5_900),
    "short and sampled": DecodingBatch((16,) * 256, 4, sampled=True),
}


@pytest.fixture(scope="module")
def released() -> OlaForConditionalGeneration:
    with torch.device("meta"):
        made = OlaForConditionalGeneration(OlaConfig(**tiny.RELEASED_DECODER)).bfloat16()
    made.eval()
    return made


@pytest.fixture
def zeros_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read back from the meta device are zeros."""
    read = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda tensor: read(torch.zeros(tensor.shape)))


def measured(model: OlaForConditionalGeneration, work: Any, *given: Tensor) -> int:
    """Return the most bytes of live tensors, beside the weights and those given, while work(model) runs."""
    with torch.inference_mode(), ExitStack() as stack:
        live: LiveBytes = stack.enter_context(
            LiveBytes(model.device.type, [*model.parameters(), *model.buffers(), *given])
        )
        if model.device.type == "meta":
            stack.enter_context(FusedAttention())
        work(model)
    return live.peak


def decoded(model: OlaForConditionalGeneration, batch: DecodingBatch, static: bool = False) -> int:
    """Return the most bytes while a batch is decoded."""

    def work(model: OlaForConditionalGeneration) -> None:
        begins = (Prefix("all", batch.shared),) if batch.shared else ()
        choice = (0.7, 0.9) if batch.sampled else (0.0, 1.0)
        replies = [
            Reply(torch.zeros(n, model.config.hidden_size, dtype=model.dtype, device=model.device), batch.new_tokens,
                  *choice, prefixes=begins)
            for n in batch.lengths
        ]  # fmt: skip
        assert len(list(TorchDecoder(model, 10**9, static).decode(replies))) == len(replies) * batch.new_tokens

    return measured(model, work)


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("sizes", MODELS.values(), ids=MODELS)
def test_a_batch_of_small_models(sizes: dict[str, Any], batch: DecodingBatch) -> None:
    model = tiny.model(**sizes)
    assert decoding_bytes(model.config, model.dtype, batch) == pytest.approx(decoded(model, batch), rel=WITHIN)


def test_a_batch_in_bfloat16_and_in_static_shapes() -> None:
    model = tiny.model(**TINY_DECODER).bfloat16()
    for name in ("unequal", "sampled"):
        reckoned = decoding_bytes(model.config, model.dtype, BATCHES[name])
        for static in (False, True):
            assert reckoned == pytest.approx(decoded(model, BATCHES[name], static), rel=WITHIN)


@pytest.mark.usefixtures("zeros_are_read")
@pytest.mark.parametrize("batch", RELEASED_BATCHES.values(), ids=RELEASED_BATCHES)
def test_a_batch_at_the_released_sizes(released: OlaForConditionalGeneration, batch: DecodingBatch) -> None:
    reckoned = decoding_bytes(released.config, torch.bfloat16, batch)
    assert reckoned == pytest.approx(decoded(released, batch, static=True), rel=WITHIN)


@pytest.mark.parametrize("pictures", [(1, 448, 448), (6, 320, 576), (1, 768, 1024)])
def test_pictures(released: OlaForConditionalGeneration, pictures: tuple[int, int, int]) -> None:
    count, height, width = pictures
    pixels = torch.zeros(count, 3, height, width, dtype=torch.uint8)
    for model, many, device in ((tiny.model(), 1, "cpu"), (released, 1, "cuda"), (released, 4, "cuda")):

        def work(model: OlaForConditionalGeneration, many: int = many) -> None:
            model.encode_visuals([Visual("video", (pixels,), f"{n}") for n in range(many)])

        reckoned = visual_bytes(model.config, model.dtype, [pictures] * many, device)
        assert reckoned == pytest.approx(measured(model, work, pixels), rel=WITHIN), (model.device, many)


@pytest.mark.parametrize("chunks", [1, 20])
def test_sounds(released: OlaForConditionalGeneration, chunks: int) -> None:
    for model in (tiny.model(audio_chunk_seconds=3), released):
        frames, bins = 100 * model.config.audio_chunk_seconds, model.config.whisper.num_mel_bins
        sound = Sound(torch.zeros(chunks, bins, frames), torch.zeros(chunks, frames - 2, 128), "")

        def work(model: OlaForConditionalGeneration, sound: Sound = sound) -> None:
            model.encode_sounds([sound])

        found = measured(model, work, sound.mel, sound.fbank)
        assert sound_bytes(model.config, model.dtype, chunks) == pytest.approx(found, rel=WITHIN)


def test_a_call_encodes_few_chunks_of_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the frames of a window of sounds would take more memory than the model."""
    monkeypatch.setattr(media_embeddings, "SOUND_CHUNKS", 3)
    model, calls = tiny.model(), list[int]()
    model.speech_encoder.register_forward_pre_hook(lambda _module, given: calls.append(len(given[0])))
    ids = torch.tensor([SPEECH])
    sounds = [Sound(torch.randn(n, 128, 200), torch.randn(n, 198, 128), f"{n}") for n in (1, 2, 4, 3)]
    prompts = [Prompt(ids, (), (sound,), None, 1) for sound in sounds]
    spans, _ = Encodings(model, 10**6).embed(prompts)
    assert calls == [3, 4, 3]
    for sound in sounds:
        with torch.inference_mode():
            torch.testing.assert_close(spans[sound.digest], model.encode_sounds([sound])[0], atol=1e-5, rtol=1e-5)


def test_weights(released: OlaForConditionalGeneration) -> None:
    found = memory.reckoned_weights(released.config, torch.bfloat16)
    assert found == memory.weight_bytes(released)
    assert found["model"] + found["lm_head"] == pytest.approx(15.2e9, rel=0.01)  # Qwen2.5-7B: 7.6e9 numbers
    beats = sum(each.numel() for each in released.speech_encoder.beats.parameters())
    assert found["speech_encoder.beats"] == 4 * beats
    assert set(found) == {*memory.ENCODERS, "model", "lm_head"}


def test_what_fits_beside_the_weights(released: OlaForConditionalGeneration) -> None:
    config, dtype = released.config, torch.bfloat16
    assert memory.positions_within(10**9, config, dtype) == 0
    fits, position = memory.positions_within(60 * 10**9, config, dtype), memory.position_bytes(config, dtype)
    assert position == 57_344
    assert fits * position + memory.working_bytes(config, dtype) == pytest.approx(0.95 * 60e9, rel=1e-3)
    assert 700_000 < fits < 1_000_000
