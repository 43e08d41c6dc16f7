"""Download objects to local files. An interrupted download resumes at its last byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import obstore
from obstore.exceptions import PreconditionError

from manifests.object_store import ask, check_length
from manifests.retries import PassingFault
from manifests.store_errors import errors

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ObjectStore

CHUNK = 8 << 20  # bytes of a download in memory; larger blocks are no faster over a network


def download(uri: str, path: str) -> str:
    """Download an object to a local file and return its ETag."""
    with open(path, "wb") as sink:
        copied = Download(uri, sink)
        return ask(uri, copied)


class Download:
    """A download of an object into a file; each call makes one request for the missing bytes."""

    def __init__(self, uri: str, sink: BinaryIO) -> None:
        """Make no request yet."""
        self.uri, self.sink, self.stamp = uri, sink, ""

    def __call__(self, store: ObjectStore, key: str) -> str:
        """Download the missing bytes and return the ETag. Raises PassingFault if bytes are missing afterwards."""
        start = self.sink.tell()
        try:
            with errors(self.uri):
                result = obstore.get(store, key, options=self._range_options(start))
                self.stamp = result.meta["e_tag"] or ""
                for chunk in result.stream(min_chunk_size=CHUNK):
                    self.sink.write(chunk)
            check_length(self.uri, self.sink.tell(), result.meta["size"])
            return self.stamp
        except PreconditionError as error:
            self._restart()
            raise PassingFault(f"{self.uri}: replaced while it was copied") from error
        except PassingFault as fault:
            if not self.stamp:  # without an ETag the rest may belong to another version of the object
                self._restart()
            fault.has_moved = self.sink.tell() > start
            raise

    def _range_options(self, start: int) -> GetOptions | None:
        return {"range": {"offset": start}, "if_match": self.stamp} if start else None

    def _restart(self) -> None:
        self.sink.seek(0)
        self.sink.truncate()
