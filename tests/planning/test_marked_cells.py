"""What a workbook made of single cells decides what becomes of their rows."""

import datetime as dt
from pathlib import Path
from typing import Any

from bulk_patch.model import State
from bulk_patch.reports.rows import merge_rows
from tests.support.job_files import ANN, BEN, CAM, DEE, make_job, plan_of
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
