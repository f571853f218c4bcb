"""A refusal names no customer: one that may be the stray answer to another request proves nothing by itself."""

import asyncio
from collections.abc import Callable

import pytest

from bulk_patch.model import Outcome, State
from tests.support.desync import DesyncedApi
from tests.support.sending import make_id, make_row, open_bench, people

APPLIED, REJECTED = State.APPLIED, State.REJECTED
ROWS = 60


def send_all(
    stray: Callable[[int, int], float | None], *, refused: tuple[int, ...] = ()
) -> tuple[DesyncedApi, list[Outcome]]:
    """Send rows to an API that carries out all but the refused ones."""

    async def run() -> tuple[DesyncedApi, list[Outcome]]:
        api = DesyncedApi({one["id"]: one for one in people(ROWS)}, stray)
        api.refusals = {make_id(row): b'{"code":"STATE_INVALID"}' for row in refused}
        async with api, open_bench(base_url=api.base_url, rate_per_s=400) as bench:
            batches = [range(first, first + 6) for first in range(1, ROWS + 1, 6)]
            outcomes = [outcome for rows in batches for outcome in await bench.send(*map(make_row, rows))]
        return api, outcomes

    return asyncio.run(run())


@pytest.mark.parametrize("after_s", [0.0, 0.0015, 0.01])
@pytest.mark.parametrize("every", [1, 3])
def test_an_answer_too_many_is_never_taken_for_the_refusal_of_the_next_row(after_s: float, every: int) -> None:
    api, outcomes = send_all(lambda connection, request: after_s if request % every == 0 else None)
    assert len(api.executed) == ROWS
    states = [outcome.state for outcome in outcomes]
    assert set(states) <= {APPLIED, State.UNKNOWN}
    assert (
        states.count(State.UNKNOWN) <= ROWS // 4
    )  # on a machine that is held up, also the confirmation may be too late


def test_a_stray_answer_before_the_first_one_of_a_connection_is_noticed() -> None:
    api, outcomes = send_all(lambda connection, request: -0.02 if connection % 4 == 1 and request == 1 else None)
    assert len(api.executed) == ROWS
    assert {outcome.state for outcome in outcomes} == {APPLIED}


def test_a_true_refusal_comes_again_and_is_believed() -> None:
    api, outcomes = send_all(lambda connection, request: None, refused=(1, 30, 31, 60))
    refused = {outcome.row: outcome for outcome in outcomes if outcome.state is REJECTED}
    assert set(refused) == {1, 30, 31, 60}
    assert {outcome.api_code for outcome in refused.values()} == {"STATE_INVALID"}
    assert [refused[row].attempts for row in (30, 60)] == [2, 2]  # over connections that were used before
    assert len(api.executed) == ROWS - 4


def test_where_every_connection_says_too_much_no_refusal_is_believed() -> None:
    api, outcomes = send_all(lambda connection, request: 0.001 if request % 2 else None, refused=(20, 40))
    open_rows = {outcome.row: outcome for outcome in outcomes if outcome.state is not APPLIED}
    assert {20, 40} <= set(open_rows)
    assert len(open_rows) <= ROWS // 4  # on a machine that is held up the confirmation of others may be too late
    assert {outcome.state for outcome in open_rows.values()} == {State.UNKNOWN}
    assert len(api.executed) == ROWS - 2


def test_a_refusal_that_could_not_be_confirmed_leaves_the_row_unknown() -> None:
    async def run() -> Outcome:
        api = DesyncedApi({one["id"]: one for one in people(2)}, lambda connection, request: None)
        api.refusals = {make_id(2): b'{"code":"STATE_INVALID"}'}
        async with api, open_bench(base_url=api.base_url, rate_per_s=4) as bench:
            await bench.send_one(make_row(1))
            sending = asyncio.create_task(bench.send_one(make_row(2)))
            await asyncio.sleep(0.35)  # it is refused, and waits for another turn
            bench.session.stop()
            return await sending

    outcome = asyncio.run(run())
    assert (outcome.state, outcome.attempts, outcome.ambiguous) == (State.UNKNOWN, 1, True)
