"""Join a video and the audio beside it (`12.mp4`, `12.m4a`) into one file, without transcoding."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from manifests import drafts
from pipeline.errors import BadMedia, Unavailable
from pipeline.media.safety import check_not_killed, ffmpeg_exe, safe_url, whitelists

NO_ROOM = b"No space left on device"
FORMS = ("mov", "nut")  # nut takes the codecs that mov does not


def join_audio(video: str, sound: str, path: str) -> str:
    """Write the picture of one file and the sound of another to `path`, unless that exists. Returns `path`.

    Raises BadMedia where the sound cannot be read, Unavailable where ffmpeg was killed or the disk is full.
    """
    if not os.path.exists(path):
        partial = drafts.name(path)
        try:
            for form in FORMS:
                if (complaint := _join(video, sound, form, partial)) is None:
                    break
            else:
                raise BadMedia(f"its sound, which lies apart, cannot be read: {complaint}")
            os.replace(partial, path)
        finally:
            Path(partial).unlink(missing_ok=True)
    return path


def _join(video: str, sound: str, form: str, target: str) -> str | None:
    """Write the file. Returns None, or the last line of ffmpeg's error output."""
    import ffmpeg

    picture, audio = (ffmpeg.input(safe_url(path), **whitelists(path)) for path in (video, sound))
    output = ffmpeg.output(picture["V:0"], audio["a:0"], target, format=form, codec="copy", fflags="+bitexact")
    command = output.global_args("-nostdin", "-v", "error", "-y").compile(cmd=ffmpeg_exe())
    done = subprocess.run(command, capture_output=True, check=False)
    check_not_killed(done.returncode)
    if NO_ROOM in done.stderr:
        raise Unavailable(f"no room in {os.path.dirname(target)} for {video}: set TMPDIR to a larger disk")
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return None if done.returncode == 0 else (lines[-1] if lines else str(done.returncode))
