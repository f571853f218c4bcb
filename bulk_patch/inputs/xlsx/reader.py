"""A sheet as an input: where its table is, what has to be decided first, and its cells as text."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pyarrow as pa

from bulk_patch.errors import InputError
from bulk_patch.inputs.dialect import OUR_NOTES
from bulk_patch.inputs.header import field_of
from bulk_patch.inputs.parts import sha256_of
from bulk_patch.inputs.streams import opened_whole
from bulk_patch.inputs.xlsx.cells import SheetCells
from bulk_patch.inputs.xlsx.package import Package, Sheet
from bulk_patch.inputs.xlsx.sheet import Area, Row, SheetRows, column_letters
from bulk_patch.job.input_settings import AUTO, InputSettings

_TITLE_ROWS = 20
_SHOWN = 10


class XlsxFile:
    """One sheet of a workbook, or a table of it, read whole: what stands in the way is known only at its end.

    Args:
        path: A regular file, packed or not.
        settings: The job's [input].
        ids: Names of which the header has one.

    Attributes:
        start: The cells of the first rows as they stand, title lines and header among them.

    Raises:
        InputError: It cannot be read without guessing, with the setting to write.
    """

    checks_all = False
    is_kept = True

    def __init__(self, path: Path, settings: InputSettings, *, ids: Collection[str]) -> None:
        self.parts: Sequence[Path] = (path,)
        self.hashes = [sha256_of(path)]
        self._path = path
        self._settings = settings
        self._ids = ids
        self._skips_hidden = settings.hidden == "skip"
        with opened_whole(path) as file:
            package = Package(file, path.name)
            with package.translating():
                self._sheet, self._area = self._find_place(package)
                self._find_start(package)
                cells, said = self._read(package)
        self._batches = cells.batches
        self.header = tuple(self._columns.values())
        self._places = {name: at for at, name in self._columns.items()}
        self.facts = cells.facts(self._columns)
        self.reading = f"read as Excel, {', '.join([f'sheet {self._sheet.name!r}', *said])}"

    def kind(self, column: str) -> str:
        """Return the kind of a column: what a cell is, is decided cell by cell."""
        return "text"

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Hand out the cells, which are in memory: a sheet is no larger than Excel's.

        Args:
            columns: What to return.

        Yields:
            Tables of `large_string` columns without nulls, each at most `BATCH_ROWS` rows.
        """
        self.hashes = [sha256_of(self._path)]
        for batch in self._batches:
            blank = pa.array([""] * batch.num_rows, pa.large_string())
            cells = [batch.columns.get(self._places[name], blank) for name in columns]
            yield pa.table(cells, names=list(columns))

    # --- where the rows are

    def _find_place(self, package: Package) -> tuple[Sheet, Area]:
        """Return the sheet, and the part of it that is read."""
        name, settings = self._path.name, self._settings
        if ours := self._our_sheet(package):
            return ours, Area()
        sheets = package.sheets
        names = ", ".join(repr(sheet.name) for sheet in sheets[:_SHOWN])
        if settings.sheet:
            sheets = tuple(sheet for sheet in sheets if sheet.name == settings.sheet)
            if not sheets:
                raise InputError(f"{name} has no sheet {settings.sheet!r}; it has {names}", "correct input.sheet")
        if settings.table:
            for sheet in sheets:
                if found := package.tables_of(sheet).get(settings.table):
                    return sheet, _table_area(name, settings.table, *found)
            raise InputError(f"{name} has no table {settings.table!r}", "correct input.table: Excel shows its name")
        if not settings.sheet:
            sheets = tuple(sheet for sheet in sheets if sheet.visible and _first_row(package, sheet))
        if not sheets:
            raise InputError(f"{name} has no visible sheet with cells", "name one: input.sheet")
        if len(sheets) > 1:
            names = ", ".join(repr(sheet.name) for sheet in sheets[:_SHOWN])
            raise InputError(
                f"{name} has {len(sheets)} sheets with cells: {names}", f'set input.sheet = "{sheets[0].name}"'
            )
        return sheets[0], Area()

    def _our_sheet(self, package: Package) -> Sheet | None:
        """Return the sheet of a failures file of ours: it is read as we wrote it, whatever the job says."""
        visible = [sheet for sheet in package.sheets if sheet.visible]
        if len(visible) == 1 and (row := _first_row(package, visible[0])) is not None:
            cells = tuple(text for _, text in sorted(row.texts.items()))
            if row.number == 1 and cells[-len(OUR_NOTES) :] == OUR_NOTES:
                self._settings = self._settings.model_copy(update={"skip_rows": 0, "header_row": 1})
                return visible[0]
        return None

    def _find_start(self, package: Package) -> None:
        """Find the header."""
        rows = (row for row in SheetRows(package, self._sheet).rows() if row.number >= self._area.top)
        start = [self._within(row) for row in islice(rows, 0, 1000 + _TITLE_ROWS)]
        self.start = [[row.texts.get(at, "") for at in range(1, 1 + max(row.texts, default=0))] for row in start]
        header = self._find_header([row for row in start if row.texts])
        self._header_line = header.number
        self._header = header.texts
        self._titles = sum(1 for row in start if row.texts and row.number < header.number)

    def _find_header(self, rows: list[Row]) -> Row:
        name, settings = self._path.name, self._settings
        if not rows:
            raise InputError(f"{name} has no header", "a row of the sheet must name the columns")
        if settings.skip_rows != AUTO or settings.header_row != 1:
            skip = settings.skip_rows if isinstance(settings.skip_rows, int) else 0
            left = [row for row in rows if row.number >= self._area.top + skip]
            if len(left) < settings.header_row:
                raise InputError(
                    f"{name} has no row at input.header_row", "correct input.skip_rows or input.header_row"
                )
            return left[settings.header_row - 1]
        if settings.table or set(rows[0].texts.values()) & set(self._ids):
            return rows[0]
        rows = rows[:_TITLE_ROWS]
        found = [row for row in rows if set(row.texts.values()) & set(self._ids)]
        if not found:
            return rows[0]
        above = [row for row in rows if row.number < found[0].number and len(row.texts) >= len(found[0].texts) > 1]
        if len(found) + len(above) > 1:
            lines = ", ".join(str(row.number) for row in (*above, *found))
            raise InputError(
                f"{name}: which row is the header? rows {lines} could be",
                f"set input.skip_rows to the number of rows above it, such as {found[-1].number - self._area.top}",
            )
        return found[0]

    def _within(self, row: Row) -> Row:
        """Return the part of a row that is in the area."""
        area = self._area
        if area.left == 1 and area.right >= max(row.texts, default=0):
            return row
        inside = range(area.left, area.right + 1)
        return replace(
            row,
            texts={at: text for at, text in row.texts.items() if at in inside},
            marks={at: mark for at, mark in row.marks.items() if at in inside},
            formulas=[at for at in row.formulas if at in inside],
        )

    def _all_rows(self, sheet: SheetRows) -> Iterator[Row]:
        """Yield the rows below the header that hold something, hidden ones as well."""
        for row in sheet.rows():
            if self._header_line < row.number <= self._area.bottom:
                inside = self._within(row)
                if inside.texts:
                    yield inside

    # --- what stands in the way

    def _read(self, package: Package) -> tuple[SheetCells, list[str]]:
        """Read the sheet, and refuse what a person has to decide.

        Returns:
            The cells, and what is said of how they are read.
        """
        sheet, cells = SheetRows(package, self._sheet), SheetCells()
        hidden: list[int] = []
        bottom = self._header_line
        for row in self._all_rows(sheet):
            bottom = row.number
            if row.hidden:
                hidden.append(row.number)
                if self._skips_hidden:
                    continue
            cells.add(row)
        cells.end_batch()
        names = self._header
        self._columns = {at: names.get(at, "") for at in sorted({*names, *cells.used})}
        self._refuse_merged(sheet, bottom)
        self._refuse_hidden(hidden)
        self._refuse_formulas({at: found for at, found in cells.formulas.items() if self._is_needed(names.get(at, ""))})
        return cells, self._words(sheet, hidden)

    def _is_needed(self, name: str) -> bool:
        return name in self._ids or bool(field_of(name, self._settings))

    def _refuse_merged(self, sheet: SheetRows, bottom: int) -> None:
        area = Area(self._header_line, min(self._columns), bottom, max(self._columns))
        if merged := [text for text in sheet.merged if Area.parse(text).meets(area)]:
            raise InputError(
                f"{self._path.name} has merged cells in its table: {_some(merged)}",
                "unmerge them and give each row its own value: only the first row of a merged cell has one",
            )

    def _refuse_hidden(self, hidden: list[int]) -> None:
        if hidden and self._settings.hidden == "refuse":
            rows = f"{len(hidden)} rows" if len(hidden) > 1 else "1 row"
            raise InputError(
                f"{self._path.name} has {rows} with values that are hidden or filtered out: {_some(hidden)}",
                'show them, or set input.hidden = "skip" to leave them out or "send" to take them as the others',
            )

    def _refuse_formulas(self, formulas: Mapping[int, Sequence[int]]) -> None:
        if formulas and self._settings.formulas == "refuse":
            cells = [f"{column_letters(at)}{row}" for at, rows in sorted(formulas.items()) for row in rows]
            what = f"{len(cells)} formulas" if len(cells) > 1 else "a formula"
            raise InputError(
                f"{self._path.name} has {what} where values are expected: {_some(cells)}",
                'paste them as values, or set input.formulas = "values" to take what Excel calculated last',
            )

    def _words(self, sheet: SheetRows, hidden: list[int]) -> list[str]:
        said = []
        if self._titles:
            said.append(f"{self._titles} title row{'s' * (self._titles > 1)} skipped")
        if hidden:
            done = "skipped" if self._skips_hidden else "read"
            said.append(f"{len(hidden)} hidden row{'s' * (len(hidden) > 1)} {done}")
        columns = [at for at in self._columns if any(first <= at <= last for first, last in sheet.hidden_columns)]
        if columns:
            letters = _some([column_letters(at) for at in columns])
            said.append(f"hidden column{'s' * (len(columns) > 1)} {letters} read")
        return said


def _first_row(package: Package, sheet: Sheet) -> Row | None:
    return next(SheetRows(package, sheet).rows(), None)


def _table_area(name: str, table: str, place: str, headers: int, totals: int) -> Area:
    if headers != 1:
        raise InputError(f"{name}: the table {table!r} has no header row", "show its header row in Excel")
    area = Area.parse(place)
    return replace(area, bottom=area.bottom - totals)


def _some(items: Sequence[object]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(map(str, items[:_SHOWN])) + more
