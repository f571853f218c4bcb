"""JSON lines: an object a line; its members are the cells, nested objects become dotted columns.

Text stays as it is, numbers keep the digits that the file has, a member that is null or missing is a missing cell.
A list has no spelling as a cell, and a member that occurs twice has two values: both are refused, with their lines.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from bulk_patch.errors import InputError
from bulk_patch.inputs.streams import Stream, buffered, opened, packing_of

BATCH_ROWS = 20_000
LONGEST_LINE_BYTES = 4 << 20
MOST_COLUMNS = 1000

_FAULTS_SHOWN = 20
_LITERALS = {True: "true", False: "false"}
_BOM = "\ufeff"

Cells = dict[str, str | None]


class JsonLines:
    """One file of JSON lines: the columns are found by reading it once, the cells are read on demand.

    Args:
        path: A regular file, packed or not.

    Raises:
        InputError: When a line is not an object of cells.
    """

    checks_all = True
    facts = None
    is_kept = False

    def __init__(self, path: Path) -> None:
        self.parts: Sequence[Path] = (path,)
        self.hashes: list[str] = []
        self._path = path
        self._packed = packing_of(path)
        self.reading = f"read as JSON lines, unpacked ({self._packed})" if self._packed else ""
        names: dict[str, None] = {}
        for _, cells in self._objects():
            if cells.keys() - names.keys():
                names |= dict.fromkeys(cells)
                if len(names) > MOST_COLUMNS:
                    raise InputError(f"{path.name} has more than {MOST_COLUMNS} columns", "leave out what is not used")
        if not names:
            raise InputError(f"{path.name} has no header", "each line is an object whose members are the columns")
        self.header = tuple(names)

    def kind(self, column: str) -> str:
        """Return the kind of a column: text, as written."""
        return "text"

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Read the file once.

        Args:
            columns: What to return.

        Yields:
            Tables of `large_string` columns, null where a member is null or missing.

        Raises:
            InputError: With the lines at fault.
        """
        self.hashes = []
        objects = self._objects()
        while batch := list(islice(objects, BATCH_ROWS)):
            texts = [[cells.get(column) for _, cells in batch] for column in columns]
            yield pa.table([pa.array(cells, pa.large_string()) for cells in texts], names=list(columns))

    def _objects(self) -> Iterator[tuple[int, Cells]]:
        """Yield the number and the cells of each line that is not blank."""
        faults: list[str] = []
        with self._opened() as stream:
            lines = buffered(stream)
            for number, line in enumerate(iter(lambda: lines.readline(LONGEST_LINE_BYTES + 1), b""), 1):
                if len(line) > LONGEST_LINE_BYTES:
                    raise InputError(f"{self._path.name}: line {number} is longer than {LONGEST_LINE_BYTES >> 20} MiB")
                if not line.strip():
                    continue
                try:
                    yield number, _cells_of(line, first=number == 1)
                except _FaultError as fault:
                    faults.append(f"line {number}: {fault}")
                    if len(faults) == _FAULTS_SHOWN:
                        break
            if faults:
                raise InputError(
                    f"{self._path.name} cannot be read without guessing: {'; '.join(faults)}",
                    "correct these lines, or export the file again as JSON lines in UTF-8",
                )
            self.hashes = [stream.sha256()]

    def _opened(self) -> AbstractContextManager[Stream]:
        return opened(self._path, packed=self._packed)


class _FaultError(Exception):
    """What is wrong with a line, without its cells."""


class _Number(str):
    """The digits of a number as the file has them."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _FaultError("a member occurs twice")
    return made


def _no_constant(name: str) -> Any:
    raise _FaultError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_Number, parse_float=_Number, parse_constant=_no_constant, strict=True
)


def _cells_of(line: bytes, *, first: bool) -> Cells:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise _FaultError("not UTF-8") from None
    try:
        made = _DECODER.decode(text.removeprefix(_BOM) if first else text)
    except RecursionError:
        raise _FaultError("nested too deep") from None
    except json.JSONDecodeError as error:
        raise _FaultError(f"not JSON, at character {error.pos + 1}") from None
    if not isinstance(made, dict):
        raise _FaultError("not an object")
    cells: Cells = {}
    _flatten(made, "", cells)
    return cells


def _flatten(members: Mapping[str, Any], prefix: str, cells: Cells) -> None:
    for name, value in members.items():
        column = f"{prefix}{name}"
        if isinstance(value, dict):
            _flatten(value, f"{column}.", cells)
            continue
        if isinstance(value, list):
            raise _FaultError("a list, which is not a cell")
        text = _LITERALS[value] if isinstance(value, bool) else value
        if column in cells:
            raise _FaultError("a member occurs twice")
        if text is not None:
            try:
                text.encode()
            except UnicodeEncodeError:
                raise _FaultError("half a surrogate pair, which is not a character") from None
        cells[column] = None if text is None else str(text)
