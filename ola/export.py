"""Split an Ola into its decoder, for engines that run Qwen2, and the model without the decoder.

In: a folder of Ola's weights. Out: a folder of a plain Qwen2 (`config.json`, one file of safetensors), which appears
atomically; and a model that encodes media and splices prompts. Only the token embeddings are in both.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path

import torch
from torch import nn
from transformers import Qwen2Config

from ola.checkpoint import SINGLE, write_safetensors
from ola.model import OlaForConditionalGeneration
from ola.weights import config_of, fill, prepare_checked

DECODER = ("model.", "lm_head.")
# The names under which versions of transformers store the rotary base.
ROTARY = ("rope_parameters", "rope_scaling", "rope_theta")


def export_decoder(folder: Path, out: Path) -> None:
    """Write the decoder of `folder` to `out`, tensor by tensor, in the stored dtypes, unless `out` exists.

    A second process waits while the first one writes. A killed process leaves a draft beside `out`, which the next
    process removes. Raises BadCheckpoint if `folder` holds no complete Ola.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.with_name(f"{out.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if out.is_dir():
            return
        draft = out.with_name(f"{out.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        found = prepare_checked(OlaForConditionalGeneration, folder, config_of(folder))
        names = [name for name, _ in found.model.named_parameters() if name.startswith(DECODER)]
        (draft / "config.json").write_text(json.dumps(_decoder_config(folder), indent=2) + "\n", encoding="utf-8")
        write_safetensors({name: found.stored[found.sources[name]] for name in names}, draft / SINGLE)
        draft.rename(out)


def load_without_decoder(
    folder: Path, dtype: torch.dtype | str = "auto", device: torch.device | str = "cpu"
) -> OlaForConditionalGeneration:
    """Load the model without the decoder's layers and its head. Raises the errors of `from_pretrained`."""
    found = prepare_checked(OlaForConditionalGeneration, folder, config_of(folder))
    found.model.model.layers = nn.ModuleList()
    if not found.model.config.tie_word_embeddings:
        found.model.lm_head = nn.Identity()
    return fill(found, folder, dtype, device)


def _decoder_config(folder: Path) -> dict[str, object]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    known = {*Qwen2Config().to_dict(), *ROTARY}
    of_qwen2 = {"model_type": Qwen2Config.model_type, "architectures": ["Qwen2ForCausalLM"]}
    return {name: value for name, value in config.items() if name in known} | of_qwen2
