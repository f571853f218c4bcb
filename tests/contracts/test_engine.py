"""Every kind of engine goes through the suite that other packages run over theirs, and through bad weather."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from bulk_patch import plugins
from bulk_patch.engines.local import LocalEngine
from bulk_patch.model import State
from bulk_patch.sandbox import random_faults
from bulk_patch.sending.engine import Engine
from bulk_patch.testing.engines import *  # noqa: F403
from bulk_patch.testing.engines import MakeEngine, Send, collect, hand_out
from tests.support.sending import make_id, make_row, new, open_bench

#: Kind -> how one is made; a new kind of engine adds a line here and nothing else.
ENGINES: dict[str, Callable[[Send, int], Engine]] = {
    "local": lambda send, concurrency: LocalEngine(send, concurrency=concurrency),
}


@pytest.fixture(params=ENGINES)
def make_engine(request: pytest.FixtureRequest) -> MakeEngine:
    """Return what makes the engine that is tested."""
    return ENGINES[request.param]


def test_every_engine_that_a_job_can_name_is_tested_here() -> None:
    built_in = {kind for group, kind in plugins.BUILT_IN if group == "engine"}
    assert built_in == set(ENGINES)


@pytest.mark.parametrize("seed", range(2))
def test_rows_sent_through_bad_weather_all_come_out_once_and_tell_the_truth(make_engine: MakeEngine, seed: int) -> None:
    async def scenario() -> None:
        weather = random_faults("500=0.08,500-after=0.08,reset=0.06,drop=0.06,422=0.04", seed)
        options: dict[str, Any] = {"retry": {"attempts": 8}, "rate_per_s": 1000}
        async with open_bench(weather, rows=150, **options) as bench:
            engine = make_engine(bench.sender.send, 16)
            outcomes = await collect(engine, hand_out([50, 0, 70, 30], make=make_row))
            assert sorted(outcome.row for outcome in outcomes) == list(range(1, 151))
            for outcome in outcomes:
                customer = bench.sandbox.customer(make_id(outcome.row))
                held = customer["email"] == new(outcome.row)["email"]
                assert held or outcome.state is not State.APPLIED
                assert not held or outcome.state in (State.APPLIED, State.UNKNOWN)
            assert Counter(outcome.state for outcome in outcomes)[State.APPLIED] > 120
            assert len(bench.keys()) == 150
            assert sum(outcome.attempts for outcome in outcomes) == len(bench.seen())

    asyncio.run(scenario())
