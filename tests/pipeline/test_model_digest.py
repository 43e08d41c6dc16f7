"""The digest of weights: any byte changes it, touching does not, and each file is read once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pipeline.annotation import model_digest
from pipeline.annotation.annotator import ModelStep
from pipeline.annotation.annotator_settings import AnnotatorSettings
from pipeline.annotation.model_digest import cache_folder, check_digest, digest_of
from pipeline.errors import ConfigError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "tower").mkdir(parents=True)
    for name in ("model.safetensors", "tower/model.safetensors"):
        (folder / name).write_bytes(os.urandom(1 << 20))
    (folder / "config.json").write_text("{}")
    (folder / "empty").touch()
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "tower/model.safetensors"])
@pytest.mark.parametrize("at", [0, 1 << 19, (1 << 20) - 1])
def test_any_byte_changes_the_digest(weights: Path, name: str, at: int) -> None:
    before = digest_of(str(weights))
    data = bytearray((weights / name).read_bytes())
    data[at] ^= 1
    (weights / name).write_bytes(data)
    assert digest_of(str(weights)) != before


def test_names_count_and_hidden_files_do_not(weights: Path) -> None:
    before = digest_of(str(weights))
    (weights / ".git").mkdir()
    (weights / ".git" / "index").write_text("x")
    assert digest_of(str(weights)) == before
    (weights / "empty").rename(weights / "other")
    assert digest_of(str(weights)) != before


def test_a_file_is_read_once_and_again_when_it_was_touched(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest_of(str(weights))
    read: list[str] = []
    contents = model_digest._file_digest

    def noting(path: Path, known: model_digest.FileDigests) -> tuple[int, int, int, str]:
        found = contents(path, known)
        read.extend([path.name] if known.get(os.path.realpath(path)) != found else [])
        return found

    monkeypatch.setattr(model_digest, "_file_digest", noting)
    assert digest_of(str(weights)) == before
    assert read == []
    os.utime(weights / "config.json", ns=(1, 1))
    assert digest_of(str(weights)) == before
    assert read == ["config.json"]


def test_links_into_a_hub_cache_are_the_files_that_they_name(weights: Path, tmp_path: Path) -> None:
    linked = tmp_path / "snapshot"
    (linked / "tower").mkdir(parents=True)
    for path in weights.rglob("*"):
        if path.is_file():
            (linked / path.relative_to(weights)).symlink_to(path)
    assert digest_of(str(linked)) == digest_of(str(weights))


def test_other_bytes_with_the_old_time_are_read(weights: Path) -> None:
    """`cp -p`, `rsync -t` and `tar` leave such files."""
    before, path = digest_of(str(weights)), weights / "model.safetensors"
    facts = path.stat()
    time.sleep(0.02)  # more than a tick of the file system's clock
    path.write_bytes(os.urandom(facts.st_size))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert digest_of(str(weights)) != before


def test_linked_folders_count_and_loops_end(weights: Path, tmp_path: Path) -> None:
    before = digest_of(str(weights))
    (weights / "tower").rename(tmp_path / "elsewhere")
    (weights / "tower").symlink_to(tmp_path / "elsewhere")
    (weights / "self").symlink_to(weights)
    assert digest_of(str(weights)) == before


@pytest.mark.parametrize("content", ["", "[", '{"a": 1}', "[1]"])
def test_a_damaged_cache_is_made_anew(weights: Path, content: str) -> None:
    before = digest_of(str(weights))
    (cache_folder() / model_digest.CACHE).write_text(content)
    assert digest_of(str(weights)) == before


def test_other_weights_on_a_node_are_one_line(weights: Path) -> None:
    settings = AnnotatorSettings(model=str(weights)).resolve()
    check_digest(str(weights), settings.digest)
    (weights / "config.json").write_text("{ }")
    step: ModelStep[object, object] = ModelStep()
    step.annotator = settings
    with pytest.raises(ConfigError, match="on this node are not those that the run began with"):
        step.open()


def test_a_folder_that_is_not_there_is_a_setting_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"annotator\.model: expected a folder of weights"):
        digest_of(str(tmp_path / "nothing"))
