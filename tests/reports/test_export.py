import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from openpyxl import load_workbook

from bulk_patch.errors import UsageError
from bulk_patch.ledgers.records import LedgerRow, PlanRow
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import State
from bulk_patch.reports.export import export
from bulk_patch.reports.rows import COLUMNS, changes_of
from tests.support.report_runs import (
    ADDRESS,
    SYNCTERA,
    applied,
    change,
    moved,
    plan,
    read_csv,
    read_dicts,
    send,
    set_aside,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    with SqliteLedger.open(tmp_path / "ledger.db", job="moves") as ledger:
        yield ledger


def only_row(ledger: SqliteLedger, row: PlanRow) -> LedgerRow:
    (found,) = ledger.rows(plan(ledger, [row]).id)
    return found


def test_changes_are_masked_by_their_fields(ledger: SqliteLedger) -> None:
    body = {"email": "ann@example.com", "ssn": "123-45-6789", "metadata": {"tier": "gold"}}
    before = {"email": "old@example.org", "ssn": "***-**-1111", "metadata": {"tier": "tin"}}
    row = only_row(ledger, change(1, body, "email", "ssn", "metadata.tier", before=before))
    assert changes_of(row, SYNCTERA, reveal=False) == [
        ("email", "o•••@example.org", "a•••@example.com"),
        ("ssn", "•••1111", "•••6789"),
        ("metadata.tier", "•••", "•••"),
    ]
    assert changes_of(row, SYNCTERA, reveal=True) == [
        ("email", "old@example.org", "ann@example.com"),
        ("ssn", "***-**-1111", "123-45-6789"),
        ("metadata.tier", "tin", "gold"),
    ]


def test_changes_of_an_object_are_those_of_its_parts_that_change(ledger: SqliteLedger) -> None:
    body = {"legal_address": {**ADDRESS, "city": "Salem"}}
    before = {"legal_address": {**ADDRESS, "address_line_2": "Apt 4"}}
    row = only_row(ledger, change(1, body, "legal_address.city", "legal_address.address_line_2", before=before))
    assert changes_of(row, SYNCTERA, reveal=True) == [
        ("legal_address.city", "Boston", "Salem"),
        ("legal_address.address_line_2", "Apt 4", ""),
    ]


def test_absent_before_and_not_known_before_are_told_apart(ledger: SqliteLedger) -> None:
    body = {"legal_address": ADDRESS, "middle_name": "Lee", "note": "moved", "last_name": ""}
    before = {"legal_address": None, "last_name": "Smith"}
    row = only_row(ledger, change(1, body, "legal_address.city", "middle_name", "note", "last_name", before=before))
    assert changes_of(row, SYNCTERA, reveal=False) == [
        ("legal_address.city", "", "B•••"),
        ("middle_name", None, "L•••"),
        ("note", None, "•••"),
        ("last_name", "S•••", ""),
    ]


def test_a_field_that_the_target_no_longer_knows_is_hidden(ledger: SqliteLedger) -> None:
    row = only_row(ledger, change(1, {"shoe_size": "44"}, "shoe_size", before={"shoe_size": "43"}))
    assert changes_of(row, SYNCTERA, reveal=False) == [("shoe_size", "•••", "•••")]


def test_a_row_that_is_never_sent_changes_nothing(ledger: SqliteLedger) -> None:
    assert changes_of(only_row(ledger, set_aside(1, State.INVALID)), SYNCTERA, reveal=True) == []


def exported(ledger: SqliteLedger, to: Path, *, reveal: bool = False) -> list[dict[str, Any]]:
    rows = [
        change(1, {"last_name": "Whitaker"}, "last_name", before={"last_name": "=Smith"}),
        change(2, {"email": "ann@example.com"}, "email"),
        set_aside(3, State.INVALID, "-7"),
    ]
    run = send(ledger, plan(ledger, rows, unchanged=1), applied(1))
    assert export(ledger, run, to, target=SYNCTERA, reveal=reveal) == 3
    match to.suffix:
        case ".csv":
            return list(read_dicts(to))
        case ".jsonl":
            return [json.loads(line) for line in to.read_text(encoding="utf-8").splitlines()]
        case ".xlsx":
            header, *rows_of_text = load_workbook(to).active.iter_rows(values_only=True)  # type: ignore[union-attr]
            return [dict(zip(map(str, header), row, strict=True)) for row in rows_of_text]
    found: list[dict[str, Any]] = pq.read_table(to).to_pylist()
    return found


EXPORTED = [*COLUMNS, "before.email", "after.email", "before.last_name", "after.last_name"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_an_export_has_the_results_and_each_field_before_and_after(
    ledger: SqliteLedger, tmp_path: Path, suffix: str
) -> None:
    first, second, third = exported(ledger, tmp_path / f"out{suffix}")
    assert list(first) == EXPORTED
    assert (first["row"], first["status"], first["http_status"]) == (1, "applied", 200)
    assert (first["before.last_name"], first["after.last_name"]) == ("=•••", "W•••")
    assert (first["before.email"], first["after.email"]) == (None, None)
    assert (second["before.email"], second["after.email"]) == ("?", "a•••@example.com")
    assert (second["http_status"], second["sent_at"]) == (None, None)
    assert (third["customer_id"], third["after.email"]) == ("-7", None)


def test_an_export_as_csv_is_escaped_for_spreadsheets(ledger: SqliteLedger, tmp_path: Path) -> None:
    first, second, third = exported(ledger, tmp_path / "out.csv")
    assert list(first) == EXPORTED
    assert first["before.last_name"] == "'=•••"
    assert (second["row"], second["http_status"], second["before.email"]) == ("2", "", "?")
    assert third["customer_id"] == "'-7"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_an_export_shows_whole_values_only_when_asked(ledger: SqliteLedger, tmp_path: Path, suffix: str) -> None:
    masked = exported(ledger, tmp_path / f"out{suffix}")
    assert "Whitaker" not in str(masked)
    assert "ann@" not in str(masked)
    revealed = tmp_path / f"revealed{suffix}"
    export(ledger, ledger.runs()[0], revealed, target=SYNCTERA, reveal=True)
    assert b"Whitaker" in revealed.read_bytes()


def test_an_export_replaces_an_earlier_one_and_takes_any_case_of_suffix(ledger: SqliteLedger, tmp_path: Path) -> None:
    run = plan(ledger, [moved(1)])
    to = tmp_path / "Out.CSV"
    to.write_text("old")
    assert export(ledger, run, to, target=SYNCTERA, reveal=False) == 1
    assert read_csv(to)[0][0] == "row"


def test_an_export_of_a_run_without_changes_has_the_columns_alone(ledger: SqliteLedger, tmp_path: Path) -> None:
    run = plan(ledger, [], unchanged=3)
    for suffix in (".csv", ".jsonl", ".parquet"):
        assert export(ledger, run, tmp_path / f"out{suffix}", target=SYNCTERA, reveal=False) == 0
    assert read_csv(tmp_path / "out.csv") == [list(COLUMNS)]
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert pq.read_table(tmp_path / "out.parquet").column_names == list(COLUMNS)


def test_a_workbook_holds_text_alone_and_runs_nothing(ledger: SqliteLedger, tmp_path: Path) -> None:
    first, _, third = exported(ledger, tmp_path / "out.xlsx", reveal=True)
    assert first["row"] == "1"
    assert first["before.last_name"] == "=Smith"  # as text: a workbook needs no sign before it
    assert third["customer_id"] == "-7"


@pytest.mark.parametrize("name", ["out.ods", "out", "out.csv.gz", "missing/out.csv", "folder.csv"])
def test_an_export_to_another_format_or_no_folder_is_refused(ledger: SqliteLedger, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    run = plan(ledger, [moved(1)])
    with pytest.raises(UsageError, match="cannot export to") as caught:
        export(ledger, run, tmp_path / name, target=SYNCTERA, reveal=False)
    assert caught.value.hint
