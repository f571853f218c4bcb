"""The header of an input: which column fills which field, and what is wrong with it."""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from bulk_patch.errors import InputError
from bulk_patch.job.settings import InputSettings
from bulk_patch.targets import IdRule

#: Kinds of columns that can be text; any other kind is named after the Arrow type.
TEXT_KINDS = frozenset({"text", "date", "whole number", "boolean", "nothing"})
_SHOWN = 20  # faults or columns in one message
_LONGEST = 300  # characters of each
#: What fields are called elsewhere, in small letters without signs.
_ALIASES = {
    **dict.fromkeys(("zip", "zipcode", "postcode", "postal", "plz"), "postalcode"),
    **dict.fromkeys(("street", "street1", "address", "address1", "addressline1"), "addressline1"),
    **dict.fromkeys(("apt", "street2", "address2", "unit"), "addressline2"),
    **dict.fromkeys(("phone", "mobile", "telephone", "cell"), "phonenumber"),
    **dict.fromkeys(("mail", "emailaddress"), "email"),
    **dict.fromkeys(("birthday", "birthdate", "dateofbirth", "birth", "born"), "dob"),
    **dict.fromkeys(("forename", "givenname", "first"), "firstname"),
    **dict.fromkeys(("surname", "familyname", "last"), "lastname"),
    **dict.fromkeys(("country",), "countrycode"),
    **dict.fromkeys(("town",), "city"),
}
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
    ids: IdRule,
    known: Sequence[str],
) -> dict[str, str]:
    """Return which field each column fills, without the id and ignored columns.

    Args:
        reader: The columns of the input.
        settings: The job's [input].
        knows: Tells whether a field exists.
        ids: What an id is.
        known: Fields to suggest instead of an unknown one.

    Raises:
        InputError: With every fault of the header.
    """
    if settings.id not in reader.header:
        raise missing_id(settings, reader.header, ids, known)
    fields = {
        name: field
        for name in reader.header
        if (name.strip() or not _ignores_nameless(settings)) and (field := field_of(name, settings))
    }
    if faults := find_header_faults(fields, settings, reader, knows=knows, known=known):
        hint = 'correct the header, or map columns in [input.rename]; one mapped to "" is ignored'
        if any(not name.strip() for name in reader.header):
            hint += '; columns without a name are ignored by "" = "" (pandas leaves its index out by index=False)'
        raise InputError(f"{settings.path.name}: {listed(faults)}", hint)
    return fields


def field_of(column: str, settings: InputSettings) -> str:
    """Return the field that a column fills; "" for the id and for ignored columns."""
    if column == settings.id:
        return ""
    return settings.rename.get(column, "" if column.startswith("_") else column)


def _ignores_nameless(settings: InputSettings) -> bool:
    """Tell whether columns without a name are ignored: `"" = ""` in [input.rename]."""
    return settings.rename.get("") == ""


def check_conversions(settings: InputSettings, header: Sequence[str], fields: Mapping[str, str]) -> None:
    """Refuse a conversion of a column that is not there or not used, or one that needs what is not installed.

    Raises:
        InputError, JobError: With the column, or the package.
    """
    for column, rule in settings.convert.items():
        if column not in fields and column != settings.id:
            what = "is not used" if column in header else "is not a column"
            near = difflib.get_close_matches(column, [settings.id, *fields], n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "name the column as the file does"
            raise InputError(f"{settings.path.name}: [input.convert] names {column!r}, which {what}", hint)
        from bulk_patch.inputs.convert import converter_of  # with pandas, which most headers do not need

        converter_of(rule)


def stays(column: str, settings: InputSettings, reader: Columns) -> bool:
    """Tell whether the cells of a column are kept; those of a column mapped to "" are, if they can be text."""
    if not column.strip():
        return False
    if column == settings.id or field_of(column, settings):
        return True
    return not column.startswith("_") and reader.kind(column) in TEXT_KINDS


def missing_id(settings: InputSettings, header: Sequence[str], rule: IdRule, known: Sequence[str] = ()) -> InputError:
    """Return why the header has no id column; of a file's first line only names that are known are shown.

    The other cells may be personal data: the first line of a file without a header is a person.
    """
    name = settings.path.name
    if any(rule.accepts(cell) or _DATA.search(cell) for cell in header):
        return InputError(
            f"{name}: the first line looks like data, not a header", "the first line must name the columns"
        )
    names = [*known, *(field.rpartition(".")[2] for field in known), *settings.rename, settings.id, *_ALIASES]
    plain = {_plain(each) for each in names}
    plain |= {_plain(part) for part in settings.id.replace(".", "_").split("_")}
    shown = [cell for cell in header if _plain(cell) in plain - {""} or _reads_like_a_name(cell)]
    if not shown:
        return InputError(
            f"{name} has no column {settings.id!r}, and none of the {len(header)} cells of its first line is a field",
            f"the first line must name the columns, {settings.id!r} among them",
        )
    near = [column for column in shown if settings.rename.get(column) == settings.id]
    near = near or [column for column in shown if _plain(column) == _plain(settings.id)]
    near = near or difflib.get_close_matches(settings.id, shown, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "name one of its columns"
    columns = listed([repr(cell) for cell in shown], ", ")
    more = f" and {len(header) - len(shown)} more" if len(shown) < len(header) else ""
    return InputError(f"{name} has no column {settings.id!r}; it has {columns}{more}", f"input.id: {hint}")


def _plain(name: str) -> str:
    """Return a name without case, blanks and signs: `ZIP Code` and `zip_code` are one."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _reads_like_a_name(cell: str) -> bool:
    """Tell whether a cell can only be a column's name, such as `customer_id`, `CustomerID` or `legal_address.city`."""
    return (
        re.fullmatch(r"[A-Za-z]+([_.][A-Za-z0-9]+)+|[A-Za-z][a-z]+(ID|Id|Key|No)|(?i:id|uuid|guid|key)", cell)
        is not None
    )


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
    nameless = [str(at) for at, name in enumerate(header, 1) if not name.strip()]
    faults = []
    if nameless and not _ignores_nameless(settings):
        faults.append(
            f"column {nameless[0]} has no name"
            if len(nameless) == 1
            else f"columns {listed(nameless, ', ')} have no name"
        )
    named = Counter(name for name in header if name.strip())
    faults += [f"{count} columns are called {name!r}" for name, count in named.items() if count > 1]
    faults += [_describe_unmapped(name, header) for name in rename if name not in header and name.strip()]
    if settings.id in rename:
        faults.append(f"[input.rename] maps {settings.id!r}, which is the id column")
    unknown = [name for name, field in fields.items() if name.strip() and not knows(field)]
    faults += [_describe_unknown(name, fields[name], known, rename) for name in unknown[:_SHOWN]]
    faults += [f"column {name!r} is not a field" for name in unknown[_SHOWN:]]
    for field, count in Counter(fields.values()).items():
        if count > 1:
            names = [repr(name) for name, filled in fields.items() if filled == field]
            faults.append(f"columns {' and '.join(names)} fill the same field, {field!r}")
    for name in (settings.id, *fields):
        if (kind := reader.kind(name)) not in TEXT_KINDS:
            faults.append(f"column {name!r} is {kind}, which can be spelled as text in several ways; write it as text")
    return faults


def _describe_unmapped(name: str, header: Sequence[str]) -> str:
    """Name a column that is mapped and not there, and the column that may have been meant."""
    near = [column for column in header if _plain(column) == _plain(name)]
    near = near or difflib.get_close_matches(name, header, n=1, cutoff=0.75)
    question = f"; the file has {near[0]!r}" if near else ""
    return f"[input.rename] maps {name!r}, which is not a column{question}"


def _describe_unknown(column: str, field: str, known: Sequence[str], rename: Mapping[str, str]) -> str:
    """Name a column that is not a field, and the fields that may have been meant, whatever their case."""
    mapped = f", mapped to {field!r}," if field != column else ""
    if field == column and (same := [name for name in rename if _plain(name) == _plain(column)]):
        return f"column {column!r} is not a field; [input.rename] maps {same[0]!r}"
    wanted = _plain(field)
    wanted = _ALIASES.get(wanted, wanted)
    near = [name for name in known if wanted in (_plain(name), _plain(name.rpartition(".")[2]))]
    by_plain = {_plain(name): name for name in known}
    near = near or [by_plain[each] for each in difflib.get_close_matches(wanted, by_plain, n=2)]
    question = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"column {column!r}{mapped} is not a field{question}"


def listed(items: Sequence[str], separator: str = "; ") -> str:
    shown = [item if len(item) <= _LONGEST else f"{item[:_LONGEST]}…" for item in items[:_SHOWN]]
    more = [f"and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    return separator.join(shown + more)
