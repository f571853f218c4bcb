"""Before a row is sent from an old read it is read again: what someone changed meanwhile is never overwritten."""

import time
from pathlib import Path
from typing import Any

import pytest

from bulk_patch.errors import Exit
from bulk_patch.model import State
from bulk_patch.sandbox import Fault, Seen
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.testing.ledger_plans import ACTOR, find_row
from tests.support.driving import Rig, on_rig, plan_row
from tests.support.sending import faults, make_id, new, old, page, refusal

HOME = {"address_line_1": "1 Main St", "city": "Austin", "state": "TX", "postal_code": "78701", "country_code": "US"}
MOVED = {**HOME, "city": "Dallas"}
HAD_HOME: dict[str, Any] = {"before": {"legal_address": HOME}, "body": {"legal_address": MOVED}}
FRESH_H, OLD_H = 1.0, 25.0  # max_age_h is 24


def moves(rows: int, **facts: Any) -> list[Any]:
    return [plan_row(row, **HAD_HOME, **facts) for row in range(1, rows + 1)]


def settle_in(rig: Rig, rows: int) -> None:
    """Give customers the address that the plan knows of."""
    for row in range(1, rows + 1):
        rig.edit(row, legal_address=dict(HOME))


# --- when it is read again


@pytest.mark.parametrize(
    ("drift", "age_h", "baseline", "is_read"),
    [
        ("auto", FRESH_H, "live", False),
        ("auto", OLD_H, "live", True),
        ("auto", OLD_H, "file", False),  # only what was completed, see below
        ("check", FRESH_H, "live", True),
        ("check", FRESH_H, "file", True),
        ("check", OLD_H, "live", True),
        ("off", FRESH_H, "live", False),
        ("off", OLD_H, "live", False),
        ("auto", OLD_H, "none", False),
    ],
)
def test_an_edit_is_found_where_the_job_wants_it_looked_for(
    tmp_path: Path, drift: str, age_h: float, baseline: str, is_read: bool
) -> None:
    async def scenario(rig: Rig) -> None:
        rig.edit(2, email="someone@else.example")
        await rig.drive()
        expected = State.DRIFTED if is_read else State.APPLIED
        assert rig.states == {1: State.APPLIED, 2: expected, 3: State.APPLIED}
        assert (rig.bench.count()[1] > 0) == is_read
        email = "someone@else.example" if is_read else new(2)["email"]
        assert rig.bench.sandbox.customer(make_id(2))["email"] == email

    # The job's own baseline is live, since "check" needs one; what counts is what the run was compared with.
    settings = ("baseline.kind=live", f"guards.drift={drift}")
    on_rig(scenario, tmp_path, 3, *settings, baseline=baseline, age_h=age_h)


def test_an_age_of_zero_reads_every_row_again(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.edit(1, email="someone@else.example")
        await rig.drive()
        assert rig.counts == {State.DRIFTED: 1, State.APPLIED: 1}

    on_rig(scenario, tmp_path, 2, "baseline.max_age_h=0", age_h=0.001)


def test_the_read_counts_and_not_the_plan_that_was_made_of_it(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.edit(1, email="someone@else.example")
        await rig.drive()
        assert rig.counts == {State.DRIFTED: 1, State.APPLIED: 1}

    on_rig(scenario, tmp_path, 2, age_h=FRESH_H, details={"picture_at": time.time() - OLD_H * 3600})


def test_only_objects_completed_from_an_old_read_are_read_again(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        settle_in(rig, 4)
        for row in (1, 2):
            rig.edit(row, legal_address={**HOME, "address_line_1": "2 Side St"})
        await rig.drive()
        # Row 1 was given whole: that is what its author wants, whatever was there.
        assert rig.states == {1: State.APPLIED, 2: State.DRIFTED, 3: State.APPLIED, 4: State.APPLIED}
        assert [line["ids"] for line in rig.bench.seen("GET")] == [2]

    rows = [plan_row(row, **HAD_HOME, recheck=row in (2, 3)) for row in range(1, 5)]
    on_rig(scenario, tmp_path, rows, baseline="file", age_h=OLD_H, details={"recheck": 2})


def test_objects_completed_from_an_old_read_are_not_read_where_the_job_says_off(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        settle_in(rig, 1)
        await rig.drive()
        assert rig.bench.count() == (1, 0, 1)

    on_rig(scenario, tmp_path, moves(1, recheck=True), "guards.drift=off", baseline="file", details={"recheck": 1})


# --- what counts as an edit


@pytest.mark.parametrize(
    ("edit", "drifted"),
    [
        pytest.param({"legal_address": {**HOME, "city": "Waco"}}, True, id="the planned part"),
        pytest.param({"legal_address": {**HOME, "address_line_1": "2 Side St"}}, True, id="another part"),
        pytest.param({"legal_address": {**HOME, "nickname": "Home"}}, True, id="a part more"),
        pytest.param({"legal_address": None}, True, id="the object is gone"),
        pytest.param({"legal_address": MOVED}, True, id="someone did it already"),
        pytest.param({"email": "someone@else.example", "dob": "1980-01-01"}, False, id="other fields"),
        pytest.param({"shipping_address": {**HOME, "city": "Waco"}}, False, id="the other address"),
        pytest.param({}, False, id="touched and left as it was"),
    ],
)
def test_any_difference_in_what_would_be_sent_is_drift_and_nothing_else_is(
    tmp_path: Path, edit: dict[str, Any], drifted: bool
) -> None:
    async def scenario(rig: Rig) -> None:
        settle_in(rig, 1)
        rig.edit(1, **edit)
        await rig.drive()
        assert rig.counts == {State.DRIFTED if drifted else State.APPLIED: 1}
        row = find_row(rig.ledger, rig.run_id)
        if drifted:
            assert row.reason == "changed by someone since the plan: legal_address"
            assert row.attempts == 0
            assert rig.bench.count()[0] == 0

    on_rig(scenario, tmp_path, moves(1), "guards.drift=check")


def test_of_a_masked_field_the_visible_part_counts(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.edit(1, ssn="773-11-1234")
        rig.edit(2, ssn="773-11-9999")
        await rig.drive()
        assert rig.states == {1: State.APPLIED, 2: State.DRIFTED}

    rows = [plan_row(row, body={"ssn": "774-22-4321"}, before={"ssn": "1234"}) for row in (1, 2)]
    on_rig(scenario, tmp_path, rows, "guards.drift=check")


def test_what_was_not_known_cannot_have_changed(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.edit(1, email="someone@else.example")
        await rig.drive()
        assert rig.counts == {State.APPLIED: 2}

    rows = [plan_row(1, is_known=False), plan_row(2)]
    on_rig(scenario, tmp_path, rows, "guards.drift=check")


def test_a_customer_that_is_gone_has_drifted(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.drive()
        assert rig.states == {1: State.APPLIED, 2: State.DRIFTED}
        assert "no longer exists in the API" in find_row(rig.ledger, rig.run_id, 2).reason

    on_rig(scenario, tmp_path, [plan_row(1), plan_row(2, customer_id=make_id(99))], "guards.drift=check")


def test_two_spellings_of_one_text_are_no_drift(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.edit(1, last_name="Rene\u0301e")
        await rig.drive()
        assert rig.counts == {State.APPLIED: 1}

    row = plan_row(1, body={"last_name": "Lee"}, before={"last_name": "Ren\u00e9e"})
    on_rig(scenario, tmp_path, [row], "guards.drift=check")


# --- how it is read


def test_rows_are_read_in_batches_and_not_one_by_one(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        dispatcher = await rig.drive()
        patches, reads, _ = rig.bench.count()
        assert patches == 150
        assert reads <= 10
        assert sum(line["ids"] for line in rig.bench.seen("GET")) == 150
        assert dispatcher.stats.requests == patches + reads

    on_rig(scenario, tmp_path, 150, "guards.drift=check")


def test_reads_count_as_requests_also_when_nothing_is_sent_after_them(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        for row in (1, 2):
            rig.edit(row, email="someone@else.example")
        dispatcher = await rig.drive()
        assert rig.counts == {State.DRIFTED: 2}
        assert dispatcher.stats.requests == len(rig.bench.sandbox.requests) == 1
        assert rig.ledger.run(rig.run_id).stats["requests"] == 1

    on_rig(scenario, tmp_path, 2, "guards.drift=check")


def test_the_canary_is_read_again_too(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.edit(1, email="someone@else.example")
        await rig.drive(canary=2)
        assert rig.states == {1: State.DRIFTED, 2: State.APPLIED, 3: State.APPLIED, 4: State.APPLIED}

    on_rig(scenario, tmp_path, 4, "guards.drift=check", "guards.canary=2")


def test_rows_that_drift_do_not_use_up_the_limit(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        for row in (1, 2, 3):
            rig.edit(row, email="someone@else.example")
        await rig.drive(limit=2)
        assert rig.states == {
            **dict.fromkeys((1, 2, 3), State.DRIFTED),
            **dict.fromkeys((4, 5), State.APPLIED),
            6: State.PENDING,
        }

    on_rig(scenario, tmp_path, 6, "guards.drift=check")


def down(seen: Seen) -> Fault | None:
    return page(503) if seen.method == "GET" else None


def test_rows_that_cannot_be_read_again_are_not_sent(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        dispatcher = await rig.drive()
        assert [stop.exit_code for stop in dispatcher.ended.stops] == [Exit.INCOMPLETE]
        assert "could not be read again" in dispatcher.ended.stops[0].reason
        assert not dispatcher.ended.by_itself
        assert rig.counts == {State.PENDING: 3}
        assert rig.bench.count()[0] == 0

    on_rig(scenario, tmp_path, 3, "guards.drift=check", fault=down, retry={"attempts": 2})


def test_a_redirect_on_a_read_stops_the_run(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        dispatcher = await rig.drive()
        assert dispatcher.ended.stopped_by == "integrity"
        assert dispatcher.ended.stops[0].exit_code is Exit.STOPPED
        assert rig.counts == {State.PENDING: 3}

    redirect = Fault(status=302, headers={"Location": "/elsewhere"})
    on_rig(scenario, tmp_path, 3, "guards.drift=check", fault=faults(reads=[redirect]))


def test_a_second_signal_does_not_wait_for_a_read_that_hangs(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.drive_and_press_twice(Exit.INTERRUPTED)
        assert rig.counts == {State.PENDING: 3}

    hang = faults(reads=[Fault(wire="hang")])
    on_rig(scenario, tmp_path, 3, "guards.drift=check", timeout_s=60, fault=hang)


# --- retries, and rows of which no one knows whether they were sent


def test_a_retry_is_read_again_as_well(tmp_path: Path) -> None:
    refusing = True

    def refuse(seen: Seen) -> Fault | None:
        return refusal(422, "INVALID_STATUS") if refusing and seen.method == "PATCH" else None

    async def scenario(rig: Rig) -> None:
        nonlocal refusing
        await rig.drive()
        assert rig.counts == {State.REJECTED: 3}
        refusing = False
        rig.edit(2, email="someone@else.example")
        assert rig.ledger.request_retry(rig.run_id, now=time.time()) == 3
        await rig.drive(only_requested=True)
        assert rig.states == {1: State.APPLIED, 2: State.DRIFTED, 3: State.APPLIED}
        assert rig.bench.sandbox.customer(make_id(2))["email"] == "someone@else.example"

    on_rig(scenario, tmp_path, 3, "guards.drift=check", fault=refuse)


@pytest.mark.parametrize(
    ("baseline", "settings"),
    [("live", ("guards.drift=check",)), ("file", ())],
    ids=["checked", "completed from a file"],
)
def test_a_row_left_in_flight_is_looked_at_before_its_object_overwrites_anything(
    tmp_path: Path, baseline: str, settings: tuple[str, ...]
) -> None:
    async def scenario(rig: Rig) -> None:
        settle_in(rig, 3)
        calls.start_session(rig.ledger, rig.run_id, ACTOR, time.time())
        keys = [patch.key for patch in calls.claim(rig.ledger, rig.run_id, 3, now=time.time())]
        rig.edit(1, legal_address={**HOME, "address_line_1": "2 Side St"})
        rig.edit(3, legal_address=MOVED)  # what a request does that is executed and never answered
        await rig.drive()
        assert rig.states == {1: State.UNKNOWN, 2: State.APPLIED, 3: State.APPLIED}
        assert [line["key"] for line in rig.bench.seen()] == [keys[1]]
        assert rig.bench.sandbox.customer(make_id(1))["legal_address"]["address_line_1"] == "2 Side St"

    on_rig(scenario, tmp_path, moves(3, recheck=True), *settings, baseline=baseline, details={"recheck": 3})


def test_the_plan_of_these_tests_is_what_the_sandbox_begins_with(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.drive()
        assert rig.bench.count() == (2, 1, 2)
        assert old(1) != new(1)

    on_rig(scenario, tmp_path, 2, "guards.drift=check")
