"""Partition a table that does not fit into memory into files, in the order in which an input asks for the rows.

A join needs equal ids in one place. Here the input keeps its order, and the table is brought to it: each row goes into
the part for the portion of the input that names the same id. Rows that are not asked for are dropped.
"""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray

from bulk_patch.files.atomic import explaining, make_private_folder
from bulk_patch.inputs.columns import hash_ids

MOST_PARTS = 200  # each is an open file


@dataclass(frozen=True, slots=True)
class Sorted:
    """Rows sorted by the part that they belong to."""

    table: pa.Table
    parts: NDArray[np.integer[Any]]  # the part of each row, ascending
    wanted: NDArray[np.bool_]  # for each given row: whether it will be asked for


class Partitions:
    """Parts of a table, in files of a private folder until they are taken.

    Args:
        folder: Where the files go; made when it is missing.
        hashes: The hashes of the ids that will be asked for, in that order; invalid ids do no harm.
        rows: Rows of a portion.
    """

    def __init__(self, folder: Path, hashes: NDArray[np.int64], *, rows: int) -> None:
        make_private_folder(folder)
        self._folder = folder
        self._per_part = -(-len(hashes) // (MOST_PARTS * rows)) or 1  # portions
        order = np.argsort(hashes)
        self._hashes = hashes[order]
        self._repeated = bool((self._hashes[1:] == self._hashes[:-1]).any())
        self._parts = (order // (rows * self._per_part)).astype(np.uint16)
        self._writers: dict[int, tuple[pa.ipc.RecordBatchStreamWriter, pa.NativeFile]] = {}

    def add(self, table: pa.Table, ids: pa.LargeStringArray) -> NDArray[np.bool_]:
        """Put rows into their parts: `sort` and `write`, which may run in parallel.

        Args:
            table: Rows, with the same columns in all calls; the more at a time, the faster.
            ids: The normalised ids of the rows.

        Returns:
            For each row whether it will be asked for; rarely true by chance, since only hashes are compared.
        """
        found = self.sort(table, ids)
        self.write(found)
        return found.wanted

    def sort(self, table: pa.Table, ids: pa.LargeStringArray) -> "Sorted":
        """Find the parts of rows; the arguments are those of `add`."""
        keys = hash_ids(ids)
        order = np.argsort(keys)  # looked up in order, neighbours share what the processor has at hand
        first = np.searchsorted(self._hashes, keys[order], side="left")
        times = self._count(keys[order], first)
        rows = np.repeat(order, times)
        places = np.arange(len(rows)) + np.repeat(first - np.cumsum(times) + times, times)
        parts = self._parts[places]
        by_part = parts.astype(np.int64) * len(keys) + rows
        by_part.sort()
        if self._repeated:  # then one part may ask for an id twice
            by_part = by_part[np.diff(by_part, prepend=-1) > 0]
        parts, rows = np.divmod(by_part, len(keys)) if len(keys) else (parts, rows)
        wanted = np.zeros(len(keys), np.bool_)
        wanted[rows] = True
        return Sorted(table.take(rows), parts, wanted)

    def _count(self, keys: NDArray[np.int64], first: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return how often each key is asked for, given its first position among the hashes."""
        if self._repeated or not len(self._hashes):
            return np.asarray(np.searchsorted(self._hashes, keys, side="right") - first)
        return np.asarray(self._hashes.take(first, mode="clip") == keys, np.intp)

    def write(self, found: "Sorted") -> None:
        """Write sorted rows into the files of their parts."""
        parts = found.parts
        bounds = [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(parts)]
        for start, end in pairwise(bounds):
            if start < end:
                self._write(int(parts[start]), found.table.slice(start, end - start))

    def finish(self) -> None:
        """Write what is buffered and close the files: from now on parts are taken and nothing is added."""
        with explaining(self._folder), ExitStack() as stack:
            for writer, file in self._writers.values():
                stack.callback(file.close)
                stack.callback(writer.close)
            self._writers.clear()

    def part_of(self, portion: int) -> int:
        """Return the part that holds what a portion asks for; the first portion is 0."""
        return portion // self._per_part

    def take(self, part: int) -> pa.Table | None:
        """Return a part and remove its file; None when it has no rows."""
        path = self._path(part)
        with explaining(path):
            if not path.exists():
                return None
            with pa.OSFile(str(path), mode="r") as stored, pa.ipc.open_stream(stored) as reader:
                table = reader.read_all()
            path.unlink()
        return table

    def _write(self, part: int, rows: pa.Table) -> None:
        with explaining(self._path(part)):
            if part not in self._writers:
                handle = os.open(self._path(part), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
                sink = pa.PythonFile(os.fdopen(handle, "wb"), mode="w")
                self._writers[part] = pa.ipc.new_stream(sink, rows.schema, options=options), sink
            self._writers[part][0].write_table(rows)

    def _path(self, part: int) -> Path:
        return self._folder / f"{part}.arrow"
