"""Input files drawn from a seed: rows that a person, a spreadsheet or an export may have made, right and wrong."""

import csv
import datetime as dt
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from tests.chaos.input_model import CLEAR, FREE_TEXT, HIDING, ID, LABELS, Settings, fields_of

#: Texts that readers like to make something else of, all of them fine in a name.
NAMES = (
    *("Ann", "NULL", "NA", "None", "nan", "N/A", "#N/A", "null", "true", "False", "inf", "-0", "00123", "1E5", "0x1F"),
    *("12345678901234567890", "1.10", "=1+1", "+5", "-", "@x", "'quoted'", "O'Neil, Jr.", 'say "hi"', '"', '""', ","),
    *(";", "\\", "\\n", "{}", "[1]", "a|b", " leading", "trailing ", "Zoe\u0308", "Zo\u00eb", "\u212b", "\ufb01"),
    *(
        "\u1e69",
        "s\u0323\u0307",
        "\u5c71\u7530",
        "\U0001f33b",
        "\u0130",
        "\u03c2",
        "a\u0301\u0328",
        "\uac00",
        "\u1100\u1161",
    ),
    *("x" * 300, CLEAR.lower(), f"{CLEAR} "),
)
ODD = (
    *("   ", "\u00a0", "\u3000", "a\nb", "a\r\nb", "a\tb", "a\x07b", "\x1b[31m", "a\x7f", "a\x85b", "\ufeffAnn"),
    *(f"a{letter}b" for letter in sorted(HIDING)),
)
BAD_IDS = ("", " ", "12345", "1.2E+35", "4.31E+37", "1234.0", "not-an-id", "..", "{0}")
ADDRESSES: Sequence[Mapping[str, str]] = (
    {"address_line_1": "1 Main St", "city": "Austin", "state": "TX", "postal_code": "02134", "country_code": "US"},
    {"address_line_1": "2 Main St", "postal_code": "02134-0001", "country_code": "US", "is_registered_agent": "false"},
    {"address_line_1": "Rue 3", "city": "Ottawa", "state": "ON", "postal_code": "k1a0b1", "country_code": "CA"},
    {"address_line_1": "4 Independence Ave", "state": "KH", "postal_code": "10005", "country_code": "NA"},
    {"address_line_1": "5", "address_line_2": CLEAR, "country_code": "US"},
    {"city": "Austin"},  # not whole
    {"address_line_1": "7", "country_code": "us"},
    {"address_line_1": "8", "country_code": "US", "postal_code": "2134"},
    {"address_line_1": "9", "country_code": "US", "state": "Texas"},
    {"address_line_1": "10", "country_code": "CA", "postal_code": "02134"},
    {"address_line_1": "11", "country_code": "US", "postal_code": "2134.0"},
    {"address_line_1": "12", "country_code": "US", "postal_code": "\u0660\u0662\u0661\u0663\u0664"},
    {"address_line_1": CLEAR, "country_code": "US"},
)
_PLAIN = (
    "first_name",
    "middle_name",
    "last_name",
    "email",
    "phone_number",
    "dob",
    "ssn",
    "status",
    "note",
    "ban_status",
)
_PARTS = tuple(dict.fromkeys(f"legal_address.{part}" for address in ADDRESSES for part in address))
_VENDOR = ("vendor_info.vendor_type", "vendor_info.vendor_data.loanpro.customer_id")
_LETTERS = "bcdfghjklmnpqrstvwxz"
_UNICODE = ((0x20, 0x7E), (0xA1, 0x24F), (0x300, 0x36F), (0x370, 0x5FF), (0x1E00, 0x1FFF), (0x2000, 0x2BFF))


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An input before it is written."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    settings: Settings
    markers: Sequence[str]  # texts of cells that no message may show


def draw(dice: random.Random) -> Draft:
    """Draw columns, what cells mean, and rows."""
    names = [name for name in _PLAIN if dice.random() < 0.35] or ["first_name"]
    names += [part for part in _PARTS if dice.random() < 0.9] if dice.random() < 0.4 else []
    names += _VENDOR if dice.random() < 0.1 else ()
    rename = {f"Column {at}": name for at, name in enumerate(names) if dice.random() < 0.2}
    columns = [next((column for column, its in rename.items() if its == name), name) for name in names]
    if dice.random() < 0.2:
        rename["Remarks"] = ""
        columns.append("Remarks")
    columns += ["_status"] if dice.random() < 0.1 else []
    columns.insert(dice.randrange(len(columns) + 1), ID)
    if dice.random() < 0.3:
        dice.shuffle(columns)
    blank = dice.choices(["keep", "clear", "reject"], [8, 1, 1])[0]
    may_clear = tuple(name for name in ("middle_name", "legal_address.address_line_2") if dice.random() < 0.6)
    if blank == "clear" and not may_clear:
        may_clear = ("middle_name",)
    settings = Settings(
        blank=blank, may_clear=may_clear, duplicates=dice.choice(["reject", "reject", "last"]), rename=rename
    )
    markers: list[str] = []
    rows = _rows(dice, columns, settings, markers)
    if dice.random() < 0.3:
        settings = _with_baseline(dice, columns, rows, settings)
    return Draft(header=columns, rows=rows, settings=settings, markers=markers)


def _rows(dice: random.Random, columns: Sequence[str], settings: Settings, markers: list[str]) -> list[list[str]]:
    fields = fields_of(columns, settings)
    rows: list[list[str]] = []
    for _ in range(dice.choice([0, 1, 2, 3, 5, 8])):
        if rows and dice.random() < 0.15:
            rows.append(_again(dice, columns, dice.choice(rows)))
            continue
        texts = {name: _text(dice, name, markers) for name in fields.values() if dice.random() < 0.7}
        address = dice.choice(ADDRESSES[:5] if dice.random() < 0.8 else ADDRESSES)
        texts |= {part: address.get(part.partition(".")[2], "") for part in _PARTS if part in fields.values()}
        if dice.random() < 0.6:
            texts |= dict.fromkeys((part for part in _PARTS if part in texts), "")
        row = {column: texts.get(name, "") for column, name in fields.items()}
        row |= {column: dice.choice(NAMES) for column in columns if column not in fields}
        row[ID] = _id(dice) if dice.random() < 0.93 else dice.choice(BAD_IDS)
        rows.append([row[column] for column in columns])
    return rows


def _id(dice: random.Random) -> str:
    its_id = str(UUID(int=dice.getrandbits(128), version=4))
    return its_id.upper() if dice.random() < 0.2 else its_id


def _again(dice: random.Random, columns: Sequence[str], row: Sequence[str]) -> list[str]:
    """Return a row of the same id, with the same change or another one."""
    again = list(row)
    at = list(columns).index(ID)
    again[at] = dice.choice([row[at], row[at].upper(), row[at].lower()])
    if dice.random() < 0.4:
        again[dice.randrange(len(again))] = row[at] if len(again) == 1 else "Other"
        again[at] = row[at]
    return again


def _text(dice: random.Random, name: str, markers: list[str]) -> str:
    """Draw a cell of a field: mostly fine."""
    fate = dice.random()
    if fate < 0.04:
        return CLEAR
    if fate < 0.08:
        return dice.choice(ODD)
    if name not in FREE_TEXT:
        fine = dice.random() < 0.85
        return dice.choice([text for text, its in LABELS[name].items() if its == fine] or list(LABELS[name]))
    if fate < 0.4:
        markers.append("".join(dice.choices(_LETTERS, k=12)).capitalize())
        return markers[-1]
    if fate < 0.6:
        low, high = dice.choice(_UNICODE)
        return "".join(chr(dice.randint(low, high)) for _ in range(dice.randint(1, 6)))
    return dice.choice(NAMES)


def _with_baseline(
    dice: random.Random, columns: Sequence[str], rows: Sequence[Sequence[str]], settings: Settings
) -> Settings:
    """Let a baseline file know some of the customers, with some of the values that are wanted."""
    fields = {column: name for column, name in fields_of(columns, settings).items() if name in FREE_TEXT - {"note"}}
    fields = {column: name for column, name in fields.items() if "." not in name and name != "middle_name"}
    known: dict[str, dict[str, str]] = {}
    for row in rows:
        cells = dict(zip(columns, row, strict=True))
        usual = {name: cells[column] for column, name in fields.items() if dice.random() < 0.6}
        if dice.random() < 0.8 and cells[ID].strip():
            known[cells[ID].lower()] = {name: text.replace("\r", " ") for name, text in usual.items()}
    return replace(settings, known=known, known_fields=frozenset(fields.values()))


# --- written down


def as_csv(dice: random.Random, draft: Draft) -> bytes:
    """Write a draft in one of the many correct ways."""
    lines = []
    for row in [draft.header, *draft.rows]:
        cells = []
        for cell in row:
            quoted = set(cell) & set(',"\n\r') or (len(row) == 1 and not cell) or dice.random() < 0.2
            cells.append('"' + cell.replace('"', '""') + '"' if quoted else cell)
        lines.append(",".join(cells) + dice.choice(["\n", "\n", "\r\n", "\n\n", "\r\n\r\n"]))
    text = "".join(lines)
    text = text.rstrip("\r\n") if dice.random() < 0.3 else text
    return (b"\xef\xbb\xbf" if dice.random() < 0.2 else b"") + text.encode()


#: What gets into a file when it is edited, cut, pasted or exported by the wrong program.
_PIECES = (
    *(b",", b'"', b'""', b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xc3", b";", b"\t", b" ", b"\xef\xbb\xbf"),
    *(b"NULL", b'"x"y', "é".encode("latin-1"), "é".encode("utf-16"), b"\n,\n", b'"\n"'),
)


def spoil(dice: random.Random, data: bytes) -> bytes:
    """Change a file as accidents do."""
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(7):
            case 0 | 1 | 2:
                data = data[:at] + dice.choice(_PIECES) + data[at:]
            case 3:
                data = data[:at] + data[at + dice.randint(1, 12) :]
            case 4:
                data = data[:at]
            case 5:
                lines = data.split(b"\n")
                lines.insert(dice.randrange(len(lines)), dice.choice(lines))
                data = b"\n".join(lines)
            case _:
                data = data.replace(b",", dice.choice([b";", b"\t", b", "]), dice.choice([1, -1]))
    return data


def as_parquet(dice: random.Random, draft: Draft, path: Path) -> tuple[list[str], list[list[str | None]], bool]:
    """Write a draft as Parquet, one file or a folder of parts.

    Returns:
        The columns that are kept, their cells as text, and whether a column that is used has no spelling as text.
    """
    fields = fields_of(draft.header, draft.settings)
    columns: dict[str, pa.Array[Any]] = {}
    texts: dict[str, list[str | None]] = {}
    hopeless: set[str] = set()
    for at, name in enumerate(draft.header):
        cells: list[str | None] = [row[at] for row in draft.rows]
        if name != ID:
            cells = [None if dice.random() < 0.15 else cell for cell in cells]
        columns[name], texts[name], can_be_text = _column(dice, fields.get(name, ""), cells)
        if not can_be_text:
            hopeless.add(name)
    table = pa.table(columns)
    if dice.random() < 0.3:
        path.mkdir()
        cut = dice.randint(0, len(table))
        pq.write_table(table.slice(0, cut), path / "part-0.parquet")
        pq.write_table(table.slice(cut), path / "part-1.parquet")
    else:
        pq.write_table(table, path, row_group_size=dice.choice([1, 2, 1000]))
    kept = [name for name in draft.header if not name.startswith("_") and (name in fields or name not in hopeless)]
    rows = [[texts[name][at] for name in kept] for at in range(len(draft.rows))]
    return kept, rows, bool(hopeless & {ID, *fields})


def _column(dice: random.Random, field: str, cells: list[str | None]) -> tuple["pa.Array[Any]", list[str | None], bool]:
    """Return a column, its cells as text, and whether all of it has one spelling as text."""
    count = len(cells)

    def some(draw: Any) -> list[Any]:
        return [None if dice.random() < 0.2 else draw() for _ in range(count)]

    if field == "dob" and dice.random() < 0.5:
        days = some(lambda: dt.date(1980, 2, 29))
        return pa.array(days, pa.date32()), [None if day is None else day.isoformat() for day in days], True
    if field == "legal_address.is_registered_agent" and dice.random() < 0.5:
        flags = some(lambda: dice.random() < 0.5)
        return pa.array(flags, pa.bool_()), [None if flag is None else str(flag).lower() for flag in flags], True
    if field in ("first_name", "legal_address.postal_code", _VENDOR[1]) and dice.random() < 0.2:
        numbers = some(lambda: dice.choice([7, 2134, -3, 2**62]))
        return pa.array(numbers, pa.int64()), [None if number is None else str(number) for number in numbers], True
    if dice.random() < 0.02:
        hopeless: list[tuple[Any, pa.DataType]] = [
            (1.5, pa.float64()),
            (dt.datetime(1980, 2, 29), pa.timestamp("us")),
            ({"a": "b"}, pa.struct([("a", pa.string())])),
            (["a"], pa.list_(pa.string())),
        ]
        value, its_type = dice.choice(hopeless)
        return pa.array([value] * count, its_type), [None] * count, False
    array: pa.Array[Any] = pa.array(cells, dice.choice([pa.string(), pa.large_string()]))
    if dice.random() < 0.2:
        array = array.cast(pa.string()).dictionary_encode()
    return array, cells, True


def baseline_csv(draft: Draft) -> str:
    """Return the baseline file of a draft."""
    out = io.StringIO()
    names = ["id", *sorted(draft.settings.known_fields)]
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({"id": its_id, **texts} for its_id, texts in draft.settings.known.items())
    return out.getvalue()
