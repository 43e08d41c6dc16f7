"""Saved tokenizers load in transformers 4.57 and 5."""

from __future__ import annotations

import json
from pathlib import Path

from ola import locate_model
from ola.config import OlaConfig
from ola.tokenizer_files import facts_for_both, load_tokenizer, save_tokenizer

TEXT = "what is a dog <|im_end|>"


def test_saved_tokenizers_are_told_in_the_words_of_both(tmp_path: Path) -> None:
    nano = load_tokenizer(locate_model(Path("nano")), OlaConfig())
    nano.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    save_tokenizer(nano, tmp_path)
    facts = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert facts["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert facts["add_prefix_space"] is True
    assert not isinstance(facts.get("extra_special_tokens"), list)
    again = load_tokenizer(tmp_path, OlaConfig())
    assert again(TEXT).input_ids == nano(TEXT).input_ids
    assert "<|im_start|>" in again.all_special_tokens


def test_files_of_version_5_are_translated(tmp_path: Path) -> None:
    facts = {"tokenizer_class": "Qwen2Tokenizer", "extra_special_tokens": ["<a>"], "pad_token": "<b>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(facts))
    (tmp_path / "tokenizer.json").write_text('{"pre_tokenizer": null}')
    expected = {"tokenizer_class": "Qwen2Tokenizer", "additional_special_tokens": ["<a>"], "pad_token": "<b>"}
    assert facts_for_both(tmp_path) == expected


def test_rotary_positions_keep_their_base_in_either_version(tmp_path: Path) -> None:
    written = {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}, "model_type": "ola_qwen"}
    (tmp_path / "config.json").write_text(json.dumps(written))
    told = OlaConfig.from_pretrained(tmp_path).to_dict()
    assert told.get("rope_theta", (told.get("rope_parameters") or {}).get("rope_theta")) == 5e5
