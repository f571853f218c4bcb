"""The inverse change of one row, from its before-image and the customer as it is now."""

import datetime as dt
import json
from typing import Any

import pytest

from bulk_patch import plugins
from bulk_patch.ledgers.records import LedgerRow
from bulk_patch.model import State, encode_json
from bulk_patch.planning.changes import Change
from bulk_patch.planning.reverse_row import Kept, Reversal, copies_left, old_texts, reverse_row, unnamed
from bulk_patch.targets import Target

TARGET: Target = plugins.find("target", "synctera")("customers", today=dt.date(2026, 11, 22))
ID = "00000000-0000-4000-8000-000000000001"
HOME = {"address_line_1": "1 Main Street", "city": "Austin", "country_code": "US", "postal_code": "78701"}
MOVED = {**HOME, "city": "Waco"}


def applied(body: dict[str, Any], before: dict[str, Any] | None, *fields: str) -> LedgerRow:
    """Return an applied row."""
    return LedgerRow(
        row=7,
        customer_id=ID,
        state=State.APPLIED,
        cells=b"[]",
        reason="",
        hint="",
        fields=fields or tuple(body),
        body=encode_json(body),
        before=None if before is None else encode_json(before),
        attempts=1,
        http_status=200,
        api_code="",
        key="key",
        generation=0,
        first_intent_at=1.0,
        done_at=2.0,
        final=False,
    )


def decide(
    body: dict[str, Any],
    before: dict[str, Any] | None,
    now: dict[str, Any],
    *fields: str,
    may_clear: tuple[str, ...] = (),
) -> Reversal:
    """Decide a row whose customer is now so."""
    return reverse_row(applied(body, before, *fields), {"id": ID, **now}, TARGET, may_clear=may_clear)


def images(decided: Reversal) -> tuple[Any, Any]:
    """Return body and before-image of what takes a row back."""
    assert isinstance(decided, Change)
    assert decided.before is not None
    return json.loads(decided.body), json.loads(decided.before)


def reasons(decided: Reversal) -> list[str]:
    """Return why a row cannot be taken back."""
    assert isinstance(decided, list)
    return [f"{problem.field} {problem.reason}" for problem in decided]


def test_the_old_value_is_sent_and_what_is_there_now_becomes_the_before_image() -> None:
    decided = decide({"email": "b@x.org"}, {"email": "a@x.org"}, {"email": "b@x.org"})
    assert images(decided) == ({"email": "a@x.org"}, {"email": "b@x.org"})


def test_an_object_is_sent_whole_as_it_was() -> None:
    decided = decide({"legal_address": MOVED}, {"legal_address": HOME}, {"legal_address": MOVED}, "legal_address.city")
    assert images(decided) == ({"legal_address": HOME}, {"legal_address": MOVED})
    assert isinstance(decided, Change)
    assert decided.moves == (("legal_address.city", "W•••", "A•••"),)


def test_parts_that_only_answers_have_are_no_difference() -> None:
    now = {"legal_address": {**MOVED, "id": ID}}
    assert isinstance(decide({"legal_address": MOVED}, {"legal_address": HOME}, now, "legal_address.city"), Change)


@pytest.mark.parametrize(
    "now",
    [{**MOVED, "address_line_1": "2 Side Street"}, {**MOVED, "address_line_2": "Unit 7"}, {**MOVED, "city": "Paris"}],
    ids=["another part", "a part that was not there", "the same part"],
)
def test_an_object_that_somebody_changed_since_is_kept(now: dict[str, Any]) -> None:
    decided = decide({"legal_address": MOVED}, {"legal_address": HOME}, {"legal_address": now}, "legal_address.city")
    assert decided == Kept(("legal_address",))


def test_a_customer_that_is_as_before_needs_nothing() -> None:
    assert decide({"email": "b@x.org"}, {"email": "a@x.org"}, {"email": "a@x.org"}) is None


def test_a_field_that_was_absent_is_cleared_only_where_the_job_names_it() -> None:
    facts: tuple[Any, Any, Any] = ({"middle_name": "Lee"}, {"middle_name": None}, {"middle_name": "Lee"})
    assert reasons(decide(*facts)) == ["middle_name was absent before, and is not named in input.may_clear"]
    decided = decide(*facts, may_clear=("middle_name",))
    assert images(decided) == ({"middle_name": ""}, {"middle_name": "Lee"})
    assert isinstance(decided, Change)
    assert decided.clears == ("middle_name",)


def test_fields_to_be_named_are_told_where_naming_them_is_all_that_it_takes() -> None:
    absent: tuple[Any, Any, Any] = ({"middle_name": "Lee"}, {"middle_name": None}, {"middle_name": "Lee"})
    assert unnamed(decide(*absent)) == {"middle_name"}
    assert unnamed(decide(*absent, may_clear=("middle_name",))) == set()
    assert unnamed(decide({**absent[0], "ssn": "123-45-6789"}, {**absent[1], "ssn": "4321"}, absent[2])) == set()
    decided = decide(*absent)
    assert isinstance(decided, list)
    assert [problem.hint for problem in decided] == [
        "if it may be cleared, add middle_name to input.may_clear and undo the run again"
    ]


def test_a_part_that_was_absent_is_left_out_only_where_the_job_names_it() -> None:
    longer = {**HOME, "address_line_2": "Unit 7"}
    facts: tuple[Any, Any, Any] = ({"legal_address": longer}, {"legal_address": HOME}, {"legal_address": longer})
    field = "legal_address.address_line_2"
    assert reasons(decide(*facts, field)) == [f"{field} was absent before, and is not named in input.may_clear"]
    assert images(decide(*facts, field, may_clear=(field,)))[0] == {"legal_address": HOME}


def test_what_cannot_be_known_or_cleared_is_said() -> None:
    assert reasons(decide({"ssn": "123-45-6789"}, {"ssn": "4321"}, {"ssn": "6789"})) == [
        "ssn has a masked before-image"
    ]
    assert reasons(decide({"note": "x"}, None, {})) == ["note is never shown by the API, so the old value is not known"]
    assert reasons(decide({"email": "b@x.org"}, None, {"email": "b@x.org"})) == ["email has no before-image"]
    absent = decide({"shipping_address": HOME}, {"shipping_address": None}, {"shipping_address": HOME})
    assert reasons(absent) == ["shipping_address was absent before, and the API accepts it only as a whole"]


def test_one_obstacle_keeps_the_whole_row() -> None:
    decided = decide(
        {"email": "b@x.org", "ssn": "123-45-6789"}, {"email": "a@x.org", "ssn": "4321"}, {"email": "b@x.org"}
    )
    assert reasons(decided) == ["ssn has a masked before-image"]


def test_a_customer_that_is_gone_is_no_bug() -> None:
    decided = reverse_row(applied({"email": "b@x.org"}, {"email": "a@x.org"}), None, TARGET, may_clear=())
    assert reasons(decided) == ["row is for a customer that no longer exists in the API"]


def test_watched_fields_are_in_the_new_before_image() -> None:
    row = applied({"email": "b@x.org"}, {"email": "a@x.org"})
    now = {"id": ID, "email": "b@x.org", "kyc_status": "ACCEPTED"}
    decided = reverse_row(row, now, TARGET, may_clear=(), watch=("kyc_status",))
    assert images(decided)[1] == {"email": "b@x.org", "kyc_status": "ACCEPTED"}


def test_old_values_are_offered_as_far_as_they_are_known() -> None:
    row = applied(
        {"ssn": "123-45-6789", "email": "b@x.org", "middle_name": "Lee", "last_name": "New"},
        {"ssn": "4321", "email": "a@x.org", "middle_name": None},
    )
    assert old_texts(row, TARGET) == {"email": "a@x.org", "middle_name": ""}


def test_a_copy_that_the_api_made_is_noticed_where_the_row_did_not_write_it() -> None:
    row = applied({"legal_address": MOVED}, {"legal_address": HOME}, "legal_address.city")
    assert copies_left(row, {"legal_address": MOVED, "shipping_address": MOVED}, TARGET) == {"shipping_address"}
    assert copies_left(row, {"legal_address": MOVED, "shipping_address": HOME}, TARGET) == set()
    assert copies_left(row, {"legal_address": MOVED}, TARGET) == set()
