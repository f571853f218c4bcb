"""Guards as pure decisions: when each trips, when it does not yet, and what it says."""

import pytest

from bulk_patch.errors import Exit
from bulk_patch.job.settings import Guards
from bulk_patch.model import Outcome, State, Stop
from bulk_patch.sending.guards import (
    AT_LEAST,
    WINDOW,
    FailureGuard,
    InputSize,
    RunGuards,
    WatchGuard,
    check_canary,
    check_input,
    check_plan,
)

WATCH = {"kyc_status": ["ACCEPTED", "EXEMPT"]}


def ended(row: int, state: State = State.APPLIED, **facts: object) -> Outcome:
    return Outcome(row=row, state=state, **facts)  # type: ignore[arg-type] # fields of an Outcome by name


def feed(guard: FailureGuard, *states: State) -> list[Stop]:
    stops = (guard.note(ended(row, state)) for row, state in enumerate(states, start=1))
    return [stop for stop in stops if stop is not None]


# --- the plan


@pytest.mark.parametrize(
    ("guards", "changes", "invalid", "tripped"),
    [
        (Guards(max_changes=2), 2, 0, None),
        (Guards(max_changes=2), 3, 0, "max_changes"),
        (Guards(max_changes=0), 0, 0, None),
        (Guards(), 1_000_000, 0, None),
        (Guards(max_invalid="5%"), 0, 5, None),
        (Guards(max_invalid="5%"), 0, 6, "max_invalid"),
        (Guards(max_invalid=0), 0, 1, "max_invalid"),
        (Guards(max_invalid="100%"), 0, 100, None),
        (Guards(max_changes=2), 3, 6, "max_changes"),
    ],
)
def test_a_plan_may_reach_a_limit_but_not_pass_it(guards: Guards, changes: int, invalid: int, tripped: str) -> None:
    found = check_plan(guards, {State.INVALID: invalid}, changes=changes, input_rows=100, waived=())
    assert (found and found[0]) == tripped
    if found is not None:
        assert found[1].exit_code is Exit.STOPPED
        assert found[1].reason.startswith(f"guard {tripped}: ")
        assert found[1].hint


def test_a_waived_guard_of_the_plan_lets_the_other_speak() -> None:
    guards, counts = Guards(max_changes=2, max_invalid=0), {State.INVALID: 1}
    found = check_plan(guards, counts, changes=3, input_rows=9, waived=("max_changes",))
    assert found is not None
    assert found[0] == "max_invalid"
    assert check_plan(guards, counts, changes=3, input_rows=9, waived=("max_changes", "max_invalid")) is None


def test_an_input_without_rows_trips_nothing() -> None:
    assert check_plan(Guards(max_changes=0), {}, changes=0, input_rows=0, waived=()) is None


# --- the input


@pytest.mark.parametrize(
    ("min_rows", "rows", "last_rows", "tripped"),
    [
        (None, 1, 600, False),
        (None, 0, None, True),  # a header without rows
        (0, 0, 600, False),
        ("0%", 0, 600, False),
        (500, 500, None, False),
        (500, 499, None, True),
        (500, 0, None, True),
        ("80%", 480, 600, False),
        ("80%", 479, 600, True),
        ("80%", 199, 600, True),
        ("80%", 1, None, False),  # nothing to compare with yet
        ("80%", 0, None, True),
        ("80%", 0, 0, False),  # the last one was empty, and somebody let it pass
    ],
)
def test_an_input_may_be_as_short_as_its_guard_says(
    min_rows: int | str | None, rows: int, last_rows: int | None, tripped: bool
) -> None:
    size = InputSize(rows, last_rows, age_h=1e6)
    found = check_input(Guards(min_rows=min_rows), size, max_age_h=None, waived=())
    assert (found is not None) is tripped
    if found is not None:
        assert found[0] == "min_rows"
        assert found[1].exit_code is Exit.STOPPED
        assert found[1].reason.startswith("guard min_rows: the input has ")
        assert check_input(Guards(min_rows=min_rows), size, max_age_h=None, waived=("min_rows",)) is None


@pytest.mark.parametrize(
    ("max_age_h", "age_h", "tripped"), [(None, 1e6, False), (26, 25.9, False), (26, 26.1, True), (0.5, -3, False)]
)
def test_an_input_may_be_as_old_as_its_guard_says(max_age_h: float | None, age_h: float, tripped: bool) -> None:
    found = check_input(Guards(), InputSize(1, None, age_h), max_age_h=max_age_h, waived=())
    assert (found is not None) is tripped
    if found is not None:
        assert found[0] == "max_age_h"
        assert check_input(Guards(), InputSize(1, None, age_h), max_age_h=max_age_h, waived=("max_age_h",)) is None


# --- refusals


def test_nine_refusals_stop_nothing_and_the_tenth_does() -> None:
    guard = FailureGuard("2%")
    assert feed(guard, *[State.REJECTED] * (AT_LEAST - 1)) == []
    stop = guard.note(ended(AT_LEAST, State.MISMATCH))
    assert stop is not None
    assert stop.reason == (
        "guard max_failures: 10 of the last 10 answers were refusals, 2% are allowed "
        "(rows 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)"
    )


def test_refusals_below_the_share_stop_nothing() -> None:
    states = [State.REJECTED, *[State.APPLIED] * 9] * 50
    assert feed(FailureGuard("11%"), *states) == []  # 10 of the first 91 at the most
    assert feed(FailureGuard("9%"), *states) != []


def test_refusals_that_lie_longer_back_than_the_window_are_forgotten() -> None:
    guard = FailureGuard("2%")
    assert feed(guard, *[State.REJECTED] * 9, *[State.APPLIED] * WINDOW, *[State.REJECTED] * 9) == []


def test_a_share_of_a_hundred_percent_turns_the_guard_off() -> None:
    assert feed(FailureGuard("100%"), *[State.REJECTED] * 1000) == []


def test_a_number_of_rows_is_a_limit_too() -> None:
    assert feed(FailureGuard(12), *[State.REJECTED] * 12) == []
    assert len(feed(FailureGuard(12), *[State.REJECTED] * 13)) == 1


def test_what_is_not_an_answer_does_not_count() -> None:
    states = [State.UNKNOWN, State.PENDING, State.DRIFTED] * 10
    assert feed(FailureGuard(0), *states) == []


# --- the canary


@pytest.mark.parametrize("state", [State.REJECTED, State.MISMATCH, State.UNKNOWN])
def test_a_canary_row_that_does_not_end_applied_trips_it(state: State) -> None:
    stop = check_canary(ended(7, state, reason="INVALID_STATUS", fields=("status",)), number=3, of=10)
    assert stop is not None
    assert stop.exit_code is Exit.STOPPED
    assert stop.reason == f"guard canary: row 7, number 3 of the first 10, ended {state}: INVALID_STATUS (status)"


def test_a_canary_row_that_proves_nothing_about_the_change_is_no_guard() -> None:
    stop = check_canary(ended(1, State.PENDING, reason="unreachable (refused)"), number=1, of=10)
    assert stop is not None
    assert stop.exit_code is Exit.INCOMPLETE
    assert check_canary(ended(1, State.PENDING, new_generation=True), number=1, of=10) is None
    own = Stop(Exit.CREDENTIAL, "the API refuses the token (HTTP 401)")
    assert check_canary(ended(1, State.PENDING, stop=own), number=1, of=10) is None


def test_the_canary_ends_after_as_many_applied_rows_as_it_has() -> None:
    guards = RunGuards(Guards(canary=2), canary=2)
    assert list(guards.note(ended(1, State.PENDING, new_generation=True), {})) == []
    assert guards.in_canary
    assert list(guards.note(ended(1), {})) == []
    assert guards.in_canary
    assert list(guards.note(ended(2), {})) == []
    assert not guards.in_canary


# --- the watch


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        pytest.param({"kyc_status": "ACCEPTED"}, {"kyc_status": "REVIEW"}, True, id="it left"),
        pytest.param({"kyc_status": "ACCEPTED"}, {"kyc_status": "EXEMPT"}, False, id="it stayed among them"),
        pytest.param({"kyc_status": "REVIEW"}, {"kyc_status": "REJECTED"}, False, id="it was outside before"),
        pytest.param({}, {"kyc_status": "REVIEW"}, True, id="not known before: taken as in"),
        pytest.param({"kyc_status": "ACCEPTED"}, {}, False, id="the answer does not show it"),
    ],
)
def test_a_customer_counts_when_it_was_in_the_list_and_is_not_any_more(
    before: dict[str, str], after: dict[str, str], counts: bool
) -> None:
    stop = WatchGuard(WATCH).note(ended(3, watched=after), before, in_canary=True)
    assert (stop is not None) == counts
    if stop is not None:
        assert stop.reason == "guard watch: kyc_status left the values to be kept, rows 3"


def test_after_the_canary_it_takes_ten_customers_of_the_last_five_hundred() -> None:
    guard = WatchGuard(WATCH)

    def note(row: int, status: str) -> Stop | None:
        return guard.note(ended(row, watched={"kyc_status": status}), {}, in_canary=False)

    assert not any(note(row, "REVIEW") for row in range(9))
    assert not any(note(row, "ACCEPTED") for row in range(100, 100 + WINDOW))
    assert not any(note(row, "REVIEW") for row in range(1000, 1009))
    stop = note(1009, "REVIEW")
    assert stop is not None
    assert stop.reason.endswith("rows 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009")
