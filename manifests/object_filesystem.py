"""Objects of a store as a file system that pyarrow's datasets read: each request goes through `object_store`."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyarrow import fs as pafs

from manifests import object_store
from manifests.object_file import ObjectFile


class ObjectHandler(pafs.FileSystemHandler):  # type: ignore[misc]  # pyarrow ships no types
    """Looks at objects and opens them for reading; paths are `<bucket>/<key>`. Anything else is NotImplementedError."""

    def __init__(self, scheme: str) -> None:
        """scheme: of the URIs, as `s3`."""
        self.scheme = scheme

    def get_type_name(self) -> str:
        """Name the kind of file system."""
        return f"ola+{self.scheme}"

    def normalize_path(self, path: str) -> str:
        """Return the path as it is."""
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        """Tell for each path whether there is an object, and its size."""
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> pafs.FileInfo:
        found = object_store.look(self._uri(path))
        if found is None:
            return pafs.FileInfo(path, pafs.FileType.NotFound)
        return pafs.FileInfo(path, pafs.FileType.File, size=found.size)

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Open an object. Raises FileNotFoundError, or StoreAway."""
        return pa.PythonFile(ObjectFile(self._uri(path)), mode="r")

    open_input_stream = open_input_file

    def _uri(self, path: str) -> str:
        return f"{self.scheme}://{path}"

    def _read_only(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("objects are only read here; write them with manifests.storage")

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _read_only
    delete_file = move = copy_file = open_output_stream = open_append_stream = _read_only


def file_system(uri: str) -> pafs.FileSystem:
    """The file system that holds an object."""
    return pafs.PyFileSystem(ObjectHandler(uri.partition("://")[0]))
