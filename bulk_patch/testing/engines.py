"""The suite of engines: batches in, outcomes out, each row exactly once. It runs in virtual time.

It needs the fixture `make_engine`: a function that makes an engine of what brings a row to its outcome, and of how many
rows may be out at once. Needed besides pytest: Hypothesis.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulk_patch.model import Outcome, Patch, State, idempotency_key
from bulk_patch.sending.engine import Engine
from bulk_patch.testing.virtual_time import virtual_loop, virtually

Send = Callable[[Patch], Awaitable[Outcome]]
MakeEngine = Callable[[Send, int], Engine]

SECRET = "6f1c1c9e-3a43-4d0f-9a3f-5f4b1f6d7a10"


def make_row(row: int, *, generation: int = 0) -> Patch:
    """Return a row about to be sent."""
    return Patch(row, f"id-{row}", b"{}", None, idempotency_key(SECRET, row, generation), generation)


class Broken(Exception):  # noqa: N818 - what a test breaks
    """A bug, or a ledger that failed."""


class Sending:
    """Brings rows to their outcomes as `Sender` does: after a while, and when cancelled at once."""

    def __init__(self, delay_s: Callable[[int], float] = lambda row: 0.01) -> None:
        self._delay_s = delay_s
        self.begun: list[int] = []
        self.out = 0
        self.most_out = 0
        self.stopped = False

    async def __call__(self, patch: Patch) -> Outcome:
        """Send one row."""
        if self.stopped:
            return Outcome(patch.row, State.PENDING, "stopped")
        self.begun.append(patch.row)
        self.out += 1
        self.most_out = max(self.most_out, self.out)
        try:
            await asyncio.sleep(self._delay_s(patch.row))
        except asyncio.CancelledError:
            return Outcome(patch.row, State.UNKNOWN, "cut off", ambiguous=True)
        finally:
            self.out -= 1
        return Outcome(patch.row, State.APPLIED, "done")


async def hand_out(
    sizes: Iterable[int], *, every_s: float = 0.0, make: Callable[[int], Patch] = make_row
) -> AsyncIterator[list[Patch]]:
    """Hand out batches of these sizes; rows are numbered from 1."""
    row = 0
    for size in sizes:
        if every_s:
            await asyncio.sleep(every_s)
        yield [make(row + number) for number in range(1, size + 1)]
        row += size


async def collect(engine: Engine, batches: AsyncIterator[list[Patch]]) -> list[Outcome]:
    """Run an engine to its end."""
    return [outcome async for outcomes in engine.run(batches) for outcome in outcomes]


@asynccontextmanager
async def nothing_left_behind() -> AsyncIterator[None]:
    """Check that no task outlives what is done inside."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


@given(
    sizes=st.lists(st.integers(0, 30), max_size=8),
    concurrency=st.integers(1, 20),
    every_s=st.sampled_from([0.0, 0.005, 0.5]),
    delays=st.lists(st.sampled_from([0.0, 0.001, 0.02, 3.0]), min_size=1, max_size=7),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_comes_out_exactly_once(
    make_engine: MakeEngine, sizes: list[int], concurrency: int, every_s: float, delays: list[float]
) -> None:
    @virtually
    async def scenario() -> None:
        sending = Sending(lambda row: delays[row % len(delays)])
        async with nothing_left_behind():
            outcomes = await collect(make_engine(sending, concurrency), hand_out(sizes, every_s=every_s))
        assert sorted(outcome.row for outcome in outcomes) == list(range(1, sum(sizes) + 1))
        assert sending.most_out <= concurrency
        assert {outcome.state for outcome in outcomes} <= {State.APPLIED}

    scenario()


@virtually
async def test_as_many_rows_as_allowed_are_out_at_once(make_engine: MakeEngine) -> None:
    sending = Sending(lambda row: 1.0)
    begun = virtual_loop().time()
    await collect(make_engine(sending, 10), hand_out([100]))
    assert sending.most_out == 10
    assert virtual_loop().time() - begun == pytest.approx(10, abs=0.5)


@virtually
async def test_an_engine_ends_at_once_when_there_is_nothing_to_do(make_engine: MakeEngine) -> None:
    begun = virtual_loop().time()
    assert await collect(make_engine(Sending(), 4), hand_out([])) == []
    assert await collect(make_engine(Sending(), 4), hand_out([0, 0])) == []
    assert virtual_loop().time() - begun < 0.1


@virtually
async def test_an_outcome_is_there_soon_though_another_row_takes_long(make_engine: MakeEngine) -> None:
    sending = Sending(lambda row: 600.0 if row == 1 else 0.01)
    begun = virtual_loop().time()
    seen: dict[int, float] = {}
    async for outcomes in make_engine(sending, 4).run(hand_out([3, 40])):
        seen |= {outcome.row: virtual_loop().time() - begun for outcome in outcomes}
    assert max(at for row, at in seen.items() if row != 1) < 1.0
    assert seen[1] == pytest.approx(600, abs=1)


@virtually
async def test_what_is_done_together_comes_together(make_engine: MakeEngine) -> None:
    lists = [outcomes async for outcomes in make_engine(Sending(), 50).run(hand_out([200]))]
    assert len(lists) <= 8  # one list is one transaction


@virtually
async def test_rows_go_on_while_a_list_is_being_recorded(make_engine: MakeEngine) -> None:
    sending = Sending()
    async for _ in make_engine(sending, 2).run(hand_out([50])):
        before = len(sending.begun)
        await asyncio.sleep(0.2)  # a slow disk
        assert len(sending.begun) > before or len(sending.begun) == 50


@virtually
async def test_a_batch_may_wait_for_the_outcomes_of_the_one_before(make_engine: MakeEngine) -> None:
    recorded = asyncio.Event()

    async def one_by_one() -> AsyncIterator[list[Patch]]:
        for row in range(1, 6):
            recorded.clear()
            yield [make_row(row)]
            await recorded.wait()

    rows: list[int] = []
    async for outcomes in make_engine(Sending(), 4).run(one_by_one()):
        rows += [outcome.row for outcome in outcomes]
        recorded.set()
    assert rows == [1, 2, 3, 4, 5]


@virtually
async def test_a_row_may_be_handed_out_again_with_a_new_generation(make_engine: MakeEngine) -> None:
    wanted = asyncio.Queue[list[Patch] | None]()

    async def from_queue() -> AsyncIterator[list[Patch]]:
        while (batch := await wanted.get()) is not None:
            yield batch

    wanted.put_nowait([make_row(1)])
    seen = Counter[int]()
    async for outcomes in make_engine(Sending(), 2).run(from_queue()):
        for outcome in outcomes:
            seen[outcome.row] += 1
            wanted.put_nowait([make_row(1, generation=1)] if seen[outcome.row] == 1 else None)
    assert seen == {1: 2}


# --- abort


@pytest.mark.parametrize("aborts", [1, 2, 5])
@virtually
async def test_an_abort_brings_back_at_once_what_is_out_and_every_other_row_too(
    make_engine: MakeEngine, aborts: int
) -> None:
    sending = Sending(lambda row: 3600.0)
    engine = make_engine(sending, 5)

    def stop() -> None:
        sending.stopped = True  # the dispatcher stops the session before
        for _ in range(aborts):
            engine.abort()

    virtual_loop().call_later(1.0, stop)
    begun = virtual_loop().time()
    async with nothing_left_behind():
        outcomes = await collect(engine, hand_out([20]))
    assert virtual_loop().time() - begun < 2
    assert sorted(outcome.row for outcome in outcomes) == list(range(1, 21))
    assert Counter(outcome.state for outcome in outcomes) == {State.UNKNOWN: 5, State.PENDING: 15}


@virtually
async def test_an_abort_in_the_moment_in_which_a_row_ends_loses_nothing(make_engine: MakeEngine) -> None:
    for early in (0.0, 1e-6, 2e-6, 5e-6, 1e-5):
        sending = Sending(lambda row: 1.0)
        engine = make_engine(sending, 3)
        virtual_loop().call_later(1.0 + early, engine.abort)
        outcomes = await collect(engine, hand_out([3]))
        assert sorted(outcome.row for outcome in outcomes) == [1, 2, 3]


@virtually
async def test_an_abort_with_nothing_out_harms_nothing(make_engine: MakeEngine) -> None:
    engine = make_engine(Sending(), 3)
    engine.abort()
    assert len(await collect(engine, hand_out([5]))) == 5
    engine.abort()


# --- failures


@virtually
async def test_a_bug_in_sending_ends_the_run_with_that_error_and_nothing_more_is_sent(make_engine: MakeEngine) -> None:
    sending = Sending(lambda row: 0.01 if row < 5 else 60.0)

    async def broken(patch: Patch) -> Outcome:
        outcome = await sending(patch)
        if patch.row == 3:
            raise Broken
        return outcome

    async with nothing_left_behind():
        with pytest.raises(Broken):
            await collect(make_engine(broken, 4), hand_out([100]))
        begun = len(sending.begun)
        await asyncio.sleep(300)
    assert len(sending.begun) == begun <= 10


@virtually
async def test_batches_that_fail_end_the_run_with_that_error_and_nothing_more_is_sent(make_engine: MakeEngine) -> None:
    sending = Sending(lambda row: 1.0)

    async def broken() -> AsyncIterator[list[Patch]]:
        yield [make_row(row) for row in range(1, 51)]
        await asyncio.sleep(0.5)
        raise Broken

    async with nothing_left_behind():
        with pytest.raises(Broken):
            await collect(make_engine(sending, 4), broken())
        begun = len(sending.begun)
        await asyncio.sleep(300)
    assert len(sending.begun) == begun <= 8


@virtually
async def test_who_records_no_more_gets_no_more_sent(make_engine: MakeEngine) -> None:
    sending = Sending(lambda row: 1.0)

    async def meet_a_full_disk() -> None:
        async with aclosing(make_engine(sending, 4).run(hand_out([100]))) as lists:
            async for _ in lists:
                raise Broken

    async with nothing_left_behind():
        with pytest.raises(Broken):
            await meet_a_full_disk()
        begun = len(sending.begun)
        await asyncio.sleep(300)
    assert len(sending.begun) == begun <= 12


@virtually
async def test_a_run_that_is_cancelled_leaves_nothing_behind(make_engine: MakeEngine) -> None:
    sending = Sending(lambda row: 60.0)
    async with nothing_left_behind():
        task = asyncio.create_task(collect(make_engine(sending, 4), hand_out([100])))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(sending.begun) == 4
