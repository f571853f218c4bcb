"""An index of a file of customers by id: whole in memory, or partitioned when the file is large."""

from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bulk_patch.baselines.partitions import Partitions, Sorted
from bulk_patch.concurrency import in_thread, prefetch, prefetch_in_thread
from bulk_patch.inputs import source
from bulk_patch.inputs.columns import TEXT, joined
from bulk_patch.inputs.ids import normalised
from bulk_patch.inputs.source import Source

SPILL = "spill"  # folder of a job for data that only one plan needs
WHOLE_ROWS = 200_000  # up to this many rows one frame is faster
_CUT_ROWS = 100_000  # rows that are partitioned at a time
_ID = "id"


class BaselineIndex:
    """The rows of a scanned file as text, by normalised id.

    Args:
        found: The file, with the columns that are wanted.
    """

    def __init__(self, found: Source) -> None:
        self._found = replace(found, id_hashes=found.id_hashes[:0].copy())  # frees 8 bytes a row
        self._frame: pd.DataFrame | None = None
        self._parts: Partitions | None = None
        self._part = -1
        self._portion = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that the file has, including the id."""
        return self._found.columns

    async def cut(
        self, asking: Source, *, rows: int, columns: Collection[str], folder: Path, whole_rows: int = WHOLE_ROWS
    ) -> None:
        """Read the file, so that `look` can be called once for each portion of an input; a small file stays whole.

        Args:
            asking: The input.
            rows: Rows of a portion.
            columns: All columns that will be looked at, without the id.
            folder: Where the parts are written.
            whole_rows: Up to this many rows the file stays whole; the answers are the same either way.

        Raises:
            InputError: The file is damaged, or has changed since it was scanned.
        """
        id_column = self._found.id_column
        kept = tuple(name for name in self._found.columns if name == id_column or name in columns)
        self._found = replace(self._found, columns=kept)
        if self._found.rows <= whole_rows:
            self._frame = await in_thread(self._whole)
            return
        parts = Partitions(folder, asking.id_hashes, rows=rows)
        try:
            async with aclosing(prefetch(self._sorted(parts))) as pieces:
                async for piece in pieces:
                    await in_thread(parts.write, piece)
        finally:
            parts.finish()
        self._parts = parts

    async def _sorted(self, parts: Partitions) -> AsyncIterator[Sorted]:
        """Yield the file's rows, some at a time, in the order of the parts that they belong to."""

        def sort(frame: pd.DataFrame) -> Sorted:
            table = self._named(frame)
            return parts.sort(table, joined(table.column(_ID)))

        async with aclosing(prefetch_in_thread(source.frames(self._found, rows=_CUT_ROWS))) as frames:
            async for frame in frames:
                yield await in_thread(sort, frame)

    def look(self) -> pd.DataFrame:
        """Return a frame, indexed by id, with every row that the next portion asks for, and possibly others."""
        if self._parts is not None:
            part = self._parts.part_of(self._portion)
            self._portion += 1
            if part != self._part:
                self._part = part
                self._frame = self._indexed(self._parts.take(part))
        assert self._frame is not None
        return self._frame

    def _whole(self) -> pd.DataFrame:
        tables = [self._named(frame) for frame in source.frames(self._found)]
        return self._indexed(pa.concat_tables(tables) if tables else None)

    def _named(self, frame: pd.DataFrame) -> pa.Table:
        """Return the rows that have an id, normalised as the first column."""
        table = pa.Table.from_pandas(frame, preserve_index=False)
        id_column = self._found.id_column
        ids = normalised(table.column(id_column), self._found.ids)
        table = table.drop_columns([id_column]).add_column(0, _ID, ids)
        named = pc.fill_null(pc.greater(pc.binary_length(ids), pa.scalar(0)), False)
        return table if pc.all(named).as_py() else table.filter(named)

    def _indexed(self, table: pa.Table | None) -> pd.DataFrame:
        if table is None:
            names = [name for name in self._found.columns if name != self._found.id_column]
            return pd.DataFrame(columns=names, dtype="str", index=pd.Index([], name=_ID, dtype="str"))
        frame: pd.DataFrame = table.to_pandas(types_mapper=lambda _: TEXT, ignore_metadata=True)
        return frame.set_index(_ID)


def related(columns: Iterable[str], names: Collection[str]) -> frozenset[str]:
    """Return the columns that are these fields, or belong to the same object as one of them."""
    tops = {name.partition(".")[0] for name in names}
    return frozenset(column for column in columns if column.partition(".")[0] in tops)
