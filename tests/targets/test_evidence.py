"""What a customer's record proves about a planned change."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_patch.model import Action, Patch, Verdict
from tests.support.patches import ANN, NEW_MAIL, OLD_MAIL, make_patch, make_target

EVIDENCE = make_target().evidence
INTENT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()
HOUR = 3600.0
ALLOWED_S = 300.0
ACTS = [Action.CONFIRM, Action.LOOK, Action.SETTLE, Action.RETRY, Action.NEW_KEY]

HOME = {"address_line_1": "1 Main St", "city": "Austin", "state": "TX", "postal_code": "78701", "country_code": "US"}
FLAT = {**HOME, "address_line_2": "Apt 4"}
OTTAWA = {"address_line_1": "111 Wellington St", "city": "Ottawa", "state": "ON", "country_code": "CA"}


def at(unix_s: float) -> str:
    """Write a time as the API does."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def make_record(fields: Any, *, touched: float = INTENT - HOUR, **more: Any) -> dict[str, Any]:
    """Return a customer as the API shows it."""
    return {"id": ANN, "status": "ACTIVE", "last_updated_time": at(touched), **fields, **more}


def weigh(
    act: Action,
    record: dict[str, Any] | None,
    *,
    body: Any = NEW_MAIL,
    before: Any = OLD_MAIL,
    cached: bool = True,
    skew_s: float = 0.0,
) -> Verdict:
    """Weigh a record; the first intent was at noon."""
    patch = make_patch(body, before, intent_at=INTENT)
    return EVIDENCE.weigh(patch, record, act, cached=cached, skew_s=skew_s)


# --- five questions, five things a read can show

SHOWN: dict[str, Callable[[], dict[str, Any] | None]] = {
    "planned": lambda: make_record(NEW_MAIL, touched=INTENT + 1),
    "before, untouched": lambda: make_record(OLD_MAIL),
    "before, touched since": lambda: make_record(OLD_MAIL, touched=INTENT + 1),
    "something else": lambda: make_record({"email": "someone@example.org"}),
    "no customer": lambda: None,
}


def expect(act: Action, shown: str, *, cached: bool, known: bool) -> Action:
    """Say what the promises give; `known`: there is a before-image."""
    if shown == "no customer":
        return Action.UNKNOWN
    if shown == "planned":
        return Action.APPLIED
    if act is Action.CONFIRM:
        return Action.MISMATCH
    untouched = known and shown == "before, untouched"
    if act is Action.SETTLE and untouched and cached:
        return Action.REJECTED
    if act is Action.NEW_KEY and untouched:
        return Action.NEW_KEY
    if act is Action.RETRY and known and shown.startswith("before"):
        return Action.RETRY
    if act is Action.RETRY and not known and shown != "before, touched since":  # the time of change decides
        return Action.RETRY
    return Action.UNKNOWN


@pytest.mark.parametrize("known", [True, False], ids=["known before", "not known before"])
@pytest.mark.parametrize("cached", [True, False], ids=["cached 4xx", "not cached"])
@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("act", ACTS)
def test_each_question_gets_the_promised_answer(act: Action, shown: str, cached: bool, known: bool) -> None:
    found = weigh(act, SHOWN[shown](), before=OLD_MAIL if known else None, cached=cached)
    assert found.act is expect(act, shown, cached=cached, known=known)
    if found.act in (Action.MISMATCH, Action.UNKNOWN) and shown != "no customer":
        assert found.api_fields == ("email",)


def test_a_row_whose_old_values_are_known_in_part_may_go_on_under_its_key() -> None:
    # A baseline file without SSNs: what it does not know can have drifted all the same, and is no reason to give up.
    record = make_record(OLD_MAIL | {"ssn": "6789"})
    assert weigh(Action.RETRY, record, body=NEW_MAIL | {"ssn": "711-50-7339"}, before=OLD_MAIL).act is Action.RETRY
    assert weigh(Action.NEW_KEY, record, body=NEW_MAIL | {"ssn": "711-50-7339"}, before=OLD_MAIL).act is Action.UNKNOWN


# --- older than the first intent, by the server's clock


@pytest.mark.parametrize(
    ("touched", "skew_s", "is_older"),
    [
        (-ALLOWED_S - 1, 0, True),
        (-ALLOWED_S + 1, 0, False),
        (-1, 0, False),
        (0, 0, False),
        (+1, 0, False),
        (-ALLOWED_S - 1, HOUR, True),  # the server's clock is an hour ahead of ours, but was it at the intent?
        (HOUR - ALLOWED_S - 1, HOUR, False),
        (-HOUR - ALLOWED_S - 1, -HOUR, True),  # an hour behind
        (-HOUR - ALLOWED_S + 1, -HOUR, False),
        (-ALLOWED_S - 1, -HOUR, False),
    ],
)
@pytest.mark.parametrize(("act", "proven"), [(Action.SETTLE, Action.REJECTED), (Action.NEW_KEY, Action.NEW_KEY)])
def test_only_a_record_touched_well_before_the_first_intent_proves_that_nothing_was_done(
    touched: float, skew_s: float, is_older: bool, act: Action, proven: Action
) -> None:
    record = make_record(OLD_MAIL, touched=INTENT + touched)
    assert weigh(act, record, skew_s=skew_s).act is (proven if is_older else Action.UNKNOWN)


@pytest.mark.parametrize(
    "text",
    ["2026-11-22T11:00:00Z", "2026-11-22T11:00:00.1Z", "2026-11-22T11:00:00.123456+00:00", "2026-11-22T12:30:00+01:30"],
)
def test_the_time_of_the_last_update_is_read_in_all_its_forms(text: str) -> None:
    assert weigh(Action.SETTLE, {**OLD_MAIL, "last_updated_time": text}).act is Action.REJECTED


@pytest.mark.parametrize("time", [None, "", "yesterday", 0, 1.5, {}, [], "2020-01-01T00:00:00", "0000-00-00T00:00:00Z"])
def test_without_a_readable_time_nothing_is_proven(time: Any) -> None:
    assert weigh(Action.SETTLE, {**OLD_MAIL, "last_updated_time": time}).act is Action.UNKNOWN
    assert weigh(Action.NEW_KEY, OLD_MAIL).act is Action.UNKNOWN


# --- what answers show only in part


@pytest.mark.parametrize(
    ("act", "shown", "was", "expected"),
    [
        (Action.CONFIRM, "6789", "1111", Action.APPLIED),
        (Action.CONFIRM, "1111", "1111", Action.MISMATCH),
        (Action.CONFIRM, "6789", "6789", Action.APPLIED),  # as far as visible
        (Action.LOOK, "6789", "1111", Action.APPLIED),
        (Action.LOOK, "6789", "6789", Action.UNKNOWN),  # it looked so before
        (Action.LOOK, "6789", None, Action.UNKNOWN),
        (Action.SETTLE, "6789", "1111", Action.APPLIED),
        (Action.SETTLE, "1111", "1111", Action.REJECTED),
        (Action.SETTLE, "6789", "6789", Action.REJECTED),  # untouched since before the first intent
        (Action.RETRY, "1111", "1111", Action.RETRY),
        (Action.RETRY, "6789", "6789", Action.RETRY),
        (Action.NEW_KEY, "1111", "1111", Action.NEW_KEY),
        (Action.NEW_KEY, "2222", "1111", Action.UNKNOWN),
    ],
)
def test_a_masked_field_counts_as_far_as_it_is_visible(
    act: Action, shown: str, was: str | None, expected: Action
) -> None:
    before = {"ssn": was} if was is not None else None
    found = weigh(act, make_record({"ssn": shown}), body={"ssn": "123-45-6789"}, before=before)
    assert found.act is expected


def test_a_masked_field_that_was_not_there_before_proves_itself() -> None:
    found = weigh(Action.LOOK, make_record({"ssn": "6789"}), body={"ssn": "123-45-6789"}, before={"ssn": None})
    assert found.act is Action.APPLIED


@pytest.mark.parametrize(
    ("act", "expected"),
    [(Action.CONFIRM, Action.APPLIED), (Action.LOOK, Action.UNKNOWN), (Action.SETTLE, Action.UNKNOWN)],
)
def test_a_note_alone_is_never_proven_by_a_read(act: Action, expected: Action) -> None:
    assert weigh(act, make_record({}), body={"note": "called"}, before=None).act is expected


def test_a_note_together_with_a_visible_field_is_proven_by_that() -> None:
    body = {"note": "fraud", "ban_status": "SUSPENDED"}
    before = {"ban_status": "ALLOWED"}
    assert weigh(Action.LOOK, make_record({"ban_status": "SUSPENDED"}), body=body, before=before).act is Action.APPLIED
    assert weigh(Action.SETTLE, make_record({"ban_status": "ALLOWED"}), body=body, before=before).act is Action.REJECTED


# --- objects


def missing(body: Any, shown: Any, before: Any = None) -> tuple[str, ...]:
    """Name what a record does not show as planned."""
    return EVIDENCE.missing(make_patch(body, before), make_record(shown))


def test_what_only_answers_have_in_an_address_does_not_count() -> None:
    shown = {**HOME, "id": "5d29", "address_type": "LEGAL"}
    assert missing({"legal_address": HOME}, {"legal_address": shown}) == ()


def test_parts_that_differ_are_named() -> None:
    shown = {**HOME, "city": "Dallas", "postal_code": "75201"}
    assert set(missing({"legal_address": HOME}, {"legal_address": shown})) == {
        "legal_address.city",
        "legal_address.postal_code",
    }


@pytest.mark.parametrize("shown", [None, {}, "1 Main St", [], 7])
def test_an_object_that_is_none_lacks_all_its_parts(shown: Any) -> None:
    assert len(missing({"legal_address": HOME}, {"legal_address": shown})) == len(HOME)
    assert len(missing({"legal_address": HOME}, {})) == len(HOME)


def test_a_part_that_was_there_and_is_not_planned_has_to_be_gone() -> None:
    body, before = {"legal_address": HOME}, {"legal_address": FLAT}
    assert missing(body, {"legal_address": FLAT}, before) == ("legal_address.address_line_2",)
    assert missing(body, {"legal_address": HOME}, before) == ()
    assert missing(body, {"legal_address": {**HOME, "address_line_2": ""}}, before) == ()
    assert weigh(Action.CONFIRM, make_record(before), body=body, before=before).act is Action.MISMATCH


def test_the_copy_of_the_address_that_the_api_makes_is_no_difference() -> None:
    shown = make_record({"legal_address": HOME, "shipping_address": HOME})
    assert (
        weigh(Action.CONFIRM, shown, body={"legal_address": HOME}, before={"legal_address": None}).act is Action.APPLIED
    )


@pytest.mark.parametrize("typed", ["k1a0b1", "K1A0B1", "k1a 0b1", "K1A 0B1"])
def test_a_canadian_postal_code_is_compared_as_the_api_rewrites_it(typed: str) -> None:
    body = {"legal_address": {**OTTAWA, "postal_code": typed}}
    assert missing(body, {"legal_address": {**OTTAWA, "postal_code": "K1A 0B1"}}) == ()
    assert missing(body, {"legal_address": {**OTTAWA, "postal_code": "K1A 0B2"}}) == ("legal_address.postal_code",)


def test_a_canadian_code_in_a_before_image_is_no_drift_either() -> None:
    patch = make_patch({"legal_address": HOME}, {"legal_address": {**OTTAWA, "postal_code": "k1a0b1"}})
    record = make_record({"legal_address": {**OTTAWA, "postal_code": "K1A 0B1"}})
    assert EVIDENCE.differences(patch, record) == ()


def test_a_canadian_code_that_is_no_text_is_a_difference() -> None:
    body = {"legal_address": {**OTTAWA, "postal_code": "K1A 0B1"}}
    for shown in (False, None, 7, ["K1A 0B1"]):
        assert missing(body, {"legal_address": {**OTTAWA, "postal_code": shown}}) == ("legal_address.postal_code",)


def test_elsewhere_postal_codes_are_not_rewritten() -> None:
    london = {"address_line_1": "1 Mall", "country_code": "GB", "postal_code": "sw1a1aa"}
    assert missing({"legal_address": london}, {"legal_address": {**london, "postal_code": "SW1 A1AA"}})
    keys = {"country_code": "CA", "postal_code": "k1a0b1"}  # free keys that only look like it
    assert missing({"metadata": keys}, {"metadata": keys}) == ()
    assert missing({"metadata": keys}, {"metadata": {**keys, "postal_code": "K1A 0B1"}})


def test_a_flag_that_the_api_leaves_out_when_it_is_false_is_not_missing() -> None:
    body = {"legal_address": {**HOME, "is_registered_agent": False}}
    assert missing(body, {"legal_address": HOME}) == ()
    assert missing(body, {"legal_address": {**HOME, "is_registered_agent": False}}) == ()
    assert missing(body, {"legal_address": {**HOME, "is_registered_agent": True}}) == (
        "legal_address.is_registered_agent",
    )
    assert missing({"legal_address": {**HOME, "is_registered_agent": True}}, {"legal_address": HOME})


def test_a_flag_that_was_false_before_and_is_left_out_is_no_drift() -> None:
    patch = make_patch({"legal_address": FLAT}, {"legal_address": {**HOME, "is_registered_agent": False}})
    assert EVIDENCE.differences(patch, make_record({"legal_address": HOME})) == ()


def test_free_keys_are_compared_one_by_one_and_keys_of_others_do_not_count() -> None:
    body, before = {"metadata": {"tier": "gold"}}, {"metadata": {"tier": "silver", "code": "x"}}
    assert missing(body, {"metadata": {"tier": "gold"}}, before) == ()
    assert missing(body, {"metadata": {"tier": "gold", "by": "others"}}, before) == ()
    assert missing(body, {"metadata": {"tier": "gold", "code": "x"}}, before) == ("metadata.code",)


# --- values


@pytest.mark.parametrize("shown", [{}, {"middle_name": None}, {"middle_name": ""}])
def test_cleared_and_absent_are_the_same(shown: Any) -> None:
    assert missing({"middle_name": ""}, shown) == ()


def test_what_should_be_cleared_and_is_not_is_a_mismatch() -> None:
    found = weigh(
        Action.CONFIRM, make_record({"middle_name": "Q"}), body={"middle_name": ""}, before={"middle_name": "Q"}
    )
    assert (found.act, found.api_fields) == (Action.MISMATCH, ("middle_name",))


def test_two_writings_of_one_letter_are_the_same() -> None:
    assert missing({"first_name": "Jos\u00e9"}, {"first_name": "Jose\u0301"}) == ()


@pytest.mark.parametrize(("one", "other"), [("1", 1), (1, True), (0, False), ("true", True), (0, ""), (0, None)])
def test_values_of_different_kinds_differ(one: Any, other: Any) -> None:
    assert missing({"metadata": {"a": one}}, {"metadata": {"a": other}}) == ("metadata.a",)
    assert missing({"metadata": {"a": other}}, {"metadata": {"a": one}}) == ("metadata.a",)


def test_capitals_and_spaces_count() -> None:
    assert missing({"first_name": "Ann"}, {"first_name": "ANN"})
    assert missing({"first_name": "Ann"}, {"first_name": "Ann "})


# --- drift


def differences(record: Any, *, body: Any, before: Any, ignore_unknown: bool = False) -> tuple[str, ...]:
    """Name what is not as it was."""
    return EVIDENCE.differences(make_patch(body, before), make_record(record), ignore_unknown=ignore_unknown)


def test_only_what_is_to_be_sent_can_drift() -> None:
    body, before = {"email": "x@example.com"}, OLD_MAIL
    assert differences({**OLD_MAIL, "first_name": "Changed"}, body=body, before=before) == ()
    assert differences({"email": "other@example.com"}, body=body, before=before) == ("email",)


def test_a_change_in_another_line_of_an_object_that_is_sent_whole_is_drift() -> None:
    body, before = {"legal_address": {**HOME, "city": "Waco"}}, {"legal_address": HOME}
    shown = {"legal_address": {**HOME, "address_line_1": "2 New St", "id": "5d29", "address_type": "LEGAL"}}
    assert differences(shown, body=body, before=before) == ("legal_address",)
    assert differences({"legal_address": {**HOME, "id": "5d29"}}, body=body, before=before) == ()
    assert differences({}, body=body, before=before) == ("legal_address",)


def test_what_the_before_image_does_not_know_differs_unless_it_is_passed_over() -> None:
    body = {"email": "x@example.com", "first_name": "Ann"}
    assert differences(OLD_MAIL, body=body, before=OLD_MAIL) == ("first_name",)
    assert differences(OLD_MAIL, body=body, before=OLD_MAIL, ignore_unknown=True) == ()
    assert differences({}, body=body, before=None, ignore_unknown=True) == ()


def test_a_known_absence_is_not_the_same_as_not_knowing() -> None:
    assert differences({}, body=NEW_MAIL, before={"email": None}) == ()
    assert differences(OLD_MAIL, body=NEW_MAIL, before={"email": None}) == ("email",)


def test_a_note_cannot_drift_and_a_masked_field_only_visibly() -> None:
    body, before = {"note": "x", "ssn": "123-45-6789"}, {"ssn": "•••1111"}
    assert differences({"ssn": "1111"}, body=body, before=before) == ()
    assert differences({"ssn": "2222"}, body=body, before=before) == ("ssn",)


# --- as text


def test_a_record_becomes_dotted_text_without_what_only_answers_have() -> None:
    flat = EVIDENCE.flatten(
        make_record(
            {"legal_address": {**HOME, "id": "5d29", "is_registered_agent": True}, "email": None},
            addresses=[HOME],
            is_customer=True,
            metadata={"a.b": "1", "deep": {"x": "y"}, "n": 7},
            vendor_info={"vendor_type": "LOANPRO", "vendor_data": {"loanpro": {"customer_id": 5}}},
        )
    )
    assert flat["legal_address.city"] == "Austin"
    assert flat["legal_address.is_registered_agent"] == "true"
    assert json.loads(flat["legal_address"]) == {**HOME, "is_registered_agent": True}
    assert flat["is_customer"] == "true"
    assert flat["metadata.a.b"] == "1"
    assert flat["metadata.n"] == "7"
    assert json.loads(flat["metadata"]) == {"a.b": "1", "deep": {"x": "y"}, "n": 7}
    assert flat["vendor_info.vendor_data.loanpro.customer_id"] == "5"
    assert not {"email", "addresses", "legal_address.id", "metadata.deep"} & flat.keys()


# --- whatever a server sends

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NAMES = (
    "email",
    "ssn",
    "note",
    "legal_address",
    "shipping_address",
    "metadata",
    "vendor_info",
    "last_updated_time",
    "x",
)
records = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, anything))
bodies = st.sampled_from(
    [NEW_MAIL, {"ssn": "123-45-6789"}, {"legal_address": HOME}, {"metadata": {"a": "b"}}, {"note": "x"}, {}]
)


@given(body=bodies, before=st.none() | records, record=records, act=st.sampled_from(ACTS), cached=st.booleans())
def test_no_record_makes_the_weighing_fail(body: Any, before: Any, record: Any, act: Action, cached: bool) -> None:
    image = json.dumps(before).encode() if before is not None else None
    patch = Patch(1, ANN, json.dumps(body).encode(), image, "key", intent_at=INTENT)
    found = EVIDENCE.weigh(patch, record, act, cached=cached, skew_s=0)
    if found.act is Action.REJECTED:
        assert act is Action.SETTLE
        assert cached
    if found.act is Action.MISMATCH:
        assert act is Action.CONFIRM
    EVIDENCE.differences(patch, record)
    EVIDENCE.flatten(record)
