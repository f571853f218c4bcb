import csv
import io
import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.support.sample_batches import (
    CONFIRMED_COUNT,
    CORRECTION_COUNT,
    EXTRACT_COUNT,
    MIGRATED_BEFORE_COUNT,
    MIGRATION_COUNT,
    differs,
)
from tests.support.sample_customers import CUSTOMER_COUNT, Record
from tests.support.samples import (
    ADDRESS_COLUMNS,
    BLANK_LINES_AFTER,
    MESSY_COLUMNS,
    MESSY_ROWS,
    SAMPLE_INPUTS,
    STRANGER_ID,
    write_samples,
)

JOBS = sorted((SAMPLE_INPUTS.parent / "jobs").glob("*.toml"))
VALID_JOBS = ("address_corrections", "contact_migration", "nightly_reconciliation")
NOT_BUILT_YET = {"watch", "approval", "url", "group"}

# By field, or by the last part of its name; an address part may have another rule for each country.
RULES = {
    "id": r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
    "email": r"[a-z]+\.[a-z]+\d*(\.[0-9a-f]{4})?@example\.(com|net|org)",
    "phone_number": r"\+1[2-9]\d\d55501\d\d",
    "dob": r"(19[3-9]\d|200\d)-\d\d-\d\d",
    "ssn": r"(77[3-9]|7[89]\d|8\d\d)-(?!00)\d\d-(?!0000)\d{4}",
    "country_code": "US|CA|MX",
    "state US": "[A-Z]{2}",
    "state CA": "[A-Z]{2}",
    "state MX": "[A-Z]{3}",
    "postal_code US": r"\d{5}(-\d{4})?",
    "postal_code CA": r"[A-Z]\d[A-Z] \d[A-Z]\d",
    "postal_code MX": r"\d{5}",
}


def read_text(path: Path) -> str:
    return path.read_bytes().decode("utf-8-sig")  # read_text would turn CRLF into LF


def read_job(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def read_rows(path: Path) -> list[Record]:
    if path.suffix == ".parquet":
        rows: list[Record] = pq.read_table(path).to_pylist()
        return rows
    return [dict(row) for row in csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)]


def read_batch(job_name: str) -> list[Record]:
    """Return the job's input keyed by field, without what the job ignores."""
    job = read_job(SAMPLE_INPUTS.parent / "jobs" / f"{job_name}.toml")
    names = {job["input"]["id"]: "id", **job["input"].get("rename", {})}
    rows = read_rows(SAMPLE_INPUTS / Path(job["input"]["path"]).name)
    return [
        {names.get(column, column): text for column, text in row.items() if names.get(column) != ""} for row in rows
    ]


def broken_rules(row: Record, customer: Record) -> Iterator[str]:
    """Name the fields whose text breaks its rule; an address is judged as it would be sent, completed."""
    for name, text in row.items():
        if not text:
            continue
        place, _, part = name.rpartition(".")
        country = row.get(f"{place}.country_code") or customer.get(f"{place}.country_code")
        rule = RULES.get(part) or RULES.get(f"{part} {country}") or r"\S(.*\S)?"
        if not re.fullmatch(rule, text) or unicodedata.normalize("NFC", text) != text or not text.isprintable():
            yield name


@pytest.fixture(scope="module")
def customers() -> dict[str, Record]:
    rows = read_rows(SAMPLE_INPUTS / "customers.parquet")
    return {str(row["id"]): {name: text for name, text in row.items() if name != "has_accounts"} for row in rows}


def test_the_committed_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    written = write_samples(tmp_path)
    assert {path.name for path in written} == {path.name for path in SAMPLE_INPUTS.glob("[!.]*")}
    for path in written:
        committed = SAMPLE_INPUTS / path.name
        if path.suffix == ".parquet":  # another version of the library may write other bytes
            assert pq.read_table(committed).equals(pq.read_table(path)), path.name
        else:
            assert committed.read_bytes() == path.read_bytes(), path.name


def test_customers_are_valid_and_reachable_only_in_fiction(customers: dict[str, Record]) -> None:
    assert len(customers) == CUSTOMER_COUNT
    assert not [name for customer in customers.values() for name in broken_rules(customer, customer)]


def test_customers_have_the_names_that_careless_readers_lose(customers: dict[str, Record]) -> None:
    names = {customer["last_name"] for customer in customers.values()}
    assert names >= {"Null", "Na", "None", "O'Neil", "Müller", "Nguyễn"}
    assert {"José", "Nan", "True"} <= {customer["first_name"] for customer in customers.values()}


def test_parquet_columns_are_text_but_for_booleans() -> None:
    schema = pq.read_schema(SAMPLE_INPUTS / "customers.parquet")
    assert Counter(map(str, schema.types)) == {"string": len(schema) - 1, "bool": 1}
    assert set(map(str, pq.read_schema(SAMPLE_INPUTS / "contact_migration.parquet").types)) == {"string"}


@pytest.mark.parametrize("job_name", VALID_JOBS)
def test_every_row_of_a_valid_batch_is_valid_and_about_a_customer_of_its_own(
    job_name: str, customers: dict[str, Record]
) -> None:
    rows = read_batch(job_name)
    ids = [str(row["id"]) for row in rows]
    assert len(set(ids)) == len(ids)
    assert customers.keys() >= set(ids)
    assert not [name for row in rows for name in broken_rules(row, customers[str(row["id"])])]


@pytest.mark.parametrize(
    ("job_name", "row_count", "changed_count"),
    [
        ("address_corrections", CORRECTION_COUNT, CORRECTION_COUNT - CONFIRMED_COUNT),
        ("contact_migration", MIGRATION_COUNT, MIGRATION_COUNT - MIGRATED_BEFORE_COUNT),
        ("nightly_reconciliation", EXTRACT_COUNT, 25),
    ],
)
def test_a_valid_batch_has_the_number_of_changes_it_promises(
    job_name: str, row_count: int, changed_count: int, customers: dict[str, Record]
) -> None:
    rows = read_batch(job_name)
    assert len(rows) == row_count
    assert sum(differs(row, customers[str(row["id"])]) for row in rows) == changed_count


def test_address_corrections_have_the_oddities_of_real_files() -> None:
    text = read_text(SAMPLE_INPUTS / "address_corrections.csv")
    for oddity in (",02139,", '"The Old Mill, 31 River Street"', "O'Farrell", "Saint-André"):
        assert oddity in text
    rows = read_batch("address_corrections")
    assert all(any(not row[name] for row in rows) for name in ADDRESS_COLUMNS.values())


def test_nobody_moves_and_keeps_the_old_apartment(customers: dict[str, Record]) -> None:
    for row in (*read_batch("address_corrections"), *read_batch("nightly_reconciliation")):
        customer = customers[str(row["id"])]
        if row["legal_address.city"] and customer["legal_address.address_line_2"]:
            assert row["legal_address.address_line_2"]


def test_messy_corrections_look_as_a_spreadsheet_saved_them() -> None:
    content = (SAMPLE_INPUTS / "messy_corrections.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbfcustomer_id,")
    assert content.endswith(b"\r\n\r\n")
    # The only bare LF is the line break within a cell; blank lines are more lines than rows.
    assert content.replace(b"\r\n", b"").count(b"\n") == 1
    assert content.count(b"\r\n") == 1 + len(MESSY_ROWS) + len(BLANK_LINES_AFTER)


def test_messy_rows_stand_in_the_file_in_the_order_of_the_table() -> None:
    assert [messy.row for messy in MESSY_ROWS] == list(range(1, len(MESSY_ROWS) + 1))
    rows = read_rows(SAMPLE_INPUTS / "messy_corrections.csv")
    assert [row["remarks"] for row in rows] == [messy.what for messy in MESSY_ROWS]
    assert len({messy.what for messy in MESSY_ROWS}) == len(MESSY_ROWS)


def test_messy_rows_share_a_customer_only_where_the_table_says_so(customers: dict[str, Record]) -> None:
    owner = {messy.row: messy.same_as or messy.row for messy in MESSY_ROWS}
    rows = read_rows(SAMPLE_INPUTS / "messy_corrections.csv")
    rows_by_id: dict[str, set[int]] = {}
    for messy, row in zip(MESSY_ROWS, rows, strict=True):
        customer_id = str(row["customer_id"]).lower()
        rows_by_id.setdefault(customer_id, set()).add(owner[messy.row])
        usable = messy.reason_contains != "UUID" and messy.kind != "stranger"
        assert (customer_id in customers) == usable, messy.what
    assert all(len(owners) == 1 for owners in rows_by_id.values())
    assert len(rows_by_id) == len(set(owner.values()))
    assert STRANGER_ID in rows_by_id


def test_a_messy_row_differs_from_its_customer_exactly_when_something_is_to_be_done(
    customers: dict[str, Record],
) -> None:
    rows = read_rows(SAMPLE_INPUTS / "messy_corrections.csv")
    for messy, row in zip(MESSY_ROWS, rows, strict=True):
        if messy.status not in ("applied", "unchanged"):
            continue
        customer = customers[str(row.pop("customer_id")).lower()]
        desired = {MESSY_COLUMNS[column]: unicodedata.normalize("NFC", text or "") for column, text in row.items()}
        assert differs(desired, customer) == (messy.status == "applied"), messy.what
        for name in (name for name, text in desired.items() if text == "<CLEAR>"):
            assert customer[name], messy.what
        if desired["ssn"]:  # the API shows the last four digits only, so they have to differ
            assert desired["ssn"][-4:] != str(customer["ssn"])[-4:]


def test_an_address_is_completed_from_an_address_unless_its_absence_is_the_oddity(
    customers: dict[str, Record],
) -> None:
    for messy, row in zip(MESSY_ROWS, read_rows(SAMPLE_INPUTS / "messy_corrections.csv"), strict=True):
        customer = customers.get(str(row["customer_id"]).lower())
        if customer and messy.kind != "no address":
            assert customer["legal_address.address_line_1"], messy.what
    homes = [messy for messy in MESSY_ROWS if messy.kind == "no address"]
    assert {messy.status for messy in homes} == {"applied", "invalid"}


def test_every_status_of_a_messy_row_occurs_and_only_invalid_ones_have_a_reason() -> None:
    assert {messy.status for messy in MESSY_ROWS} == {"applied", "unchanged", "duplicate", "invalid"}
    assert all(bool(messy.reason_contains) == (messy.status == "invalid") for messy in MESSY_ROWS)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_job_names_every_column_of_its_input_and_guards_every_field(path: Path) -> None:
    job = read_job(path)
    columns = set(read_rows(path.parent / job["input"]["path"])[0]) - {job["input"]["id"]}
    rename = job["input"].get("rename", {})
    fields = {rename.get(column, column) for column in columns} - {""}
    assert rename.keys() <= columns
    assert {name.partition(".")[0] for name in fields} == set(job["guards"]["fields"])
    assert set(job["input"].get("may_clear", ())) <= fields


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_job_can_be_rehearsed_and_uses_nothing_that_is_not_built(path: Path) -> None:
    job = read_job(path)
    assert job["name"] == path.stem.replace("_", "-")
    assert (path.parent / job["sandbox"]["customers"]).resolve() == SAMPLE_INPUTS / "customers.parquet"
    assert job["target"]["kind"] == "synctera"
    assert job["target"]["token"] == "env:SYNCTERA_API_KEY"
    assert job["baseline"]["kind"] in ("live", "file")
    assert not NOT_BUILT_YET & {key for table in job.values() if isinstance(table, dict) for key in table}
