"""The header of an input: which column fills which field, and what is wrong with it."""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from bulk_patch.errors import InputError
from bulk_patch.inputs.parquet import TEXT_KINDS
from bulk_patch.job.settings import InputSettings

_SHOWN = 20  # faults or columns in one message
_LONGEST = 300  # characters of each
_DATA = re.compile(r"@|\d.*\d.*\d")  # in a header: more likely personal data than a column name


class Columns(Protocol):
    """The columns of a file: their names, and what their cells are."""

    header: tuple[str, ...]

    def kind(self, column: str) -> str:
        """Return the kind of a column: one of `TEXT_KINDS`, or the name of the type."""
        ...


def fields_of(
    reader: Columns,
    settings: InputSettings,
    *,
    knows: Callable[[str], bool],
    id_pattern: re.Pattern[str],
    known: Sequence[str],
) -> dict[str, str]:
    """Return which field each column fills, without the id and ignored columns.

    Args:
        reader: The columns of the input.
        settings: The job's [input].
        knows: Tells whether a field exists.
        id_pattern: Matches a lower-cased id.
        known: Fields to suggest instead of an unknown one.

    Raises:
        InputError: With every fault of the header.
    """
    if settings.id not in reader.header:
        raise missing_id(settings, reader.header, id_pattern)
    fields = {name: field for name in reader.header if (field := field_of(name, settings))}
    if faults := find_header_faults(fields, settings, reader, knows=knows, known=known):
        raise InputError(
            f"{settings.path.name}: {listed(faults)}",
            'correct the header, or map columns in [input.rename]; one mapped to "" is ignored',
        )
    return fields


def field_of(column: str, settings: InputSettings) -> str:
    """Return the field that a column fills; "" for the id and for ignored columns."""
    if column == settings.id:
        return ""
    return settings.rename.get(column, "" if column.startswith("_") else column)


def stays(column: str, settings: InputSettings, reader: Columns) -> bool:
    """Tell whether the cells of a column are kept; those of a column mapped to "" are, if they can be text."""
    if column == settings.id or field_of(column, settings):
        return True
    return not column.startswith("_") and reader.kind(column) in TEXT_KINDS


def missing_id(settings: InputSettings, header: Sequence[str], id_pattern: re.Pattern[str]) -> InputError:
    name = settings.path.name
    if any(id_pattern.fullmatch(cell.lower()) or _DATA.search(cell) for cell in header):
        # The cells are not shown: they may be personal data.
        return InputError(
            f"{name}: the first line looks like data, not a header", "the first line must name the columns"
        )
    near = [column for column in header if settings.rename.get(column) == settings.id]
    near = near or difflib.get_close_matches(settings.id, header, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "name one of its columns"
    columns = listed([repr(cell) for cell in header], ", ")
    return InputError(f"{name} has no column {settings.id!r}; it has {columns}", f"input.id: {hint}")


def find_header_faults(
    fields: Mapping[str, str],
    settings: InputSettings,
    reader: Columns,
    *,
    knows: Callable[[str], bool],
    known: Sequence[str],
) -> list[str]:
    """List all that is wrong with the columns and their mapping."""
    header, rename = reader.header, settings.rename
    faults = [f"column {at} has no name" for at, name in enumerate(header, 1) if not name.strip()]
    faults += [f"{count} columns are called {name!r}" for name, count in Counter(header).items() if count > 1]
    faults += [f"[input.rename] maps {name!r}, which is not a column" for name in rename if name not in header]
    if settings.id in rename:
        faults.append(f"[input.rename] maps {settings.id!r}, which is the id column")
    unknown = [name for name, field in fields.items() if name.strip() and not knows(field)]
    faults += [_describe_unknown(name, fields[name], known) for name in unknown[:_SHOWN]]
    faults += [f"column {name!r} is not a field" for name in unknown[_SHOWN:]]
    for field, count in Counter(fields.values()).items():
        if count > 1:
            names = [repr(name) for name, filled in fields.items() if filled == field]
            faults.append(f"columns {' and '.join(names)} fill the same field, {field!r}")
    for name in (settings.id, *fields):
        if (kind := reader.kind(name)) not in TEXT_KINDS:
            faults.append(f"column {name!r} is {kind}, which can be spelled as text in several ways; write it as text")
    return faults


def _describe_unknown(column: str, field: str, known: Sequence[str]) -> str:
    """Name a column that is not a field, and the fields that may have been meant."""
    wanted = field.strip().lower().replace(" ", "_")
    near = [name for name in known if name.endswith(f".{wanted}")]
    near = near or difflib.get_close_matches(wanted, known, n=2)
    question = f"; did you mean {' or '.join(near)}?" if near else ""
    mapped = f", mapped to {field!r}," if field != column else ""
    return f"column {column!r}{mapped} is not a field{question}"


def listed(items: Sequence[str], separator: str = "; ") -> str:
    shown = [item if len(item) <= _LONGEST else f"{item[:_LONGEST]}…" for item in items[:_SHOWN]]
    more = [f"and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    return separator.join(shown + more)
