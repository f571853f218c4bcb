import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_patch.model import FailureKind, NetworkFailure
from bulk_patch.targets.answers import http_date, json_object, retry_after_s, status_words
from tests.support.patches import make_reply

NOON = "Sun, 22 Nov 2026 12:00:00 GMT"
DECADES_S = 9 * 365 * 24 * 3600.0


# --- what an answer says


@pytest.mark.parametrize("body", [{}, {"a": 1}, {"a": {"b": [1, None]}}, {"é": "ß"}])
def test_an_object_is_read(body: Any) -> None:
    assert json_object(make_reply(200, body)) == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"true",
        b"1",
        b'"a"',
        b"[]",
        b"{",
        b"{}{}",
        b"<html>",
        b"\xff\xfe\x00",
        b"{'a': 1}",
        b"\x80{}",
    ],
)
def test_anything_else_is_no_object(body: bytes) -> None:
    assert json_object(make_reply(200, body)) is None


def test_an_object_that_was_cut_short_is_none_even_when_it_can_be_read() -> None:
    assert json_object(make_reply(200, {"a": 1}, whole=False)) is None


def test_nesting_and_numbers_beyond_all_bounds_are_no_object() -> None:
    assert json_object(make_reply(200, b'{"a":' * 200_000 + b"1" + b"}" * 200_000)) is None
    assert json_object(make_reply(200, b'{"a":' + b"9" * 10_000 + b"}")) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reading_fail(body: bytes) -> None:
    found = json_object(make_reply(200, body))
    assert found is None or isinstance(found, dict)


def test_an_exchange_is_said_in_words() -> None:
    assert status_words(make_reply(502)) == " (HTTP 502)"
    assert status_words(NetworkFailure(FailureKind.TIMEOUT)) == " (timeout)"


# --- dates


@pytest.mark.parametrize(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_the_three_forms_of_a_date_are_one(text: str) -> None:
    assert http_date(text) == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        " ",
        "soon",
        "12",
        "-1",
        "1.5",
        "Mon, 01 Jan 99999 00:00:00 GMT",
        "Mon, 99 Jan 2024 00:00:00 GMT",
        "Mon, 01 Jan 2024 00:00:00 +999999999999999999",
        "Mon, 01 Jan 2024 00:00:00 +9999",
        "Mon, 99999999999999999999 Jan 2024 00:00:00 GMT",
        "\x00",
        "2026-11-22T12:00:00Z",
    ],
)
def test_what_is_no_date_is_none(text: str | None) -> None:
    assert http_date(text) is None


@given(
    st.text(max_size=60) | st.from_regex(r"\w{3}, \d{1,25} (Jan|Feb|\w{3}) \d{1,25} \d{1,9}:\d\d:\d\d [+-]?\w{0,25}")
)
def test_no_text_makes_the_reading_of_a_date_fail(text: str) -> None:
    found = http_date(text)
    assert found is None or found.tzinfo is not None


# --- how long to wait


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({}, b"", None),
        ({"retry-after": "0"}, b"", 0.0),
        ({"retry-after": "120"}, b"", 120.0),
        ({"retry-after": " 120 "}, b"", 120.0),
        ({"retry-after": "007"}, b"", 7.0),
        ({"retry-after": "4.0"}, b"", 4.0),
        ({"retry-after": "0.5"}, b"", 0.5),
        ({"retry-after": "4."}, b"", 4.0),
        ({"retry-after": "+5"}, b"", 5.0),
        ({"retry-after": '"4"'}, b"", 4.0),
        ({"retry-after": "4s"}, b"", 4.0),
        ({"retry-after": "5 Seconds"}, b"", 5.0),
        ({"retry-after": "1500ms"}, b"", 1.5),
        ({"retry-after": "2 minutes"}, b"", 120.0),
        ({"retry-after": "120;until=later"}, b"", 120.0),
        ({"retry-after": "120 (too busy)"}, b"", 120.0),
        # lists, as proxies merge them: the longest
        ({"retry-after": "4, 8"}, b"", 8.0),
        ({"retry-after": "8,4"}, b"", 8.0),
        ({"retry-after": "4\n9.5"}, b"", 9.5),
        ({"retry-after": "soon, 4"}, b"", 4.0),
        ({"retry-after": "3, Sun, 22 Nov 2026 12:00:30 GMT", "date": NOON}, b"", 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT, Sun, 22 Nov 2026 12:00:40 GMT", "date": NOON}, b"", 40.0),
        # a date counts from the answer's own clock
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT", "date": NOON}, b"", 30.0),
        ({"retry-after": "Sunday, 22-Nov-26 12:01:00 GMT", "date": NOON}, b"", 60.0),
        ({"retry-after": "Sun Nov 22 12:02:00 2026", "date": NOON}, b"", 120.0),
        ({"retry-after": "Sun, 22 Nov 2026 13:00:30 +0100", "date": NOON}, b"", 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT", "date": NOON}, b"", 0.0),
        ({"retry-after": "22 Nov 2026 12:00:30 GMT", "date": NOON}, b"", 30.0),
        ({"retry-after": "2026-11-22T12:00:30Z", "date": NOON}, b"", 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, b"", None),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT", "date": "yesterday"}, b"", None),
        # the body
        ({}, {"retry_after": 30}, 30.0),
        ({}, {"retry_after": 2.5}, 2.5),
        ({}, {"retry_after": 0}, 0.0),
        ({}, {"retry_after": "4.0"}, 4.0),
        ({}, {"retry_after": "30"}, 30.0),
        ({}, {"code": "TOO_MANY_REQUESTS"}, None),
        # the longest of all
        ({"retry-after": "10"}, {"retry_after": 30}, 30.0),
        ({"retry-after": "30"}, {"retry_after": 10}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:40 GMT", "date": NOON}, {"retry_after": 30}, 40.0),
    ],
)
def test_a_wish_to_wait_is_heard_in_every_form_that_servers_send(
    headers: dict[str, str], body: Any, seconds: float | None
) -> None:
    assert retry_after_s(make_reply(429, body, headers=headers)) == seconds


@pytest.mark.parametrize(
    "header", ["", "soon", "-5", "1e3", "0x10", "5 months", "4 8", "12:30", ",", "٣", "²", "NaN", "inf", "\x00", "None"]
)
def test_a_header_that_cannot_be_read_is_no_wish(header: str) -> None:
    assert retry_after_s(make_reply(429, b"", headers={"retry-after": header, "date": NOON})) is None


@pytest.mark.parametrize(
    "wish", [-1, -0.5, True, False, None, "soon", "", [30], {"s": 30}, float("nan"), float("-inf")]
)
def test_a_member_that_cannot_be_meant_is_no_wish(wish: Any) -> None:
    assert retry_after_s(make_reply(429, {"retry_after": wish})) is None


@pytest.mark.parametrize("wish", [1e9, 10**10, 1e300, 10**400, float("inf")])
def test_an_absurd_wish_is_still_a_very_long_one(wish: float) -> None:
    seconds = retry_after_s(make_reply(429, {"retry_after": wish}))
    assert seconds is not None
    assert DECADES_S < seconds <= 1e9


@pytest.mark.parametrize("header", ["999999999999", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_an_absurd_header_is_still_a_very_long_wish(header: str) -> None:
    seconds = retry_after_s(make_reply(429, b"", headers={"retry-after": header, "date": NOON}))
    assert seconds is not None
    assert DECADES_S < seconds <= 1e9


def test_a_page_or_silence_wishes_nothing() -> None:
    assert retry_after_s(make_reply(429, b"<html>")) is None
    assert retry_after_s(NetworkFailure(FailureKind.RESET)) is None
    assert retry_after_s(make_reply(429, json.dumps({"retry_after": 3}).encode(), whole=False)) is None
