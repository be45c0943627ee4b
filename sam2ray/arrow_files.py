"""A store as Arrow and Ray read it: as patiently as everything else that a job reads."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.fs as pafs

from .storage import Options, ask_store, file_system, open_store


def patient_file_system(folder_uri: str, options: Options) -> pafs.FileSystem:
    """The files of a folder, for Arrow."""
    return pafs.PyFileSystem(_Handler(folder_uri, options))


class _Handler(pafs.FSSpecHandler):
    """Arrow's own takes each error of a store for the absence of a file, and asks once."""

    def __init__(self, folder_uri: str, options: Options) -> None:
        super().__init__(file_system(folder_uri, options))
        self._store = open_store(folder_uri, options)
        self._root = f"{self.fs._strip_protocol(folder_uri).rstrip('/')}/"

    def get_file_info(self, paths: Sequence[str]) -> list[pafs.FileInfo]:
        """What there is, asked again where that may help."""
        ask = super().get_file_info
        return [
            ask_store(self._uri(path), "looked at", lambda path=path: ask([path])[0])
            for path in paths
        ]

    def open_input_file(self, path: str) -> pa.PythonFile:
        """A file whose ranges are asked for again where that may help."""
        return pa.PythonFile(self._store.open(self._name(path)), mode="r")

    def open_input_stream(self, path: str) -> pa.PythonFile:
        """The same: it can be read from its start."""
        return self.open_input_file(path)

    def _uri(self, path: str) -> str:
        return self._store.uri_of(self._name(path))

    def _name(self, path: str) -> str:
        return path.removeprefix(self._root)
