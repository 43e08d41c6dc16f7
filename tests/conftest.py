"""Fixtures of all tests: one Ray for the session, the two engines, and files of the original model."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from pipeline.engine.engines import InlineEngine, RayEngine

hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one is no fault of the code
hypothesis.settings.load_profile("any machine")

# A job in the background of a script ignores Ctrl-C, and so would all that tests start and then interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


# pytest-xdist gives its processes a width; commands whose output is no terminal are tested without one.
os.environ.pop("COLUMNS", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--golden DIR`: what the original Ola computed, for tests/ola/test_upstream.py."""
    default = Path(__file__).parents[2] / "shared" / "golden"
    parser.addoption("--golden", type=Path, default=default, metavar="DIR", help="fixtures of the original model")


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Path:
    """The folder of fixtures; its tests are skipped where there is none."""
    folder: Path = request.config.getoption("--golden")
    if not (folder / "config.json").is_file():
        pytest.skip(f"no fixtures of the original model in {folder} (name them: --golden DIR)")
    return folder


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """A Ray of two CPUs that nobody else finds; tests that lose nodes or drivers start their own."""
    import ray

    folder = tempfile.mkdtemp(prefix="ray-")  # not below tmp_path: the names of sockets have room for 107 bytes
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of its own future
    os.environ.setdefault("RAY_metrics_report_interval_ms", "1000")  # else the test of metrics waits for 10 s
    ray.init(
        address="local",
        _temp_dir=folder,
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["inline", "ray"])
def engine(request: pytest.FixtureRequest) -> InlineEngine | RayEngine:
    """Each engine in turn."""
    if request.param == "inline":
        return InlineEngine()
    request.getfixturevalue("ray_here")
    return RayEngine()
