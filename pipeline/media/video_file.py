"""Fetch the bytes of a video that `ingest` read, and refuse a file that has changed since.

A file may be replaced or moved during a run; frames of a new file must not be stored under the old digest.
"""

from __future__ import annotations

import hashlib
import os

from manifests import storage
from manifests.records import ID_DIGITS, Video
from manifests.retries import StoreUnreachable
from pipeline.errors import BadMedia, Unavailable
from pipeline.media.separate_audio import join_audio
from pipeline.sources.containers import access
from pipeline.sources.containers.members import container_of
from pipeline.sources.scratch import JOINED, local_copy


def fetch_original(video: Video, scratch: str) -> str:
    """Return a local path with the video's bytes. scratch: folder for copies of remote files.

    Raises Unavailable if the file at the video's uri has changed or cannot be reached; BadMedia if it is gone.
    """
    path = fetch_video(video.uri, scratch, video.bytes, video.stamp)
    if os.path.getsize(path) != video.bytes or not _is_unchanged(video, path, scratch):
        raise changed_error(video.uri)
    return join_separate_sound(path, video.apart, scratch)


def join_separate_sound(path: str, apart: str, scratch: str) -> str:
    """Return a local file with the picture of `path` and the sound at the uri `apart`; `path` where that is empty.

    Raises as `fetch_video`, and BadMedia where the sound cannot be read.
    """
    if not apart:
        return path
    # no file is written beside the user's own
    copy = path if os.path.dirname(path) == scratch else storage.copy_path(path, scratch)
    return join_audio(path, fetch_video(apart, scratch, 0), copy + JOINED)


def fetch_video(uri: str, scratch: str, size: int, stamp: str = "") -> str:
    """Return a local path with the bytes of a source. size, stamp: of the source.

    Raises Unavailable if they cannot be reached or there is no room for them, BadMedia if they are gone.
    """
    try:
        path = local_copy(uri, scratch, size, stamp)
        if not access.is_copied(uri):
            os.stat(path)
        return path
    except FileNotFoundError as error:
        if storage.is_local(uri) and not os.path.isdir(os.path.dirname(storage.normal(container_of(uri)))):
            raise Unavailable(f"{uri} cannot be reached: its folder is gone") from error
        raise BadMedia("the file is gone", f"{uri} is not there any more; if it was moved, run again") from error
    except StoreUnreachable as error:
        raise Unavailable(str(error)) from error
    except OSError as error:
        raise Unavailable(f"{uri} cannot be read now: {' '.join(str(error).split())}") from error


def changed_error(uri: str) -> Unavailable:
    """Return the error for a file that differs from the registered one."""
    return Unavailable(f"{uri} was replaced while the run was at work: run again")


def _is_unchanged(video: Video, path: str, scratch: str) -> bool:
    """Compare the stamp, then the digest: files may be touched, and objects copied, without a change."""
    return video.stamp in ("", access.stamp_of(video.uri, scratch)) or sha256_of(path) == video.sha256


def sha256_of(path: str) -> str:
    """Return the sha256 of a local file, in hex. Its first ID_DIGITS digits are a video's id."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def video_id(sha256: str) -> str:
    """Return the id of the video with this digest."""
    return sha256[:ID_DIGITS]
