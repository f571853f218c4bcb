"""What a workbook says of single cells beside their text, and where its rows stand."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bulk_patch.inputs.xlsx.numbers import Mark


@dataclass(frozen=True, slots=True)
class MarkedCells:
    """Cells of one column with the same mark."""

    column: str
    letters: str  # of the column in the sheet
    mark: Mark
    rows: NDArray[np.int64]  # data rows, ascending


@dataclass(frozen=True, slots=True)
class SheetFacts:
    """What is known of the rows of a sheet beyond their cells."""

    marked: tuple[MarkedCells, ...]
    lines: NDArray[np.int32]  # the number in Excel of each data row

    def line(self, row: int) -> int:
        """Return the number in Excel of a data row; the first data row is 1."""
        return int(self.lines[row - 1])
