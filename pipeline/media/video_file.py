"""The bytes of a video as `ingest` saw them, for every step that reads them later.

A file may be replaced or moved while a run is at work. New frames must not come under the old digest.
"""

from __future__ import annotations

import hashlib
import os

from manifests import storage
from manifests.records import ID_DIGITS, Video
from manifests.retries import StoreAway
from pipeline.errors import BadMedia, Unavailable
from pipeline.media.separate_audio import join_audio
from pipeline.sources.containers import access
from pipeline.sources.containers.members import container_of
from pipeline.sources.scratch import JOINED, local_copy


def original(video: Video, scratch: str) -> str:
    """A local path with the video's bytes. scratch: folder for copies of remote files.

    Raises Unavailable if the file at the video's uri is another one now, or cannot be reached; BadMedia if it is gone.
    """
    path = fetch_video(video.uri, scratch, video.bytes, video.stamp)
    if os.path.getsize(path) != video.bytes or not _is_as_it_was(video, path, scratch):
        raise changed_fault(video.uri)
    return with_sound(path, video.apart, scratch)


def with_sound(path: str, apart: str, scratch: str) -> str:
    """A local path of a file with the picture of `path` and the sound at the uri `apart`; `path` where that is empty.

    Raises as `fetched`, and BadMedia where the sound cannot be read.
    """
    if not apart:
        return path
    # never beside the user's own file
    copy = path if os.path.dirname(path) == scratch else storage.copy_path(path, scratch)
    return join_audio(path, fetch_video(apart, scratch, 0), copy + JOINED)


def fetch_video(uri: str, scratch: str, size: int, stamp: str = "") -> str:
    """A local path with the bytes of a source, `size` of them. stamp: of the source.

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
    except StoreAway as error:
        raise Unavailable(str(error)) from error
    except OSError as error:
        raise Unavailable(f"{uri} cannot be read now: {' '.join(str(error).split())}") from error


def changed_fault(uri: str) -> Unavailable:
    """The error for a file that is not the one that was registered."""
    return Unavailable(f"{uri} was replaced while the run was at work: run again")


def _is_as_it_was(video: Video, path: str, scratch: str) -> bool:
    """By its stamp; where the stamp is another, by its digest: files are touched, and objects copied."""
    return video.stamp in ("", access.stamp_of(video.uri, scratch)) or sha256_of(path) == video.sha256


def sha256_of(path: str) -> str:
    """sha256 of a local file, in hex. Its first ID_DIGITS digits are a video's id."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def video_id(sha256: str) -> str:
    """Id of the video with this digest."""
    return sha256[:ID_DIGITS]
