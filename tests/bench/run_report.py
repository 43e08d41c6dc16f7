"""`ola report` over 100,000 clips with 150,000 verified questions, whose answers from frames have 10,000 letters each.

On two cores with ten jobs beside: 22 s, 731 MB; the page then loads in 2.4 s, and a slider answers in 35 ms. Over clips
without questions: 8.8 s, 463 MB.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from tests.bench import again, made_root
from tests.bench.measure import Figure, Target
from tests.bench.videos import Videos

CLIPS = 100_000


def measure(videos: Videos) -> Iterator[Figure]:
    """One row for time, one for memory."""
    folder = videos.folder / "report"
    folder.mkdir()
    made_root.make(folder / "sources", folder / "root", CLIPS, annotated=True)
    facts = again.run((*again.OLA, "report", str(folder / "root"), "--out", str(folder / "page")))
    shutil.rmtree(folder)
    what = f"ola report, {CLIPS:,} clips with questions, whole process"
    for name, unit, bound in (("seconds", "s", 60.0), ("megabytes", "MB", 2000.0)):
        yield Figure("report", what, "absolute", unit, [float(facts[name])], target=Target("≤", bound, unit))
