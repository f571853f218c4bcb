"""Write the files of `sample_inputs/`, the same every time: `python -m tests.samples`.

`MESSY_ROWS` is also the answer book of messy_corrections.csv: what a run of `jobs/messy_corrections.toml`
must make of each row, against the sandbox seeded with customers.parquet.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter

from tests.support.sample_batches import EXTRACT_FIELDS, draw_corrections, draw_extract, draw_migration
from tests.support.sample_customers import CUSTOMER_FIELDS, LEGAL_ADDRESS, Record, draw_customers

SAMPLE_INPUTS: Final = Path(__file__).parents[2] / "sample_inputs"

# Column of the file -> what the generators call it: a field, or a name of their own for what no job reads.
ADDRESS_COLUMNS: Final = dict(zip(("street", "apt", "city", "state", "ZIP", "country"), LEGAL_ADDRESS, strict=True))
MAIL_COLUMNS: Final = ("Customer ID", "Street", "Apt", "City", "State", "ZIP", "Country", "Born", "Remarks")
MAIL_ROWS: Final = 24
CORRECTION_COLUMNS: Final = {"customer_id": "id", **ADDRESS_COLUMNS, "returned_on": "returned_on"}
MIGRATION_COLUMNS: Final = {"customer_id": "id", "email": "email", "phone_number": "phone_number"}
EXTRACT_COLUMNS: Final = {"customer_id": "id", **{name: name for name in EXTRACT_FIELDS}}
MESSY_COLUMNS: Final = {
    "customer_id": "id",
    **{name: name for name in ("first_name", "middle_name", "last_name", "email", "phone_number")},
    **{name: name for name in ("dob", "ssn", "status")},
    **ADDRESS_COLUMNS,
    "remarks": "remarks",
}

Kind = Literal["plain", "middle name", "apartment", "accent", "Canadian", "no address", "stranger"]
Status = Literal["applied", "unchanged", "duplicate", "invalid"]
AS_IS: Final = "as it is"  # the cell repeats what the customer's record holds
STRANGER_ID: Final = "0b7c9a52-6d0e-4f0a-9a43-5c1d2e8f7a60"  # well-formed, but not a customer's
CAMBRIDGE: Final = {"street": "95 Prospect Street", "city": "Cambridge", "state": "MA"}
WINDHOEK: Final = {"street": "14 Independence Avenue", "city": "Windhoek", "state": "KH", "ZIP": "10005"}


@dataclass(frozen=True, slots=True)
class MessyRow:
    """One row of messy_corrections.csv with its oddity, and what a run must make of it.

    Attributes:
        row: Number of the data row; the first is 1, blank lines do not count.
        what: The oddity in words; the file's `remarks` column says it too.
        status: The status the row must end with.
        reason_contains: A part, in any case, of the reason in results.csv; empty where nothing is promised.
        cells: The filled cells, column to text; the others are blank.
        kind: The sort of customer it is about; each row has its own, unless `same_as` says whose.
        same_as: Number of an earlier row that is about the same customer; 0: none.
        id_cell: How the id is written; `{id}` and `{ID}` stand for the customer's, in lower and upper case.
    """

    row: int
    what: str
    status: Status
    reason_contains: str
    cells: Mapping[str, str] = field(default_factory=dict)
    kind: Kind = "plain"
    same_as: int = 0
    id_cell: str = "{id}"


# The oddities that a spreadsheet, or a person who types into it, leaves behind.
MESSY_ROWS: Final = (
    MessyRow(1, "an ordinary correction", "applied", "", {"phone_number": "+16175550142"}),
    MessyRow(2, "id in upper case", "applied", "", {"email": "front.desk@example.org"}, id_cell="{ID}"),
    MessyRow(3, "comma in a cell", "applied", "", {"street": "The Maples, 12 Elm Street"}),
    MessyRow(4, "quotation marks in a cell", "applied", "", {"street": '8 Kings Way "Rear"'}),
    MessyRow(5, "apostrophes", "applied", "", {"last_name": "O'Brien-D'Angelo", "street": "9 St. John's Lane"}),
    MessyRow(6, "surname that reads like nothing", "applied", "", {"last_name": "NULL"}),
    MessyRow(7, "Namibia", "applied", "", {**WINDHOEK, "country": "NA"}),
    MessyRow(8, "ZIP with a leading zero", "applied", "", {**CAMBRIDGE, "ZIP": "02139"}),
    MessyRow(9, "ZIP that lost its zero", "invalid", "postal_code", {**CAMBRIDGE, "ZIP": "2139"}),
    MessyRow(10, "ZIP+4", "applied", "", {**CAMBRIDGE, "ZIP": "02139-4307"}),
    MessyRow(11, "moved and called twice", "applied", "", {"phone_number": "+12125550117"}),
    MessyRow(12, "phone as people write it", "invalid", "phone_number", {"phone_number": "(617) 555-0142"}),
    MessyRow(13, "phone turned into a number", "invalid", "phone_number", {"phone_number": "1.44E+10"}),
    MessyRow(14, "state in lower case", "invalid", "state", {**CAMBRIDGE, "state": "ma", "ZIP": "02139"}),
    MessyRow(15, "country of three letters", "invalid", "country_code", {"country": "USA"}),
    MessyRow(
        16,
        "Canadian postal code in lower case",
        "applied",
        "",
        {"street": "111 Elgin Street", "city": "Ottawa", "state": "ON", "ZIP": "k1a0b1", "country": "CA"},
        kind="Canadian",
    ),
    MessyRow(17, "nothing but the id", "unchanged", ""),
    MessyRow(
        18,
        "what the bank has already",
        "unchanged",
        "",
        {"first_name": AS_IS, "last_name": AS_IS, "phone_number": AS_IS, "street": AS_IS, "ZIP": AS_IS},
    ),
    MessyRow(
        19,
        "é as two code points",
        "unchanged",
        "",
        {"first_name": "Jose\u0301", "email": AS_IS},
        kind="accent",
    ),
    MessyRow(20, "a customer nobody knows", "invalid", "does not exist", {"last_name": "Walsh"}, kind="stranger"),
    MessyRow(21, "id of another system", "invalid", "UUID", {"last_name": "Harper"}, id_cell="CUST-00417"),
    MessyRow(22, "id turned into a number", "invalid", "UUID", {"last_name": "Reyes"}, id_cell="4.31E+37"),
    MessyRow(23, "id that passed through a number", "invalid", "UUID", {"last_name": "Boyd"}, id_cell="{id}.0"),
    MessyRow(24, "row 11 again", "duplicate", "", {"phone_number": "+12125550117"}, same_as=11, id_cell="{ID}"),
    MessyRow(25, "two rows that disagree: one", "invalid", "26", {"email": "old.mailbox@example.org"}),
    MessyRow(26, "two rows that disagree: other", "invalid", "25", {"email": "new.mailbox@example.org"}, same_as=25),
    MessyRow(27, "spaces and nothing else", "invalid", "first_name", {"first_name": "   "}),
    MessyRow(28, "text that runs backwards", "invalid", "last_name", {"last_name": "\u202erepraH"}),
    MessyRow(29, "zero-width space", "invalid", "last_name", {"last_name": "Har\u200bper"}),
    MessyRow(30, "control character", "invalid", "address_line_1", {"street": "12 Elm Street\x0bRear"}),
    MessyRow(31, "line break in a cell", "invalid", "address_line_1", {"street": "12 Elm Street\nRear"}),
    MessyRow(32, "SSN that lost its zero", "invalid", "ssn", {"ssn": "41235678"}),
    MessyRow(33, "SSN", "applied", "", {"ssn": "774-18-0042"}),
    MessyRow(34, "birthday as DD.MM.YYYY", "invalid", "dob", {"dob": "31.02.1980"}),
    MessyRow(35, "birthday that never was", "invalid", "dob", {"dob": "1980-02-31"}),
    MessyRow(36, "birthday to come", "invalid", "dob", {"dob": "2091-05-14"}),
    MessyRow(37, "leap day", "applied", "", {"dob": "1984-02-29"}),
    MessyRow(38, "e-mail without an @", "invalid", "email", {"email": "front.desk.example.org"}),
    MessyRow(39, "n/a for an e-mail", "invalid", "email", {"email": "n/a"}),
    MessyRow(40, "status that is none", "invalid", "status", {"status": "Closed"}),
    MessyRow(41, "middle name cleared", "applied", "", {"middle_name": "<CLEAR>"}, kind="middle name"),
    MessyRow(42, "apartment cleared", "applied", "", {"apt": "<CLEAR>"}, kind="apartment"),
    MessyRow(43, "surname must not be cleared", "invalid", "may_clear", {"last_name": "<CLEAR>"}),
    MessyRow(44, "name like a formula", "applied", "", {"first_name": "=Anna"}),
    MessyRow(45, "first address in part", "invalid", "legal_address", {"city": "Salem"}, kind="no address"),
    MessyRow(
        46,
        "first address in full",
        "applied",
        "",
        {"street": "5 Derby Wharf", "city": "Salem", "state": "MA", "ZIP": "01970", "country": "US"},
        kind="no address",
    ),
)
BLANK_LINES_AFTER: Final = (8, 23, 46)


def choose_customers(customers: Sequence[Record]) -> dict[int, Record]:
    """Return row number of `MESSY_ROWS` -> its customer, the first unused one of the kind."""
    chosen: dict[int, Record] = {}
    free = [customer for customer in customers if customer["status"] == "ACTIVE" or _is(customer, "no address")]
    for messy in MESSY_ROWS:
        if messy.same_as:
            chosen[messy.row] = chosen[messy.same_as]
        elif messy.kind == "stranger":
            chosen[messy.row] = {**free[0], "id": STRANGER_ID}
        else:
            chosen[messy.row] = next(customer for customer in free if _is(customer, messy.kind))
            free.remove(chosen[messy.row])
    return chosen


def _is(customer: Record, kind: Kind) -> bool:
    """Tell whether the customer is of that kind; but for "Canadian" and "no address", a US one."""
    country = customer["legal_address.country_code"]
    match kind:
        case "no address":
            return country is None
        case "Canadian":
            return country == "CA" and customer["legal_address.address_line_2"] is None
        case "middle name":
            return country == "US" and customer["middle_name"] is not None
        case "apartment":
            return country == "US" and customer["legal_address.address_line_2"] is not None
        case "accent":
            return country == "US" and customer["first_name"] == "José"
        case _:
            return country == "US" and customer["legal_address.address_line_2"] is None


def messy_cells(messy: MessyRow, customer: Record) -> dict[str, str]:
    """Return the row as it stands in the file, column to text."""
    customer_id = customer["id"] or ""
    cells = {**dict.fromkeys(MESSY_COLUMNS, ""), **messy.cells}
    for column, text in messy.cells.items():
        if text == AS_IS:
            cells[column] = customer[MESSY_COLUMNS[column]] or ""
    id_cell = messy.id_cell.format(id=customer_id, ID=customer_id.upper())
    return cells | {"customer_id": id_cell, "remarks": messy.what}


def write_samples(folder: Path) -> list[Path]:
    """Write all sample inputs into the folder and return their paths."""
    customers = draw_customers("customers")
    chosen = choose_customers(customers)
    messy = [messy_cells(row, chosen[row.row]) for row in MESSY_ROWS]
    files = {
        "customers.parquet": _customers_parquet(customers),
        "address_corrections.csv": _csv(_rename(draw_corrections(customers), CORRECTION_COLUMNS)),
        "contact_migration.parquet": _parquet(_rename(draw_migration(customers), MIGRATION_COLUMNS)),
        "nightly_extract.csv": _csv(_rename(draw_extract(customers), EXTRACT_COLUMNS)),
        "messy_corrections.csv": _spreadsheet_csv(messy),
        "returned_mail.xlsx": _workbook(draw_mail(customers)),
        "returned_mail_corrected.xlsx": _workbook(draw_mail(customers, is_corrected=True)),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


def draw_mail(customers: Sequence[Record], *, is_corrected: bool = False) -> list[list[str]]:
    """Draw the rows of a workbook of returned mail: whole addresses, and dates of birth as they are written there.

    Args:
        customers: All.
        is_corrected: Only the row whose date of birth exists in no calendar, put right.

    Returns:
        The cells by `MAIL_COLUMNS`; row 4 has a date of birth that does not exist, rows 2 and 9 another one than the
        customer's record.
    """
    by_id = {customer["id"]: customer for customer in customers}
    rows: list[list[str]] = []
    for change in draw_corrections(customers):
        customer = by_id[change["id"]] | {name: text for name, text in change.items() if text is not None}
        if customer["legal_address.country_code"] != "US" or customer["dob"] is None or len(rows) == MAIL_ROWS:
            continue
        born = date.fromisoformat(customer["dob"])
        number = len(rows) + 1
        if number in (2, 9):
            born = born.replace(day=born.day % 28 + 1)
        text = f"{born.month}/{born.day}/{born.year}"
        remarks = "the day is not certain" if number == 4 else ""
        if number == 4 and not is_corrected:
            text = f"2/30/{born.year}"
        address = [customer[name] or "" for name in LEGAL_ADDRESS]
        rows.append([customer["id"] or "", *address[:-1], "USA", text, remarks])
    return rows[3:4] if is_corrected else rows


def _workbook(rows: Sequence[Sequence[str]]) -> bytes:
    """Write a workbook as people keep one: a title line, ZIP codes as numbers in a format with zeros."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"in_memory": True}) as book:
        book.set_properties({"created": datetime(2026, 11, 23)})
        sheet = book.add_worksheet("Returned mail")
        title, head, zip_code = (
            book.add_format(one) for one in ({"bold": True}, {"bold": True}, {"num_format": "00000"})
        )
        sheet.write_string(0, 0, "Returned mail, November 2026", title)
        for column, name in enumerate(MAIL_COLUMNS):
            sheet.write_string(1, column, name, head)
        for line, row in enumerate(rows, start=2):
            for column, cell in enumerate(row):
                if MAIL_COLUMNS[column] == "ZIP" and len(cell) == len("00000"):
                    sheet.write_number(line, column, int(cell), zip_code)
                elif cell:
                    sheet.write_string(line, column, cell)
        sheet.set_column(0, 0, 38)
        sheet.set_column(1, len(MAIL_COLUMNS) - 1, 16)
        sheet.freeze_panes(2, 1)
    return file.getvalue()


def _rename(rows: Iterable[Record], columns: Mapping[str, str]) -> list[Record]:
    """Key the rows by column instead of by field; a field that a row lacks is None."""
    return [{column: row.get(name) for column, name in columns.items()} for row in rows]


def _csv(rows: Sequence[Mapping[str, str | None]], *, line_end: str = "\n") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0], lineterminator=line_end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _spreadsheet_csv(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Write CSV as a spreadsheet saves it: byte order mark, CRLF; and with the blank lines people leave."""
    head, _, _ = _csv(rows[:1], line_end="\r\n").partition(b"\r\n")
    lines = [head]
    for number, row in enumerate(rows, start=1):
        lines.append(_csv([row], line_end="\r\n").removeprefix(head + b"\r\n").removesuffix(b"\r\n"))
        if number in BLANK_LINES_AFTER:
            lines.append(b"")
    return b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n"


def _parquet(rows: Sequence[Record]) -> bytes:
    names = list(rows[0])
    return _table_bytes(pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in names}))


def _customers_parquet(customers: Sequence[Record]) -> bytes:
    has_accounts = [customer["status"] != "PROSPECT" for customer in customers]
    table = pa.table(
        {name: pa.array([customer[name] for customer in customers], pa.string()) for name in CUSTOMER_FIELDS}
    )
    return _table_bytes(table.append_column("has_accounts", pa.array(has_accounts, pa.bool_())))


def _table_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


if __name__ == "__main__":
    for path in write_samples(SAMPLE_INPUTS):
        print(path.name)
