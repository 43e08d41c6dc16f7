"""`ola import`: external data as shards for all readers, once, through kills at any moment."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from ola.processor import OlaProcessor
from ola.prompt import Wave
from pipeline.errors import RunError
from pipeline.importing.entries import make_entry
from pipeline.importing.importer import ImportRequest, import_records, make_samples
from pipeline.media.audio import read_samples
from pipeline.pack.check import check_run
from stages.catalogue import Place, current, read_catalogue
from stages.decoding import Decoder
from stages.samples import members_of
from tests.media import pattern, pixels
from tests.ola import tiny
from tests.pipeline import outside
from tests.pipeline.outside import by_kind, contents, encoded, imported, listed, noise, patch, released, said, samples
from tests.runs import copy_of, files_of, finished, ola, shards_of
from tests.test_project import ROOT

KINDS = ["audio_chat", "chat", "image_chat", "omni_chat", "spoken_qa", "video_chat"]


def test_all_released_forms_become_samples(tmp_path: Path) -> None:
    report = imported(tmp_path, released(tmp_path), tmp_path / "out", frames=4)
    assert [outcome.status for outcome in report.outcomes] == ["ok"] * 6, report.outcomes
    assert list(check_run(str(tmp_path / "out"))) == []
    found = by_kind(tmp_path / "out")
    assert sorted(found) == KINDS
    assert all(tuple(raw.members) == members_of(kind) for kind, (_, raw) in found.items())
    image, film = found["image_chat"][0].pictures, found["omni_chat"][0].pictures
    assert (image.width, image.height) == (128, 96)
    assert len(film.bytes) == 4
    assert film.ms == (187, 562, 937, 1312)  # spread over the sound
    assert found["omni_chat"][1].members["wav"] == (tmp_path / "c.wav").read_bytes()


def test_turns_are_kept_with_the_tags_in_front(tmp_path: Path) -> None:
    imported(tmp_path, released(tmp_path), tmp_path / "out")
    turns = {
        kind: [turn.value for turn in sample.tasks[0].conversations]
        for kind, (sample, _) in by_kind(tmp_path / "out").items()
    }
    assert turns["chat"] == ["hello", "What is this?", "A dog.", "in the park."]
    assert turns["video_chat"] == ["<image>\nWhat is happening in this video?", "A dog."]
    assert turns["spoken_qa"] == ["<image>\nUser's question in speech: <speech>", "The music starts."]
    assert turns["omni_chat"] == ["<speech><image>\nWhat is happening?", "A man speaks."]


def test_the_trainer_reads_what_the_records_say(tmp_path: Path) -> None:
    """Token ids and labels are those of the records, media those that were stored."""
    records = released(tmp_path)
    imported(tmp_path, records, tmp_path / "out", frames=4)
    processor = OlaProcessor(tiny.tokenizer(), tiny.config())
    table = read_catalogue([str(tmp_path / "out")]).table
    places = [Place(n, row["id"], row["uri"], row["offset"], row["size"]) for n, row in enumerate(table.to_pylist())]
    loaded = Decoder(processor, 0)[places]
    assert not isinstance(loaded, Exception)
    assert loaded.faults == ()
    wave = Wave(read_samples((tmp_path / "c.wav").read_bytes()))
    image, tall = processor.image(noise(100, 75)), processor.image(noise(40, 200))
    film = processor.video([noise(64, 48)] * 4)
    media = {"image": [image], "image_spoken": [tall], "video": [film], "video_audio": [film]}
    heard = {name: [processor.sound(wave)] for name in ("audio", "video_audio", "image_spoken")}
    found = {place.task.split("-")[-2]: prompt for place, prompt in zip(places, loaded.pack.prompts, strict=True)}
    kinds = ("image_chat", "audio_chat", "omni_chat", "spoken_qa", "chat", "video_chat")
    for record, kind in zip(records, kinds, strict=True):
        turns = [(turn["from"], turn["value"]) for turn in record["conversations"]]
        if "text_q" in record:
            turns[0] = ("human", record["text_q"])
        name = record["id"]
        expected = processor.sample(turns, media.get(name, []), heard.get(name, []), "text_q" in record)
        prompt = found[kind]
        assert prompt.labels is not None
        assert expected.labels is not None
        assert prompt.input_ids.tolist() == expected.input_ids.tolist()
        assert prompt.labels.tolist() == expected.labels.tolist()
        assert prompt.length == expected.length
        assert [sound.digest for sound in prompt.sounds] == [sound.digest for sound in expected.sounds]


def test_what_is_exported_comes_back_byte_for_byte(tmp_path: Path) -> None:
    exported, out = tmp_path / "ola.json", tmp_path / "out"
    assert ola("export", finished(), exported).code == 0
    report = ola("import", exported, "--root", out, "--val-share", "0")
    assert (report.code, report.err) == (0, "")
    assert ola("check", out).out == "no fault\n"
    kept: dict[str, Any] = {}
    for sample, raw in samples(out):
        media = {name: bytes(data) for name, data in raw.members.items() if name != "json"}
        names = [record["id"] for record in json.loads(sample.meta)["records"]]
        turns = ([turn.model_dump(by_alias=True) for turn in task.conversations] for task in sample.tasks)
        kept |= {name: (said, media) for name, said in zip(names, turns, strict=True)}
    records = json.loads(exported.read_text())
    assert len(kept) == len(records) > 3
    for record in records:
        turns, media = kept[record["id"]]
        assert turns == record["conversations"]
        expected = {"mjpg": record.get("video"), "wav": record.get("audio")}
        assert media == {name: bytes_of(what) for name, what in expected.items() if what}


def bytes_of(what: dict[str, Any]) -> bytes:
    """What a patch reference names."""
    size = sum(what["size"]) if isinstance(what["size"], list) else what["size"]
    return Path(what["patch"]).read_bytes()[what["start_num"] :][:size]


def test_records_that_follow_each_other_share_their_media(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(noise(64, 64)))
    (tmp_path / "b.jpg").write_bytes(encoded(noise(64, 64, 1)))
    records = [
        {"id": n, "image": name, "conversations": said(f"<image>\nQuestion {n}?", "Yes.")}
        for n, name in enumerate(("a.jpg", "a.jpg", "b.jpg", "a.jpg"))
    ]
    imported(tmp_path, records, tmp_path / "out")
    found = [[task.conversations[0].value[-2] for task in sample.tasks] for sample, _ in samples(tmp_path / "out")]
    assert sorted(found) == [["0", "1"], ["2"], ["3"]]
    assert list(check_run(str(tmp_path / "out"))) == []


def test_a_video_file_is_watched_and_its_size_fits(tmp_path: Path) -> None:
    video = pattern("film.mp4", 3, size="640x480")
    record = {"id": "v", "video": video.name, "conversations": said("<image>\nWhat?", "A test.")}
    (tmp_path / "v.json").write_text(json.dumps(record))
    report = ola(
        "import",
        tmp_path / "v.json",
        "--media",
        video.parent,
        "--root",
        tmp_path / "out",
        "--frames",
        "6",
        "--val-share",
        "0",
    )
    assert report.out.startswith("1 records: 1 packed, 0 failed\n")
    [(sample, _)] = samples(tmp_path / "out")
    assert len(sample.pictures.bytes) == 6
    assert sample.pictures.ms[0] in range(200, 300)
    assert sample.pictures.width * sample.pictures.height <= 448**2
    assert sample.end_ms == 3000


def test_the_same_command_does_nothing_and_other_settings_another_set(tmp_path: Path) -> None:
    records = released(tmp_path)
    imported(tmp_path, records, tmp_path / "out")
    before = files_of(tmp_path / "out")
    assert not imported(tmp_path, records, tmp_path / "out").fresh
    assert {name: facts for name, facts in files_of(tmp_path / "out").items() if name != ".lock"} == {
        name: facts for name, facts in before.items() if name != ".lock"
    }
    imported(tmp_path, records, tmp_path / "out", frames=2)
    assert len(current(str(tmp_path / "out"))) == 12
    assert list(check_run(str(tmp_path / "out"))) == []


def test_processes_give_the_same_bytes(tmp_path: Path) -> None:
    records = released(tmp_path)
    imported(tmp_path, records, tmp_path / "one")
    imported(tmp_path, records, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_process_that_dies_is_an_error_that_names_the_records() -> None:
    entries = [make_entry(n, {"conversations": said("Why?", "So.")}) for n in range(3, 5)]
    groups = [(("chat", "train"), [entry]) for entry in entries]
    with pytest.raises(RunError, match="one of the records 3 to 4"):
        list(make_samples(partial(outside.dies), groups, workers=1))


def test_a_killed_import_goes_on_at_its_open_shards(tmp_path: Path) -> None:
    for n in range(12):
        (tmp_path / f"{n}.png").write_bytes(encoded(noise(640, 640, n), "PNG", compress_level=1))
    names = [f"{n}.png" for n in range(12)]
    names.insert(3, "missing.png")
    records = [{"id": name, "image": name, "conversations": said("<image>\nWhat?", "Noise.")} for name in names]
    imported(tmp_path, records, tmp_path / "whole", shard_mb=1)
    root = tmp_path / "out"
    script = "import sys; from tests.pipeline.outside import *; "
    script += "import_records(ImportRequest(*sys.argv[1:3], val=0.0, shard_mb=1), sys.argv[3])"
    driver = subprocess.Popen([sys.executable, "-c", script, listed(tmp_path, records), tmp_path, root], cwd=ROOT)
    while driver.poll() is None and len(list(root.glob("shards/*/*/rows/*[0-9].parquet"))) < 2:
        time.sleep(0.005)
    driver.kill()
    assert driver.wait() == -9
    assert current(str(root)) == {}
    closed = {path: path.stat().st_mtime_ns for path in shards_of(root)}
    assert closed
    stray = root.joinpath(*next(iter(closed)).relative_to(root).parts[:-1], "train-000077.tar")
    stray.write_bytes(b"of an attempt that came further")
    imported(tmp_path, records, root, shard_mb=1)
    assert {path: path.stat().st_mtime_ns for path in closed} == closed
    assert contents(root) == contents(tmp_path / "whole")
    assert list(check_run(str(root))) == []


def test_a_set_that_is_made_anew_is_not_read_meanwhile(tmp_path: Path) -> None:
    records = released(tmp_path)[:1]
    (tmp_path / "later.png").write_bytes(b"")
    records += [{"id": "later", "image": "later.png", "conversations": said("<image>\nWhat?", "So.")}]
    out = tmp_path / "out"
    assert imported(tmp_path, records, out).reasons == {"not a picture": 1}
    (tmp_path / "later.png").write_bytes(encoded(noise(64, 64), "PNG"))
    assert imported(tmp_path, records, out).packed == 1
    again = import_records(ImportRequest(str(tmp_path / "train.json"), str(tmp_path), val=0.0), str(out), retry=True)
    assert (again.fresh, again.packed, again.reasons) == (True, 2, {})
    assert list(check_run(str(out))) == []


def test_strict_is_an_error_that_names_the_record(tmp_path: Path) -> None:
    records = [*released(tmp_path), {"id": "lost", "image": "lost.png", "conversations": said("<image>\nWhat?", "So.")}]
    file, out = listed(tmp_path, records), tmp_path / "out"
    wrong = ola("import", file, "--root", out, "--strict")
    assert wrong.code == 3
    assert wrong.err.startswith("ola: record 6 (lost): no such file: lost.png")
    assert current(str(out)) == {}
    lenient = ola("import", file, "--root", out)
    assert lenient.code == 0
    assert lenient.out.splitlines()[:2] == ["7 records: 6 packed, 1 failed", "    1 x no such file"]
    with pytest.raises(RunError, match=r"record 6 \(lost\)"):
        import_records(ImportRequest(file, str(tmp_path)), str(out), strict=True)


def test_a_run_keeps_what_was_imported_into_its_root(tmp_path: Path) -> None:
    root = copy_of(finished(), tmp_path)
    own = current(str(root))
    imported(tmp_path, released(tmp_path), root)
    assert len(current(str(root))) == len(own) + 6
    assert ola("check", root).out == "no fault\n"
    again = ola("run", "--root", root, "--set", "pack.where=words > 0", "--set", "pack.shard_mb=2")
    assert again.out.splitlines()[-1] == "4 of 4 videos reached the shards (100%)"
    assert len(current(str(root))) == len(own) + 6
    assert current(str(root))["omni"] != own["omni"]
    shards = json.loads(ola("status", root, "--json").out)["shards"]
    assert shards["image"]["samples"] == 2
    [(tasks,)] = (json.loads(ola("sql", root, "SELECT count(*) AS n FROM shards", "--format", "json").out)[0].items(),)
    assert tasks[1] > 6


def test_a_root_of_imports_alone_can_be_looked_at(tmp_path: Path) -> None:
    imported(tmp_path, released(tmp_path), tmp_path / "out")
    assert "shards/omni: 3 files, 3 samples, 3 tasks" in ola("status", tmp_path / "out").out
    answer = ola("sql", tmp_path / "out", "SELECT kind FROM shards ORDER BY ALL", "--format", "json").out
    assert [row["kind"] for row in json.loads(answer)] == KINDS


def test_train_and_val_are_told_apart_by_media(tmp_path: Path) -> None:
    for n in range(40):
        (tmp_path / f"{n}.jpg").write_bytes(encoded(noise(32, 32, n)))
    (tmp_path / "q.wav").write_bytes(outside.sound(0.1))
    spoken = {"audio_q": "q.wav", "text_q": "<image><speech>"}
    records = [
        {"id": n, "image": f"{n}.jpg", "conversations": said("<image>\nWhat?", "So."), **more}
        for more in ({}, spoken)
        for n in range(40)
    ]
    imported(tmp_path, records, tmp_path / "out", val=0.3)
    sides: dict[str, set[str]] = {}
    for folder in current(str(tmp_path / "out")).values():
        for row in pq.read_table(tmp_path / "out" / folder / "shards.parquet").to_pylist():
            sides.setdefault(row["video"], set()).add(row["split"])
    assert len(sides) == 40
    assert all(len(found) == 1 for found in sides.values())
    assert 4 <= sum(found == {"val"} for found in sides.values()) <= 20


def test_tars_of_others_in_our_form_are_only_indexed(tmp_path: Path) -> None:
    imported(tmp_path, released(tmp_path), tmp_path / "made")
    [tar] = [path for path in shards_of(tmp_path / "made") if "spoken" in str(path)]
    folder = tmp_path / "out" / "shards" / "omni" / "theirs"
    folder.mkdir(parents=True)
    (folder / tar.name).write_bytes(tar.read_bytes())
    assert ola("import", folder, "--root", tmp_path / "out").out == f"1 tasks in the tars of {folder}\n"
    assert ola("check", tmp_path / "out").out == "no fault\n"
    assert pq.read_table(folder / "shards.parquet").equals(pq.read_table(tar.parent / "shards.parquet"))
    (folder / "broken.tar").write_bytes(tar.read_bytes()[:-2000])
    wrong = ola("import", folder, "--root", tmp_path / "out")
    assert wrong.code == 2
    assert "broken.tar: shard <bytes>: byte" in wrong.err
    assert ola("import", folder, "--root", tmp_path / "elsewhere").code == 2


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_tars_that_others_packed_anew_are_indexed_and_read(tmp_path: Path, form: int) -> None:
    imported(tmp_path, released(tmp_path), tmp_path / "made")
    [tar] = [path for path in shards_of(tmp_path / "made") if "spoken" in str(path)]
    folder = tmp_path / "out" / "shards" / "omni" / "theirs"
    folder.mkdir(parents=True)
    with tarfile.open(tar) as old, tarfile.open(folder / tar.name, "w", format=form) as new:
        for member in old:
            info = tarfile.TarInfo(f"./{member.name}")
            info.size, info.mtime = member.size, 1.5 if form == tarfile.PAX_FORMAT else 1
            new.addfile(info, old.extractfile(member))
    assert ola("import", folder, "--root", tmp_path / "out").out == f"1 tasks in the tars of {folder}\n"
    assert ola("check", tmp_path / "out").out == "no fault\n"
    assert [place.offset for place in read_catalogue([str(tmp_path / "out")]).locate([0])] == [0]


def test_frames_keep_their_bytes_or_are_fitted(tmp_path: Path) -> None:
    red = Image.new("RGB", (320, 288), (200, 100, 30))
    good, drawn = [encoded(red), encoded(red, quality=50)], [encoded(red, "PNG")]
    videos = (
        patch(tmp_path, "exact.patch", good, 5),
        patch(tmp_path, "drawn.patch", drawn),
        patch(tmp_path, "nextqa.patch", good),  # whose frames were stored with red and blue swapped
        patch(tmp_path, "small.patch", [encoded(Image.new("RGB", (64, 48), (200, 100, 30)))]),
    )
    records = [{"video": video, "conversations": said("<image>\nWhat?", "So.")} for video in videos]
    imported(tmp_path, records, tmp_path / "out")
    found = sorted(samples(tmp_path / "out"), key=lambda pair: pair[0].clip[-9:])
    members = [bytes(raw.members["mjpg"]) for _, raw in found]
    assert members[0] == b"".join(good)
    firsts = [pixels(data[: sample.pictures.bytes[0]]) for data, (sample, _) in zip(members, found, strict=True)]
    assert [first.shape for first in firsts] == [(288, 320, 3)] * 3 + [(224, 320, 3)]
    colours = [[int(value) for value in first.mean(axis=(0, 1)).round(-1)] for first in firsts]
    assert colours == [[200, 100, 30], [200, 100, 30], [30, 100, 200], [200, 100, 30]]
