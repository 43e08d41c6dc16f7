"""Files of hashes alone find the clips of benchmarks in a run."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.config import load
from pipeline.errors import ConfigError
from pipeline.run import run
from pipeline.synthetic.world.changes import CHANGES
from tests.bench.duplicate_films import change_film, make_film
from tests.media import ffmpeg
from tests.runs import ola, rows

SETS = ("isolate=false", "split.longest=12", "split.shortest=6", "extra_steps=[fingerprint]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark of one film, as hashes; videos of which one has that film re-encoded, between others."""
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "bench").mkdir()
    (folder / "videos").mkdir()
    film = make_film(folder / "bench" / "question 7.mp4", 7001, 6.0)
    other = make_film(folder / "videos" / "clean.mp4", 7003, 6.0)
    changed = change_film(film, folder / "changed.mp4", CHANGES["re-encode"].options)
    joined = "[0:v][0:a][1:v][1:a]concat=n=2:v=1:a=1"
    ffmpeg("-i", changed, "-i", other, "-filter_complex", joined, folder / "videos" / "leak.mp4")
    sets = [word for each in SETS[:3] for word in ("--set", each)]
    said = ola("hashes", folder / "bench", "--out", folder / "bench.hashes", *sets)
    assert said.code == 0, said
    assert said.out.splitlines()[-1].startswith("1 clips of 1 videos")
    return folder


def test_a_hash_file_has_names_and_no_media(folder: Path) -> None:
    table = pq.read_table(folder / "bench.hashes")
    assert table["name"].to_pylist() == ["question 7.mp4"]
    assert (folder / "bench.hashes").stat().st_size < 10_000


def test_clips_of_a_benchmark_are_marked(folder: Path, tmp_path: Path) -> None:
    name = str(folder / "bench.hashes")
    run(load(None, [*SETS, f"decontaminate=[{name}]"], {"inputs": [str(folder / "videos")]}), str(tmp_path / "root"))
    found = rows(
        tmp_path / "root",
        "SELECT DISTINCT v.uri, d.leaked_from, d.known_in FROM duplicates d JOIN ingest v ON v.id = d.video "
        "WHERE len(d.leaked_from) > 0",
    )
    assert [(Path(uri).name, *rest) for uri, *rest in found] == [("leak.mp4", [name], [])]
    pairs = rows(tmp_path / "root", f"SELECT DISTINCT relation FROM duplicate_pairs WHERE against = '{name}'")
    assert {relation for (relation,) in pairs} <= {"copy", "part of", "contains", "overlap"}


def test_the_root_of_a_run_can_be_written_as_hashes(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    run(load(None, SETS, {"inputs": [str(folder / "bench")]}), str(root))
    assert ola("hashes", root, "--out", tmp_path / "again.hashes").code == 0
    assert pq.read_table(tmp_path / "again.hashes").equals(pq.read_table(folder / "bench.hashes"))


def test_a_root_without_fingerprints_and_other_files_are_refused(folder: Path, tmp_path: Path) -> None:
    root, video = tmp_path / "root", folder / "bench" / "question 7.mp4"
    run(load(None, SETS[:3], {"inputs": [str(video)]}), str(root))
    said = ola("hashes", root, "--out", tmp_path / "none.hashes")
    assert said.code == 2
    assert "extra_steps=[fingerprint]" in said.err
    assert not (tmp_path / "none.hashes").exists()
    with pytest.raises(ConfigError, match=r"decontaminate: .* set extra_steps=\[fingerprint\]"):
        run(load(None, [*SETS[:3], f"decontaminate=[{folder / 'bench.hashes'}]"], {"inputs": [str(video)]}), str(root))
    with pytest.raises(ConfigError, match="expected a file of `ola hashes`"):
        run(load(None, [*SETS, f"decontaminate=['{video}']"], {"inputs": [str(video)]}), str(root))
