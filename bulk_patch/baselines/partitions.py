"""A table that is too large for the memory, cut up into files in the order in which another file asks for its rows.

A join needs equal ids in one place. Here the input keeps its order, and the other side is brought to it: each of its
rows goes into the part that belongs to the portion of the input that names its id. What nobody asks for goes nowhere.
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
    """Rows in the order of the parts that they belong to."""

    table: pa.Table
    parts: NDArray[np.integer[Any]]  # of each of its rows, ascending
    wanted: NDArray[np.bool_]  # of each row as it was given: whether anybody will ask for it


class Partitions:
    """Parts of a table in files of a private folder, until they are taken.

    Args:
        folder: Where to; made when it is missing.
        hashes: The hashes of the ids that will be asked for, in that order; a bad id is as good as any.
        rows: How many of them are a portion.
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
        """Put rows where they will be asked for: `sort` and `write`, which may work side by side.

        Args:
            table: Rows, in all calls of the same columns; the more at a time, the faster.
            ids: Their ids in lower case.

        Returns:
            For each row whether anybody will ask for it; rarely true by chance, since only hashes are compared.
        """
        found = self.sort(table, ids)
        self.write(found)
        return found.wanted

    def sort(self, table: pa.Table, ids: pa.LargeStringArray) -> "Sorted":
        """Find out where rows will be asked for; arguments as of `add`."""
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
        """Return how often keys are asked for, given where they would first stand."""
        if self._repeated or not len(self._hashes):
            return np.asarray(np.searchsorted(self._hashes, keys, side="right") - first)
        return np.asarray(self._hashes.take(first, mode="clip") == keys, np.intp)

    def write(self, found: "Sorted") -> None:
        """Put rows that were sorted into the files of their parts."""
        parts = found.parts
        bounds = [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(parts)]
        for start, end in pairwise(bounds):
            if start < end:
                self._write(int(parts[start]), found.table.slice(start, end - start))

    def finish(self) -> None:
        """Write what is waiting and close the files: nothing more is added, parts are taken from now on."""
        with explaining(self._folder), ExitStack() as stack:
            for writer, file in self._writers.values():
                stack.callback(file.close)
                stack.callback(writer.close)
            self._writers.clear()

    def part_of(self, portion: int) -> int:
        """Return the part that holds what a portion asks for; the first portion is 0."""
        return portion // self._per_part

    def take(self, part: int) -> pa.Table | None:
        """Return a part and remove its file; None when nothing was found for it."""
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
