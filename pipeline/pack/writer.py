"""Write shards: tars of training samples that WebDataset, Energon and the original Ola trainer all read.

In: samples, as a key and the bytes of their members. Out: a local draft of a tar, the place and digest of each sample,
and the bytes of the files beside it (`.tar.idx`, `.nv-meta/`). Equal samples give equal bytes. Each sample has a BLAKE3
digest, so a damaged shard names its damaged samples; BLAKE3 runs at over 3 GB/s on one core, where sha256 would limit
the writer to 0.9. The caller publishes the draft: nothing here accesses a store.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from stages.tar_format import END, Member, header, padded

Bytes = bytes | bytearray | memoryview

# A dot would move the end of the key, a slash would make it a folder.
_KEY = re.compile(r"[A-Za-z0-9_-]+")
# WebDataset lower-cases extensions when it reads and keeps names in __ for itself.
_EXTENSION = re.compile(r"[a-z0-9][a-z0-9_]*(\.[a-z0-9_]+)*")


PIECE = 1 << 18  # bytes of one write; writes of whole samples sometimes took three times as long


@dataclass(frozen=True, slots=True)
class PlacedSample:
    """A sample in its tar: `offset` and `size` in bytes, headers and padding included, and its BLAKE3 digest."""

    offset: int
    size: int
    digest: str
    members: dict[str, Member]


class ShardWriter:
    """Context manager that writes one shard, sample by sample, to a local draft path.

    `bytes` is its size so far, `offsets` (n+1) the start of each sample, then the end of the last. An exception inside
    the block leaves a draft without end blocks, which `ShardReader` refuses; the caller removes it.
    """

    def __init__(self, path: str) -> None:
        """Begin a tar at `path`."""
        self.path = path
        self.bytes = 0
        self.offsets = [0]
        self._keys: set[str] = set()
        self._extensions: list[str] = []
        self._buffer = bytearray()
        self._hasher = ThreadPoolExecutor(1)
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self._hasher.shutdown()
            self._file.close()

    def add(self, key: str, members: Mapping[str, Bytes]) -> PlacedSample:
        """Append a sample, its members (extension to bytes) in the given order. Returns the place of their bytes.

        Raises ValueError, and writes nothing, for a key or extension that readers would misread, a key already in this
        shard, or members other than the first sample's.
        """
        self._check(key, members)
        chunks: list[Bytes] = []
        placed: dict[str, Member] = {}
        position = self.bytes
        for extension, content in members.items():
            name, size = f"{key}.{extension}", memoryview(content).nbytes
            head = header(name, size)
            placed[extension] = Member(name, position + len(head), size, position)
            chunks += (head, content, bytes(padded(size) - size))
            position += len(head) + padded(size)
        sample, offset = self._join(chunks, position - self.bytes), self.bytes
        hashed = self._hasher.submit(digest, sample)  # during the write: both release the GIL
        self._write(sample)
        self._keys.add(key)
        self._extensions = sorted(members)
        self.offsets.append(self.bytes)
        return PlacedSample(offset, len(sample), hashed.result(), placed)

    def close(self) -> None:
        """End the tar; a second call does nothing."""
        if not self._file.closed:
            self._write(memoryview(END))
            self._file.close()

    def _check(self, key: str, members: Mapping[str, Bytes]) -> None:
        if not _KEY.fullmatch(key):
            raise ValueError(f"key {key!r}: only letters, digits, - and _ (a dot would end the key for readers)")
        if key in self._keys:
            raise ValueError(f"key {key!r} is already in shard {self.path}; keys must be unique")
        for extension in members:
            if not _EXTENSION.fullmatch(extension):
                raise ValueError(f"key {key!r}: extension {extension!r} must be lower-case letters, digits and _")
        wanted = self._extensions or sorted(members)
        if not members or sorted(members) != wanted:
            raise ValueError(
                f"key {key!r} has members {sorted(members)}; every sample of shard {self.path} must have "
                f"{wanted or 'at least one'}"
            )

    def _write(self, content: memoryview) -> None:
        while content:
            written = self._file.write(content[:PIECE])
            content, self.bytes = content[written:], self.bytes + written

    def _join(self, chunks: Sequence[Bytes], size: int) -> memoryview:
        """Return the chunks side by side in one reused buffer: new memory would cost as much time as the hash."""
        if len(self._buffer) < size:
            self._buffer = bytearray(2 * size)
        view, end = memoryview(self._buffer), 0
        for chunk in chunks:
            start, end = end, end + memoryview(chunk).nbytes
            view[start:end] = memoryview(chunk).cast("B")
        return view[:end]


def digest(sample: Bytes) -> str:
    """Return the BLAKE3 of a sample's bytes in its tar, in hex."""
    from blake3 import blake3

    return blake3(sample).hexdigest()


def index_bytes(offsets: Sequence[int]) -> bytes:
    """Return the content of `<shard>.tar.idx`: `ShardWriter.offsets` as little-endian uint64, Energon's layout."""
    return struct.pack(f"<{len(offsets)}Q", *offsets)


def energon_meta(shards: Mapping[str, int], train: Sequence[str], val: Sequence[str]) -> dict[str, bytes]:
    """Return the files that make a folder of shards a Megatron-Energon (7.4) data set: path in the folder to bytes.

    `shards` maps each tar's path in the folder to its number of samples. The data set is a `CrudeWebdataset`: its
    samples reach a cooker as raw members. Raises ValueError for an empty shard, or a shard that is not in exactly one
    split.
    """
    if empty := sorted(name for name, count in shards.items() if count < 1):
        raise ValueError(f"shards {empty} have no samples; Energon refuses them, leave them out")
    if sorted([*train, *val]) != sorted(shards):
        raise ValueError(f"train {list(train)} and val {list(val)} must hold each of {sorted(shards)} exactly once")
    dataset = "__module__: megatron.energon\n__class__: CrudeWebdataset\n"
    splits = "exclude: []\nsplit_parts:\n" + _yaml_list("train", train) + _yaml_list("val", val)
    info = json.dumps({"shard_counts": dict(shards)}, indent=2) + "\n"
    texts = {"dataset.yaml": dataset, "split.yaml": splits, ".info.json": info}
    return {f".nv-meta/{name}": text.encode() for name, text in texts.items()}


def _yaml_list(key: str, values: Sequence[str]) -> str:
    # Every JSON string is a valid YAML string.
    return f"  {key}:" + ("".join(f"\n  - {json.dumps(value)}" for value in values) or " []") + "\n"
