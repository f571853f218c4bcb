"""From an input file to a sealed plan: every row is accounted for, whatever the input, and nothing is sent."""

import json
from pathlib import Path

import pytest

from bulk_patch.errors import Exit, JobError
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import State
from bulk_patch.planning.build import scan_input
from tests.support.job_files import (
    ANN,
    BEN,
    CAM,
    Planned,
    count_rows,
    make_customer,
    make_job,
    make_target,
    plan_of,
    plan_offline,
    write_csv,
    write_parquet,
)

HOME = {"address_line_1": "1 Main St", "city": "Austin", "state": "TX", "postal_code": "78701", "country_code": "US"}


def plan_rows(
    folder: Path, header: str, *lines: str, settings: tuple[str, ...] = (), frame_rows: int = 50_000
) -> Planned:
    write_csv(folder / "input.csv", f"customer_id,{header}", *lines)
    return plan_of(make_job(folder, *settings), folder, frame_rows=frame_rows)


# --- every row is accounted for


@pytest.mark.parametrize("frame_rows", [1, 2, 3, 7, 1000])
def test_the_plan_does_not_depend_on_where_frames_end(tmp_path: Path, frame_rows: int) -> None:
    lines = [
        *(f"{make_customer(row)},a{row}@b.co" for row in range(9)),
        f"{make_customer(3).upper()},a3@b.co",  # the same change, far from the first
        f"{make_customer(4)},other@b.co",  # disagrees with a row far from it
        f"{make_customer(20)},nowhere",
        f"{make_customer(20).upper()},nowhere",  # repeats an invalid one
        f"{make_customer(21)},",  # asks for nothing
        "17,a@b.co",
    ]
    planned = plan_rows(tmp_path, "email", *lines, frame_rows=frame_rows)
    invalid = dict.fromkeys((5, 11, 12, 13, 15), State.INVALID)
    pending = dict.fromkeys((1, 2, 3, 4, 6, 7, 8, 9), State.PENDING)
    assert planned.states == {**pending, **invalid, 10: State.DUPLICATE}
    assert planned.run.unchanged == 1
    assert count_rows(planned) == planned.run.input_rows == len(lines)
    assert list(planned.rows) == sorted(planned.rows)


def test_rows_keep_their_cells_as_they_were_read(tmp_path: Path) -> None:
    planned = plan_rows(tmp_path, "email,last_name", f'{ANN.upper()},a@b.co,"Lee, ""A"""', "17,,NULL")
    assert planned.run.columns == ("customer_id", "email", "last_name")
    assert [json.loads(row.cells) for row in planned.rows.values()] == [
        [ANN.upper(), "a@b.co", 'Lee, "A"'],
        ["17", "", "NULL"],
    ]
    assert planned.rows[1].customer_id == ANN


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    planned = plan_rows(tmp_path, "email", "", f"{ANN},a@b.co", "", f"{BEN},nowhere", "")
    assert planned.states == {1: State.PENDING, 2: State.INVALID}
    assert planned.run.input_rows == 2


def test_a_header_and_no_rows_is_a_plan_with_a_warning(tmp_path: Path) -> None:
    planned = plan_rows(tmp_path, "email")
    assert (planned.rows, planned.run.input_rows) == ({}, 0)
    assert planned.run.summary.to_json()["warnings"] == ["the input has a header and no rows"]


def test_a_null_of_parquet_is_no_change_and_never_a_null_in_a_body(tmp_path: Path) -> None:
    columns = {"customer_id": [ANN, BEN, None], "email": ["a@b.co", None, "x@b.co"], "last_name": [None, None, None]}
    path = write_parquet(tmp_path / "input.parquet", columns)
    planned = plan_of(make_job(tmp_path, f"input.path={path}"), tmp_path)
    assert planned.bodies == {1: {"email": "a@b.co"}}
    assert planned.states == {1: State.PENDING, 3: State.INVALID}
    assert planned.run.unchanged == 1
    assert json.loads(planned.rows[1].cells) == [ANN, "a@b.co", None]


# --- invalid rows


def test_an_invalid_row_names_fields_rules_and_how_to_mend_it_but_no_value(tmp_path: Path) -> None:
    planned = plan_rows(tmp_path, "email,dob", f"{ANN},secret,yesterday")
    row = planned.rows[1]
    assert row.reason == "email breaks its rule; dob breaks its rule"
    assert row.hint == (
        "must be an address such as name@example.com; must be a real date YYYY-MM-DD, not before 1900 and before today"
    )
    assert row.fields == ("email", "dob")
    assert (row.body, row.before) == (None, None)


def test_a_bad_row_twice_is_twice_invalid_since_nobody_carries_its_change(tmp_path: Path) -> None:
    planned = plan_rows(tmp_path, "email", f"{ANN},nowhere", f"{ANN},nowhere", frame_rows=1)
    assert planned.states == {1: State.INVALID, 2: State.INVALID}
    assert planned.rows[2].reason == "email breaks its rule"


def test_ids_that_are_none_are_not_rows_of_one_customer(tmp_path: Path) -> None:
    planned = plan_rows(
        tmp_path,
        "email",
        f"{ANN},a@b.co",
        "17,a@b.co",
        "17,a@b.co",
        ",x@b.co",
        ",x@b.co",
        settings=("input.duplicates=last",),
    )
    assert planned.states == {1: State.PENDING, **dict.fromkeys((2, 3, 4, 5), State.INVALID)}
    assert {planned.rows[row].reason for row in (2, 3)} == {"id is not a UUID"}
    assert {planned.rows[row].reason for row in (4, 5)} == {"id is missing"}


def test_the_same_id_in_upper_and_lower_case_is_one_customer(tmp_path: Path) -> None:
    planned = plan_rows(
        tmp_path, "email", f"{ANN},a@b.co", f"{ANN.upper()},a@b.co", f"{BEN.upper()},b@b.co", f"{BEN},x@b.co"
    )
    assert planned.states == {1: State.PENDING, 2: State.DUPLICATE, 3: State.INVALID, 4: State.INVALID}
    assert planned.rows[2].reason == "the same change as row 1"
    assert planned.rows[3].reason == "row disagrees with row 4 of the same id"


@pytest.mark.parametrize("frame_rows", [1, 50_000])
def test_the_last_of_several_rows_overrules_even_when_it_is_invalid(tmp_path: Path, frame_rows: int) -> None:
    planned = plan_rows(
        tmp_path,
        "email",
        *(f"{ANN},a@b.co", f"{ANN},nowhere", f"{BEN},nowhere", f"{BEN},b@b.co", f"{CAM},c@b.co", f"{CAM},"),
        settings=("input.duplicates=last",),
        frame_rows=frame_rows,
    )
    assert planned.states == {
        1: State.DUPLICATE,
        2: State.INVALID,
        3: State.DUPLICATE,
        4: State.PENDING,
        5: State.DUPLICATE,
        6: State.PENDING,
    }
    assert planned.bodies == {4: {"email": "b@b.co"}, 6: {"email": "c@b.co"}}  # the last row of Cam takes nothing back


@pytest.mark.parametrize("frame_rows", [1, 2, 50_000])
def test_a_later_row_overrides_field_by_field_and_loses_nothing_that_an_earlier_one_alone_gives(
    tmp_path: Path, frame_rows: int
) -> None:
    planned = plan_rows(
        tmp_path,
        "email,first_name,dob",
        *(f"{ANN},a@b.co,Ann,", f"{BEN},b@b.co,,", f"{ANN},,Anna,", f"{ANN},,,1980-02-29", f"{BEN},,Ben,1880-01-01"),
        settings=("input.duplicates=last",),
        frame_rows=frame_rows,
    )
    assert planned.states == {
        **dict.fromkeys((1, 2, 3), State.DUPLICATE),
        4: State.PENDING,
        5: State.INVALID,
    }
    assert planned.bodies == {4: {"email": "a@b.co", "first_name": "Anna", "dob": "1980-02-29"}}
    assert {row: planned.rows[row].reason for row in (1, 3)} == dict.fromkeys((1, 3), "its changes are sent with row 4")
    assert json.loads(planned.rows[5].cells) == [BEN, "b@b.co", "Ben", "1880-01-01"]  # all that is to be fed back
    (warning,) = planned.run.summary.warnings
    assert warning.startswith("3 rows of ids that occur again")
    assert "3 of them also give" in warning


def test_a_row_that_is_overridden_in_all_fields_is_counted_apart(tmp_path: Path) -> None:
    planned = plan_rows(
        tmp_path, "email", f"{ANN},a@b.co", f"{ANN},​odd", f"{ANN},c@b.co", settings=("input.duplicates=last",)
    )
    assert planned.states == {1: State.DUPLICATE, 2: State.DUPLICATE, 3: State.PENDING}
    (warning,) = planned.run.summary.warnings
    assert warning.startswith("2 rows of ids that occur again")
    assert "0 of them also give" in warning


def test_a_row_that_disagrees_and_breaks_a_rule_says_both(tmp_path: Path) -> None:
    planned = plan_rows(tmp_path, "email", f"{ANN},nowhere", f"{ANN},a@b.co")
    assert planned.rows[1].reason == "row disagrees with row 2 of the same id; email breaks its rule"
    assert planned.rows[2].reason == "row disagrees with row 1 of the same id"


# --- what a job may change


@pytest.mark.parametrize(
    ("allowed", "beyond"),
    [
        (["email"], "legal_address.city"),
        (["legal_address"], "email"),
        (["legal_address.city"], "email"),
        ([], "email, legal_address.city"),
        (["email", "legal_address"], ""),
        (["email", "legal_address.city"], ""),
        (["email", "legal"], "legal_address.city"),
    ],
)
def test_only_guarded_fields_may_be_in_the_input(tmp_path: Path, allowed: list[str], beyond: str) -> None:
    write_csv(tmp_path / "input.csv", "customer_id,email,legal_address.city", f"{ANN},a@b.co,Austin")
    job = make_job(tmp_path, f"guards.fields={json.dumps(allowed)}")
    if not beyond:
        assert scan_input(job, make_target()).rows == 1
        return
    with pytest.raises(JobError, match=f"input.csv would change {beyond}, which") as caught:
        scan_input(job, make_target())
    assert caught.value.exit_code is Exit.USAGE


def test_a_column_that_is_ignored_or_renamed_is_judged_by_what_it_fills(tmp_path: Path) -> None:
    write_csv(tmp_path / "input.csv", "customer_id,mail,remark", f"{ANN},a@b.co,x")
    settings = ('guards.fields=["email"]', 'input.rename={mail = "email", remark = ""}')
    assert scan_input(make_job(tmp_path, *settings), make_target()).fields == {"mail": "email"}


@pytest.mark.parametrize("name", ["emial", "legal_address", "kyc_status", "metadata"])
def test_a_field_to_clear_that_does_not_exist_is_a_fault_of_the_job(tmp_path: Path, name: str) -> None:
    write_csv(tmp_path / "input.csv", "customer_id,email", f"{ANN},a@b.co")
    with pytest.raises(JobError, match=f"input.may_clear: {name} is not a field"):
        scan_input(make_job(tmp_path, f'input.may_clear=["{name}"]'), make_target())


# --- the seal


def test_the_same_plan_has_the_same_hash_and_any_other_has_another(tmp_path: Path) -> None:
    write_csv(tmp_path / "one.csv", "id,email", f"{ANN},x@b.co")
    write_csv(tmp_path / "two.csv", "id,email", f"{ANN},y@b.co")

    def against(name: str) -> tuple[str, ...]:
        return ("baseline.kind=file", f"baseline.path={tmp_path / name}")

    # The hash of the input is the same for all, else it alone would tell them apart.
    def hash_of(name: str, header: str, line: str, settings: tuple[str, ...] = against("one.csv")) -> str:
        folder = tmp_path / name
        folder.mkdir()
        write_csv(folder / "input.csv", f"customer_id,{header}", line)
        with SqliteLedger.open(folder / "ledger.db", job="moves", draw_salts=bytes) as ledger:
            return plan_offline(make_job(folder, *settings), ledger, input_sha256="0" * 64).run.plan_sha256

    plan = hash_of("plan", "email", f"{ANN},a@b.co")
    assert hash_of("again", "email", f"{ANN},a@b.co") == plan
    others = {
        hash_of("body", "email", f"{ANN},a@b.cp"),
        hash_of("customer", "email", f"{BEN},a@b.co"),
        hash_of("before", "email", f"{ANN},a@b.co", against("two.csv")),
        hash_of("field", "last_name", f"{ANN},a@b.co"),
    }
    assert len(others | {plan}) == 5


def test_a_plan_says_what_a_person_decides_by_and_shows_no_value(tmp_path: Path) -> None:
    planned = plan_rows(
        tmp_path,
        "last_name,legal_address.state",
        *(f"{make_customer(row)},Smith{row}," for row in range(5)),
        "17,Lee,",
        f"{ANN},,ZZZZ",
    )
    details = planned.run.summary.to_json()
    assert details["changes"] == 4  # Ann, the first of them, disagrees with herself
    assert details["fields"] == {"last_name": 4}
    assert details["transitions"] == {"last_name": [["?", "S•••", 4]]}
    assert [sample["row"] for sample in details["samples"]] == [2, 3, 4]
    assert sum(count for _, count in details["invalid"]) == 4
    assert details["reads"] == 0
    assert "Smith" not in json.dumps(details)


def test_absent_values_and_clears_are_told_in_the_summary_and_warned_of(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "all.csv", "id,email,phone_number", f"{ANN},a@b.co,", f"{BEN},b@b.co,+12065550100")
    planned = plan_rows(
        tmp_path,
        "email,phone_number",
        f"{ANN},<CLEAR>,+12065550199",
        f"{BEN},<CLEAR>,<CLEAR>",
        settings=(
            *("baseline.kind=file", f"baseline.path={path}"),
            'input.may_clear=["email", "phone_number"]',
        ),
    )
    details = planned.run.summary.to_json()
    assert details["cleared"] == {"email": 2, "phone_number": 1}
    assert details["transitions"]["phone_number"] == [["(none)", "•••99", 1], ["•••00", "(cleared)", 1]]
    assert any("3 values would be cleared" in warning for warning in details["warnings"])


def test_an_object_completed_from_a_file_is_read_again_and_one_given_whole_is_not(tmp_path: Path) -> None:
    names = [f"legal_address.{part}" for part in HOME]
    path = write_csv(
        tmp_path / "all.csv",
        f"id,{','.join(names)}",
        *(f"{customer},{','.join(HOME.values())}" for customer in (ANN, BEN)),
    )
    whole = ",".join({**HOME, "city": "Waco"}.values())
    planned = plan_rows(
        tmp_path,
        ",".join(names),
        f"{ANN},,Dallas,,,",
        f"{BEN},{whole}",
        settings=("baseline.kind=file", f"baseline.path={path}"),
    )
    assert planned.run.summary.recheck == 1
    assert planned.bodies[1] == {"legal_address": {**HOME, "city": "Dallas"}}
    assert planned.bodies[2] == {"legal_address": {**HOME, "city": "Waco"}}


@pytest.mark.parametrize(
    ("past", "rows", "expected"),
    [
        ([2, 3, 2], 20, ["the input has 20 rows; the last runs had about 2"]),
        ([2, 3, 2], 19, []),
        ([2, 2], 40, []),  # what is usual is not known yet
        ([30, 30, 30], 1, []),
    ],
)
def test_ten_times_the_usual_number_of_rows_is_warned_of(
    tmp_path: Path, past: list[int], rows: int, expected: list[str]
) -> None:
    with SqliteLedger.open(tmp_path / "ledger.db", job="moves") as ledger:
        for number, count in enumerate([*past, rows]):
            lines = [f"{make_customer(row)},a{row}@b.co" for row in range(count)]
            write_csv(tmp_path / "input.csv", "customer_id,email", *lines)
            planned = plan_offline(make_job(tmp_path), ledger, run_id=f"20261122-15120{number}-4f2a")
    assert list(planned.run.summary.warnings) == expected


def test_what_is_no_id_is_shown_as_it_was_read(tmp_path: Path) -> None:
    planned = plan_rows(tmp_path, "email", f"{ANN.upper()},a@b.co", "ACME-17 ,a@b.co", "{ABC},x@b.co")
    assert {row: one.customer_id for row, one in planned.rows.items()} == {1: ANN, 2: "ACME-17 ", 3: "{ABC}"}
