"""What a workbook made of single cells decides what becomes of their rows."""

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import State
from bulk_patch.reports.failures import failure_cells, failure_columns, write_failures_sheet
from bulk_patch.reports.rows import merge_rows
from tests.support.job_files import ANN, BEN, CAM, DEE, make_job, plan_of, write_csv
from tests.support.workbooks import write_xlsx


def plan(folder: Path, *rows: list[Any], settings: tuple[str, ...] = (), change: Any = None) -> Any:
    write_xlsx(folder / "input.xlsx", rows, change=change)
    return plan_of(make_job(folder, f'input.path="{folder / "input.xlsx"}"', *settings), folder)


def test_a_date_fills_a_date_field_and_no_other(tmp_path: Path) -> None:
    day = dt.date(1980, 1, 31)
    planned = plan(tmp_path, ["Title"], ["customer_id", "dob", "first_name"], [ANN, day, "Ann"], [BEN, None, day])
    assert planned.bodies == {1: {"dob": "1980-01-31", "first_name": "Ann"}}
    assert planned.states[2] is State.INVALID
    assert planned.reason(2).startswith("first_name was turned into a date by Excel (format the cell as Text")
    assert "(cell C4)" in planned.reason(2)


def test_each_damage_is_told_with_its_cell_and_the_other_rows_are_planned(tmp_path: Path) -> None:
    def damage(_: Any, sheet: Any) -> None:
        sheet["B3"].data_type = "e"
        sheet["B4"].number_format = "00000"

    planned = plan(
        tmp_path,
        ["customer_id", "first_name"],
        [ANN, 2139.5],
        [BEN, "#N/A"],
        [CAM, 2139],
        [DEE, 1234567890123456789],
        [5, "x"],
        ["17", "y"],
        change=damage,
    )
    assert planned.bodies == {3: {"first_name": "02139"}}
    assert "first_name was turned into a number by Excel" in planned.reason(1)
    assert "(cell B2)" in planned.reason(1)
    assert "first_name is an Excel error" in planned.reason(2)
    assert "more digits than Excel keeps" in planned.reason(4)
    assert "id is not a UUID" in planned.reason(5)
    assert "(Excel row 7)" in planned.reason(6)
    assert merge_rows(planned.reason(1)) == merge_rows(planned.reason(1).replace("B2", "B99"))


def test_a_marked_id_is_no_id(tmp_path: Path) -> None:
    planned = plan(tmp_path, ["customer_id", "first_name"], [ANN, "a"], [dt.date(1980, 1, 31), "b"])
    assert planned.reason(2).startswith("id was turned into a date by Excel")
    assert "UUID" not in planned.reason(2)


def test_a_cell_that_a_later_row_gets_from_an_earlier_one_keeps_its_mark(tmp_path: Path) -> None:
    planned = plan(
        tmp_path,
        ["customer_id", "first_name", "last_name"],
        [ANN, 2139.5, ""],
        [ANN, "", "Lee"],
        settings=('input.duplicates="last"',),
    )
    assert planned.bodies == {}
    assert "turned into a number" in planned.reason(2)


def test_failures_that_are_fed_back_uncorrected_stay_failures(tmp_path: Path) -> None:
    def damage(_: Any, sheet: Any) -> None:
        sheet["C3"].data_type = "e"

    rows: list[list[Any]] = [
        ["customer_id", "first_name", "last_name"],
        [ANN, 2139.5, "Lee"],
        [BEN, "Ben", "#N/A"],
        [CAM, dt.date(1980, 1, 31), "00123\n=1+1"],
        [DEE, "Dee", "Ray"],
    ]
    planned = plan(tmp_path, *rows, change=damage)
    assert planned.states == {1: State.INVALID, 2: State.INVALID, 3: State.INVALID, 4: State.PENDING}
    with SqliteLedger.open(tmp_path / "plan" / "ledger.db", job="moves") as ledger:
        run = replace(ledger.run(planned.run.id), input_path="input.xlsx")
        write_failures_sheet(ledger, run, tmp_path)
        header, *cells = [failure_columns(run), *(failure_cells(row, run) for row in ledger.rows(run.id))]
    write_csv(tmp_path / "input.csv", ",".join(map(str, header)), *(_csv(line) for line in cells))
    again_dir = tmp_path / "again"
    again_dir.mkdir()
    from_sheet = plan_of(make_job(again_dir, f'input.path="{tmp_path / "failures.xlsx"}"'), again_dir)
    other_dir = tmp_path / "csv"
    other_dir.mkdir()
    from_csv = plan_of(make_job(other_dir, f'input.path="{tmp_path / "input.csv"}"'), other_dir)
    for again in (from_sheet, from_csv):
        assert again.states == planned.states
        assert again.bodies == planned.bodies
        assert "first_name is what a spreadsheet writes for a fault" in again.reason(1)


def _csv(cells: list[Any]) -> str:
    return ",".join('"' + str(cell).replace('"', '""') + '"' for cell in cells)
