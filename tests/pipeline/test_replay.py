"""`ola replay` runs one record again and shows the differences."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.media import numbered
from tests.runs import files_of, ola, rows, talking


@pytest.fixture
def root(tmp_path: Path) -> Path:
    talking(tmp_path / "videos", "one", numbered("plain.mp4", 100), 4)
    root = tmp_path / "out"
    assert ola("run", tmp_path / "videos", "--root", root, "--set", "extract.frames.cap=2").code == 0
    return root


def test_a_record_comes_out_the_same(root: Path) -> None:
    [(clip,)] = rows(root, "SELECT id FROM split LIMIT 1")
    before = files_of(root)
    for step, name in (("ingest", clip[:0]), ("split", clip[:20]), ("extract", clip), ("transcribe", clip)):
        said = ola("replay", root, name, "--step", step)
        assert (said.code, "the same as committed" in said.out) == (0, True), said
    assert files_of(root) == before


def test_a_difference_is_shown(root: Path) -> None:
    [(clip, text)] = rows(root, "SELECT id, text FROM transcribe LIMIT 1")
    [subtitles] = (root.parent / "videos").glob("*.srt")
    subtitles.write_text(subtitles.read_text().replace(text.split()[0], "Changed", 1))
    said = ola("replay", root, clip, "--step", "transcribe")
    assert said.code == 1
    assert f"- {text!r}" in said.out
    assert "+ 'Changed" in said.out
    subtitles.unlink()
    assert "+ 'failed'" in ola("replay", root, clip, "--step", "transcribe").out


def test_what_is_not_there_is_said(root: Path) -> None:
    said = ola("replay", root, "nobody", "--step", "split")
    assert (said.code, "'nobody': expected the start of an id of an input of split" in said.err) == (2, True)
    assert "no step 'sing'" in ola("replay", root, "x", "--step", "sing").err
