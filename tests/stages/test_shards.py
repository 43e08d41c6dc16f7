"""The shard reader and the tar format: tars of other writers are read, broken shards are named."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest
import webdataset as wds
from hypothesis import given
from hypothesis import strategies as st

from stages.shards import ShardReader, read_index, split_frames
from stages.tar_format import END, TarError, header, member_at, members, padded

SAMPLES = {"a-1": {"json": b"{}", "wav": b"x" * 700}, "b_2": {"json": b"[1]", "wav": b""}}


def member(name: str, content: bytes) -> bytes:
    return header(name, len(content)) + content.ljust(padded(len(content)), b"\0")


def tar(names: dict[str, bytes]) -> bytes:
    return b"".join(member(*pair) for pair in names.items()) + END


def flat(samples: dict[str, dict[str, bytes]]) -> dict[str, bytes]:
    return {f"{key}.{ext}": content for key, sample in samples.items() for ext, content in sample.items()}


def read(reader: ShardReader) -> dict[str, dict[str, bytes]]:
    return {sample.key: {ext: bytes(view) for ext, view in sample.members.items()} for sample in reader}


@given(st.text(min_size=1, max_size=25).filter(lambda name: "\0" not in name), st.integers(0, 8**11 - 1))
def test_header_is_the_one_tarfile_writes(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    assert header(name, size) == info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(("name", "size"), [("k" * 101, 1), ("", 1), ("a\0b", 1), ("k.wav", 8**11), ("k.wav", -1)])
def test_header_names_what_does_not_fit(name: str, size: int) -> None:
    with pytest.raises(ValueError, match=re.escape(f"tar member {name!r}")):
        header(name, size)


def test_gnu_tar_accepts_a_shard(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar(flat(SAMPLES)))
    listed = subprocess.run(["tar", "tvf", "x.tar"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert listed.stderr == ""
    assert [line.split()[-1] for line in listed.stdout.splitlines()] == list(flat(SAMPLES))
    assert all(line.startswith("-rw-r--r-- 0/0") for line in listed.stdout.splitlines())


@given(st.lists(st.binary(max_size=2000), max_size=4))
def test_members_say_where_the_bytes_lie(contents: list[bytes]) -> None:
    shard = tar({f"{i}.bin": content for i, content in enumerate(contents)})
    found = list(members(memoryview(shard)))
    assert [shard[m.offset : m.offset + m.size] for m in found] == contents
    assert [member_at(memoryview(shard), m.header_offset) for m in found] == found


def test_reads_shards_of_other_writers(tmp_path: Path) -> None:
    # With its default, a float time, webdataset writes an extra pax header before each member.
    with wds.TarWriter(str(tmp_path / "wds.tar"), mtime=0) as sink:
        for key, sample in SAMPLES.items():
            sink.write({"__key__": key, **sample})
    with tarfile.open(tmp_path / "py.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in flat(SAMPLES).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    for name in ("wds.tar", "py.tar"):
        assert read(ShardReader(tmp_path / name)) == SAMPLES


LONG = {"k" * 120: {"json": b"{}", "wav": b"y" * 600}, "ключ-" + "z" * 90: {"json": b"[]"}}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_reads_the_forms_of_tarfile(tmp_path: Path, form: int) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=form, pax_headers={"comment": "of all"}) as archive:
        for name, content in flat(SAMPLES | LONG).items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1234.5 if form == tarfile.PAX_FORMAT else 1234
            archive.addfile(info, io.BytesIO(content))
    reader = ShardReader(path)
    assert read(reader) == SAMPLES | LONG
    assert read(ShardReader(path, reader.offsets)) == SAMPLES | LONG


@pytest.mark.parametrize("form", ["gnu", "pax", "ustar", "oldgnu"])
@pytest.mark.parametrize("what", [("a-1.json", "a-1.wav", "b_2.json", "b_2.wav"), (".",)])
def test_reads_what_gnu_tar_packs(tmp_path: Path, form: str, what: tuple[str, ...]) -> None:
    folder = tmp_path / "samples"
    (folder / "zz").mkdir(parents=True)
    for name, content in flat(SAMPLES).items():
        (folder / name).write_bytes(content)
    command = ["tar", f"--format={form}", "--sort=name", "-cf", str(tmp_path / "x.tar"), *what]
    subprocess.run(command, cwd=folder, check=True)
    reader = ShardReader(tmp_path / "x.tar")
    assert read(reader) == SAMPLES
    assert read(ShardReader(tmp_path / "x.tar", reader.offsets)) == SAMPLES


def test_webdataset_writes_times_into_more_headers(tmp_path: Path) -> None:
    with wds.TarWriter(str(tmp_path / "wds.tar")) as sink:
        for key, sample in SAMPLES.items():
            sink.write({"__key__": key, **sample})
    assert read(ShardReader(tmp_path / "wds.tar")) == SAMPLES


def test_key_is_cut_at_the_first_dot_of_the_base_name() -> None:
    reader = ShardReader(tar({"v1.0/a.left.jpg": b"l", "v1.0/a.right.jpg": b"r", "b.left.jpg": b"x"}))
    assert [(s.key, list(s.members)) for s in reader] == [
        ("v1.0/a", ["left.jpg", "right.jpg"]),
        ("b", ["left.jpg"]),
    ]


def test_samples_by_index_with_and_without_idx(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar(flat(SAMPLES)))
    plain = ShardReader(path)
    offsets = [0, 512 + 512 + 512 + 1024, 512 + 512 + 512 + 1024 + 512 + 512 + 512]
    (tmp_path / "x.tar.idx").write_bytes(struct.pack("<3Q", *offsets))
    indexed = ShardReader(str(path))
    assert read_index(f"{path}.idx") == offsets
    for reader in (plain, indexed, ShardReader(path.read_bytes()), ShardReader(path.read_bytes(), offsets)):
        assert len(reader) == 2
        assert read(reader) == SAMPLES
        assert reader[-1].key == "b_2"
        assert (reader[1].offset, reader[1].size) == (offsets[1], offsets[2] - offsets[1])
        with pytest.raises(IndexError, match="sample 2"):
            reader[2]


def test_views_outlive_the_reader_and_a_closed_reader_refuses(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar(flat(SAMPLES)))
    with ShardReader(path) as reader:
        sample = reader[0]
    reader.close()
    assert bytes(sample.members["wav"]) == b"x" * 700
    with pytest.raises(ValueError, match="released"):
        reader[0]


def test_zero_padding_after_the_end_is_fine() -> None:
    shard = tar(flat(SAMPLES))
    assert read(ShardReader(shard.ljust(10240, b"\0"))) == SAMPLES
    assert len(ShardReader(END)) == 0


def made_by_tarfile(kind: int, **fields: object) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=kind) as archive:
        info = tarfile.TarInfo("a.txt")
        for name, value in fields.items():
            setattr(info, name, value)
        archive.addfile(info)
    return raw.getvalue()


def without_magic(made: bytes) -> bytes:
    header = bytearray(made[:512])
    header[257:265], header[148:156] = bytes(8), b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + made[512:]


SHARD = tar(flat(SAMPLES))
FAULTS = {
    "flipped name byte": (b"b" + SHARD[1:], "byte 0: header checksum"),
    "flipped byte in the second header": (
        SHARD[:1100] + b"9" + SHARD[1101:],
        "byte 1024: header checksum",
    ),
    "cut in a header": (SHARD[:1200], "byte 1024: the tar is truncated 176 bytes into a header"),
    "cut in the data": (SHARD[:2000], "byte 1024: the tar is truncated inside 'a-1.wav'"),
    "cut in the padding": (SHARD[:2300], "byte 1024: the tar is truncated inside 'a-1.wav'"),
    "no end blocks": (SHARD[:-1024], "byte 4096: the tar ends without its two zero blocks"),
    "one end block": (SHARD[:-512], "byte 4096: expected the two zero blocks of the end, got 512"),
    "empty": (b"", "byte 0: expected the two zero blocks of the end, got 0|byte 0: the tar ends"),
    "two tars in one": (SHARD + SHARD, "byte 4096: data after the end"),
    "of no known form": (
        without_magic(made_by_tarfile(tarfile.GNU_FORMAT)),
        "byte 0: expected a USTAR or GNU header",
    ),
    "a link": (
        made_by_tarfile(tarfile.USTAR_FORMAT, type=tarfile.SYMTYPE),
        "byte 0: expected a regular file, got type b'2'",
    ),
    "a broken pax header": (
        made_by_tarfile(tarfile.PAX_FORMAT, mtime=0.5).replace(b"13 mtime=", b"99 mtime=", 1),
        "byte 0: invalid pax header",
    ),
    "cut in a pax header": (
        made_by_tarfile(tarfile.PAX_FORMAT, mtime=0.5)[:700],
        "byte 0: the tar is truncated inside 'an extra header",
    ),
    "no extension": (tar({"a": b"1"}), "byte 0: 'a' is not <key>.<extension>"),
    "key comes again": (tar({"a.txt": b"1", "b.txt": b"2", "a.wav": b"3"}), "byte 2048: key 'a' comes again"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_shard_is_named(fault: str, tmp_path: Path) -> None:
    content, message = FAULTS[fault]
    path = tmp_path / "broken.tar"
    path.write_bytes(content)
    with pytest.raises(TarError, match=f"broken.tar: ({message})"):
        ShardReader(path)


@given(st.integers(0, len(SHARD) - 1))
def test_a_tar_cut_anywhere_is_an_error(length: int) -> None:
    with pytest.raises(TarError, match="byte"):
        ShardReader(SHARD[:length])


# Outside the checksum itself, whose padding may be written in several ways.
@given(st.sampled_from([*range(148), *range(156, 512)]), st.integers(1, 255))
def test_a_flipped_header_byte_is_an_error(at: int, flip: int) -> None:
    broken = bytearray(SHARD)
    broken[at] ^= flip
    with pytest.raises(TarError, match="byte 0"):
        ShardReader(broken)


def test_a_repeated_extension_is_named() -> None:
    one = member("a.txt", b"1")
    with pytest.raises(TarError, match=r"byte 1024: 'a.txt' does not fit sample 'a'"):
        ShardReader(one + one + END)[0]


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 2560], "byte 2560: data after the end"),
        ([0, 2048, 4096], "byte 2048: no sample starts here|byte 1024"),
        ([0, 4096], "byte 2560: 'b_2.json' does not fit sample 'a-1'"),
    ],
)
def test_an_index_of_another_tar_is_named(offsets: list[int], message: str) -> None:
    with pytest.raises(TarError, match=message):
        read(ShardReader(SHARD, offsets))


@pytest.mark.parametrize("content", [b"", b"1234567", struct.pack("<2Q", 512, 1024), struct.pack("<3Q", 0, 512, 512)])
def test_a_broken_index_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.tar.idx"
    path.write_bytes(content)
    with pytest.raises(TarError, match=r"x\.tar\.idx"):
        read_index(path)


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=6))
def test_frames_are_split_without_a_copy(frames: list[bytes]) -> None:
    mjpg = b"".join(frames)
    views = split_frames(mjpg, [len(frame) for frame in frames])
    assert [bytes(view) for view in views] == frames
    assert all(view.obj is mjpg for view in views)


@pytest.mark.parametrize("sizes", [[3], [5], [4, 0], [5, -1]])
def test_frame_sizes_that_do_not_add_up_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="member of 4 bytes"):
        split_frames(b"1234", sizes)
