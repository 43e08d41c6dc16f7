"""A folder with every kind of bad file: the run ends by itself, and each file has a row with the right reason."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.media import X264, made, numbered, pattern
from tests.runs import Said, ola, rows, shards_of, srt, status

MPD = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" minBufferTime="PT1S" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" mediaPresentationDuration="PT3S"><Period><AdaptationSet '
    'mimeType="video/mp4"><Representation id="1" bandwidth="1000"><BaseURL>{}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>"
)
PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:3.0,\n{}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{}'\n",
    "dash": MPD,
    "reference": "[Reference]\nRef1={}\n",
}
NAMES = (
    "with space",
    'it\'s "quoted"',
    "new\nline",
    "-dash",
    "видео 影片",
    "%d",
    "concat:a|b",
    "[x]*?",
    "a:b",
    "#hash?",
)
HOURS = 8
LONG = ("split", "extract", "transcribe")  # what takes a long video's whole length must not take memory for it


@dataclass(frozen=True)
class Zoo:
    """The folder, the run on it, how it ended, and who was called."""

    folder: Path
    root: Path
    said: Said
    callers: int


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    base = tmp_path_factory.mktemp("zoo")
    folder, root = base / "in", base / "out"
    folder.mkdir()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        fill(folder, base, server.getsockname()[1])
        sets = ("extract.frames.cap=2", "videos_per_part=8", *(f"resources.{name}.memory_gb=0.8" for name in LONG))
        said = ola("run", folder, "--root", root, *(word for each in sets for word in ("--set", each)))
        yield Zoo(folder, root, said, callers(server))


def callers(server: socket.socket) -> int:
    try:
        server.accept()
    except BlockingIOError:
        return 0
    return 1


def fill(folder: Path, base: Path, port: int) -> None:
    secret = base / "outside" / "secret.mp4"
    secret.parent.mkdir()
    shutil.copy(pattern("secret.mp4", 3.3), secret)
    good = numbered("plain.mp4", 100)
    fast = numbered("fast.mp4", 250, "-movflags", "+faststart")
    for name, source in {
        "good.mp4": good,
        "a copy.mp4": good,
        "really a video.txt": pattern("a.mp4", 3),
        "really a video.jpg": pattern("b.mp4", 3.2),
        "silent.mp4": pattern("silent.mp4", 3.4, sound=False),
        "one frame.mp4": numbered("one.mp4", 1, sound=False),
        "a tenth.mp4": numbered("tenth.mp4", 3),
        "sound.wav": made("sound.wav", "-f", "lavfi", "-i", "sine=d=2"),
        "sub/deep.mp4": pattern("deep.mp4", 2.7),
        ".hidden.mp4": pattern("hidden.mp4", 2.8),
        "tall.mp4": pattern("tall.mp4", 2.5, size="32x2000", sound=False),
        "16x2000.mp4": made("t.mp4", "-f", "lavfi", "-i", "color=red:s=16x2000:r=5:d=3", *X264),
        "12000x9000.mp4": made("h.mp4", "-f", "lavfi", "-i", "color=red:s=12000x9000:r=5:d=0.2", *X264),
        "eight hours.mp4": made("8.mp4", "-f", "lavfi", "-i", f"testsrc=s=64x48:r=1:d={HOURS * 3600}", *X264),
        **{f"{name}.mp4": pattern(f"n{n}.mp4", 2.2 + n / 25, sound=False) for n, name in enumerate(NAMES)},
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(source, folder / name)
    (folder / "good.srt").write_text(srt((0.5, 2, "Hello there.")))
    (folder / "orphan.srt").write_text(srt((0.5, 2, "Hello.")))
    (folder / "empty.mp4").touch()
    (folder / "cut.mp4").write_bytes(good.read_bytes()[:8000])
    (folder / "cut fast.mp4").write_bytes(fast.read_bytes()[: fast.stat().st_size // 2])
    (folder / "text.mp4").write_text("Dear reader,\n" * 100)
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4")).write_bytes(good.read_bytes())
    for kind, text in PLAYLISTS.items():
        (folder / f"{kind} local.mp4").write_text(text.format(secret))
        (folder / f"{kind} net.mp4").write_text(text.format(f"http://127.0.0.1:{port}/x.ts"))
    (folder / "sdp.mp4").write_text(
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    )
    (folder / "out.mp4").symlink_to(secret)
    (folder / "gone.mp4").symlink_to(folder / "nothing")
    (folder / "there").symlink_to(secret.parent)
    os.mkfifo(folder / "pipe.mp4")
    os.mkfifo(folder / "silent.srt")


REASONS = {
    "a copy.mp4": "duplicate of",
    "sound.wav": "no moving picture",
    "16x2000.mp4": "picture too small",
    "12000x9000.mp4": "picture too large",
    "empty.mp4": "empty file",
    "cut.mp4": "not a video: an mp4 without its index (moov): cut off, or never finished",
    "cut fast.mp4": "truncated: ",
    "text.mp4": "not a video: text",
    "caf\\xe9.mp4": "the name is not UTF-8: rename the file",
    "hls local.mp4": "not a video: a playlist (HLS): name the video itself",
    "hls net.mp4": "not a video: a playlist (HLS): name the video itself",
    "ffconcat local.mp4": "not a video: a playlist (ffconcat): name the video itself",
    "ffconcat net.mp4": "not a video: a playlist (ffconcat): name the video itself",
    "dash local.mp4": "not a video: a playlist (DASH): name the video itself",
    "dash net.mp4": "not a video: a playlist (DASH): name the video itself",
    "reference local.mp4": "not a video: a playlist: name the video itself",
    "reference net.mp4": "not a video: a playlist: name the video itself",
    "sdp.mp4": "not a video: a network description (SDP)",
    "out.mp4": "symbolic link out of the input",
    "gone.mp4": "cannot be read: No such file or directory",
    "there": "symbolic link to a folder: not followed",
    "pipe.mp4": "not a regular file",
    "silent.srt": "not a regular file",
}
GOOD = {"good.mp4", "really a video.txt", "really a video.jpg", "silent.mp4", "sub/deep.mp4", "tall.mp4"}
GOOD |= {"eight hours.mp4", *(f"{name}.mp4" for name in NAMES)}
SHORT = {"one frame.mp4", "a tenth.mp4"}


def test_every_file_has_a_row_with_a_clear_reason(zoo: Zoo) -> None:
    assert zoo.said.code == 0, zoo.said
    found = rows(zoo.root, "SELECT s.uri, i.reason FROM source s JOIN ingest i ON i.input = s.id")
    reasons = {os.path.relpath(uri, zoo.folder): reason for uri, reason in found}
    assert set(reasons) == GOOD | SHORT | set(REASONS)
    assert "\nnot media: 1 (1 x subtitles beside no video of their name)\n" in zoo.said.out
    for name, reason in reasons.items():
        assert (reason or "").startswith(REASONS.get(name, "")), name
        assert (reason is None) == (name in GOOD | SHORT), (name, reason)


def test_the_law_holds_in_every_step(zoo: Zoo) -> None:
    steps = status(zoo.root)
    assert list(steps) == ["ingest", "split", "extract", "transcribe", "pack"]
    assert steps["split"]["reasons"] == {"shorter than split.shortest": len(SHORT)}
    assert (steps["extract"]["failed"], steps["extract"]["dropped"]) == (0, 0)
    assert steps["pack"]["ok"] == 1


def test_good_ones_go_through(zoo: Zoo) -> None:
    query = (
        "SELECT uri, count(*) FROM ingest v JOIN split c ON c.video = v.id JOIN extract f ON f.clip = c.id GROUP BY uri"
    )
    clips = {os.path.relpath(uri, zoo.folder): count for uri, count in rows(zoo.root, query)}
    assert set(clips) == GOOD
    assert clips["eight hours.mp4"] == HOURS * 3600 / 30
    assert [path.name for path in shards_of(zoo.root)] == ["train-000000.tar"]
    assert ola("check", zoo.root) == Said(0, "no fault\n", "")


def test_nobody_was_called_and_the_secret_is_not_in_the_run(zoo: Zoo) -> None:
    assert zoo.callers == 0
    assert rows(zoo.root, "SELECT uri FROM ingest WHERE uri LIKE '%secret%'") == []


def test_why_tells_of_each(zoo: Zoo) -> None:
    for name, reason in REASONS.items():
        said = ola("why", zoo.root, zoo.folder / name)
        assert said.code == 0
        assert reason in said.out
        assert "Traceback" not in said.out
    for name in GOOD - {"eight hours.mp4"}:
        assert "─ extract " in ola("why", zoo.root, zoo.folder / name).out
    nobody = ola("why", zoo.root, "nobody")
    assert (nobody.code, nobody.out[:26]) == (1, "no record of this run has ")
