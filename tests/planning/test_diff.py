"""What is wanted, what is wrong with it, what would change: rule by rule, and against an oracle row by row."""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bulk_patch.baselines.snapshot import Snapshot
from bulk_patch.inputs.columns import nfc
from bulk_patch.job.settings import InputSettings
from bulk_patch.model import State
from bulk_patch.planning.diff import Compared, Wanted, compare, prepare
from bulk_patch.planning.duplicates import Repeat, settle_repeats
from tests.support.job_files import ANN, BEN, CAM, make_target

TARGET = make_target()
CLEAR = "<CLEAR>"
STREET = "legal_address.address_line_1"
FLAT = "legal_address.address_line_2"
COUNTRY = "legal_address.country_code"
ZIP = "legal_address.postal_code"
COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "Renée"), unicodedata.normalize("NFD", "Renée")


def table(rows: Sequence[Mapping[str, str | None]], *, first: int = 1) -> pd.DataFrame:
    index = pd.RangeIndex(first, first + len(rows), name="row")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame([dict(row) for row in rows], index=index, columns=columns, dtype="str")


def want(*rows: Mapping[str, str | None], first: int = 1, target: Any = TARGET, **settings: Any) -> Wanted:
    frame = table([{"id": ANN} | dict(row) for row in rows], first=first)
    fields = {name: name for name in frame.columns.tolist() if name != "id"}
    input_settings = InputSettings(path=Path("in.csv"), id="id", **settings)
    return prepare(frame, id_column="id", fields=fields, settings=input_settings, target=target)


def snapshot(*customers: Mapping[str, str | None], complete: bool = True, authoritative: bool = True) -> Snapshot:
    frame = table([{"id": ANN} | dict(customer) for customer in customers]).set_index("id")
    return Snapshot(frame, complete=complete, authoritative=authoritative)


def complaints(found: Wanted | Compared) -> dict[int, list[str]]:
    return {
        row: [f"{problem.field} {problem.reason}" for problem in problems] for row, problems in found.problems.items()
    }


def changes(compared: Compared) -> dict[int, list[str]]:
    names, flags = list(compared.changed.columns), compared.changed.to_numpy().tolist()
    changed = ([name for name, flag in zip(names, row_flags, strict=True) if flag] for row_flags in flags)
    return dict(zip(compared.changed.index.tolist(), changed, strict=True))


# --- ids


def test_ids_are_compared_in_lower_case() -> None:
    wanted = want({"id": ANN.upper(), "email": "a@b.co"})
    assert wanted.ids.tolist() == [ANN]
    assert complaints(wanted) == {}


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        (None, "id is missing", "a UUID"),
        ("", "id is missing", "a UUID"),
        ("17", "id is not a UUID", "a UUID"),
        (f" {ANN}", "id is not a UUID", "a UUID"),
        (ANN.replace("-", ""), "id is not a UUID", "a UUID"),
        (f"{{{ANN}}}", "id is not a UUID", "a UUID"),
        ("../accounts", "id is not a UUID", "a UUID"),
        ("1.23E+35", "id is not a UUID", "spreadsheet"),
        ("7,5e+35", "id is not a UUID", "spreadsheet"),
        ("12345.0", "id is not a UUID", "spreadsheet"),
    ],
)
def test_an_id_that_is_no_uuid_makes_the_row_invalid(text: str | None, reason: str, hint: str) -> None:
    wanted = want({"id": text, "email": "a@b.co"})
    assert complaints(wanted) == {1: [reason]}
    assert hint in wanted.problems[1][0].hint


# --- blank, clear, spaces, odd characters


@pytest.mark.parametrize("blank", ["keep", "clear", "reject"])
def test_a_null_means_no_change_whatever_blank_cells_mean(blank: str) -> None:
    wanted = want({"email": None, "last_name": "Lee"}, blank=blank, may_clear=("email",))
    assert wanted.values.loc[1].to_dict() == {"email": pytest.approx(float("nan"), nan_ok=True), "last_name": "Lee"}
    assert complaints(wanted) == {}


def test_a_blank_cell_means_no_change_by_default() -> None:
    wanted = want({"email": "", "last_name": "Lee"}, may_clear=("email",))
    assert wanted.values["email"].isna().tolist() == [True]
    assert complaints(wanted) == {}


def test_a_blank_cell_can_be_told_to_clear() -> None:
    wanted = want({"email": "", "last_name": "Lee"}, blank="clear", may_clear=("email",))
    assert wanted.values["email"].tolist() == [""]
    assert complaints(wanted) == {}


def test_a_blank_cell_can_be_told_to_make_its_row_invalid() -> None:
    wanted = want({"email": "a@b.co"}, {"email": ""}, {"email": CLEAR}, blank="reject", may_clear=("email",))
    assert complaints(wanted) == {2: ["email is blank"]}


@pytest.mark.parametrize("cell", ["", CLEAR])
def test_a_field_is_cleared_only_where_the_job_names_it(cell: str) -> None:
    wanted = want({"email": cell}, blank="clear", may_clear=("last_name",))
    assert complaints(wanted) == {1: ["email is not named in input.may_clear"]}


def test_the_text_that_clears_is_the_jobs() -> None:
    wanted = want({"email": "NIL"}, {"email": CLEAR}, clear="NIL", may_clear=("email",))
    assert wanted.values["email"].tolist() == ["", CLEAR]


def test_the_text_that_clears_is_no_change_of_a_field_that_keeps_its_blanks() -> None:
    wanted = want({"email": CLEAR}, {"email": ""}, blank="keep", may_clear=("email",))
    assert wanted.values["email"].isna().tolist() == [False, True]


@pytest.mark.parametrize("name", [STREET, COUNTRY, "ssn", "status", "ban_status", "note", "vendor_info.vendor_type"])
@pytest.mark.parametrize("cell", ["", CLEAR])
def test_what_the_api_requires_is_never_cleared(name: str, cell: str) -> None:
    wanted = want({name: cell}, blank="clear", may_clear=(name,))
    assert complaints(wanted) == {1: [f"{name} cannot be cleared: the API requires a value"]}


@pytest.mark.parametrize("text", [" ", "   ", "\u00a0", "\u3000", "\u2003 "])
def test_nothing_but_spaces_is_invalid(text: str) -> None:
    assert complaints(want({"last_name": text})) == {1: ["last_name contains only spaces"]}


@pytest.mark.parametrize(
    "character",
    [
        *("\x00", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\u00ad", "\u061c", "\u200b", "\u200e", "\u200f"),
        *("\u2028", "\u2029", "\u202a", "\u202e", "\u2060", "\u2066", "\u2069", "\ufeff", "\ufff9", "\U000e0041"),
    ],
)
@pytest.mark.parametrize("name", ["last_name", "metadata.tier", STREET])
def test_a_character_that_hides_or_reorders_text_is_invalid(name: str, character: str) -> None:
    wanted = want({name: f"A{character}B"}, {name: "AB"})
    assert complaints(wanted) == {1: [f"{name} contains a control, bidi or zero-width character"]}


@pytest.mark.parametrize(
    "text", ["Nguyễn", "O'Neil", "李小龍", "علی‌رضا", "A\u00a0B", "Null", "NA", "None", "nan", "\U0001f600"]
)
def test_what_people_are_called_is_fine(text: str) -> None:
    wanted = want({"last_name": text})
    assert complaints(wanted) == {}
    assert wanted.values["last_name"].tolist() == [text]


def test_a_problem_never_tells_the_value() -> None:
    wanted = want({"ssn": "123456789", "email": "secret at example", "dob": "yesterday"})
    compared = compare(wanted, None, TARGET)
    assert len(compared.problems[1]) == 3
    told = " ".join(f"{problem.field} {problem.reason} {problem.hint}" for problem in compared.problems[1])
    assert not any(value in told for value in ("123456789", "secret at example", "yesterday"))


# --- NFC


def test_text_is_wanted_in_nfc() -> None:
    assert want({"last_name": DECOMPOSED}).values["last_name"].tolist() == [COMPOSED]


def test_nfc_leaves_what_is_missing_and_what_is_ascii_alone() -> None:
    values = pd.Series(["Ann", None, DECOMPOSED, ""], index=[3, 1, 2, 9], dtype="str")
    found = nfc(values)
    assert found.fillna("(missing)").to_dict() == {3: "Ann", 1: "(missing)", 2: COMPOSED, 9: ""}
    assert nfc(values.head(2)) is not None


@pytest.mark.parametrize("there", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("given", [COMPOSED, DECOMPOSED])
def test_one_code_point_or_two_are_the_same_name(given: str, there: str) -> None:
    compared = compare(want({"last_name": given}), snapshot({"last_name": there}), TARGET)
    assert compared.unchanged == 1


# --- rows of one id


def test_rows_that_agree_are_sent_once_and_name_the_one_that_carries_them() -> None:
    rows = settle_repeats(want({"email": "a@b.co"}, {"email": "a@b.co"}, first=7), last_wins=False)
    assert rows == {
        7: Repeat(State.PENDING),
        8: Repeat(State.DUPLICATE, "the same change as row 7", stand_in=7),
    }


def test_rows_that_disagree_are_all_invalid_and_name_each_other() -> None:
    rows = settle_repeats(want({"email": "a@b.co"}, {"email": "c@d.co"}, {"email": "a@b.co"}), last_wins=False)
    assert {row: (repeat.state, repeat.reason) for row, repeat in rows.items()} == {
        1: (State.INVALID, "disagrees with row 2, 3 of the same id"),
        2: (State.INVALID, "disagrees with row 1, 3 of the same id"),
        3: (State.INVALID, "disagrees with row 1, 2 of the same id"),
    }
    assert all("different values for email" in repeat.hint for repeat in rows.values())


def test_last_is_named_only_to_rows_of_which_it_loses_nothing() -> None:
    apart = settle_repeats(
        want({"email": "a@b.co", "first_name": ""}, {"first_name": "Ann", "email": ""}), last_wins=False
    )
    assert all('duplicates = "last"' in repeat.hint for repeat in apart.values())
    both = settle_repeats(
        want({"email": "a@b.co", "first_name": ""}, {"first_name": "Ann", "email": "x@b.co"}), last_wins=False
    )
    assert not any("last" in repeat.hint for repeat in both.values())


def test_the_last_of_rows_that_disagree_is_sent_when_the_job_says_so() -> None:
    rows = settle_repeats(want({"email": "a@b.co"}, {"email": "c@d.co"}, {"email": "a@b.co"}), last_wins=True)
    assert {row: (repeat.state, repeat.reason) for row, repeat in rows.items()} == {
        1: (State.DUPLICATE, "overruled by row 3"),
        2: (State.DUPLICATE, "overruled by row 3"),
        3: (State.PENDING, ""),
    }


def test_no_change_and_a_clear_are_not_the_same_change() -> None:
    rows = settle_repeats(want({"email": ""}, {"email": CLEAR}, may_clear=("email",)), last_wins=False)
    assert {repeat.state for repeat in rows.values()} == {State.INVALID}


def test_rows_agree_after_normalisation() -> None:
    wanted = want({"id": ANN, "last_name": COMPOSED}, {"id": ANN.upper(), "last_name": DECOMPOSED})
    assert settle_repeats(wanted, last_wins=False)[2].state is State.DUPLICATE


def test_many_rows_that_disagree_name_the_first_ten() -> None:
    rows = settle_repeats(want(*({"email": f"a{n}@b.co"} for n in range(13))), last_wins=False)
    assert rows[13].reason == "disagrees with row 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more of the same id"


def test_each_id_is_decided_for_itself() -> None:
    wanted = want(
        {"id": ANN, "email": "a@b.co"},
        {"id": BEN, "email": "b@b.co"},
        {"id": ANN, "email": "a@b.co"},
        {"id": BEN, "email": "x@b.co"},
    )
    states = {row: repeat.state for row, repeat in settle_repeats(wanted, last_wins=False).items()}
    assert states == {1: State.PENDING, 3: State.DUPLICATE, 2: State.INVALID, 4: State.INVALID}


# --- compared


def test_without_a_baseline_all_that_is_given_changes() -> None:
    compared = compare(want({"email": "a@b.co", "last_name": ""}, {"email": "", "last_name": ""}), None, TARGET)
    assert changes(compared) == {1: ["email"]}
    assert (compared.before, compared.unchanged) == (None, 1)


def test_what_is_already_there_does_not_change() -> None:
    wanted = want({"id": ANN, "email": "a@b.co"}, {"id": BEN, "email": "new@b.co"})
    compared = compare(wanted, snapshot({"id": BEN, "email": "b@b.co"}, {"id": ANN, "email": "a@b.co"}), TARGET)
    assert changes(compared) == {2: ["email"]}
    assert compared.unchanged == 1
    assert compared.before is not None
    assert compared.before["email"].to_dict() == {2: "b@b.co"}


def test_case_and_spaces_matter() -> None:
    wanted = want({"last_name": "Lee "}, {"last_name": "lee"})
    assert changes(compare(wanted, snapshot({"last_name": "Lee"}), TARGET)) == {1: ["last_name"], 2: ["last_name"]}


def test_in_a_complete_picture_what_is_not_there_is_absent() -> None:
    wanted = want({"email": "a@b.co"}, {"email": CLEAR}, may_clear=("email",))
    compared = compare(wanted, snapshot({"last_name": "Lee"}), TARGET)
    assert changes(compared) == {1: ["email"]}
    assert compared.unchanged == 1


def test_in_an_incomplete_picture_a_column_that_is_not_there_is_not_known() -> None:
    wanted = want({"email": CLEAR, "last_name": "Lee"}, may_clear=("email",))
    there = snapshot({"last_name": "Lee"}, complete=False, authoritative=False)
    assert changes(compare(wanted, there, TARGET)) == {1: ["email"]}


def test_clearing_what_is_empty_changes_nothing() -> None:
    wanted = want({"email": CLEAR}, may_clear=("email",))
    assert compare(wanted, snapshot({"email": ""}), TARGET).unchanged == 1
    assert changes(compare(wanted, snapshot({"email": "a@b.co"}), TARGET)) == {1: ["email"]}


@pytest.mark.parametrize("authoritative", [True, False])
def test_a_customer_that_is_not_there_is_invalid_only_where_the_api_itself_says_so(authoritative: bool) -> None:
    wanted = want({"id": BEN, "email": "a@b.co"})
    compared = compare(wanted, snapshot({"email": "x@b.co"}, authoritative=authoritative), TARGET)
    if authoritative:
        assert complaints(compared) == {1: ["id does not exist in the API"]}
        assert changes(compared) == {}
    else:
        assert complaints(compared) == {}
        assert changes(compared) == {1: ["email"]}
        assert compared.known.to_dict() == {1: False}


def test_a_bad_id_is_not_also_called_unknown() -> None:
    compared = compare(want({"id": "17", "email": "a@b.co"}), snapshot({}), TARGET)
    assert complaints(compared) == {1: ["id is not a UUID"]}


def test_a_picture_without_anybody_is_a_picture() -> None:
    no_customers = Snapshot(
        pd.DataFrame({"id": pd.Series(dtype="str")}).set_index("id"), complete=True, authoritative=True
    )
    compared = compare(want({"email": "a@b.co"}), no_customers, TARGET)
    assert complaints(compared) == {1: ["id does not exist in the API"]}


@pytest.mark.parametrize("name", ["ssn", "note"])
def test_what_the_api_does_not_show_is_sent_when_it_is_given(name: str) -> None:
    value = {"ssn": "773-11-1234", "note": "moved"}[name]
    compared = compare(want({name: value}), snapshot({"ssn": "1234", "note": "moved"}), TARGET)
    assert changes(compared) == {1: [name]}


def test_a_row_with_a_problem_is_neither_changed_nor_unchanged() -> None:
    wanted = want({"email": "a@b.co", "dob": "1980-13-01"}, {"email": "a@b.co", "dob": ""}, {"email": "", "dob": ""})
    compared = compare(wanted, snapshot({"email": "x@b.co"}), TARGET)
    assert complaints(compared) == {1: ["dob breaks its rule"]}
    assert changes(compared) == {2: ["email"]}
    assert compared.unchanged == 1


def test_a_value_that_breaks_its_rule_is_invalid_also_when_it_is_there_already() -> None:
    compared = compare(want({"email": "nowhere"}), snapshot({"email": "nowhere"}), TARGET)
    assert complaints(compared) == {1: ["email breaks its rule"]}


def test_comparing_leaves_the_problems_of_the_input_alone() -> None:
    wanted = want({"last_name": " ", "email": "nowhere"})
    compare(wanted, None, TARGET)
    assert complaints(wanted) == {1: ["last_name contains only spaces"]}


def test_a_part_is_judged_by_the_country_that_will_hold() -> None:
    there = snapshot({"id": ANN, COUNTRY: "CA"}, {"id": BEN, COUNTRY: "CA"}, {"id": CAM})
    wanted = want(
        {"id": ANN, ZIP: "78701", COUNTRY: "US"},  # moves to the US
        {"id": BEN, ZIP: "78701", COUNTRY: ""},  # stays in Canada
        {"id": CAM, ZIP: "78701", COUNTRY: ""},  # not known
    )
    assert complaints(compare(wanted, there, TARGET)) == {2: [f"{ZIP} breaks its rule"]}


def test_a_canadian_postal_code_in_another_spelling_changes_nothing() -> None:
    there = snapshot({COUNTRY: "CA", ZIP: "H2X 1Y4"})
    wanted = want({ZIP: "h2x1y4"}, {ZIP: "H2X 1Y4"}, {ZIP: "H2X 1Y5"})
    compared = compare(wanted, there, TARGET)
    assert changes(compared) == {3: [ZIP]}
    assert compared.unchanged == 2


def test_an_american_code_that_looks_like_another_spelling_does_change() -> None:
    compared = compare(want({ZIP: "78701-0001"}), snapshot({COUNTRY: "US", ZIP: "78701"}), TARGET)
    assert changes(compared) == {1: [ZIP]}


def test_columns_of_the_baseline_that_nobody_asked_for_are_carried_and_not_compared() -> None:
    compared = compare(want({"email": "a@b.co"}), snapshot({"email": "x@b.co", FLAT: "Apt 4", "age": "9"}), TARGET)
    assert compared.before is not None
    assert compared.before.loc[1].to_dict() == {"email": "x@b.co", FLAT: "Apt 4", "age": "9"}


def test_row_numbers_of_a_later_chunk_are_kept() -> None:
    compared = compare(want({"email": "a@b.co"}, {"email": "nowhere"}, first=50_001), None, TARGET)
    assert changes(compared) == {50_001: ["email"]}
    assert list(compared.problems) == [50_002]


# --- text that no customer meant


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("Zo\ufffd", "stands for one that was lost"),
        ("\ufffd\ufffd", "stands for one that was lost"),
        ("Re\uffff", "stands for one that was lost"),
        ("Re\ufdd0e", "stands for one that was lost"),
        ("Re\U0001fffe", "stands for one that was lost"),
        ("\u3164", "zero-width"),
        ("\u2800\u2800", "zero-width"),
        ("\u115f\u1160", "zero-width"),
        ("Ann\u3164", "zero-width"),
        ("\ufe0f", "nobody can see"),
        ("\u0301", "nobody can see"),
        ("W\u00c3\u00a4chter", "Windows-1252"),
        ("Ren\u00c3\u00a9e", "Windows-1252"),
        ("O\u00e2\u20ac\u2122Neil", "Windows-1252"),
        ("\u00c3\u2013sterreich", "Windows-1252"),
        ("#N/A", "for a fault"),
        ("#REF!", "for a fault"),
        ("#NAME?", "for a fault"),
        ("#DIV/0!", "for a fault"),
        ("\\N", "for a fault"),
        ("########", "for a fault"),
    ],
)
def test_text_that_marks_a_loss_or_that_nobody_can_see_is_invalid(value: str, reason: str) -> None:
    for name in ("first_name", STREET, "metadata.note"):
        (problem,) = complaints(want({name: value}, {name: "Ann"}))[1]
        assert problem.startswith(f"{name} ")
        assert reason in problem


@pytest.mark.parametrize(
    "value",
    [
        *(
            "Zoë",
            "Ångström",
            "Nguyễn",
            "Ãngela",
            "JOÃO",
            "SÃO PAULO",
            "Ñuñoa",
            "Ðorđe",
            "ÂGÉ",
            "李",
            "葛\U000e0100城",
            "O’Neil",
        ),
        *(
            "#4",
            "Apt #12",
            "N/A Street",
            "\\",
            "Suite ##",
            "©",
            "𝒜nn",
            "Null",
            "NULL",
            "None",
            "NA",
            "Nan Lee",
            "-",
            "Æther",
        ),
    ],
)
def test_names_that_only_look_odd_are_taken(value: str) -> None:
    wanted = want({"first_name": value})
    assert wanted.problems == {}
    assert wanted.words == {}


def test_words_that_programs_write_for_no_value_are_counted_by_field() -> None:
    rows = [
        {"first_name": word, "email": "a@b.co"} for word in ("(null)", "[object Object]", "<clear>", "(null)", "Ann")
    ]
    wanted = want(*rows, {"first_name": "undefined", "email": "nan"})
    assert wanted.problems == {}
    assert wanted.words == {
        ("first_name", "(null)"): 2,
        ("first_name", "[object Object]"): 1,
        ("first_name", "<clear>"): 1,
        ("first_name", "undefined"): 1,
    }


@pytest.mark.parametrize(
    ("cell", "value"), [("TRUE", "true"), ("True", "true"), ("FALSE", "false"), ("false", "false")]
)
def test_true_and_false_are_taken_as_spreadsheets_write_them(cell: str, value: str) -> None:
    name = "legal_address.is_registered_agent"
    wanted = want({name: cell})
    assert wanted.values[name].tolist() == [value]
    assert compare(wanted, None, TARGET).problems == {}


@pytest.mark.parametrize(("code", "word"), [("UK", "GB"), ("EL", "GR"), ("XK", "Kosovo"), ("USA", "US"), ("uk", "GB")])
def test_codes_that_are_often_written_say_what_to_write(code: str, word: str) -> None:
    (problem,) = compare(want({COUNTRY: code}), None, TARGET).problems[1]
    assert word in problem.hint


@pytest.mark.parametrize(
    ("ssn", "fine"),
    [
        *((good, True) for good in ("912-70-1234", "987-65-4321", "900-50-0001", "999-88-9999", "123-45-6789")),
        *(
            (bad, False)
            for bad in ("900-49-1234", "900-66-1234", "900-89-1234", "900-93-1234", "000-12-3456", "9127-0-1234")
        ),
    ],
)
def test_the_shape_of_an_itin_is_taken_where_an_ssn_is(ssn: str, fine: bool) -> None:
    assert (compare(want({"ssn": ssn}), None, TARGET).problems == {}) is fine
