"""The decoder of an Ola on its own, for engines that know Qwen2 alone, and the rest of that Ola without it.

In: a folder of Ola's weights. Out: a folder of a plain Qwen2 (`config.json`, one file of safetensors) that is whole as
soon as it is there; and a model that still encodes and splices. Together they hold nothing twice but the embeddings of
tokens.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from transformers import Qwen2Config

from ola.checkpoint import DTYPES, SINGLE, Stored
from ola.model import OlaForConditionalGeneration
from ola.weights import checked, config_of, fill

DECODER = ("model.", "lm_head.")
# Both ways in which transformers has written the base of the rotary positions.
ROTARY = ("rope_parameters", "rope_scaling", "rope_theta")


def export_decoder(folder: Path, out: Path) -> None:
    """Write the decoder of `folder` to `out`, a tensor at a time, in its stored dtypes; nothing to do if it is there.

    Whoever comes while another writes waits for him; a process that is killed leaves a draft beside `out`, which the
    next one removes. BadCheckpoint where `folder` holds no whole Ola.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.with_name(f"{out.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if out.is_dir():
            return
        draft = out.with_name(f"{out.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        found = checked(OlaForConditionalGeneration, folder, config_of(folder))
        names = [name for name, _ in found.model.named_parameters() if name.startswith(DECODER)]
        (draft / "config.json").write_text(json.dumps(_config(folder), indent=2) + "\n", encoding="utf-8")
        _write({name: found.stored[found.sources[name]] for name in names}, draft / SINGLE)
        draft.rename(out)


def without_decoder(
    folder: Path, dtype: torch.dtype | str = "auto", device: torch.device | str = "cpu"
) -> OlaForConditionalGeneration:
    """All of the model but the decoder's layers and its head, which are not even read; errors as `from_pretrained`."""
    found = checked(OlaForConditionalGeneration, folder, config_of(folder))
    found.model.model.layers = nn.ModuleList()
    if not found.model.config.tie_word_embeddings:
        found.model.lm_head = nn.Identity()
    return fill(found, folder, dtype, device)


def _config(folder: Path) -> dict[str, object]:
    given = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    known = {*Qwen2Config().to_dict(), *ROTARY}
    of_qwen2 = {"model_type": Qwen2Config.model_type, "architectures": ["Qwen2ForCausalLM"]}
    return {name: value for name, value in given.items() if name in known} | of_qwen2


def _write(tensors: Mapping[str, Stored], file: Path) -> None:
    """In the format of safetensors: the length of a header in JSON, the header, the bytes."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, stored in tensors.items():
        start, end = end, end + torch.Size(stored.shape).numel() * stored.dtype.itemsize
        header[name] = {"dtype": names[stored.dtype], "shape": stored.shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as written:
        written.write(struct.pack("<Q", len(text)) + text)
        for stored in tensors.values():
            kept = torch.empty(stored.shape, dtype=stored.dtype)
            stored.copy_into(kept)
            written.write(kept.view(-1).view(torch.uint8).numpy().data)
        written.flush()
        os.fsync(written.fileno())
