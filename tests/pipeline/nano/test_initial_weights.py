"""Ola-nano before training: its sizes, and the scale of its activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ola.geometry import CELL
from ola.model import OlaForConditionalGeneration
from ola.processor import OlaProcessor
from ola.prompt import Prompt, Wave
from pipeline.synthetic.nano.initial_weights import count_parameters, initial_model, nano_config
from pipeline.synthetic.nano.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def model() -> OlaForConditionalGeneration:
    return initial_model(seed=0)


@pytest.fixture(scope="module")
def prompt() -> Prompt:
    """A conversation about a film of the world as `extract` stores it."""
    processor, rng = OlaProcessor(build_tokenizer(), nano_config()), np.random.default_rng(0)
    video = processor.video(list(rng.integers(0, 256, (4, 288, 288, 3), np.uint8)))
    sound = processor.sound(Wave(0.1 * rng.standard_normal(64_000), 16_000))
    return processor.sample([("human", "<speech><image>\nWhat is heard?"), ("gpt", "a beep")], [video], [sound])


def test_sizes(model: OlaForConditionalGeneration) -> None:
    counts = count_parameters(model)
    assert sum(counts.values()) == sum(p.numel() for p in model.parameters()) < 7.5e6
    assert nano_config().vocab_size >= len(build_tokenizer())
    assert nano_config().vocab_size % 16 == 0
    assert nano_config().cell == CELL


def test_a_film_takes_few_tokens(prompt: Prompt) -> None:
    words = len(prompt.input_ids) - 2
    frames, sound = 2 + 4 * (3 * (3 + 1) + 1), 2 + 20 + 1
    assert prompt.length == words + frames + sound


def test_the_same_seed_gives_the_same_weights(model: OlaForConditionalGeneration) -> None:
    state = torch.random.get_rng_state()
    again, other = initial_model(seed=0).state_dict(), initial_model(seed=1).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())
    assert not torch.equal(model.lm_head.weight, other["lm_head.weight"])


def test_activations_neither_vanish_nor_explode(model: OlaForConditionalGeneration, prompt: Prompt) -> None:
    with torch.no_grad():
        (seen,), (heard,) = model.encode_visuals(prompt.visuals), model.encode_sounds(prompt.sounds)
        learning = model([prompt])
    for embeds in (seen, heard, model.model.embed_tokens.weight):
        assert 0.1 < float(embeds.detach().std()) < 1.5
    # About the loss of random guesses.
    assert abs(float(learning.loss) - np.log(nano_config().vocab_size)) < 2


def test_attention_starts_as_copying(model: OlaForConditionalGeneration) -> None:
    attention = model.model.layers[0].self_attn
    first = attention.q_proj.weight.view(2, 3, 32, 192)[:, 0]
    assert torch.allclose(first, 0.7 * attention.k_proj.weight.view(2, 32, 192))
    outputs, values = attention.o_proj.weight.view(192, 2, 3, 32), attention.v_proj.weight.view(2, 32, 192)
    for head in range(3):
        pair = torch.stack([outputs[:, 0, head].flatten(), values[0].T.flatten()]).detach()
        assert 0.7 < float(pair.corrcoef()[0, 1]) < 0.9  # 0.4 against 0.3


def test_norms_and_sinusoids_keep_their_weights(model: OlaForConditionalGeneration) -> None:
    from transformers.models.whisper.modeling_whisper import sinusoids

    whisper = model.speech_encoder.whisper
    assert torch.equal(whisper.embed_positions.weight, sinusoids(*whisper.embed_positions.weight.shape))
    assert torch.equal(model.model.norm.weight, torch.ones(192))


def test_the_model_can_be_saved_and_loaded(model: OlaForConditionalGeneration, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = OlaForConditionalGeneration.from_pretrained(tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert again.config.eos_token_id == build_tokenizer().eos_token_id
