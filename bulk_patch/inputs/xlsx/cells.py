"""The cells of a sheet in memory: text by column, as compact as Arrow holds it, and the marks beside it."""

from array import array
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from bulk_patch.inputs.marks import MarkedCells, SheetFacts
from bulk_patch.inputs.xlsx.numbers import Mark
from bulk_patch.inputs.xlsx.sheet import Row, column_letters

BATCH_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows: the columns that hold something, by their number in the sheet."""

    num_rows: int
    columns: Mapping[int, pa.LargeStringArray]


class SheetCells:
    """Collects rows."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.used: set[int] = set()
        self.formulas: defaultdict[int, array[int]] = defaultdict(lambda: array("i"))  # column -> rows of the sheet
        self._marked: defaultdict[tuple[int, Mark], array[int]] = defaultdict(lambda: array("q"))
        self._lines = array("i")
        self._waiting: list[dict[int, str]] = []

    def add(self, row: Row) -> None:
        """Add a row."""
        self._lines.append(row.number)
        self._waiting.append(row.texts)
        for at, mark in row.marks.items():
            self._marked[at, mark].append(len(self._lines))
        for at in row.formulas:
            self.formulas[at].append(row.number)
        if len(self._waiting) == BATCH_ROWS:
            self.end_batch()

    def end_batch(self) -> None:
        """Pack the rows that were added last."""
        rows, self._waiting = self._waiting, []
        if not rows:
            return
        used = set().union(*rows)
        self.used |= used
        columns = {at: pa.array([row.get(at, "") for row in rows], pa.large_string()) for at in used}
        self.batches.append(Batch(len(rows), columns))

    def facts(self, columns: Mapping[int, str]) -> SheetFacts:
        """Return what is known beyond the text.

        Args:
            columns: The names of the columns by their numbers.
        """
        marked = (
            MarkedCells(columns[at], column_letters(at), mark, np.array(rows, np.int64))
            for (at, mark), rows in self._marked.items()
        )
        return SheetFacts(tuple(marked), np.array(self._lines, np.int32))
