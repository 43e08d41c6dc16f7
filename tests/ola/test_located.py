"""`nano` names the model of the package, unless a folder has that name."""

from __future__ import annotations

from pathlib import Path

import pytest

import ola
from ola import locate_model


def test_a_folder_comes_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate_model("nano") == Path(ola.__file__).parent / "nano"
    assert locate_model("some/nano") == Path("some/nano")
    (tmp_path / "nano").mkdir()
    assert locate_model("nano") == Path("nano")
