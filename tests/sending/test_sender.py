"""One row through each line of the fault table, over HTTP: its state, its key, and how often it was sent."""

import json
import time
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

import pytest

from bulk_patch.errors import Exit
from bulk_patch.model import Patch, Precheck, State
from bulk_patch.sandbox import Fault, Hook
from tests.support.sending import Bench, faults, make_id, make_row, new, old, on_bench, page, refusal

APPLIED, REJECTED, MISMATCH = State.APPLIED, State.REJECTED, State.MISMATCH
UNKNOWN, PENDING = State.UNKNOWN, State.PENDING
DAY = 24 * 3600.0
OTHERS = json.dumps({"id": make_id(2), **new(1)}).encode()


@dataclass(frozen=True)
class Line:
    """What happens to a row, and what has to come of it."""

    name: str
    fault: Hook | None
    state: State
    patches: int = 1
    gets: int = 0
    executed: int = 0
    stop: Exit | None = None
    spent: bool = False
    status: int | None = 200
    code: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def ok(name: str, fault: Hook | None, patches: int, *, executed: int = 1, gets: int = 0, **how: Any) -> Line:
    """Make a line that ends applied."""
    return Line(name, fault, APPLIED, patches, gets, executed, **how)


RESET, CLOSE = Fault(wire="reset"), Fault(wire="close")
RESET_AFTER, CLOSE_AFTER = Fault(wire="reset", execute=True), Fault(wire="close", execute=True)
CUT = Fault(wire="truncate", execute=True)
CUT_UNDONE = Fault(wire="truncate", status=200, body=b'{"id":"x"}')
BUSY = "IDEMPOTENCY_CONCURRENT_USE"

LINES = [
    ok("all is well", None, 1),
    # 5xx, resets, timeouts: the same key
    ok("500, not executed", faults(Fault(status=500)), 2),
    ok("500, executed and kept by no one", faults(Fault(status=500, execute=True)), 2, executed=2),
    ok("502 of a gateway, executed and kept", faults(Fault(status=502, execute=True, gateway=True)), 2),
    ok("reset before", faults(RESET), 2),
    ok("reset after", faults(RESET_AFTER), 2),
    ok("closed before", faults(CLOSE), 2),
    ok("closed after", faults(CLOSE_AFTER), 2),
    ok("never answered", faults(Fault(wire="hang", execute=True)), 2, options={"timeout_s": 0.4}),
    ok("a dribble", faults(Fault(wire="drip", execute=True, drip_s=0.1)), 2, options={"timeout_s": 0.4}),
    ok("seven times 503", faults(*[Fault(status=503)] * 7), 8),
    Line("503 for ever", faults(then=Fault(status=503)), UNKNOWN, 8, spent=True, status=503),
    Line("silence for ever", faults(then=CLOSE), UNKNOWN, 8, spent=True, status=None),
    # 200 that proves nothing
    ok("cut short once", faults(CUT), 2),
    ok("cut short three times, executed", faults(CUT, CUT, CUT), 3, gets=1),
    Line("cut short three times, not executed", faults(then=CUT_UNDONE), UNKNOWN, 3, 1, spent=True),
    ok("202, executed", faults(then=Fault(status=202, body=b"", execute=True)), 3, gets=1, status=202),
    Line("202, never carried out", faults(then=Fault(status=202, body=b"")), UNKNOWN, 3, 1, spent=True, status=202),
    ok("204, executed", faults(then=Fault(status=204, body=b"", execute=True)), 3, gets=1, status=204),
    ok("a page twice, executed", faults(*[page(200, execute=True, gateway=True)] * 2), 3),
    Line("a page for ever", faults(then=page(200)), UNKNOWN, 3, 1, spent=True),
    ok("more than 1 MiB", faults(then=Fault(body=b"[" * (2 << 20), execute=True, status=200)), 3, gets=1),
    ok(
        "a garbage status line, executed",
        faults(then=Fault(raw=b"HTTP/1.1 abc\r\n\r\n", execute=True)),
        3,
        gets=1,
        status=None,
    ),
    Line("unreadable, and the read too", faults(then=page(200), reads=[page(200)] * 9), UNKNOWN, 3, 1, spent=True),
    # integrity
    Line("another customer", faults(Fault(status=200, body=OTHERS)), UNKNOWN, stop=Exit.STOPPED),
    Line(
        "a key used for something else",
        faults(refusal(422, "IDEMPOTENCY_INVALID_REUSE")),
        UNKNOWN,
        stop=Exit.STOPPED,
        status=422,
        code="IDEMPOTENCY_INVALID_REUSE",
    ),
    *(
        Line(
            f"{status}, never followed",
            faults(Fault(status=status, body=b"", headers={"Location": "/v0/x"})),
            UNKNOWN,
            stop=Exit.STOPPED,
            status=status,
        )
        for status in (301, 302, 303, 307, 308)
    ),
    Line(
        "101",
        faults(Fault(raw=b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")),
        UNKNOWN,
        stop=Exit.STOPPED,
        status=101,
    ),
    # refusals
    *(
        Line(
            f"{status} in the API's own words",
            faults(refusal(status, "SOME_CODE")),
            REJECTED,
            status=status,
            code="SOME_CODE",
        )
        for status in (400, 403, 404, 405, 409, 410, 422)
    ),
    Line(
        "a refusal after 500s, not executed",
        faults(Fault(status=500), refusal(422, "SOME_CODE")),
        REJECTED,
        3,
        1,
        status=422,
        code="SOME_CODE",
    ),
    ok(
        "a refusal after an executed 500",
        faults(Fault(status=500, execute=True), refusal(422, "SOME_CODE")),
        3,
        gets=1,
        status=422,
        code="SOME_CODE",
    ),
    ok(
        "a refusal after an executed reset",
        faults(RESET_AFTER, refusal(409, "SOME_CODE")),
        2,
        gets=1,
        status=409,
        code="SOME_CODE",
    ),
    Line(
        "a refusal after a 429",
        faults(Fault(status=429), refusal(422, "SOME_CODE")),
        REJECTED,
        3,
        1,
        status=422,
        code="SOME_CODE",
    ),
    Line(
        "a refusal after a 500, and the read fails",
        faults(Fault(status=500), refusal(422, "SOME_CODE"), reads=[Fault(status=500)] * 8),
        UNKNOWN,
        3,
        8,
        spent=True,
        status=422,
        code="SOME_CODE",
    ),
    # busy
    *(ok(f"{status} busy with the key", faults(*[refusal(status, BUSY)] * 3), 4) for status in (409, 422)),
    Line("busy for ever", faults(then=refusal(422, BUSY)), UNKNOWN, 8, spent=True, status=422, code=BUSY),
    # not the API's own
    ok("a gateway's 403 once", faults(page(403)), 2),
    Line("a gateway's 403 for ever", faults(then=page(403)), UNKNOWN, 5, stop=Exit.STOPPED, status=403),
    # unsettled
    *(
        ok(f"{status} twice", faults(Fault(status=status), Fault(status=status)), 3)
        for status in (408, 423, 424, 425, 499)
    ),
    ok(
        "499 for ever, executed",
        faults(then=Fault(status=499, execute=True, cached=True)),
        3,
        gets=1,
        status=499,
        code="REQUEST_CANCELED",
    ),
    Line(
        "499 for ever, not executed",
        faults(then=refusal(499, "REQUEST_CANCELED")),
        REJECTED,
        3,
        1,
        status=499,
        code="REQUEST_CANCELED",
    ),
    Line("a gateway's 408 for ever", faults(then=page(408)), UNKNOWN, 3, 1, spent=True, status=408),
    # 429 costs no attempt
    ok(
        "429 more often than there are attempts",
        faults(*[Fault(status=429)] * 3),
        4,
        options={"retry": {"attempts": 1, "longest_delay_s": 1.0}},
    ),
    Line(
        "an hour to wait",
        faults(Fault(status=429, headers={"Retry-After": "3600"})),
        UNKNOWN,
        stop=Exit.INCOMPLETE,
        status=429,
        code="TOO_MANY_REQUESTS",
    ),
    Line(
        "an hour of maintenance",
        faults(Fault(status=503, headers={"Retry-After": "3600"})),
        UNKNOWN,
        stop=Exit.INCOMPLETE,
        status=503,
    ),
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_a_row_ends_as_its_answers_promise(line: Line) -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await bench.send_one()
        assert (outcome.state, outcome.reason != "") == (line.state, True)
        assert bench.count() == (line.patches, line.gets, line.executed)
        assert len(bench.keys()) == 1
        assert len({request["body_sha256"] for request in bench.seen()}) == 1
        assert outcome.attempts == line.patches
        assert (outcome.stop and outcome.stop.exit_code) is line.stop
        assert outcome.spent is line.spent
        assert (outcome.http_status, outcome.api_code) == (line.status, line.code)
        assert outcome.ambiguous is (line.state is UNKNOWN)
        assert not outcome.final
        assert not outcome.new_generation
        held = bench.sandbox.customer(make_id(1))["email"] == new(1)["email"]
        assert held is bool(line.executed)
        assert outcome.state is not APPLIED or held
        assert outcome.state is not REJECTED or not held
        patches, reads, _ = bench.count()
        assert len(outcome.answers) == patches + reads  # all that was asked for this row
        timed = [answer for answer in outcome.answers if answer.patch_s is not None]
        assert len(timed) <= patches
        assert outcome.http_status is None or outcome.http_status in {answer.status for answer in timed}

    on_bench(scenario, line.fault, rows=2, **line.options)


def test_a_row_that_no_one_can_reach_is_pending_and_has_spent_its_attempts() -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await bench.send_one()
        assert (outcome.state, outcome.spent, outcome.ambiguous) == (PENDING, True, False)
        assert (outcome.attempts, outcome.http_status, outcome.stop) == (0, None, None)
        assert "8 attempts" in outcome.reason
        assert bench.limiter.permits == 8

    on_bench(scenario, base_url="http://127.0.0.1:9/v0")


def test_a_row_that_was_ambiguous_before_stays_unknown_when_no_one_can_be_reached() -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await bench.send_one(make_row(ambiguous=True))
        assert (outcome.state, outcome.spent, outcome.ambiguous) == (UNKNOWN, True, True)

    on_bench(scenario, base_url="http://127.0.0.1:9/v0", retry={"attempts": 2})


def test_a_row_left_in_flight_by_a_kill_is_not_rejected_on_the_word_of_one_refusal() -> None:
    async def scenario(bench: Bench) -> None:
        bench.sandbox.edit(make_id(1), **new(1))  # the attempt before the kill went through
        outcome = await bench.send_one(make_row(ambiguous=True))
        assert outcome.state is APPLIED
        assert bench.count()[:2] == (1, 1)

    on_bench(scenario, faults(refusal(422, "INVALID_STATUS")))


@pytest.mark.parametrize("changed", ["something else", "back and forth"])
def test_what_someone_else_touched_meanwhile_is_unknown_after_a_refusal_that_proves_nothing(changed: str) -> None:
    async def scenario(bench: Bench) -> None:
        bench.sandbox.edit(make_id(1), email="someone@example.org")
        if changed == "back and forth":
            bench.sandbox.edit(make_id(1), **old(1))
        outcome = await bench.send_one(make_row(ambiguous=True))
        assert (outcome.state, outcome.spent, outcome.ambiguous) == (UNKNOWN, True, True)

    on_bench(scenario, faults(refusal(422, "SOME_CODE")))


def test_without_a_before_image_a_refusal_after_an_ambiguous_attempt_is_unknown() -> None:
    async def scenario(bench: Bench) -> None:
        patch = make_row()
        unknown_before = Patch(1, patch.customer_id, patch.body, None, patch.key, intent_at=patch.intent_at)
        assert (await bench.send_one(unknown_before)).state is UNKNOWN

    on_bench(scenario, faults(Fault(status=500), refusal(422, "SOME_CODE")))


@pytest.mark.parametrize(("status", "reason"), [(404, "no longer exists"), (403, "could not be read")])
def test_a_read_that_is_refused_is_not_taken_for_a_customer_that_is_gone(status: int, reason: str) -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await bench.send_one()
        assert outcome.state is UNKNOWN
        assert reason in outcome.reason

    on_bench(scenario, faults(Fault(status=500), refusal(422, "SOME_CODE"), reads=[refusal(status, "SOME_CODE")] * 2))


def test_what_the_api_says_of_a_row_is_kept_as_code_and_field_names_only() -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await bench.send_one(make_row(body={"dob": "2999-01-01"}, before={"dob": None}))
        assert (outcome.state, outcome.api_code, outcome.fields) == (REJECTED, "BAD_REQUEST_BODY", ("dob",))
        assert "2999-01-01" not in repr(outcome)

    on_bench(scenario)


# --- reading back


def test_a_value_that_did_not_stick_is_a_mismatch_and_is_not_sent_again() -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await bench.send_one(make_row(body={"middle_name": ""}, before={"middle_name": "Q"}, read_back=True))
        assert (outcome.state, outcome.fields) == (MISMATCH, ("middle_name",))
        assert bench.count()[:2] == (1, 1)

    on_bench(scenario, sandbox={"clears": False})


def test_an_answer_that_shows_another_value_is_believed_only_when_a_read_shows_it_too() -> None:
    async def scenario(bench: Bench) -> None:
        assert (await bench.send_one()).state is APPLIED
        assert bench.count() == (1, 1, 1)

    on_bench(scenario, faults(Fault(status=200, body=json.dumps({"id": make_id(1), **old(1)}).encode(), execute=True)))


@pytest.mark.parametrize("reads", [[], [Fault(status=500)], [Fault(status=500)] * 8, [page(403)] * 3])
def test_a_row_that_is_read_back_is_applied_when_the_answer_said_so_and_the_read_does_not_contradict(
    reads: list[Fault],
) -> None:
    async def scenario(bench: Bench) -> None:
        assert (await bench.send_one(make_row(read_back=True))).state is APPLIED
        assert bench.count()[0] == 1

    on_bench(scenario, faults(reads=reads))


def test_a_row_of_the_canary_that_was_changed_back_at_once_is_a_mismatch() -> None:
    async def scenario(bench: Bench) -> None:
        assert (await bench.send_one(make_row(read_back=True, canary=True))).state is MISMATCH

    on_bench(scenario, faults(reads=[Fault(status=200, body=json.dumps({"id": make_id(1), **old(1)}).encode())]))


def test_the_fields_that_a_guard_watches_come_back_with_the_outcome() -> None:
    async def scenario(bench: Bench) -> None:
        watching = type(bench.sender)(bench.session, watch=("kyc_status", "no_such"))
        for patch in (make_row(), make_row(2, read_back=True)):
            assert (await watching.send(patch)).watched == {"kyc_status": "REVIEW"}

    on_bench(scenario, rows=2, sandbox={"kyc_rerun": lambda customer_id: "REVIEW"})


# --- looking first


@pytest.mark.parametrize(
    ("first", "held", "age_days", "state", "patches", "new_generation", "final"),
    [
        (Precheck.READ, "old", 1, APPLIED, 1, False, False),
        (Precheck.READ, "new", 1, APPLIED, 0, False, False),
        (Precheck.READ, "else", 1, UNKNOWN, 0, False, True),
        (Precheck.READ_EXPIRED, "old", 6.5, PENDING, 0, True, False),
        (Precheck.READ_EXPIRED, "new", 6.5, APPLIED, 0, False, False),
        (Precheck.READ_EXPIRED, "else", 6.5, UNKNOWN, 0, False, True),
        (Precheck.READ_EXPIRED, "touched", 6.5, UNKNOWN, 0, False, True),
        (Precheck.READ, "touched", 1, APPLIED, 1, False, False),
    ],
)
def test_an_ambiguous_row_is_looked_at_before_its_key_is_used_again_or_left(
    first: Precheck, held: str, age_days: float, state: State, patches: int, new_generation: bool, final: bool
) -> None:
    async def scenario(bench: Bench) -> None:
        match held:
            case "new":
                bench.sandbox.edit(make_id(1), **new(1))
            case "else":
                bench.sandbox.edit(make_id(1), email="someone@example.org")
            case "touched":
                bench.sandbox.edit(make_id(1), first_name="Anne")
        patch = make_row(first=first, ambiguous=True, intent_at=time.time() - age_days * DAY)
        outcome = await bench.send_one(patch)
        assert (outcome.state, outcome.new_generation, outcome.final) == (state, new_generation, final)
        assert bench.count()[:2] == (patches, 1)
        assert outcome.ambiguous is (state is UNKNOWN)

    on_bench(scenario)


@pytest.mark.parametrize(
    ("held", "state", "patches"),
    [("old", APPLIED, 1), ("new", APPLIED, 0), ("else", UNKNOWN, 0), ("touched", UNKNOWN, 0)],
)
def test_without_a_before_image_the_time_of_change_tells_whether_somebody_was_there(
    held: str, state: State, patches: int
) -> None:
    async def scenario(bench: Bench) -> None:
        if held != "old":
            edits = {"new": new(1), "else": {"email": "someone@example.org"}, "touched": {"first_name": "Anne"}}
            bench.sandbox.edit(make_id(1), **edits[held])
        whole = make_row(first=Precheck.READ, ambiguous=True, intent_at=time.time() - DAY)
        outcome = await bench.send_one(replace(whole, before=None))
        assert (outcome.state, outcome.final) == (state, state is UNKNOWN)
        assert bench.count()[0] == patches

    on_bench(scenario)


def test_a_key_is_as_old_as_the_servers_clock_says_where_that_is_ahead_of_ours() -> None:
    async def scenario(bench: Bench) -> None:
        patch = make_row(first=Precheck.READ, ambiguous=True, intent_at=time.time() - DAY, left_at=time.time() - DAY)
        outcome = await bench.send_one(patch)
        assert (outcome.state, outcome.new_generation) == (PENDING, True)
        assert bench.count()[0] == 0

    ahead = Fault(execute=True, headers={"Date": formatdate(time.time() + 5.5 * DAY, usegmt=True)})
    on_bench(scenario, faults(reads=[ahead]))


@pytest.mark.parametrize("first", [Precheck.READ, Precheck.READ_EXPIRED])
def test_a_row_that_cannot_be_looked_at_is_not_sent(first: Precheck) -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await bench.send_one(make_row(first=first, ambiguous=True))
        assert (outcome.state, outcome.spent, outcome.final) == (UNKNOWN, True, False)
        assert bench.count()[0] == 0

    on_bench(scenario, faults(reads=[Fault(status=500)] * 8))
