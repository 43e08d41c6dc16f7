"""A TMPDIR that is too long for the paths of sockets."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.engine import short_tmp
from pipeline.errors import ConfigError

LISTEN = """
import socket, sys, tempfile
if sys.argv[1] == "short":
    from pipeline.engine.short_tmp import shorten_tmpdir
    shorten_tmpdir()
socket.socket(socket.AF_UNIX).bind(tempfile.gettempdir() + "/" + "s" * 89)
"""


@pytest.fixture
def long(tmp_path: Path) -> Path:
    folder = tmp_path / ("x" * (102 - len(str(tmp_path)) - 1))
    folder.mkdir()
    return folder


def test_sockets_find_room_in_a_long_folder(long: Path) -> None:
    def listens(how: str) -> bool:
        ran = subprocess.run([sys.executable, "-c", LISTEN, how], env={**os.environ, "TMPDIR": str(long)}, check=False)
        return ran.returncode == 0

    assert listens("short")
    assert [path.name for path in long.iterdir()] == ["s" * 89]
    assert not listens("long")


def test_a_link_leads_to_the_folder_and_is_made_once(long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [long / "away", long / "near"]
    places[1].mkdir()
    monkeypatch.setattr(short_tmp, "PLACES", tuple(map(str, places)))
    links = set()
    for _ in range(2):
        monkeypatch.setattr(tempfile, "tempdir", str(long))
        monkeypatch.setenv("TMPDIR", str(long))
        short_tmp.shorten_tmpdir()
        links.add(os.environ["TMPDIR"])
    (link,) = map(Path, links)
    assert (tempfile.gettempdir(), link.parent, link.resolve()) == (str(link), places[1], long.resolve())


def test_without_a_place_for_a_link_it_is_one_line(long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_tmp, "PLACES", (str(long / "none"),))
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(ConfigError, match=r"TMPDIR: .* is too long for the names of sockets"):
        short_tmp.shorten_tmpdir()
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    short_tmp.shorten_tmpdir()
