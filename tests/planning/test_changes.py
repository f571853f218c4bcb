"""From a changed row to its bytes: whole objects, before-images, types, clears; never a null."""

import json
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_patch.baselines.snapshot import Snapshot
from bulk_patch.job.settings import InputSettings
from bulk_patch.model import encode_json
from bulk_patch.planning.changes import Change, are_unsent_notes, build_changes, encode_cells, frame_cells
from bulk_patch.planning.diff import Wanted, compare, prepare
from bulk_patch.planning.problems import Problem
from bulk_patch.targets.synctera.target import Synctera
from tests.planning.test_diff import CLEAR, COUNTRY, FLAT, STREET, ZIP, snapshot, table, want
from tests.support.job_files import ANN, make_customer, make_target

TARGET, PERSONS = make_target(), make_target("persons")
HOME = {
    "address_line_1": "1 Main St",
    "address_line_2": "Apt 4",
    "city": "Austin",
    "state": "TX",
    "postal_code": "78701",
    "country_code": "US",
}
CITY = "legal_address.city"
AGENT = "legal_address.is_registered_agent"
LOAN_TYPE = "vendor_info.vendor_type"
LOAN = "vendor_info.vendor_data.loanpro.customer_id"


def live(record: Mapping[str, Any], target: Synctera = TARGET) -> Snapshot:
    """Return the snapshot of one customer as the API answers it."""
    return snapshot(target.evidence.flatten({"id": ANN, **record}))


def on_file(cells: Mapping[str, str | None]) -> Snapshot:
    """Return the snapshot of one customer as an export has it."""
    return snapshot(cells, complete=False, authoritative=False)


def build_one(wanted: Wanted, there: Snapshot | None, target: Synctera = TARGET) -> Change | Problem:
    (built,) = build_changes(compare(wanted, there, target), wanted, there, target)
    if isinstance(built, Change):
        return built
    assert built[0] == 1
    return built[1]


def change(row: Mapping[str, str], there: Snapshot | None, target: Synctera = TARGET, **settings: Any) -> Change:
    built = build_one(want(row, target=target, **settings), there, target)
    assert isinstance(built, Change), built
    return built


def problem(row: Mapping[str, str], there: Snapshot | None, **settings: Any) -> str:
    built = build_one(want(row, **settings), there)
    assert isinstance(built, Problem), built
    return f"{built.field} {built.reason} ({built.hint})"


def body(built: Change) -> Any:
    return json.loads(built.body)


def before(built: Change) -> Any:
    return None if built.before is None else json.loads(built.before)


# --- plain fields


def test_only_what_changes_is_sent_and_the_before_image_holds_the_same_fields() -> None:
    built = change(
        {"email": "new@b.co", "last_name": "Lee", "dob": ""}, live({"email": "old@b.co", "last_name": "Lee"})
    )
    assert (body(built), before(built)) == ({"email": "new@b.co"}, {"email": "old@b.co"})
    assert (built.row, built.customer_id, built.fields) == (1, ANN, ("email",))
    assert (built.clears, built.completed) == ((), False)


def test_the_same_bytes_come_of_the_same_change_whatever_the_order_of_columns() -> None:
    there = live({})
    one = change({"email": "a@b.co", "last_name": "Lee"}, there)
    other = change({"last_name": "Lee", "email": "a@b.co"}, there)
    assert one.body == other.body == b'{"email":"a@b.co","last_name":"Lee"}'


def test_text_is_sent_as_it_was_written_and_not_escaped() -> None:
    assert change({"last_name": 'Nguyễn "Q" \\ 李'}, None).body.decode() == '{"last_name":"Nguyễn \\"Q\\" \\\\ 李"}'


def test_what_is_not_known_is_missing_from_the_before_image_and_what_is_absent_is_null() -> None:
    assert before(change({"email": "a@b.co"}, None)) is None
    assert before(change({"email": "a@b.co"}, live({}))) == {"email": None}
    assert before(change({"email": "a@b.co"}, on_file({"last_name": "Lee"}))) is None
    assert before(change({"email": "a@b.co", "dob": "1980-02-29"}, on_file({"email": "x@b.co"}))) == {"email": "x@b.co"}


def test_an_empty_cell_of_an_export_is_absent() -> None:
    assert before(change({"email": "a@b.co"}, on_file({"email": ""}))) == {"email": None}


def test_a_customer_that_an_export_does_not_have_is_not_known() -> None:
    built = change(
        {"id": ANN, "email": "a@b.co"}, snapshot({"id": "x", "email": "x@b.co"}, complete=False, authoritative=False)
    )
    assert (body(built), before(built)) == ({"email": "a@b.co"}, None)


def test_a_plain_field_is_cleared_by_an_empty_text() -> None:
    built = change({"email": CLEAR}, live({"email": "old@b.co"}), may_clear=("email",))
    assert built.body == b'{"email":""}'
    assert (before(built), built.clears) == ({"email": "old@b.co"}, ("email",))


# --- masked and write-only fields


def test_a_masked_ssn_is_sent_whole_and_its_before_image_is_what_the_api_shows() -> None:
    built = change({"ssn": "773-11-1234"}, live({"ssn": "1234"}))
    assert (body(built), before(built)) == ({"ssn": "773-11-1234"}, {"ssn": "1234"})
    assert built.moves == (("ssn", "•••1234", "•••1234"),)


def test_a_note_has_no_before_image() -> None:
    built = change({"note": "moved"}, live({}))
    assert (body(built), before(built)) == ({"note": "moved"}, None)
    assert built.moves == (("note", None, "•••"),)
    assert are_unsent_notes(built.fields, TARGET)


def test_a_note_beside_another_change_is_more_than_a_note() -> None:
    built = change({"note": "moved", "email": "a@b.co"}, live({"email": "x@b.co"}))
    assert (body(built), before(built)) == ({"note": "moved", "email": "a@b.co"}, {"email": "x@b.co"})
    assert not are_unsent_notes(built.fields, TARGET)


def test_a_ban_without_a_note_is_refused_and_the_row_says_what_it_lacks() -> None:
    assert problem({"email": "new@b.co", "ban_status": "SUSPENDED"}, live({})) == (
        "row is not complete (ban_status changes only with a note: add a note column)"
    )
    assert "note" in problem({"ban_status": "SUSPENDED", "note": ""}, live({"ban_status": "ALLOWED"}))


def test_a_ban_with_a_note_is_sent_with_it() -> None:
    built = change({"ban_status": "SUSPENDED", "note": "chargebacks"}, live({"ban_status": "ALLOWED"}))
    assert body(built) == {"ban_status": "SUSPENDED", "note": "chargebacks"}
    assert before(built) == {"ban_status": "ALLOWED"}


def test_a_ban_that_holds_already_needs_no_note() -> None:
    assert body(change({"ban_status": "ALLOWED", "email": "a@b.co"}, live({"ban_status": "ALLOWED"}))) == {
        "email": "a@b.co"
    }


# --- types


def test_a_boolean_is_typed_in_body_and_before_image() -> None:
    built = change({"is_customer": "false"}, live({"is_customer": True}, PERSONS), PERSONS)
    assert (built.body, built.before) == (b'{"is_customer":false}', b'{"is_customer":true}')


def test_a_whole_number_is_typed_deep_in_its_object() -> None:
    built = change({LOAN_TYPE: "LOANPRO", LOAN: "12"}, live({}))
    assert body(built) == {"vendor_info": {"vendor_type": "LOANPRO", "vendor_data": {"loanpro": {"customer_id": 12}}}}
    assert before(built) == {"vendor_info": None}


def test_a_part_deep_in_an_object_leaves_its_neighbours_alone() -> None:
    there = {"vendor_type": "LOANPRO", "vendor_data": {"loanpro": {"customer_id": 12, "extra": [1]}, "other": {}}}
    built = change({LOAN: "13"}, live({"vendor_info": there}))
    assert body(built)["vendor_info"]["vendor_data"] == {"loanpro": {"customer_id": 13, "extra": [1]}, "other": {}}
    assert before(built) == {"vendor_info": there}
    assert built.fields == (LOAN,)


@pytest.mark.parametrize(("cell", "typed"), [("true", True), ("True", True), ("FALSE", False), ("yes", "yes")])
def test_a_boolean_of_an_export_is_read_in_the_spellings_of_other_programs(cell: str, typed: object) -> None:
    built = change({CITY: "Dallas"}, on_file({STREET: "1 Main St", COUNTRY: "US", CITY: "Austin", AGENT: cell}))
    known = {"address_line_1": "1 Main St", "country_code": "US", "city": "Austin", "is_registered_agent": typed}
    assert built.before == encode_json({"legal_address": known})
    assert built.body == encode_json({"legal_address": {**known, "city": "Dallas"}})


def test_a_number_of_an_export_that_is_none_stays_text_and_breaks_nothing() -> None:
    built = change({LOAN: "13"}, on_file({LOAN_TYPE: "LOANPRO", LOAN: "12.0"}))
    assert before(built)["vendor_info"]["vendor_data"]["loanpro"]["customer_id"] == "12.0"
    assert body(built)["vendor_info"]["vendor_data"]["loanpro"]["customer_id"] == 13


# --- whole objects


def test_an_address_is_completed_from_the_live_customer_without_its_read_only_parts() -> None:
    record = {"legal_address": {**HOME, "nickname": "Home", "id": "made up", "address_type": "LEGAL"}}
    built = change({CITY: "Dallas"}, live(record))
    assert body(built) == {"legal_address": {**HOME, "nickname": "Home", "city": "Dallas"}}
    assert before(built) == {"legal_address": {**HOME, "nickname": "Home"}}
    assert built.completed
    assert built.fields == (CITY,)
    assert built.moves == ((CITY, "A•••", "D•••"),)


def test_an_address_is_completed_from_an_export() -> None:
    cells = {f"legal_address.{part}": text for part, text in HOME.items()}
    built = change({ZIP: "78702"}, on_file({**cells, FLAT: ""}))
    expected = {part: text for part, text in HOME.items() if part != "address_line_2"}
    assert body(built) == {"legal_address": {**expected, "postal_code": "78702"}}
    assert before(built) == {"legal_address": expected}
    assert built.completed


def test_an_address_given_whole_is_not_completed() -> None:
    row = {f"legal_address.{part}": text for part, text in HOME.items()}
    for there in (None, live({"legal_address": {**HOME, "city": "Dallas"}}), on_file({"email": "a@b.co"})):
        built = change(row, there)
        assert body(built) == {"legal_address": HOME}
        assert not built.completed


def test_parts_that_stay_are_sent_with_the_one_that_changes_but_not_named() -> None:
    built = change({STREET: "1 Main St", CITY: "Dallas"}, live({"legal_address": HOME}))
    assert built.fields == (CITY,)
    assert body(built) == {"legal_address": {**HOME, "city": "Dallas"}}


def test_the_other_address_is_left_alone() -> None:
    built = change({CITY: "Dallas"}, live({"legal_address": HOME, "shipping_address": {**HOME, "city": "Waco"}}))
    assert list(body(built)) == ["legal_address"]


def test_a_part_is_cleared_by_leaving_it_out() -> None:
    built = change({FLAT: CLEAR}, live({"legal_address": HOME}), may_clear=(FLAT,))
    assert body(built) == {"legal_address": {part: text for part, text in HOME.items() if part != "address_line_2"}}
    assert built.clears == (FLAT,)
    assert built.moves == ((FLAT, "A•••", ""),)


@pytest.mark.parametrize(
    ("there", "hint"),
    [
        (None, "or use a live baseline"),
        (on_file({"email": "a@b.co"}), "or use a live baseline"),
        (live({}), "the customer has no legal_address yet"),
        (on_file({STREET: "", COUNTRY: ""}), "the customer has no legal_address yet"),
    ],
)
def test_a_part_that_cannot_be_completed_is_invalid_and_the_hint_says_what_to_give(
    there: Snapshot | None, hint: str
) -> None:
    words = problem({CITY: "Dallas"}, there)
    assert words.startswith("legal_address lacks address_line_1, country_code (")
    assert hint in words
    assert "legal_address.address_line_1 and legal_address.country_code" in words


def test_a_first_address_needs_only_what_the_api_requires() -> None:
    built = change({STREET: "1 Main St", COUNTRY: "US"}, live({}))
    assert (body(built), before(built)) == (
        {"legal_address": {"address_line_1": "1 Main St", "country_code": "US"}},
        {"legal_address": None},
    )


def test_the_before_image_is_not_touched_by_making_the_body() -> None:
    record = {"vendor_info": {"vendor_type": "LOANPRO", "vendor_data": {"loanpro": {"customer_id": 1}}}}
    built = change({LOAN: "2"}, live(record))
    assert before(built) == record


def test_no_null_of_an_answer_gets_into_a_body() -> None:
    record = {"legal_address": {**HOME, "address_line_2": None}, "metadata": {"tier": None, "branch": "7"}}
    built = change({CITY: "Dallas", "metadata.tag": "x"}, live(record))
    assert b"null" not in built.body
    assert body(built)["metadata"] == {"branch": "7", "tag": "x"}


# --- metadata


def test_a_key_of_metadata_changes_and_all_others_stay_as_they_are() -> None:
    metadata = {"tier": "gold", "score": 5, "open": True, "nested": {"a": [1]}, "a.b": "dotted"}
    built = change({"metadata.tier": "silver"}, live({"metadata": metadata}))
    assert body(built) == {"metadata": {**metadata, "tier": "silver"}}
    assert before(built) == {"metadata": metadata}
    assert built.fields == ("metadata.tier",)


def test_a_key_of_metadata_may_hold_dots() -> None:
    built = change({"metadata.a.b": "new"}, live({"metadata": {"a.b": "old", "a": {"b": "another"}}}))
    assert body(built) == {"metadata": {"a.b": "new", "a": {"b": "another"}}}
    assert built.moves == (("metadata.a.b", "•••", "•••"),)


def test_a_number_in_metadata_is_compared_by_its_digits() -> None:
    wanted = want({"metadata.score": "5", "metadata.share": "0.5", "metadata.open": "true"})
    there = live({"metadata": {"score": 5, "share": 0.5, "open": True}})
    assert compare(wanted, there, TARGET).unchanged == 1


def test_a_key_of_metadata_is_cleared_by_leaving_it_out() -> None:
    built = change(
        {"metadata.tier": CLEAR}, live({"metadata": {"tier": "gold", "a": "b"}}), may_clear=("metadata.tier",)
    )
    assert body(built) == {"metadata": {"a": "b"}}


@pytest.mark.parametrize("there", [None, on_file({"email": "a@b.co"})])
def test_metadata_that_nobody_knows_is_not_overwritten_with_one_key(there: Snapshot | None) -> None:
    words = problem({"metadata.tier": "gold"}, there)
    assert words.startswith("metadata is not known (")
    assert "use a live baseline" in words


def test_metadata_of_an_export_may_have_more_keys_so_the_row_is_read_again() -> None:
    assert change({"metadata.tier": "silver"}, on_file({"metadata.tier": "gold"})).completed


def test_metadata_that_the_customer_has_none_of_is_begun() -> None:
    built = change({"metadata.tier": "gold"}, live({"email": "a@b.co"}))
    assert (body(built), before(built)) == ({"metadata": {"tier": "gold"}}, {"metadata": None})


# --- what a person sees


def test_moves_show_masked_values_and_tell_absent_from_unknown() -> None:
    row = {"last_name": "Smith", "phone_number": "+12065550143", "legal_address.state": "TX"}
    assert change(row, live({"last_name": "Lee", "legal_address": {**HOME, "state": "CA"}})).moves == (
        ("last_name", "L•••", "S•••"),
        ("phone_number", "", "•••43"),
        ("legal_address.state", "CA", "TX"),
    )
    assert change({"last_name": "Smith"}, None).moves == (("last_name", None, "S•••"),)


def test_watched_fields_are_kept_in_the_before_image_and_not_in_the_body() -> None:
    wanted, there = want({"email": "a@b.co"}), live({"email": "x@b.co", "kyc_status": "ACCEPTED"})
    (built,) = build_changes(
        compare(wanted, there, TARGET), wanted, there, TARGET, watch={"kyc_status": [], "absent": []}
    )
    assert isinstance(built, Change)
    assert (body(built), before(built)) == ({"email": "a@b.co"}, {"email": "x@b.co", "kyc_status": "ACCEPTED"})


# --- bytes


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_json_cannot_say_is_never_encoded(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_json({"score": number})


def test_cells_are_kept_as_they_were_read_with_null_for_a_missing_one() -> None:
    frame = table([{"id": ANN, "a": 'é\n"', "b": None}, {"id": "", "a": " ", "b": "NULL"}], first=7)
    assert [(row, json.loads(cells)) for row, cells in frame_cells(frame)] == [
        (7, [ANN, 'é\n"', None]),
        (8, ["", " ", "NULL"]),
    ]


#: What is no text in UTF-8 is in no file that is read.
TEXT_OR_NOT = st.none() | st.text(st.characters(codec="utf-8"))


@given(st.lists(st.tuples(TEXT_OR_NOT, TEXT_OR_NOT), max_size=5))
def test_the_cells_of_a_frame_are_encoded_as_those_of_one_row(rows: list[tuple[str | None, str | None]]) -> None:
    frame = pd.DataFrame(rows, columns=["one", "two"], dtype="str", index=pd.RangeIndex(1, len(rows) + 1))
    expected = [(row, encode_cells(cells)) for row, cells in enumerate(rows, 1)]
    assert list(frame_cells(frame)) == expected


# --- many rows


def build_all(rows: list[dict[str, str | None]], there: Snapshot | None, **settings: Any) -> list[Any]:
    """Return what becomes of rows, each of another customer."""
    frame = table([{"id": make_customer(number)} | row for number, row in enumerate(rows)])
    wanted = prepare(
        frame,
        id_column="id",
        fields={name: name for name in frame.columns.tolist() if name != "id"},
        settings=InputSettings.model_validate({"path": "in.csv", "id": "id"}),
        target=TARGET,
    )
    return list(build_changes(compare(wanted, there, TARGET), wanted, there, TARGET, **settings))


def test_each_row_gets_its_own_before_image_whether_its_customer_is_unknown_or_a_watched_text_is_empty() -> None:
    texts = [None, "", "Ann"]
    held = [{"id": make_customer(n), "email": None, "first_name": texts[n % 3]} for n in range(12) if n < 9]
    there = Snapshot(table(held).set_index("id"), complete=False, authoritative=False)
    built = build_all([{"email": f"new{number}@b.co"} for number in range(12)], there, watch=("first_name",))
    of_known = [b'{"email":null}', b'{"email":null,"first_name":""}', b'{"email":null,"first_name":"Ann"}']
    assert [made.before for made in built] == [*of_known * 3, None, None, None]


def test_rows_keep_their_order_their_numbers_and_their_texts() -> None:
    #: Texts that mean something in JSON or in a format string.
    texts = ["Ann", 'a"b\\c', "%s %(x)d %%", "{0}", "\ue000w1\ue000", "null", "1"]
    built = build_all(
        [{"last_name": text, "email": f"new{n}@b.co" if n % 2 else ""} for n, text in enumerate(texts)], None
    )
    assert [made.row for made in built] == list(range(1, len(texts) + 1))
    assert [made.customer_id for made in built] == [make_customer(number) for number in range(len(texts))]
    assert [body(made)["last_name"] for made in built] == texts
    assert [made.fields for made in built] == [("last_name", "email")[: 1 + n % 2] for n in range(len(texts))]


def test_rules_that_tie_fields_together_are_asked_once_for_all_rows_in_which_the_same_fields_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def needs(names: Collection[str]) -> str:
        asked.append(names)
        return ""

    monkeypatch.setattr(TARGET, "needs", needs)
    assert len(build_all([{"email": f"new{row}@b.co"} for row in range(100)], None)) == 100
    assert asked == [("email",)]


def test_a_cleared_part_and_one_that_was_never_there_leave_the_others_of_the_object_alone() -> None:
    there = live({"legal_address": {part: text for part, text in HOME.items() if part != "address_line_2"}})
    built = change({CITY: "Dallas", FLAT: CLEAR}, there, may_clear=(FLAT,))
    assert "address_line_2" not in body(built)["legal_address"]
    assert body(built)["legal_address"]["city"] == "Dallas"
