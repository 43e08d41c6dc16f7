"""Forecasts: intervals that hold, amounts of an earlier run, rates of the table, and the score after a run."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from manifests import views
from pipeline.cli.forecast_text import amount_text
from pipeline.cli.plan import machines_of, parse_price
from pipeline.config import Config, load_run
from pipeline.errors import ConfigError
from pipeline.forecast.estimate import Estimate, ratio_estimate, student, total_of_sample
from pipeline.forecast.forecast import FILE, read_forecast, score_forecast
from pipeline.forecast.ratios import rates, ratios_for
from pipeline.forecast.sampled import Sample
from pipeline.forecast.step_seconds import STARTS, estimate_seconds, start_seconds
from pipeline.run import all_manifests
from tests.media import pattern
from tests.pipeline.report_root import CLIPS, MS, make_root
from tests.runs import files_of, ola, talking


def test_the_total_of_a_sample_holds_the_truth_19_times_in_20() -> None:
    dice = random.Random(3)
    world = [dice.expovariate(1) for _ in range(1000)]
    found = [total_of_sample(dice.sample(world, 100), 1000) for _ in range(200)]
    assert sum(sum(world) in each for each in found) >= 180
    assert all(each.high - each.low < sum(world) for each in found)
    assert total_of_sample([1.0, 2.0], 2) == Estimate(3.0, 3.0, 3.0)
    assert total_of_sample([], 0) == Estimate(0.0, 0.0, 0.0)


def test_a_ratio_holds_the_truth_19_times_in_20() -> None:
    dice = random.Random(4)
    world = [(hours * dice.uniform(1, 3), hours) for hours in (dice.expovariate(1) for _ in range(1000))]
    truth = sum(amount for amount, _ in world) / sum(hours for _, hours in world)
    draws = [dice.sample(world, 50) for _ in range(200)]
    found = [ratio_estimate([a for a, _ in some], [h for _, h in some]) for some in draws]
    assert sum(truth in each for each in found) >= 180
    assert ratio_estimate([1.0] * 8, [1.0] * 8).low == pytest.approx(0.676, abs=0.001), "Wilson, of 8 of 8"


def test_the_start_of_a_worker_is_counted_once() -> None:
    hours = [0.1, 0.2, 0.1, 0.4, 0.1, 0.1, 0.2, 0.1]
    seconds = [10 * each for each in hours]
    seconds[2] += 30  # the first video of the worker
    assert start_seconds(seconds, hours) == pytest.approx([0, 0, 30, 0, 0, 0, 0, 0])
    ten_times = Estimate(13.0, 13.0, 13.0)
    found = estimate_seconds(seconds, hours, ten_times)
    assert found.middle == pytest.approx(130 + 30)
    assert 10 * sum(seconds) in found, "if slow videos are a property of the input"
    assert start_seconds([10 * each * (1 + n % 3) for n, each in enumerate(hours)], hours) == [0.0] * 8
    assert start_seconds([30.0, 1.0], [0.1, 0.1]) == [0.0, 0.0], "two videos have no median"
    many = start_seconds([1.0] * 20 + [30.0] * 6, [0.1] * 26)
    assert sum(each > 0 for each in many) == STARTS


def test_few_videos_have_a_wide_interval() -> None:
    assert [student(freedom) for freedom in (4, 7, 19)] == pytest.approx([2.776, 2.365, 2.093], abs=0.01)
    dice = random.Random(5)
    world = [dice.expovariate(1) for _ in range(1000)]
    draws = [dice.sample(world, 6) for _ in range(400)]
    inside = sum(sum(world) / 1000 in ratio_estimate(some, [1.0] * 6) for some in draws)
    assert inside >= 0.87 * 400, "with the quantile of the normal distribution it is 0.83"


QUICK = ("--set", "isolate=false")  # no process for each step


def hours_of(videos: int) -> list[float]:
    return [CLIPS * MS / 3.6e6] * videos


def test_an_earlier_run_forecasts_a_larger_one(tmp_path: Path) -> None:
    small, large = make_root(tmp_path / "small", 8), make_root(tmp_path / "large", 24)
    good = 22  # one is no video, and one is shorter than a clip: both are in both roots
    sample = Sample(24, 24, hours_of(23), 0, {}, [0.1] * 24)
    found = ratios_for(small, load_run(small.root), sample, "h100")
    assert found.origin == "the earlier run of this root"
    with views.connect(large.root, all_manifests(large), {}) as connection:
        ((clips,),) = connection.sql("SELECT count(*) FROM split WHERE status = 'ok'").fetchall()
        tasks = dict(connection.sql("SELECT kind, count(*) FROM pack WHERE status = 'ok' GROUP BY ALL").fetchall())
        ((tokens,),) = connection.sql("SELECT sum(prompt_tokens) FROM verify").fetchall()
    assert clips == good * CLIPS
    assert found.amounts["clips"].middle == pytest.approx(clips, rel=0.2)
    assert sum(found.amounts[f"tasks: {kind}"].middle for kind in tasks) == pytest.approx(sum(tasks.values()), rel=0.2)
    inside = [tasks[kind] in found.amounts[f"tasks: {kind}"] for kind in tasks]
    assert sum(inside) >= len(inside) - 1
    assert found.amounts["tokens asked"].middle > tokens


def test_without_an_earlier_run_the_table_says_how_long_a_card_takes(tmp_path: Path) -> None:
    config = Config(annotator={"engine": "module:factory"})  # type: ignore[arg-type]
    plan = config.plan(str(tmp_path))
    sample = Sample(100, 10, [0.5] * 9, 0, {}, [1.0] * 10)
    fast, slow = (ratios_for(plan, config, sample, card) for card in ("h200", "l40s"))
    assert set(fast.gpu) == {"screen", "caption", "ask", "verify"}
    assert all(fast.gpu[step].middle < slow.gpu[step].middle for step in fast.gpu)
    for each in (*fast.amounts.values(), *slow.amounts.values()):
        assert each.low <= each.middle <= each.high
    clips = fast.amounts["clips"]
    assert 45 * 3600 / 30 in clips, "clips of the full length"
    assert fast.amounts["tokens asked"].middle == pytest.approx(56_800 * clips.middle)


def test_each_rate_has_a_source() -> None:
    def entries(facts: object) -> list[dict[str, object]]:
        if not isinstance(facts, dict):
            return []
        return [facts] if "values" in facts else [each for value in facts.values() for each in entries(value)]

    found = entries(rates())
    assert len(found) > 25
    assert all(str(each["source"]).strip() for each in found)
    for each in found:
        assert isinstance(each["values"], list)
        assert each["values"] == sorted(each["values"])


def test_a_plan_is_scored_after_the_run_and_a_dry_run_leaves_nothing(tmp_path: Path) -> None:
    films, root = tmp_path / "films", tmp_path / "root"
    for n in range(3):
        talking(films, f"film {n}", pattern(f"plan{n}.mp4", 4 + n, size="160x120"), 4)
    (films / "none.mp4").write_bytes(b"no film")
    dry = ola("run", films, "--root", root, "--dry-run", *QUICK)
    assert (dry.code, root.exists()) == (0, False), dry
    assert dry.out.startswith("steps: ingest, split, extract, transcribe\n4 of 4 sources were probed")
    said = ola("plan", films, "--root", root, "--price", "cpu-hour=36", "--cpus", "1", *QUICK)
    assert said.code == 0, said
    forecast = read_forecast(str(root))
    assert forecast is not None
    assert forecast.values["videos"] == Estimate(3.0, 3.0, 3.0)
    assert forecast.values["price"].middle == pytest.approx(36 * forecast.values["wall hours"].middle)
    assert list(files_of(root)) == [FILE]
    assert "forecast" not in ola("status", root).out
    (films / "none.mp4").unlink()  # without processes of their own the first bad file ends a run
    assert ola("run", films, "--root", root, *QUICK).code == 0
    plan = load_run(str(root)).plan(str(root))
    scores = {each.name: each for each in score_forecast(plan, forecast, [])}
    for name in ("videos", "hours", "clips", "tasks: subtitle", "bytes: extract", "objects"):
        assert scores[name].is_within, scores[name]
    assert "values are in their intervals" in ola("status", root).out
    facts = {each["name"]: each for each in json.loads(ola("status", root, "--json").out)["forecast"]}
    assert facts["videos"] == {"name": "videos", "low": 3, "middle": 3, "high": 3, "actual": 3, "within": True}
    assert set(scores) <= set(facts)
    again = ola("plan", films, "--root", root, "--sample", "2", *QUICK)
    assert "2 of 3 sources were probed; rates are from the earlier run of this root" in again.out
    assert json.loads((root / FILE).read_text())["probed"] == 2


def test_wrong_prices_and_cards_are_refused(tmp_path: Path) -> None:
    assert parse_price("cpu-hour=0.05, gpu-hour=2") == {"cpu_price": 0.05, "gpu_price": 2.0}
    for text in ("cpu=1", "cpu-hour=much"):
        with pytest.raises(ConfigError, match="--price: expected cpu-hour=NUMBER"):
            parse_price(text)
    with pytest.raises(ConfigError, match="--card: expected h200, h100, a100, l40s, got 'v100'"):
        machines_of(1, 1, "v100", "")
    assert ola("plan", tmp_path).err.startswith("ola: --root: expected")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("clips", 12.0, "12"),
        ("clips", 12345.6, "12,346"),
        ("hours", 0.01333, "0.0133"),
        ("bytes: split", 2e9, "2,000 MB"),
        ("seconds: ask", 1.5, "1.50 s"),
        ("hours", 0.0, "0"),
    ],
)
def test_amounts_have_three_digits(name: str, value: float, text: str) -> None:
    assert amount_text(name, value) == text
