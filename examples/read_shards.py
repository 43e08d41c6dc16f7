"""Read shards in a plain PyTorch loop: frames as a tensor, sound as samples, and the conversations.

python examples/read_shards.py 'out/shards/omni/*/train-*.tar'
"""

from __future__ import annotations

import glob
import io
import json
import sys
import wave
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import webdataset
from PIL import Image

from stages.shards import split_frames


def decoded(sample: dict[str, Any]) -> dict[str, Any]:
    """Return the tasks, the frames (n, height, width, 3) as uint8, and the sound (samples,) as float32 or None."""
    facts = json.loads(sample["json"])
    sizes = facts["pictures"]["bytes"] if "mjpg" in sample else ()
    frames = [np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in split_frames(sample.get("mjpg", b""), sizes)]
    sound = None
    if "wav" in sample:
        with wave.open(io.BytesIO(sample["wav"])) as file:
            sound = torch.frombuffer(bytearray(file.readframes(file.getnframes())), dtype=torch.int16) / 32768
    pictures = torch.from_numpy(np.stack(frames)) if frames else None
    return {"key": sample["__key__"], "tasks": facts["tasks"], "frames": pictures, "sound": sound}


def main(pattern: str) -> None:
    """Print one line for each sample."""
    tars = sorted(glob.glob(pattern))
    samples: Iterator[dict[str, Any]] = iter(webdataset.WebDataset(tars, shardshuffle=False).map(decoded))
    for sample in samples:
        shape = None if sample["frames"] is None else tuple(sample["frames"].shape)
        heard = 0 if sample["sound"] is None else len(sample["sound"]) / 16_000
        print(sample["key"], shape, f"{heard:.1f} s of sound", [task["kind"] for task in sample["tasks"]])


if __name__ == "__main__":
    main(sys.argv[1])
