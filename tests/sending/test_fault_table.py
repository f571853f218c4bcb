"""What every answer gets: the golden table of the chaos tiers, and what depends on more than status and body."""

import json
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_patch.errors import Exit
from bulk_patch.model import NEVER_LEFT, Action, FailureKind, History, NetworkFailure, Reply, Verdict, Wait
from bulk_patch.targets.answers import repeats_a_value
from tests.chaos.golden import BODIES, TABLE, Expected, find_differences, put_in_words
from tests.support.patches import ANN, BEN, NEW_MAIL, OLD_MAIL, history, make_patch, make_reply, make_target

TARGET = make_target()


def expect(status: int, *, own: bool, ambiguous: bool) -> Expected:
    """Return what the promises give a first answer of its kind, with a body that names no customer."""
    return TABLE[status, "own code" if own else "page", ambiguous]


def judge(reply: Reply | NetworkFailure, before: History | None = None, **row: Any) -> Verdict:
    """Judge an answer to a PATCH."""
    return TARGET.judge(make_patch(**row), reply, before or History())


def test_the_table_has_every_status_with_every_kind_of_body_first_and_after_doubt() -> None:
    assert TABLE.keys() == set(product(range(100, 600), BODIES, [False, True]))


def test_every_status_with_every_kind_of_body_gets_what_is_promised() -> None:
    assert list(find_differences()) == []


@pytest.mark.parametrize("status", [0, 1, 99, 600, 777, 999])
@pytest.mark.parametrize("body", BODIES)
def test_a_status_outside_100_to_599_is_an_unreadable_answer(status: int, body: str) -> None:
    verdict = judge(make_reply(status, BODIES[body]))
    assert put_in_words(verdict) == Expected(Action.RETRY, doubt=True)
    assert judge(make_reply(status, BODIES[body]), history(seen={"unreadable answer": 2})).act is Action.LOOK


# --- 200


def test_the_customer_with_the_planned_values_is_applied() -> None:
    verdict = judge(make_reply(200, {"id": ANN, **NEW_MAIL, "status": "ACTIVE"}))
    assert put_in_words(verdict) == Expected(Action.APPLIED, doubt=False)
    assert judge(make_reply(200, {"id": ANN.upper(), **NEW_MAIL})).act is Action.APPLIED


def test_a_row_that_clears_or_is_in_the_canary_is_read_back_though_the_answer_confirms_it() -> None:
    assert judge(make_reply(200, {"id": ANN, **NEW_MAIL}), read_back=True).act is Action.CONFIRM


def test_another_value_in_the_answer_is_read_back() -> None:
    assert judge(make_reply(200, {"id": ANN, **OLD_MAIL})).act is Action.CONFIRM
    assert judge(make_reply(200, {"id": ANN})).act is Action.CONFIRM


def test_the_answer_for_another_customer_stops_the_run() -> None:
    assert put_in_words(judge(make_reply(200, {"id": BEN, **NEW_MAIL}))) == Expected(
        Action.STOP, doubt=True, stop=Exit.STOPPED
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"{",
        b"\xff\xfe",
        b"{}",
        b'{"id":null}',
        b'{"id":7}',
        b'{"ID":"x"}',
        b"NaN",
    ],
)
def test_a_200_that_is_no_customer_is_asked_for_twice_more_and_then_read(body: bytes) -> None:
    verdicts = [judge(make_reply(200, body), history(seen={"unreadable answer": times})) for times in range(4)]
    assert [verdict.act for verdict in verdicts] == [Action.RETRY, Action.RETRY, Action.LOOK, Action.LOOK]
    assert all(verdict.ambiguous for verdict in verdicts)


def test_a_body_that_was_cut_short_proves_nothing_though_it_can_be_read() -> None:
    reply = make_reply(200, {"id": ANN, **NEW_MAIL}, whole=False)
    assert put_in_words(judge(reply)) == Expected(Action.RETRY, doubt=True)


def test_nesting_beyond_all_bounds_is_unreadable() -> None:
    assert judge(make_reply(200, b'{"id":' * 100_000)).act is Action.RETRY
    assert judge(make_reply(200, b"[" * 100_000 + b"]" * 100_000)).act is Action.RETRY
    assert judge(make_reply(400, b'{"code":' + b"[" * 100_000)).act is Action.RETRY


# --- how often the same key is tried again before a read decides


@pytest.mark.parametrize(
    ("reply", "kind", "then"),
    [
        (make_reply(202), "unconfirmed", Action.LOOK),
        (make_reply(204), "unconfirmed", Action.LOOK),
        (make_reply(200, b"<html>"), "unreadable answer", Action.LOOK),
        (NetworkFailure(FailureKind.PROTOCOL), "unreadable answer", Action.LOOK),
        *((make_reply(status), "unsettled", Action.SETTLE) for status in (408, 423, 424, 425, 499)),
    ],
)
@pytest.mark.parametrize("ambiguous", [False, True])
def test_the_same_key_goes_twice_more_before_a_read_decides(
    reply: Reply | NetworkFailure, kind: str, then: Action, ambiguous: bool
) -> None:
    acts = [judge(reply, history(ambiguous=ambiguous, seen={kind: times})).act for times in range(4)]
    assert acts == [Action.RETRY, Action.RETRY, then, then]
    assert judge(reply, history(seen={"server error": 5, "throttled": 5}, ambiguous=True)).act is Action.RETRY


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 429])
def test_an_outage_and_a_429_never_run_out_of_patience_by_themselves(status: int) -> None:
    before = history(seen={"server error": 100, "throttled": 100}, ambiguous=True)
    assert judge(make_reply(status, BODIES["own code"]), before).act is Action.RETRY


@pytest.mark.parametrize(
    ("headers", "body", "pause_s"),
    [
        ({"retry-after": "4.0"}, b"", 4.0),
        ({"retry-after": "soon"}, b"", None),
        ({}, {"code": "TOO_MANY_REQUESTS", "retry_after": 3}, 3.0),
    ],
)
def test_a_503_that_asks_to_wait_throttles_as_a_429_does(
    headers: dict[str, str], body: Any, pause_s: float | None
) -> None:
    verdict, twin = (judge(make_reply(status, body, headers=headers)) for status in (503, 429))
    assert verdict.pause_s == pause_s
    assert verdict == replace(twin, status=503, reason=verdict.reason, api_code="")


# --- the codes that count more than the status


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
@pytest.mark.parametrize("ambiguous", [False, True])
def test_a_key_that_is_still_worked_on_is_kept_and_asked_for_in_steps(status: int, ambiguous: bool) -> None:
    verdict = judge(make_reply(status, {"code": "IDEMPOTENCY_CONCURRENT_USE"}), history(ambiguous=ambiguous))
    assert (verdict.act, verdict.wait) == (Action.RETRY, Wait.STEPS)
    assert verdict.ambiguous  # it says itself that an attempt under this key is under way
    assert not verdict.streak


@pytest.mark.parametrize("status", [400, 409, 422])
@pytest.mark.parametrize("ambiguous", [False, True])
def test_a_key_used_for_something_else_stops_the_run_and_is_never_changed(status: int, ambiguous: bool) -> None:
    verdict = judge(make_reply(status, {"code": "IDEMPOTENCY_INVALID_REUSE"}), history(ambiguous=ambiguous))
    assert put_in_words(verdict).act is Action.STOP
    assert put_in_words(verdict).stop is Exit.STOPPED


@pytest.mark.parametrize("code", ["IDEMPOTENCY_CONCURRENT_USE", "IDEMPOTENCY_INVALID_REUSE"])
@pytest.mark.parametrize("status", [401, 408, 423, 424, 425, 429, 499, 500, 503])
def test_these_statuses_are_judged_whatever_the_body_says(status: int, code: str) -> None:
    assert put_in_words(judge(make_reply(status, {"code": code}))) == expect(status, own=True, ambiguous=False)


@pytest.mark.parametrize(
    ("status", "body", "counted"),
    [
        (403, "own code", "forbidden"),
        (404, "own type only", "not found"),
        (403, "gateway's JSON", "not the API's word"),
        (404, "page", "not the API's word"),
        (400, "nothing", "not the API's word"),
        (400, "own code", ""),
        (401, "page", ""),
        (429, "page", ""),
        (502, "page", ""),
    ],
)
def test_what_counts_in_a_row_is_counted_by_its_kind(status: int, body: str, counted: str) -> None:
    streak = judge(make_reply(status, BODIES[body])).streak
    assert (streak.value if streak is not None else "") == counted


def test_three_403_five_404_and_five_foreign_pages_are_too_many_and_one_of_the_first_two_in_the_canary() -> None:
    limits = {
        meaning.value: (streak.length, streak.exit_code, streak.canary) for meaning, streak in TARGET.streaks.items()
    }
    assert limits == {
        "forbidden": (3, Exit.CREDENTIAL, True),
        "not found": (5, Exit.STOPPED, True),
        "not the API's word": (5, Exit.STOPPED, False),
    }


@pytest.mark.parametrize(
    ("body", "is_own"),
    [
        ({"code": "X"}, True),
        ({"code": ""}, True),
        ({"code": 7}, False),
        ({"code": None, "message": "x"}, False),
        ({"type": "https://dev.synctera.com/errors/conflict"}, True),
        ({"type": "https://synctera.com/errors/conflict"}, True),
        ({"type": "https://evil.example/?https://dev.synctera.com/errors/conflict"}, False),
        ({"type": "https://dev.synctera.com.evil.example/errors/conflict"}, False),
        ({"type": "https://notsynctera.com/errors/conflict"}, False),
        ({"type": "about:blank", "title": "Forbidden"}, False),
        ({"type": ["https://dev.synctera.com/errors/conflict"]}, False),
        ({"error": {"code": "X"}}, False),
        (["code"], False),
        ("code", False),
    ],
)
def test_the_apis_own_json_has_a_code_that_is_text_or_the_type_of_a_synctera_error(body: Any, is_own: bool) -> None:
    assert (judge(make_reply(422, body)).act is Action.REJECTED) is is_own


def test_a_refusal_that_was_cut_short_is_not_the_apis_word() -> None:
    assert judge(make_reply(422, {"code": "INVALID_STATUS"}, whole=False)).act is Action.RETRY


# --- 401


@pytest.mark.parametrize(("own", "ambiguous", "renewed"), list(product([True, False], repeat=3)))
def test_a_401_renews_the_credential_once_and_is_then_taken_for_a_cached_one(
    own: bool, ambiguous: bool, renewed: bool
) -> None:
    body = {"code": "UNAUTHENTICATED"} if own else b"<html>"
    verdict = judge(make_reply(401, body), history(ambiguous=ambiguous, renewed=renewed))
    if not renewed:
        assert verdict.act is Action.RENEW
    elif ambiguous or not own:  # a gateway's 401 does not prove that the API did not execute it
        assert verdict.act is Action.SETTLE
    else:
        assert verdict.act is Action.NEW_KEY
    assert verdict.cached is own


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 408, 499])
def test_only_a_4xx_in_the_apis_own_words_is_taken_for_cached(status: int) -> None:
    assert judge(make_reply(status, BODIES["own code"])).cached
    assert not judge(make_reply(status, BODIES["gateway's JSON"])).cached


@pytest.mark.parametrize("status", [200, 202, 302, 429, 500])
def test_what_the_api_does_not_keep_is_not_taken_for_cached(status: int) -> None:
    assert not judge(make_reply(status, BODIES["own code"])).cached


# --- no answer at all


STOPPING = (FailureKind.CERTIFICATE, FailureKind.TLS, FailureKind.PROXY_LOGIN, FailureKind.FOREIGN_PEER)


@pytest.mark.parametrize("lost", FailureKind)
@pytest.mark.parametrize("ambiguous", [False, True])
def test_what_was_lost_is_ambiguous_unless_it_never_left(lost: FailureKind, ambiguous: bool) -> None:
    verdict = judge(NetworkFailure(lost), history(ambiguous=ambiguous))
    if lost in STOPPING:
        assert put_in_words(verdict) == Expected(Action.STOP, doubt=False, stop=Exit.CREDENTIAL)
    elif lost is FailureKind.PROTOCOL:
        assert put_in_words(verdict) == Expected(Action.RETRY, doubt=True)
    else:
        never_left = lost in {FailureKind.DNS, FailureKind.REFUSED, FailureKind.CONNECT, FailureKind.PROXY}
        assert put_in_words(verdict) == Expected(Action.RETRY, doubt=not never_left, outage=True)
        assert verdict.wait is Wait.BACKOFF
    assert (lost in NEVER_LEFT) is (lost not in {FailureKind.TIMEOUT, FailureKind.RESET, FailureKind.PROTOCOL})


# --- what the API asks for, and what it says


@pytest.mark.parametrize(("status", "pause_s"), [(429, 7.0), (503, 7.0), (400, None), (200, None), (302, None)])
def test_a_wish_to_wait_is_heard_of_429_and_5xx(status: int, pause_s: float | None) -> None:
    assert judge(make_reply(status, BODIES["own code"], headers={"retry-after": "7"})).pause_s == pause_s


@pytest.mark.parametrize(
    ("body", "code", "fields"),
    [
        ({"code": "BAD_REQUEST_BODY", "invalid": {"email": "bob@example.com is bad"}}, "BAD_REQUEST_BODY", ("email",)),
        ({"code": "X1", "missing": ["dob", "dob"], "immutable": ["id"]}, "X1", ("dob", "1 unknown field")),
        ({"type": "https://dev.synctera.com/errors/conflict", "missing": ["note"]}, "conflict", ("note",)),
        ({"code": "X1", "missing": 7}, "X1", ()),
        ({"code": "X1", "missing": True, "invalid": 1.5, "immutable": None}, "X1", ()),
        ({"code": "X1", "missing": [None, 3, ["email"], {"a": 1}]}, "X1", ()),
        ({"code": "X1", "missing": "first_name"}, "X1", ()),
        (
            {"code": "X1", "missing": ["legal_address.city", "legal_address"]},
            "X1",
            ("legal_address.city", "legal_address"),
        ),
        # what does not look like a code or a field of the API's may be anything
        ({"code": "X"}, "unknown code", ()),
        ({"code": "Bearer sk_live_SECRET"}, "unknown code", ()),
        ({"code": "A B\nC\x1b[31m", "missing": ["e m\tail"]}, "unknown code", ("1 unknown field",)),
        ({"code": "X" * 500, "missing": ["y" * 500, "123-45-6789"]}, "unknown code", ("2 unknown fields",)),
        ({"code": "jonathan"}, "unknown code", ()),
        (
            {"type": "https://dev.synctera.com/errors/Jon", "missing": ["metadata.Jon", "metadata"]},
            "unknown code",
            ("metadata",),
        ),
    ],
)
def test_codes_and_field_names_are_kept_and_nothing_else(body: Any, code: str, fields: tuple[str, ...]) -> None:
    verdict = judge(make_reply(400, body))
    assert verdict.api_code == code
    assert verdict.api_fields == fields


BODY = b'{"first_name":"Jonathan","ssn":"123-45-6789","legal_address":{"city":"Yuma"},"is_customer":true}'


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("JONATHAN", True),
        ("INVALID_JONATHAN_X", True),
        ("N_123_45_6789", True),
        ("YUMA", True),
        ("YUMAN_ERROR", False),  # a short value says nothing within a word
        ("BAD_REQUEST_BODY", False),
        ("TRUE", False),
    ],
)
def test_a_code_that_repeats_what_was_sent_is_known(text: str, repeats: bool) -> None:
    assert repeats_a_value(text, BODY) is repeats
    assert not repeats_a_value(text, None)


def test_no_text_of_an_answer_gets_into_a_reason() -> None:
    secret = "123-45-6789"
    for status in range(100, 600):
        reply = make_reply(status, {"type": "about:blank", "detail": secret, "title": secret, "message": secret})
        assert secret not in repr(judge(reply))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KNOWN = ("id", "type", "missing", "invalid", "immutable", "retry_after", "email", "next_page_token", "customers")
any_body = st.one_of(
    st.binary(max_size=60),
    st.fixed_dictionaries({"code": st.just("X") | json_values}, optional=dict.fromkeys(KNOWN, json_values)).map(
        lambda body: json.dumps(body).encode()
    ),
    json_values.map(lambda body: json.dumps(body).encode()),
)
any_reply = st.builds(
    Reply,
    status=st.integers(0, 999),
    headers=st.dictionaries(st.sampled_from(["retry-after", "date"]), st.text(max_size=30), max_size=2),
    body=any_body,
    whole=st.booleans(),
)


@given(reply=any_reply, ambiguous=st.booleans(), renewed=st.booleans())
def test_nothing_that_a_server_can_say_makes_a_judge_fail(reply: Reply, ambiguous: bool, renewed: bool) -> None:
    before = history(ambiguous=ambiguous, renewed=renewed)
    verdict = judge(reply, before)
    if verdict.act is Action.REJECTED:
        assert not ambiguous
    if verdict.act is Action.APPLIED:
        assert reply.status == 200
    assert not TARGET.judge_read(reply, before).ambiguous
    TARGET.page(reply)
    TARGET.record(reply, ANN)
