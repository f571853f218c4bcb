"""The rows of a sheet, one after the other: cells as the person sees them, and what else Excel says of them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from bulk_patch.errors import InputError
from bulk_patch.inputs.xlsx.numbers import Mark, read_number
from bulk_patch.inputs.xlsx.package import Attributes, Package, Sheet, unescape

LAST_ROW = 1_048_576
LAST_COLUMN = 16_384
_PLACE = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})")
_RANGE = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})(?::([A-Z]{1,3})([1-9][0-9]{0,6}))?")
_YES = ("1", "true")


@dataclass(slots=True)
class Row:
    """A row: its number in Excel, and its cells that hold something, by column number (A is 1)."""

    number: int
    hidden: bool = False
    texts: dict[int, str] = field(default_factory=dict)
    marks: dict[int, Mark] = field(default_factory=dict)
    formulas: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Area:
    """Rows and columns of a sheet, both ends included."""

    top: int = 1
    left: int = 1
    bottom: int = LAST_ROW
    right: int = LAST_COLUMN

    @classmethod
    def parse(cls, text: str) -> "Area":
        """Return the area of a text such as `A1:C9`.

        Raises:
            ValueError: It is none.
        """
        found = _RANGE.fullmatch(text.replace("$", ""))
        if found is None:
            raise ValueError(text)
        left, top, right, bottom = found.groups()
        return cls(int(top), column_number(left), int(bottom or top), column_number(right or left))

    def meets(self, other: "Area") -> bool:
        """Tell whether two areas have a cell in common."""
        return (
            self.top <= other.bottom
            and other.top <= self.bottom
            and self.left <= other.right
            and other.left <= self.right
        )


class SheetRows:
    """Reads the rows of one sheet; what stands before and after them is known once they were read.

    Args:
        package: The workbook.
        sheet: The sheet.
    """

    def __init__(self, package: Package, sheet: Sheet) -> None:
        self._package = package
        self._sheet = sheet
        self._done: list[Row] = []
        self._row: Row | None = None
        self._last_row = 0
        self._column = 0
        self._hidden_by_default = False
        self._kind = ""
        self._style = 0
        self._has_formula = False
        self._value: list[str] | None = None  # pieces of <v>
        self._text: list[str] | None = None  # pieces of <t>
        self._collecting = self._in_phonetic = False
        self.merged: list[str] = []
        self.hidden_columns: list[tuple[int, int]] = []

    def rows(self) -> Iterator[Row]:
        """Yield the rows that hold something, in order.

        Raises:
            InputError: The sheet is damaged.
        """
        steps = self._package.steps(self._sheet.part, start=self._start, end=self._end, characters=self._characters)
        for _ in steps:
            done, self._done = self._done, []
            yield from done

    def _start(self, name: str, attributes: Attributes) -> None:
        if name == "c":
            self._start_cell(attributes)
        elif name == "v":
            self._value, self._collecting = [], True
        elif name == "f":
            self._has_formula = True
        elif name == "row":
            self._start_row(attributes)
        elif name == "t" and self._row is not None:
            self._text, self._collecting = self._text or [], not self._in_phonetic
        elif name == "rPh":
            self._in_phonetic = True
        elif name == "mergeCell":
            self.merged.append(attributes["ref"])
        elif name == "col" and (attributes.get("hidden") in _YES or attributes.get("width") == "0"):
            self.hidden_columns.append((int(attributes["min"]), int(attributes["max"])))
        elif name == "sheetFormatPr":
            self._hidden_by_default = attributes.get("zeroHeight") in _YES

    def _start_row(self, attributes: Attributes) -> None:
        number = int(attributes.get("r", self._last_row + 1))
        if not self._last_row < number <= LAST_ROW:
            raise InputError(f"{self._package.name} is damaged: row {number} is out of order", "save it again")
        hidden = attributes.get("hidden", "1" if self._hidden_by_default else "0") in _YES
        no_height = attributes.get("ht") in ("0", "0.0")
        self._row = Row(number, hidden or no_height)
        self._last_row, self._column = number, 0

    def _start_cell(self, attributes: Attributes) -> None:
        column = self._column + 1
        if (place := attributes.get("r")) is not None:
            found = _PLACE.fullmatch(place)
            column = column_number(found[1]) if found else 0
            if not found or int(found[2]) != self._last_row or column <= self._column or column > LAST_COLUMN:
                raise InputError(f"{self._package.name} is damaged: cell {place} is out of order", "save it again")
        self._column = column
        self._kind = attributes.get("t", "n")
        self._style = int(attributes.get("s", "0"))
        self._has_formula, self._value, self._text = False, None, None

    def _characters(self, text: str) -> None:
        if self._collecting:
            if self._text is not None:
                self._text.append(text)
            elif self._value is not None:
                self._value.append(text)

    def _end(self, name: str) -> None:
        if name == "c":
            self._end_cell()
        elif name in ("v", "t"):
            self._collecting = False
        elif name == "rPh":
            self._in_phonetic = False
        elif name == "row" and self._row is not None:
            if self._row.texts or self._row.marks:
                self._done.append(self._row)
            self._row = None

    def _end_cell(self) -> None:
        row, column = self._row, self._column
        assert row is not None
        if self._has_formula:
            row.formulas.append(column)
        text, mark = self._read_cell()
        if text or mark:
            row.texts[column] = text
        if mark:
            row.marks[column] = mark

    def _read_cell(self) -> tuple[str, Mark | None]:
        """Return a cell as the person sees it, and what Excel made of it."""
        if self._kind == "inlineStr":
            return unescape("".join(self._text or ())), None
        value = None if self._value is None else "".join(self._value)
        if value is None or (value == "" and self._kind != "str"):
            return "", Mark.NO_VALUE if self._has_formula else None
        match self._kind:
            case "s":
                return self._package.strings[_index(value)], None
            case "str":
                return unescape(value), None
            case "b":
                return ("true" if value in _YES else "false"), Mark.BOOLEAN
            case "e":
                return value, Mark.ERROR
            case "d":
                day, _, time = value.partition("T")
                return (value, Mark.TIME) if time.strip("0:.Z") else (day, Mark.DATE)
            case _:
                shown = self._package.formats[self._style]
                return read_number(value.strip(), shown, since_1904=self._package.since_1904)


def _index(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)


def column_number(letters: str) -> int:
    """Return the number of a column: A is 1."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def column_letters(number: int) -> str:
    """Return the letters of a column: 1 is A."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters
