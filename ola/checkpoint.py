"""Find tensors in checkpoint files, and copy them to their targets block by block.

In: a folder of safetensors, or a `.pt` file. Out: name, shape, dtype and a copy function of each tensor, of which a
file of safetensors can be written. Safetensors
are read in blocks and not memory-mapped: mapped pages count as the process's memory until the file is closed, which
would double the peak.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch
from torch import Tensor

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
BLOCK_BYTES = 32 * 2**20
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"


class BadCheckpoint(ValueError):
    """A checkpoint is damaged, unsafe, or of another model."""


class Stored(Protocol):
    """A tensor in a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def copy_into(self, target: Tensor, first_row: int = 0) -> None:
        """Fill `target` with rows from `first_row` on, converted to its dtype and device."""


@dataclass(frozen=True)
class Span:
    """A tensor of a safetensors file."""

    file: Path
    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    def copy_into(self, target: Tensor, first_row: int = 0) -> None:
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        with self.file.open("rb", buffering=0) as file:
            file.seek(self.offset + first_row * row_bytes)
            if target.dtype == self.dtype and target.device.type == "cpu" and target.is_contiguous():
                _fill(file, target)
            else:
                self._convert(file, target.view(self.shape and (-1, *self.shape[1:])), row_bytes)

    def _convert(self, file: BinaryIO, target: Tensor, row_bytes: int) -> None:
        for rows in target.split(max(1, BLOCK_BYTES // row_bytes)) if target.ndim else [target]:
            block = torch.empty(rows.shape, dtype=self.dtype)
            _fill(file, block)
            rows.copy_(block)


@dataclass(frozen=True)
class PickledTensor:
    """A tensor of a `.pt` file, memory-mapped by torch."""

    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.tensor.dtype

    def copy_into(self, target: Tensor, first_row: int = 0) -> None:
        target.copy_(self.tensor[first_row : first_row + len(target)])


def tensors_of(folder: Path) -> dict[str, Stored]:
    """Return all tensors of a folder's safetensors, by name. Raises BadCheckpoint if a file is missing or damaged."""
    if (folder / INDEX).is_file():
        placed: dict[str, str] = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(placed.values()))
    else:
        placed, files = {}, [SINGLE]
    absent = [file for file in files if not (folder / file).is_file()]
    if absent and (folder / "state").is_dir():
        raise BadCheckpoint(
            f"{folder} is a checkpoint of a training; write its model with `ola model --merge {folder} OUT`"
        )
    if absent:
        raise BadCheckpoint(f"{folder} lacks {', '.join(absent)}; copy the complete checkpoint")
    found: dict[str, Stored] = {name: span for file in files for name, span in spans_of(folder / file).items()}
    if lost := sorted(set(placed) - set(found)):
        raise BadCheckpoint(f"{folder / INDEX} names tensors that no shard holds: {', '.join(lost)}")
    return found


def load_pickled(file: Path) -> dict[str, Any]:
    """Load a `.pt` file of tensors and plain values. Raises BadCheckpoint if loading it would run code."""
    try:
        contents = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise BadCheckpoint(f"{file} is no file of plain tensors, and was not run: {error}") from error
    if not isinstance(contents, dict):
        raise BadCheckpoint(f"{file} holds a {type(contents).__name__}, not a dict of tensors")
    return contents


def spans_of(file: Path) -> Mapping[str, Span]:
    """Return all tensors of a safetensors file, by name. Raises BadCheckpoint if the file is damaged."""
    with file.open("rb") as opened:
        size = struct.unpack("<Q", opened.read(8).ljust(8, b"\0"))[0]
        start, end = 8 + size, file.stat().st_size
        try:
            header = json.loads(opened.read(size)) if 0 < start <= end else None
        except ValueError:
            header = None
    if header is None:
        raise BadCheckpoint(f"{file} has no safetensors header: cut short, or another format")
    header.pop("__metadata__", None)
    if (needed := start + max((entry["data_offsets"][1] for entry in header.values()), default=0)) > end:
        raise BadCheckpoint(f"{file} is cut short: {end} bytes of {needed}")
    if odd := [f"{name} ({entry['dtype']})" for name, entry in header.items() if entry["dtype"] not in DTYPES]:
        raise BadCheckpoint(f"{file} holds dtypes other than {', '.join(DTYPES)}: {', '.join(odd)}")
    return {
        name: Span(file, start + entry["data_offsets"][0], tuple(entry["shape"]), DTYPES[entry["dtype"]])
        for name, entry in header.items()
    }


def write_safetensors(tensors: Mapping[str, Stored], file: Path) -> None:
    """Write a safetensors file, tensor by tensor: the length of the JSON header, the header, the bytes."""
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
            buffer = torch.empty(stored.shape, dtype=stored.dtype)
            stored.copy_into(buffer)
            written.write(buffer.view(-1).view(torch.uint8).numpy().data)
        written.flush()
        os.fsync(written.fileno())


def _fill(file: BinaryIO, target: Tensor) -> None:
    room = memoryview(target.view(-1).view(torch.uint8).numpy().data)
    while room:
        if not (count := file.readinto(room)):  # type: ignore[attr-defined]
            raise BadCheckpoint(f"{file.name} ended while it was read")
        room = room[count:]
