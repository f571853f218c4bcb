import asyncio
import datetime as dt
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest

from bulk_patch.client.credential import Credential
from bulk_patch.client.http import HttpClient
from bulk_patch.client.permits import LimiterClosed, Permit
from bulk_patch.client.rate_limiter import RateLimiter
from bulk_patch.client.reads import ReadAttempts, Unreadable, read_many, read_one
from bulk_patch.client.session import ApiSession, RunHalted
from bulk_patch.errors import Exit
from bulk_patch.job.settings import Retry
from bulk_patch.model import FailureKind, NetworkFailure, Reply, Request
from bulk_patch.sandbox import Fault
from bulk_patch.sending.sender import Sender
from bulk_patch.targets.synctera.target import LOGIN, Synctera
from tests.support.patches import ANN, history, make_reply, make_target
from tests.support.raw_server import Heard, RawServer, Say, http_answer
from tests.support.sending import PAGE, Bench, faults, make_id, make_row, on_bench, page, refusal

FIVE = [make_id(row) for row in range(1, 6)]


def asked_for(heard: Heard) -> list[str]:
    """Return the ids that a list read asks for."""
    found = re.search(r"[?&]id=([^& ]*)", heard.line)
    assert found is not None
    return found[1].split(",")


def listing(ids: Sequence[str], token: str = "") -> bytes:
    """Return a page of customers."""
    customers: dict[str, object] = {"customers": [{"id": each} for each in ids]}
    return json.dumps(customers | ({"next_page_token": token} if token else {})).encode()


@asynccontextmanager
async def open_session(
    answer: Callable[[Heard], Say], *, attempts: int = 8, concurrency: int = 8
) -> AsyncIterator[tuple[ApiSession, RawServer]]:
    """Open a session with a server that says what a test wants."""
    credential = Credential.of_sandbox("token", LOGIN)
    retry = Retry(attempts=attempts, longest_delay_s=0.02)
    limiter = RateLimiter(None, longest_delay_s=0.02, streaks=make_target().streaks)
    async with (
        RawServer(answer) as server,
        HttpClient(server.base_url, credential=credential, limiter=limiter, timeout_s=5) as http,
    ):
        yield ApiSession(make_target(), http, credential=credential, retry=retry, concurrency=concurrency), server


# --- many


def test_customers_are_read_a_hundred_at_a_time_and_unknown_ones_are_left_out() -> None:
    async def scenario(bench: Bench) -> None:
        counted: list[int] = []
        bench.session.on_read = counted.append
        records = list((await read_many(bench.session, [make_id(row) for row in range(1, 301)])).by_id.values())
        assert [record["id"] for record in records] == [make_id(row) for row in range(1, 251)]
        assert [line["ids"] for line in bench.sandbox.requests] == [100, 100, 100]
        assert sum(counted) == 300

    on_bench(scenario, rows=250)


def test_reading_no_one_asks_for_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        assert (await read_many(bench.session, [])).by_id == {}
        assert bench.sandbox.requests == []

    on_bench(scenario)


def test_no_more_requests_are_out_at_once_than_the_job_allows_reads_and_rows_together() -> None:
    async def scenario() -> None:
        some = open_session(lambda heard: http_answer(200, listing(asked_for(heard))), attempts=1, concurrency=3)
        async with some as (session, _):
            out = most = 0
            send = session.http.send

            async def counted(request: Request, permit: Permit) -> tuple[Reply | NetworkFailure, int]:
                nonlocal out, most
                out += 1
                most = max(most, out)
                await asyncio.sleep(0.01)
                out -= 1
                return await send(request, permit) if request.body is None else (NetworkFailure(FailureKind.RESET), 0)

            session.http.send = counted  # type: ignore[method-assign,assignment]  # only to count
            rows = [Sender(session).send(make_row(row)) for row in range(1, 9)]
            reading = read_many(session, [make_id(row) for row in range(2000)])
            await asyncio.gather(reading, *rows)
            assert most == 3

    asyncio.run(scenario())


def test_the_pages_of_one_answer_are_followed_by_their_tokens() -> None:
    def answer(heard: Heard) -> Say:
        if "page_token" not in heard.line:
            return http_answer(200, listing(FIVE[:2], "a/b +c=&d"))
        return http_answer(200, listing(FIVE[2:4], "2") if "page_token=2" not in heard.line else listing(FIVE[4:]))

    async def scenario() -> None:
        async with open_session(answer) as (session, server):
            assert [record["id"] for record in (await read_many(session, FIVE)).by_id.values()] == FIVE
        assert len(server.requests) == 3
        assert "&page_token=a%2Fb%20%2Bc%3D%26d " in server.requests[1].line

    asyncio.run(scenario())


@pytest.mark.parametrize("empty", ["first", "in between", "many"])
def test_an_empty_page_with_a_token_is_not_the_end(empty: str) -> None:
    pages = {
        "first": [[], FIVE],
        "in between": [FIVE[:2], [], FIVE[2:]],
        "many": [*[[]] * 20, FIVE[:1], *[[]] * 20, FIVE[1:]],
    }[empty]

    async def scenario() -> None:
        async with open_session(lambda heard: http_answer(200, numbered(heard, pages))) as (session, server):
            assert [record["id"] for record in (await read_many(session, FIVE)).by_id.values()] == FIVE
        assert len(server.requests) == session.reads_made == len(pages)

    asyncio.run(scenario())


def numbered(heard: Heard, pages: Sequence[Sequence[str]], *, as_number: bool = False) -> bytes:
    """Return the page that a request asks for, with the number of the next one as its token."""
    found = re.search(r"page_token=(\d+)", heard.line)
    number = int(found[1]) if found else 0
    body: dict[str, object] = {"customers": [{"id": each} for each in pages[number]]}
    if number + 1 < len(pages):
        body["next_page_token"] = number + 1 if as_number else str(number + 1)
    return json.dumps(body).encode()


def test_a_token_may_be_a_number() -> None:
    pages = [FIVE[:2], FIVE[2:4], FIVE[4:]]

    async def scenario() -> None:
        said = open_session(lambda heard: http_answer(200, numbered(heard, pages, as_number=True)))
        async with said as (session, _):
            assert [record["id"] for record in (await read_many(session, FIVE)).by_id.values()] == FIVE

    asyncio.run(scenario())


def test_once_all_are_found_no_further_page_is_asked_for() -> None:
    async def scenario() -> None:
        async with open_session(lambda heard: http_answer(200, listing(FIVE, "more"))) as (session, server):
            assert len((await read_many(session, FIVE)).by_id) == 5
        assert len(server.requests) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("ids", [[], FIVE[:4]])
@pytest.mark.parametrize("grows", [True, False])
def test_pages_that_lead_in_circles_or_nowhere_end_and_prove_nothing(ids: list[str], grows: bool) -> None:
    count = 0

    def answer(heard: Heard) -> Say:
        nonlocal count
        count += grows
        return http_answer(200, listing(ids, f"again {count}"))

    async def scenario() -> None:
        async with open_session(answer) as (session, server):
            with pytest.raises(Unreadable, match="does not end"):
                await read_many(session, FIVE)
            assert len(server.requests) <= 120

    asyncio.run(scenario())


STRANGERS = [make_id(row) for row in range(900, 920)]


@pytest.mark.parametrize(
    "customers",
    [
        [{"id": each} for each in STRANGERS],
        [{"id": FIVE[0]}, {"id": STRANGERS[0]}],
        [{"id": FIVE[0]}, {}],
        [{"id": FIVE[0]}, {"id": 5}],
        [1],
        [None],
    ],
)
def test_a_list_of_others_than_those_asked_for_does_not_show_who_is_missing(customers: list[object]) -> None:
    async def scenario() -> None:
        said = http_answer(200, json.dumps({"customers": customers}).encode())
        async with open_session(lambda heard: said) as (session, _):
            with pytest.raises(Unreadable, match="does not show who is missing"):
                await read_many(session, FIVE)

    asyncio.run(scenario())


def test_a_list_that_ignores_what_is_asked_for_is_read_on_until_all_are_found() -> None:
    pages = [STRANGERS, [FIVE[3], *STRANGERS[:5], FIVE[0]], [FIVE[1], FIVE[2]], [FIVE[4]]]

    async def scenario() -> None:
        async with open_session(lambda heard: http_answer(200, numbered(heard, pages))) as (session, _):
            assert {record["id"] for record in (await read_many(session, FIVE)).by_id.values()} == set(FIVE)

    asyncio.run(scenario())


ODD = [
    ({"first_name": "\ud800"}, "cannot be written down"),
    ({"anything": ["\udfff"]}, "cannot be written down"),
    ({"legal_address": "1 Main St"}, "legal_address is not an object"),
    ({"legal_address": 7}, "legal_address is not an object"),
    ({"legal_address": {"city": ["Boston"]}}, "legal_address.city is not text"),
    ({"first_name": {"text": "Ann"}}, "first_name is not text"),
]


@pytest.mark.parametrize(("odd", "why"), ODD)
def test_an_odd_record_is_told_apart_and_stops_nobody_else(odd: dict[str, object], why: str) -> None:
    def answer(heard: Heard) -> Say:
        if "?" not in heard.line:
            return http_answer(200, json.dumps({"id": FIVE[2], **odd}).encode())
        customers = [{"id": each, **(odd if each == FIVE[2] else {"first_name": "Ann"})} for each in FIVE]
        return http_answer(200, json.dumps({"customers": customers}).encode())

    async def scenario() -> None:
        async with open_session(answer) as (session, _):
            found = await read_many(session, FIVE)
            assert set(found.by_id) == {*FIVE} - {FIVE[2]}
            assert set(found.unreadable) == {FIVE[2]}
            assert why in found.unreadable[FIVE[2]]
            with pytest.raises(Unreadable, match=why):
                await read_one(session, FIVE[2])

    asyncio.run(scenario())


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_is_none_makes_a_record_odd(number: str) -> None:
    said = http_answer(200, b'{"customers":[{"id":"%s","x":%s}]}' % (FIVE[0].encode(), number.encode()))

    async def scenario() -> None:
        async with open_session(lambda heard: said) as (session, _):
            assert set((await read_many(session, FIVE[:1])).unreadable) == {FIVE[0]}

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [400, 414, 431])
@pytest.mark.parametrize("body", [b'{"code":"BAD_QUERY_PARAMETER"}', PAGE], ids=["own words", "a gateway's page"])
def test_a_list_that_is_too_long_is_halved_until_it_is_taken_and_stays_short(status: int, body: bytes) -> None:
    def answer(heard: Heard) -> Say:
        ids = asked_for(heard)
        return http_answer(200, listing(ids)) if len(ids) <= 30 else http_answer(status, body)

    async def scenario() -> None:
        ids = [make_id(row) for row in range(1000)]
        async with open_session(answer) as (session, server):
            assert sorted(str(record["id"]) for record in list((await read_many(session, ids)).by_id.values())) == ids
            assert len(server.requests) <= 10 + 20 + 40
            again = len(server.requests)
            await read_many(session, ids[:100])
            assert len(server.requests) - again == 4

    asyncio.run(scenario())


def test_a_list_of_one_that_is_refused_is_not_halved() -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(Unreadable) as caught:
            await read_many(bench.session, FIVE[:1])
        assert caught.value.verdict.status == 400
        assert len(bench.sandbox.requests) == 1

    on_bench(scenario, faults(reads=[refusal(400, "BAD_QUERY_PARAMETER")] * 9))


def test_when_one_batch_fails_the_others_are_given_up() -> None:
    def answer(heard: Heard) -> Say:
        return http_answer(403, b'{"code":"FORBIDDEN"}') if make_id(0) in heard.line else Say(then="hang")

    async def scenario() -> None:
        async with open_session(answer) as (session, server):
            with pytest.raises(Unreadable):
                await asyncio.wait_for(read_many(session, [make_id(row) for row in range(3000)]), 3)
            asked = len(server.requests)
            await asyncio.sleep(0.1)
            assert len(server.requests) == asked <= 9

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "body",
    [
        {"customers": None},
        {"customers": {}},
        {"customers": "none"},
        {"customers": [], "next_page_token": ["p2"]},
        {"customers": [], "next_page_token": True},
        {"customers": [], "next_page_token": {"p": 2}},
        {"persons": []},
        {},
    ],
)
def test_what_is_no_list_of_customers_is_unreadable(body: object) -> None:
    async def scenario() -> None:
        async with open_session(lambda heard: http_answer(200, json.dumps(body).encode())) as (session, _):
            with pytest.raises(Unreadable):
                await read_many(session, FIVE)

    asyncio.run(scenario())


# --- one


def test_one_customer_is_read() -> None:
    async def scenario(bench: Bench) -> None:
        read = await read_one(bench.session, make_id(1))
        assert read.record is not None
        assert read.record["id"] == make_id(1)
        assert abs(read.skew_s) < 3

    on_bench(scenario)


def test_a_customer_that_the_api_does_not_know_is_none() -> None:
    async def scenario(bench: Bench) -> None:
        assert (await read_one(bench.session, make_id(99))).record is None
        assert (await read_one(bench.session, make_id(99))).record is None

    on_bench(scenario, faults(reads=[None, refusal(410, "GONE")]))


@pytest.mark.parametrize("status", [400, 403, 409, 422])
def test_a_read_that_is_refused_says_nothing_about_the_customer(status: int) -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(Unreadable) as caught:
            await read_one(bench.session, make_id(1))
        assert caught.value.verdict.status == status

    on_bench(scenario, faults(reads=[refusal(status, "SOME_CODE")]))


@pytest.mark.parametrize("body", [{"id": ANN}, {"id": None}, {}, {"customers": [{"id": make_id(1)}]}])
def test_the_answer_for_another_customer_is_unreadable(body: object) -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(Unreadable):
            await read_one(bench.session, make_id(1))

    on_bench(scenario, faults(reads=[Fault(status=200, body=json.dumps(body).encode())]))


@pytest.mark.parametrize(
    ("date", "skew_s"),
    [
        (lambda: formatdate(time.time() + 3600, usegmt=True), 3600),
        (lambda: formatdate(time.time() - 86_400, usegmt=True), -86_400),
        (lambda: "yesterday", 0),
        (lambda: "Mon, 01 Jan 2024 00:00:00 +999999999999999999", 0),
    ],
)
def test_how_far_the_servers_clock_is_off_comes_with_a_read(date: Callable[[], str], skew_s: float) -> None:
    async def scenario(bench: Bench) -> None:
        read = await read_one(bench.session, make_id(1))
        assert read.skew_s == pytest.approx(skew_s, abs=3)

    on_bench(scenario, faults(reads=[Fault(execute=True, headers={"Date": date()})]))


# --- again and again


@pytest.mark.parametrize(
    "fault",
    [Fault(status=500), Fault(wire="reset"), Fault(wire="close"), Fault(status=408), Fault(status=202, body=b"")],
)
def test_a_read_is_repeated_within_its_attempts(fault: Fault) -> None:
    async def scenario(bench: Bench) -> None:
        assert (await read_one(bench.session, make_id(1))).record is not None
        assert len(bench.sandbox.requests) == 4
        with pytest.raises(Unreadable):
            await read_one(bench.session, make_id(1))
        assert len(bench.sandbox.requests) == 4 + 4

    on_bench(scenario, faults(reads=[fault] * 3 + [None] + [fault] * 9), retry={"attempts": 4})


def test_429s_cost_no_attempt_of_a_read() -> None:
    async def scenario(bench: Bench) -> None:
        assert (await read_one(bench.session, make_id(1))).record is not None
        assert len(bench.sandbox.requests) == 5

    on_bench(scenario, faults(reads=[Fault(status=429)] * 4), retry={"attempts": 1}, rate_per_s=500)


def test_a_wish_to_wait_for_hours_stops_a_read() -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(RunHalted) as caught:
            await read_one(bench.session, make_id(1))
        assert caught.value.stop.exit_code is Exit.INCOMPLETE
        assert bench.limiter.paused_s > 7000  # those that have not yet heard of the stop send nothing either

    on_bench(scenario, faults(reads=[Fault(status=503, headers={"Retry-After": "7200"})]))


def test_an_api_that_no_one_can_reach_is_unreadable() -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(Unreadable) as caught:
            await read_many(bench.session, FIVE)
        assert "refused" in str(caught.value)
        assert bench.limiter.permits == 3

    on_bench(scenario, base_url="http://127.0.0.1:9/v0", retry={"attempts": 3})


@pytest.mark.parametrize("fault", [page(200), page(404), page(403), Fault(raw=b"SSH-2.0\r\n\r\n")])
def test_before_the_api_has_ever_answered_a_foreign_page_is_asked_for_once_only(fault: Fault) -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(Unreadable):
            await read_many(bench.session, FIVE)
        assert len(bench.sandbox.requests) == 1

    on_bench(scenario, faults(reads=[fault] * 9))


def test_once_the_api_has_answered_a_foreign_page_is_waited_out_and_five_in_a_row_stop_the_run() -> None:
    async def scenario(bench: Bench) -> None:
        await read_one(bench.session, make_id(1))
        assert (await read_one(bench.session, make_id(1))).record is not None
        with pytest.raises(RunHalted) as caught:
            await read_one(bench.session, make_id(1))
        assert caught.value.stop.exit_code is Exit.STOPPED
        assert len(bench.sandbox.requests) == 1 + 2 + 5

    on_bench(scenario, faults(reads=[None, page(403), None, *[page(403)] * 5]))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirected_read_stops_the_run(status: int) -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(RunHalted) as caught:
            await read_many(bench.session, FIVE)
        assert caught.value.stop.exit_code is Exit.STOPPED
        assert "redirected" in caught.value.stop.reason

    on_bench(scenario, faults(reads=[Fault(status=status, body=b"", headers={"Location": "/v0/customers"})]))


# --- the credential, and the end


def test_a_read_renews_a_refused_token_and_is_made_again() -> None:
    async def scenario(bench: Bench) -> None:
        assert len((await read_many(bench.session, [make_id(1)])).by_id) == 1
        assert [line["status"] for line in bench.sandbox.requests] == [401, 200, 200]

    on_bench(scenario, faults(reads=[refusal(401, "UNAUTHENTICATED")]))


def test_reads_that_are_refused_for_good_stop_the_run_after_one_probe() -> None:
    async def scenario(bench: Bench) -> None:
        bench.sandbox.token = "another"
        with pytest.raises(RunHalted) as caught:
            await read_many(bench.session, [make_id(row) for row in range(500)])
        assert caught.value.stop.exit_code is Exit.CREDENTIAL
        assert len(bench.sandbox.requests) <= 5 + 1

    on_bench(scenario)


def test_all_who_wait_for_a_renewal_that_does_not_help_learn_of_it() -> None:
    async def scenario(bench: Bench) -> None:
        bench.sandbox.token = "another"
        reads = [read_one(bench.session, make_id(1)) for _ in range(4)]
        ends = await asyncio.wait_for(asyncio.gather(*reads, return_exceptions=True), 3)
        assert all(isinstance(end, RunHalted) for end in ends)
        assert len(bench.sandbox.requests) == 4 + 1

    on_bench(scenario)


def test_a_token_that_only_the_probe_has_is_refused_at_the_second_look() -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(RunHalted) as caught:
            await read_one(bench.session, make_id(1))
        assert caught.value.stop.exit_code is Exit.CREDENTIAL

    refused = refusal(401, "UNAUTHENTICATED")
    on_bench(scenario, faults(reads=[refused, None, refused]))


def test_reads_end_when_the_run_stops() -> None:
    async def scenario(bench: Bench) -> None:
        bench.limiter.pause(60, "asked")
        reading = asyncio.create_task(read_many(bench.session, FIVE))
        await asyncio.sleep(0.05)
        bench.session.stop()
        with pytest.raises(LimiterClosed):
            await asyncio.wait_for(reading, 1)

    on_bench(scenario)


# --- what the answer to a read means


@pytest.mark.parametrize("resource", ["customers", "persons"])
def test_a_read_asks_the_resource_of_the_job(resource: str) -> None:
    target = make_target(resource)
    assert target.read_one(ANN).path == f"/{resource}/{ANN}"
    assert target.read([ANN, make_id(1)]).path == f"/{resource}?id={ANN},{make_id(1)}&limit=100"
    assert target.page(make_reply(200, {resource: [{"id": ANN}]})) is not None


def test_nothing_can_have_been_executed_by_a_read() -> None:
    target = make_target()
    for status in range(100, 600):
        for body in (b"", PAGE, b'{"code":"X"}', b'{"id":"x"}'):
            for renewed in (False, True):
                assert not target.judge_read(make_reply(status, body), history(renewed=renewed)).ambiguous
    for lost in FailureKind:
        assert not target.judge_read(NetworkFailure(lost), history()).ambiguous


# --- a wait that an earlier process was asked for


def test_a_wait_that_an_earlier_process_was_asked_for_is_kept() -> None:
    async def scenario(bench: Bench) -> None:
        now = time.time()
        bench.session.wait_on(now - 1, now + 0.5)
        await read_one(bench.session, FIVE[0])
        assert time.time() >= now + 0.5
        bench.session.wait_on(now - 1, now + 1000)
        with pytest.raises(RunHalted, match="the API asks to wait until 20"):
            await read_one(bench.session, FIVE[0])
        assert len(bench.sandbox.requests) == 1

    on_bench(scenario, rows=5)


@pytest.mark.parametrize(("asked_ago_s", "left_s"), [(2 * 24 * 3600.0, 1e9), (-60.0, 1e6), (60.0, -1.0)])
def test_a_wait_of_days_ago_or_of_a_wrong_clock_or_that_is_over_holds_nobody_up(
    asked_ago_s: float, left_s: float
) -> None:
    async def scenario(bench: Bench) -> None:
        now = time.time()
        bench.session.wait_on(now - asked_ago_s, now + left_s)
        await asyncio.wait_for(read_one(bench.session, FIVE[0]), 2)

    on_bench(scenario, rows=5)


def test_a_session_that_is_aimed_at_another_target_shows_the_token_as_that_one_says() -> None:
    class Other(Synctera):
        login: Mapping[str, str] = {"X-Api-Key": "{token}"}

    heard: list[Heard] = []

    def answer(request: Heard) -> Say:
        heard.append(request)
        return http_answer(200, listing(asked_for(request)))

    async def scenario() -> None:
        async with open_session(answer) as (session, _):
            await read_many(session, [make_id(1)])
            session.aim(Other("persons", today=dt.date(2030, 1, 1)))
            await session.ask(ReadAttempts(request=session.target.read([make_id(2)]), session=session))

    asyncio.run(scenario())
    first, second = heard
    assert first.headers["authorization"] == "Bearer token"
    assert "authorization" not in second.headers
    assert second.headers["x-api-key"] == "token"
    assert "/persons?" in second.line
