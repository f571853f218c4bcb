"""[input.convert] is applied before the comparison, shown in the plan, and sealed with it."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from bulk_patch.cli.screens import plan_screen
from bulk_patch.errors import InputError, JobError
from bulk_patch.ledgers.records import PlanSummary
from bulk_patch.model import State
from tests.support.job_files import ANN, BEN, CAM, DEE, Planned, make_job, plan_of, write_csv
from tests.support.workbooks import write_xlsx

RULES = {
    "customer_id": "uuid",
    "DOB": "date:M/D/YYYY",
    "Phone": "phone:US",
    "first_name": "trim",
}
RENAME = {"DOB": "dob", "Phone": "phone_number"}


def settings(rules: dict[str, str] = RULES, rename: dict[str, str] = RENAME) -> list[str]:
    return [
        *(f"input.convert.{column}={json.dumps(rule)}" for column, rule in rules.items()),
        *(f"input.rename.{column}={json.dumps(field)}" for column, field in rename.items()),
    ]


def plan(folder: Path, *lines: str, more: tuple[str, ...] = ()) -> Planned:
    write_csv(folder / "input.csv", "customer_id,DOB,Phone,first_name", *lines)
    return plan_of(make_job(folder, *settings(), *more), folder, frame_rows=2)


def test_cells_are_converted_before_they_are_compared_and_kept_as_read(tmp_path: Path) -> None:
    planned = plan(
        tmp_path,
        f"{{{ANN.upper()}}},1/31/1980,617-555-0000, Ann ",
        f"{BEN},13/1/1980,(617) 555 0001,Ben",
        f"{CAM},,,Cam",
        f"{DEE},1980-01-31,+16175550142,",
        "17,1/1/1980,,Eve",
    )
    assert planned.bodies == {
        1: {"dob": "1980-01-31", "phone_number": "+16175550000", "first_name": "Ann"},
        3: {"first_name": "Cam"},
        4: {"dob": "1980-01-31", "phone_number": "+16175550142"},
    }
    assert planned.rows[1].customer_id == ANN
    assert json.loads(planned.rows[1].cells)[0] == f"{{{ANN.upper()}}}"
    assert planned.states[2] is State.INVALID
    assert planned.reason(2).startswith("dob is not a date M/D/YYYY (give a real date like that")
    assert planned.reason(5).startswith("id is not a UUID")


def test_the_plan_shows_what_was_converted_and_seals_it(tmp_path: Path) -> None:
    planned = plan(tmp_path, f"{ANN},1/31/1980,617-555-0000,x", f"{BEN},2/3/1980,junk,x", f"{CAM},2/4/1980,,x")
    shown = {one.column: (one.rows, one.failed, one.samples) for one in planned.run.summary.conversions}
    assert shown == {
        "customer_id": (0, 0, ()),
        "DOB": (3, 0, (("9/9/9999", "9999-99-99", 2), ("9/99/9999", "9999-99-99", 1))),
        "Phone": (1, 1, (("999-999-9999", "+99999999999", 1),)),
        "first_name": (0, 0, ()),
    }
    again = PlanSummary.from_json(json.loads(json.dumps(planned.run.summary.to_json())))
    assert again.conversions == planned.run.summary.conversions
    screen = plan_screen(planned.run, {State.PENDING: 2, State.INVALID: 1}, rate_per_s=20)
    assert "DOB  date:M/D/YYYY: 3 rows" in screen
    assert "Phone  phone:US: 1 row, 1 cannot be converted" in screen
    assert "2 × 9/9/9999 → 9999-99-99" in screen
    assert "1/31/1980" not in screen


def test_converted_ids_that_are_one_customer_repeat_each_other(tmp_path: Path) -> None:
    planned = plan(tmp_path, f"{{{ANN}}},,,Ann", f"{ANN.upper()},,,Ann", f"{BEN},,,Ben", f"{{{BEN}}},,,Bob")
    assert planned.states == {1: State.PENDING, 2: State.DUPLICATE, 3: State.INVALID, 4: State.INVALID}


def test_another_rule_is_another_plan(tmp_path: Path) -> None:
    write_csv(tmp_path / "input.csv", "customer_id,DOB", f"{ANN},1/2/1980")
    one = make_job(tmp_path, *settings({"DOB": "date:M/D/YYYY"}, {"DOB": "dob"}))
    other = make_job(tmp_path, *settings({"DOB": "date:D/M/YYYY"}, {"DOB": "dob"}))
    assert one.identity != other.identity


def test_a_rule_for_a_column_that_is_not_there_or_not_used_is_refused(tmp_path: Path) -> None:
    write_csv(tmp_path / "input.csv", "customer_id,first_name,note", f"{ANN},a,b")
    with pytest.raises(InputError, match="'First_name', which is not a column") as caught:
        plan_of(make_job(tmp_path, *settings({"First_name": "trim"}, {"note": ""})), tmp_path)
    assert "did you mean 'first_name'?" in caught.value.hint
    with pytest.raises(InputError, match="'note', which is not used"):
        plan_of(make_job(tmp_path, *settings({"note": "trim"}, {"note": ""})), tmp_path)
    with pytest.raises(JobError, match="century"):
        make_job(tmp_path, *settings({"first_name": "date:M/D/YY"}, {}))


def test_what_excel_made_of_a_cell_is_fine_where_a_rule_takes_it(tmp_path: Path) -> None:
    rows: list[list[Any]] = [
        ["customer_id", "DOB", "Phone", "first_name"],
        [ANN, dt.date(1980, 1, 31), 6175550000, "x"],
        [BEN, "1/31/1980", 6175550001, "x"],
    ]

    def format_phone(_: Any, sheet: Any) -> None:
        sheet["C3"].number_format = r"[<=9999999]###\-####;\(###\)\ ###\-####"

    file = write_xlsx(tmp_path / "input.xlsx", rows, change=format_phone)
    planned = plan_of(make_job(tmp_path, f'input.path="{file}"', *settings()), tmp_path)
    assert {row: body["dob"] for row, body in planned.bodies.items()} == {1: "1980-01-31", 2: "1980-01-31"}
    assert {row: body["phone_number"] for row, body in planned.bodies.items()} == {1: "+16175550000", 2: "+16175550001"}
