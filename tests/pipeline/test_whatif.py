"""`ola whatif` predicts what pack does, and changes nothing."""

from __future__ import annotations

import io
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from manifests import storage
from manifests.records import Clip, ClipMedia, Media
from pipeline.cli.whatif import pack_yields, show_whatif
from pipeline.config import RUN, Config, dump, load_run
from pipeline.errors import ConfigError
from pipeline.pack.settings import PackSettings
from pipeline.plan import Plan
from tests.pipeline.report_root import make_root
from tests.pipeline.test_pack import CLIPS, MS, clip, ok, transcript, video
from tests.pipeline.test_pack_tasks import annotated, packed
from tests.runs import files_of, ola


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return annotated(tmp_path_factory.mktemp("whatif"), [range(8)])


@pytest.mark.parametrize("where", ["true", "needs = 'both' OR kind = 'sound_caption'", "start_ms = 0", "false"])
@pytest.mark.parametrize("caps", [{}, {"cross_modal_qa": 1, "video_caption": 0}])
def test_it_foretells_what_pack_does(plan: Plan, where: str, caps: dict[str, int]) -> None:
    now, then = pack_yields(plan, PackSettings(where="agree_both > 0.5", caps=caps), where)
    rows = packed(plan, where=where, caps=caps)
    assert {key: count for key, (count, _) in then.tasks.items()} == Counter((row.stage, row.kind) for row in rows)
    assert then.tokens == sum(row.tokens for row in rows)
    clips = {row.clip for row in rows}
    assert (then.candidates, then.clips, then.seconds) == (24, len(clips), 2.0 * len(clips))
    assert then.share == pytest.approx(len(clips) / 24)
    assert now.tasks.keys() == {("omni", "cross_modal_qa"), ("video", "video_qa")}
    assert (now.clips, now.share) == (15, 15 / 24)  # the silent clips have a question of the video


def test_it_tries_another_agreement(tmp_path: Path) -> None:
    root = make_root(tmp_path, 4).root
    for agreement in (0.2, 0.9):
        said = ola("whatif", root, "--agreement", str(agreement)).out
        settings = PackSettings(where="motion >= 0.5", agreement=agreement)
        _, then = pack_yields(load_run(root).plan(root), settings, settings.where)
        assert said.split()[-1] == f"{then.tokens:,}"
        assert said.split()[-2] != said.split()[-1]
    refused = ola("whatif", root, "--agreement", "2").err
    assert refused.startswith("ola: pack.agreement: expected less than or equal to 1")


def test_a_where_that_is_no_condition_is_refused_by_name(plan: Plan) -> None:
    for where in ("colour = 'red'", "motion >", "needs) OR ("):
        with pytest.raises(ConfigError, match=r"pack\.where: .*columns: clip, video"):
            pack_yields(plan, PackSettings(), where)


def shot(made: Clip) -> ClipMedia:
    """Return the media record of a clip; its files do not exist."""
    media = Media(uri="x.tar", offset=0, size=44 + MS * 32)
    return ClipMedia(
        id=made.id,
        clip=made.id,
        width=64,
        height=32,
        frames=media,
        frame_bytes=(1, 2, 3),
        frame_ms=(300, 1000, 1700),
        sound=media,
    )


def run_of(root: Path, videos: int) -> Plan:
    """A run without annotations, with the settings that it was made with."""
    config = Config(pack=PackSettings(where="words > 1"))
    made = config.plan(str(root))
    clips = [clip(number, place) for number in range(videos) for place in range(CLIPS)]
    ingest, split, extract, transcribe = (planned.manifest for planned in made.steps)
    ingest.commit(0, [f"source {n}" for n in range(videos)], [ok(f"source {n}", video(n)) for n in range(videos)])
    of = [clips[n * CLIPS : (n + 1) * CLIPS] for n in range(videos)]
    split.commit(0, [some[0].video for some in of], [ok(some[0].video, *some) for some in of])
    extract.commit(0, [c.id for c in clips], [ok(c.id, shot(c)) for c in clips])
    transcribe.commit(0, [c.id for c in clips], [ok(c.id, transcript(c, "one two")) for c in clips])
    storage.write_bytes(storage.join(made.root, RUN), dump(config).encode())
    return made


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return run_of(tmp_path_factory.mktemp("plain"), 700)


def test_it_shows_both_columns_and_writes_nothing(plain: Plan) -> None:
    before = files_of(Path(plain.root))
    shown = io.StringIO()
    with redirect_stdout(shown):
        show_whatif(plain.root, "motion < 70")
    assert [line.split() for line in shown.getvalue().splitlines()] == [
        ["now", "what", "if"],
        ["clips", "of", "2,100", "2,100", "(100.0%)", "210", "(10.0%)"],
        ["hours", "1.17", "0.12"],
        ["omni:", "speech_recognition", "2,100", "210"],
        ["omni:", "subtitle", "2,100", "210"],
        ["tokens", "684,600", "68,460"],  # 2,100 clips, twice: sound 153, text 3; once: frames 14
    ]
    assert files_of(Path(plain.root)) == before


def test_where_there_is_no_run_or_none_that_packs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run at"):
        show_whatif(str(tmp_path), "true")
    (tmp_path / RUN).write_text(dump(Config(steps=("ingest", "split"))))
    with pytest.raises(ConfigError, match="packs nothing"):
        show_whatif(str(tmp_path), "true")
