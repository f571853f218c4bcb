"""Cells of a workbook that are not what they seem: which of them fit their field, and why the others do not."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from bulk_patch.inputs.marks import MarkedCells, SheetFacts
from bulk_patch.inputs.xlsx.numbers import Mark
from bulk_patch.planning.problems import Problem, Problems, add_problem
from bulk_patch.targets.fields import Field, Kind

#: How a failures file begins a cell that Excel damaged.
DAMAGED = "#EXCEL!"

_WORDS = {
    Mark.ERROR: ("is an Excel error", "type the value in place of the error"),
    Mark.NUMBER: ("was turned into a number by Excel", "format the cell as Text and type the value again"),
    Mark.DIGITS: ("has more digits than Excel keeps, 15", "take the value from its source, as text: its end is lost"),
    Mark.DATE: ("was turned into a date by Excel", "format the cell as Text and type the value again"),
    Mark.TIME: ("is a date with a time, or a time", "give the date alone"),
    Mark.BOOLEAN: ("was turned into TRUE or FALSE by Excel", "format the cell as Text and type the value again"),
    Mark.NO_VALUE: ("is a formula without a value", "open the file in Excel and save it, or type the value"),
}


def note_marked(
    index: pd.Index, column: str, facts: SheetFacts, *, rule: Field | None, problems: Problems, convert: str = ""
) -> list[int]:
    """Note the marked cells of a column that its field cannot take.

    Args:
        index: The data rows of a chunk.
        column: The column.
        facts: What the workbook says of its cells.
        rule: The field; None for the id.
        problems: Gets them.
        convert: The rule by which the cells are converted.

    Returns:
        The rows that were noted.
    """
    noted: list[int] = []
    for cells in facts.marked:
        if cells.column != column or _fits(cells.mark, rule, convert):
            continue
        reason, hint = _WORDS[cells.mark]
        for row in cells.rows[np.isin(cells.rows, index.to_numpy())].tolist():
            place = f"cell {cells.letters}{facts.line(row)}"
            add_problem(problems, row, Problem(rule.name if rule else "id", reason, f"{hint} ({place})"))
            noted.append(row)
    return noted


def _fits(mark: Mark, rule: Field | None, convert: str) -> bool:
    if rule is None:
        return False
    kind = convert.partition(":")[0]
    match mark:
        case Mark.DATE:
            return rule.holds_date or kind == "date"
        case Mark.NUMBER:  # what the format shows beside its digits does not matter to these
            return kind in ("number", "phone", "zip")
        case _:
            return mark is Mark.BOOLEAN and rule.kind is Kind.BOOLEAN


def damaged_cells(cells: pd.Series, rows: Sequence[int]) -> pd.Series:
    """Return a column in which cells that Excel damaged say so, for files that are fed back.

    As plain text they would pass as values: `2139.5` for what was a ZIP code.
    """
    here = cells.index.isin(rows)
    return cells.where(~here, DAMAGED + " " + cells.fillna(""))


def with_places(problems: Problems, facts: SheetFacts | None) -> Problems:
    """Return problems whose hints name the rows of the sheet."""
    if facts is None:
        return problems
    return {row: [_with_place(one, facts.line(row)) for one in found] for row, found in problems.items()}


def _with_place(problem: Problem, line: int) -> Problem:
    if problem.hint.endswith(f"{line})"):
        return problem
    return replace(problem, hint=f"{problem.hint} (Excel row {line})")


def carry_marks(facts: SheetFacts | None, origins: Mapping[int, Mapping[str, int]]) -> SheetFacts | None:
    """Return the facts for rows that were given cells of earlier rows: with a cell comes its mark.

    Args:
        facts: What the workbook says of its cells.
        origins: Row -> column -> the earlier row that the cell comes from.
    """
    if facts is None or not origins:
        return facts
    return replace(facts, marked=tuple(_carried(cells, origins) for cells in facts.marked))


def _carried(cells: MarkedCells, origins: Mapping[int, Mapping[str, int]]) -> MarkedCells:
    marked: set[int] = set(cells.rows.tolist())
    for row, columns in origins.items():
        if cells.column in columns:
            (marked.add if columns[cells.column] in marked else marked.discard)(row)
    return replace(cells, rows=_ascending(sorted(marked)))


def _ascending(rows: Sequence[int]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.array(rows, np.int64)
