"""Open unknown files without access to anything else: no playlist, network protocol or second file.

ffmpeg's demuxers for playlists (hls, dash, concat, imf) and descriptions (sdp, image patterns) open other files and
addresses. So only containers are allowed, by name, and only the protocol `file`, for a byte range also `subfile`.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from pipeline.errors import Unavailable
from pipeline.media.byte_range import Local, path_of

# ffmpeg's demuxers of video and audio containers. Audio containers are allowed so that such a file gets the reason
# "no picture" instead of "not a video".
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,mpegts,mpeg,mpegvideo,asf,ogg,rm,nut,mxf,gxf,wtv,dv,ivf,"
    "h264,hevc,m4v,obu,mjpeg,nsv,dhav,wav,w64,aiff,mp3,flac,aac,ac3,eac3,dts,caf,"
    "au,amr,ape,tta,wv"
)
WHITELISTS: dict[str, str] = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}

# By default ffmpeg removes jumps of more than 10 s in MPEG streams; this project uses the times of the packets.
AS_STAMPED = ("-dts_delta_threshold", "1e9", "-dts_error_threshold", "1e9")


def safe_url(local: Local) -> str:
    """Return a URL that ffmpeg cannot misread: names may begin with `-` or look like `concat:` or `https:`."""
    url = "file:" + str(Path(path_of(local)).absolute())
    return url if isinstance(local, str) else f"subfile,,start,{local.start},end,{local.end},,:{url}"


def whitelists(local: Local) -> dict[str, Any]:
    """Return the options with which libav opens nothing but this file: allowed protocols and container formats."""
    return WHITELISTS if isinstance(local, str) else {**WHITELISTS, "protocol_whitelist": "file,subfile"}


def ffmpeg_exe() -> str:
    """Return the path of the ffmpeg that comes with imageio-ffmpeg."""
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def open_container(local: Local) -> Any:
    """Open a file with PyAV for reading, without access to other files. Raises av's FFmpegError or OSError."""
    import av

    return av.open(safe_url(local), container_options=dict(whitelists(local)), metadata_errors="replace")


def check_not_killed(returncode: int) -> None:
    """Raise Unavailable if ffmpeg was killed (SIGKILL): the machine was out of memory, the file is not at fault."""
    if returncode == -signal.SIGKILL:
        raise Unavailable("ffmpeg was killed (SIGKILL): the machine is out of memory, or somebody kills it")
