"""Packed rows give the losses and gradients of padded rows, independent of the other sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ola.decoding import Reply, TorchDecoder
from ola.model import OlaForConditionalGeneration, OlaOutput
from ola.packing import PACKED, PrefixGroup, SharedPrefix, group_prefixes, row_arguments, row_lengths
from ola.prompt import IGNORE, IMAGE, SPEECH, Prompt, Sound
from tests.ola import tiny
from tests.ola.test_decoding import embedded
from tests.ola.test_model import image, prompt, sound, video

Gradients = dict[str, Tensor]


def learned() -> list[Prompt]:
    """Text, an image, a video, a sound, and two of these in one, with some of their labels; none is the longest."""
    return [
        prompt([1, 2, 3, 4], labels=[1, 2, IGNORE, 4]),
        prompt([5, IMAGE, 6, 7], image(), labels=[IGNORE, IGNORE, 6, 7]),
        prompt([8], labels=[8]),
        prompt([9, IMAGE, SPEECH, 10], video(), sound(), labels=[9, IGNORE, IGNORE, 10]),
        prompt([11, SPEECH, 12, 13], sound(2), labels=[11, IGNORE, IGNORE, 13]),
        prompt([IMAGE, 14], video(2), labels=[IGNORE, 14]),
    ]


def gradients(model: OlaForConditionalGeneration, prompts: Sequence[Prompt]) -> tuple[OlaOutput, Gradients]:
    model.zero_grad()
    out = model(prompts)
    out.loss.backward()
    return out, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def like(one: Gradients, other: Gradients) -> None:
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_row_teaches_what_padding_teaches() -> None:
    padded, by_padding = gradients(tiny.model(), learned())
    packed, by_packing = gradients(tiny.model(attn_implementation=PACKED), learned())
    assert packed.losses is not None
    assert packed.losses.shape == (7,)
    torch.testing.assert_close(packed.losses, padded.losses, rtol=0, atol=1e-5)
    torch.testing.assert_close(packed.loss, packed.losses.mean())
    torch.testing.assert_close(packed.logits, padded.logits, rtol=0, atol=1e-5)
    like(by_packing, by_padding)


@pytest.mark.parametrize("attention", ["sdpa", PACKED])
def test_losses_are_those_of_each_prompt_alone(attention: str) -> None:
    model = tiny.model(attn_implementation=attention)
    prompts = [some for some in learned() if len(some.input_ids) > 1]  # one token foretells nothing
    with torch.no_grad():
        together, alone = model(prompts), [model([some]) for some in prompts]
    torch.testing.assert_close(together.losses, torch.cat([out.losses for out in alone]), rtol=0, atol=1e-5)
    assert [len(out.losses) for out in alone] == [2, 2, 1, 1, 1]
    expected = F.cross_entropy(alone[0].logits, torch.tensor([2, 4]), reduction="none")
    torch.testing.assert_close(alone[0].losses, expected)


def test_nothing_outside_a_sequence_changes_it() -> None:
    model = tiny.model(attn_implementation=PACKED)
    embeds = embedded(model, 60)
    parts = [embeds[:20], embeds[20:33], embeds[33:]]
    with torch.inference_mode():
        one = model.model(**row_arguments(parts, model.config)).last_hidden_state[0].split([20, 13, 27])
        parts[0], parts[2] = parts[0] + 1, parts[2][:5]
        other = model.model(**row_arguments(parts, model.config)).last_hidden_state[0].split([20, 13, 5])
    assert not torch.allclose(one[0], other[0])
    assert torch.equal(one[1], other[1])
    torch.testing.assert_close(one[2][:5], other[2], rtol=0, atol=1e-5)


class Attentions(TorchFunctionMode):
    """Notes how many positions each call of the kernel attends from and to, and whether under a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int, bool]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            self.seen.append((args[0].shape[2], args[1].shape[2], (kwargs or {}).get("attn_mask") is not None))
        return func(*args, **kwargs or {})


def test_attention_costs_the_squares_of_the_lengths() -> None:
    model = tiny.model(attn_implementation=PACKED)
    with Attentions() as attentions, torch.no_grad():
        model.model(**row_arguments([embedded(model, length) for length in (64, 3, 1, 200)], model.config))
    once = [(64, 64, False), (3, 3, False), (1, 1, False), (200, 200, False)]
    assert attentions.seen == model.config.num_hidden_layers * once


@torch.no_grad()
def test_logits_of_prompts_without_labels_are_padded() -> None:
    prompts = [prompt([1, 2, 3]), prompt([4, IMAGE, 5, 6], image()), prompt([7, IMAGE, SPEECH], video(), sound())]
    packed, padded = (tiny.model(attn_implementation=how)(prompts).logits for how in (PACKED, "sdpa"))
    assert packed.shape == padded.shape
    for n, some in enumerate(prompts):
        length = len(tiny.model(attn_implementation=PACKED)([some]).logits[0])
        torch.testing.assert_close(packed[n, :length], padded[n, :length], rtol=0, atol=1e-5)


@pytest.mark.parametrize("reentrant", [True, False])
def test_layers_that_are_computed_again_learn_the_same(reentrant: bool) -> None:
    model = tiny.model(attn_implementation=PACKED).train()
    model.speech_encoder.eval()
    kept, by_keeping = gradients(model, learned())
    # The newer name of transformers 5, which warns of the older.
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": reentrant})
    calls: list[object] = []
    hook = model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(_))
    again, by_computing_again = gradients(model, learned())
    hook.remove()
    assert len(calls) == 2
    torch.testing.assert_close(again.losses, kept.losses)
    like(by_computing_again, by_keeping)


def test_losses_in_chunks_are_those_of_all_logits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The full logits are never in memory, neither in the forward nor in the backward pass."""
    model = tiny.model(attn_implementation=PACKED)
    whole, by_whole = gradients(model, learned())
    monkeypatch.setattr("ola.model.LOGITS_AT_ONCE", 3)
    rows: list[int] = []
    hook = model.lm_head.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    chunked, by_chunks = gradients(model, learned())
    hook.remove()
    assert rows[:3] == [3, 3, 1]
    assert max(rows) == 3
    assert chunked.logits is None
    torch.testing.assert_close(chunked.losses, whole.losses)
    torch.testing.assert_close(chunked.loss, whole.loss)
    like(by_chunks, by_whole)
    with torch.no_grad():
        torch.testing.assert_close(model(learned()).logits, whole.logits)


def test_half_precision_and_as_many_key_heads_as_heads() -> None:
    model = tiny.model(num_key_value_heads=4, initializer_range=0.05).bfloat16()
    padded, _ = gradients(model, learned())
    model.set_attn_implementation(PACKED)
    packed, _ = gradients(model, learned())
    assert packed.losses is not None
    torch.testing.assert_close(packed.losses, padded.losses, rtol=0, atol=0.05)
    assert packed.losses.dtype == torch.float32
    assert packed.logits is not None
    assert packed.logits.dtype == torch.bfloat16


UNREAD = {"speech_encoder.beats.predictor.weight", "speech_encoder.beats.predictor.bias"}
"""BEATs' classifier, which nothing reads."""
TOWERS = {"vision_tower", "visual_projector", "speech_encoder", "speech_projector"}


@pytest.mark.parametrize("attention", ["sdpa", PACKED])
@pytest.mark.parametrize(
    "frozen", [set(), {"vision_tower", "speech_encoder"}, {"visual_projector", "speech_projector"}]
)
def test_what_is_trained_has_a_gradient_in_every_batch(attention: str, frozen: set[str]) -> None:
    """The gradient is zero if the batch has no such media; otherwise it is unchanged."""
    model = tiny.model(attn_implementation=attention)
    for name in frozen:
        model.get_submodule(name).requires_grad_(False)
    trained = {name for name, p in model.named_parameters() if p.requires_grad} - UNREAD
    text, *others = [some for some in learned() if len(some.input_ids) > 1]
    for prompts in ([text], *([text, other] for other in others)):
        out, found = gradients(model, prompts)
        assert found.keys() == trained
        seen, heard = any(some.visuals for some in prompts), any(some.sounds for some in prompts)
        used = TOWERS - frozen - (set() if seen else {"vision_tower", "visual_projector"})
        used -= set() if heard else {"speech_encoder", "speech_projector"}
        assert {name.partition(".")[0] for name, gradient in found.items() if gradient.any()} & TOWERS == used
        with torch.no_grad():
            torch.testing.assert_close(model(prompts).losses, out.losses, rtol=0, atol=1e-5)


def test_what_is_frozen_is_not_run_for_nothing() -> None:
    model = tiny.model(attn_implementation=PACKED)
    ran: list[str] = []
    for name in ("vision_tower.layers.0", "visual_projector.proj1", "speech_encoder", "speech_projector"):
        model.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    model.speech_encoder.requires_grad_(False)
    gradients(model, learned()[:1])
    assert ran[0] == "vision_tower.layers.0"
    assert set(ran[1:-1]) == {"visual_projector.proj1"}
    assert ran[-1] == "speech_projector"
    ran.clear()
    model.requires_grad_(False)
    model.lm_head.requires_grad_(True)
    gradients(model, learned()[:1])
    assert not ran


def test_a_model_set_to_rows_generates_as_before() -> None:
    model = tiny.model()
    prompts = [embedded(model, length) for length in (7, 300, 20)]
    mask = torch.ones(2, 20, dtype=torch.long)
    mask[1, :5] = 0  # padded on the left

    def tokens() -> list[tuple[int, int]]:
        return list(TorchDecoder(model).decode([Reply(prompt_LC, 8) for prompt_LC in prompts]))

    def by_transformers(generating: Any = model) -> list[list[int]]:
        embeds = torch.stack([prompts[2]] * 2)
        ids = generating.generate(inputs_embeds=embeds, attention_mask=mask, max_new_tokens=5, pad_token_id=0)
        return [list(map(int, answer)) for answer in ids]

    expected = tokens(), by_transformers()
    model.set_attn_implementation(PACKED)
    assert (tokens(), by_transformers()) == expected


def test_a_sequence_longer_than_the_window_is_not_packed() -> None:
    model = tiny.model(attn_implementation=PACKED, use_sliding_window=True, sliding_window=16, max_window_layers=0)
    model([prompt([*range(16)])])
    with pytest.raises(ValueError, match="a sequence of 17 exceeds the sliding window of 16"):
        model([prompt([*range(17)])])


def tasks_of_a_video() -> list[Prompt]:
    """Three tasks that begin with the same video and sound, one with another video, and two of text alone."""
    begin, media = [1, IMAGE, 2, SPEECH, 3], (video(), sound(seed=7))
    media = (media[0], Sound(media[1].mel, media[1].fbank, "sound 7"))
    ends = [[4, 5, 6], [4, 7], [8, 9, 10, 11]]
    labels = [[1, *[IGNORE] * 3, 3, *end] for end in ends]
    return [
        *(prompt([*begin, *end], *media, labels=some) for end, some in zip(ends, labels, strict=True)),
        prompt([1, IMAGE, 2, 4], video(seed=1), labels=[IGNORE, IGNORE, IGNORE, 4]),
        prompt([1, 2, 3, 4, 5], labels=[1, IGNORE, 3, 4, 5]),
        prompt([1, 2, 3, 6], labels=[1, 2, 3, 6]),
    ]


def test_what_neighbours_begin_with_is_read_once_and_teaches_the_same() -> None:
    model = tiny.model(attn_implementation=PACKED)
    read: list[int] = []
    model.model.register_forward_pre_hook(
        lambda _, __, given: read.append(given["inputs_embeds"].shape[1]), with_kwargs=True
    )
    seen: list[int] = []
    model.vision_tower.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    together, by_prefix = gradients(model, tasks_of_a_video())
    assert seen == [2]
    alone, by_padding = gradients(tiny.model(), tasks_of_a_video())
    torch.testing.assert_close(together.losses, alone.losses, rtol=0, atol=1e-5)
    like(by_prefix, by_padding)
    lengths = [len(model([some]).losses) and read[-1] for some in tasks_of_a_video()]
    shared = lengths[0] - 3  # positions of what the first three begin with, media and all
    assert read[0] == sum(lengths) - 2 * shared - 3


def test_only_neighbours_that_share_most_share_a_prefix() -> None:
    texts = [prompt([1, 2, 3, 4, 5, 6]), prompt([1, 2, 3, 7]), prompt([1, 2, 9, 9, 9, 9])]
    assert group_prefixes(texts, [6, 4, 6]) == [PrefixGroup(0, 2, 3), PrefixGroup(2, 3, 0)]
    assert group_prefixes([texts[0]] * 2, [6, 6]) == [PrefixGroup(0, 2, 5)]  # each keeps a token of its own
    pictures = [prompt([1, IMAGE, 2], image(seed)) for seed in (0, 0, 1)]
    assert group_prefixes(pictures, [42] * 3) == [PrefixGroup(0, 2, 2), PrefixGroup(2, 3, 0)]
    unnamed = prompt([1, SPEECH, 2], sound())
    assert group_prefixes([unnamed, unnamed], [22] * 2) == [PrefixGroup(0, 1, 0), PrefixGroup(1, 2, 0)]


def test_a_shared_prefix_looks_at_what_is_shared_and_at_its_own() -> None:
    prefix = SharedPrefix(2, (1, 2))
    assert prefix.mask().int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]
    assert torch.cat(list(prefix.positions())).tolist() == [0, 1, 2, 2, 3]
    assert [place.tolist() for place in prefix.sequence_positions()] == [[0, 1, 2], [0, 1, 3, 4]]


def test_pieces_are_what_is_read() -> None:
    model = tiny.model(attn_implementation=PACKED)
    prompts = tasks_of_a_video()
    sequences = [len(model.splice(some, model.encode([some])[0])) for some in prompts]
    prompts = [replace(some, length=length) for some, length in zip(prompts, sequences, strict=True)]
    read: list[int] = []
    model.model.register_forward_pre_hook(
        lambda _, __, given: read.append(given["inputs_embeds"].shape[1]), with_kwargs=True
    )
    model(prompts)
    assert list(row_lengths(prompts)) == [sequences[0] - 3, 3, 2, 4, sequences[3], 3, 2, 1]
    assert read == [sum(row_lengths(prompts))]
