"""Faults that the simulation found in the product, each as the scenario that showed it."""

import gc
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bulk_patch.client.rate_limiter import CONNECT_LATE_S, LATE_S, RateLimiter
from bulk_patch.errors import Exit
from bulk_patch.model import Action, Request
from bulk_patch.sandbox import Fault, Seen
from bulk_patch.targets.evidence import Evidence
from bulk_patch.targets.synctera.fields import ATOMIC_OBJECTS
from bulk_patch.testing.virtual_time import virtual_loop, virtually
from tests.chaos.evidence import Record
from tests.chaos.kills import COFFEE_S
from tests.chaos.scene import Settings, draw
from tests.chaos.simulated import TARGET, Simulation
from tests.chaos.simulation import judge
from tests.chaos.trouble import Trouble
from tests.chaos.weather import LATE, Climate, Trip, Weather
from tests.support.limiters import next_at
from tests.support.patches import make_patch

SETTINGS = Settings(
    baseline="live", rate_per_s=5.0, concurrency=2, timeout_s=75.0, longest_delay_s=2.0, give_up_after_s=1800.0
)
YEAR_S = 365 * 24 * 3600.0


@pytest.fixture(autouse=True)
def _bury_quietly() -> Iterator[None]:
    """What becomes of the coroutines of killed processes when they are collected is of no interest."""
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    yield
    gc.collect()
    sys.unraisablehook = before


def simulate(folder: Path, settings: Settings = SETTINGS, *, climate: Climate | None = None) -> Simulation:
    """Plan a job of six rows."""
    scene = draw(random.Random(7), rows=6, settings=settings, kinds=("name",))
    return Simulation("7", folder / "world", scene=scene, climate=climate or Climate(share=0.0), shuffled=False)


def finish(simulation: Simulation, code: int | None) -> int | None:
    """Run until the job is at its end, in clear weather."""
    simulation.weather.is_clear = True
    for _ in range(4):
        if code in (Exit.OK, Exit.NEEDS_PERSON):
            break
        simulation.universe.pass_time(COFFEE_S if code == Exit.INCOMPLETE else 1.0)
        code = simulation.live("continue" if code == Exit.STOPPED else "run")
    simulation.universe.settle()
    return code


def row_one(simulation: Simulation) -> Record:
    """Return the first row as the last process left it."""
    copy = simulation.spans[-1].copy
    assert copy is not None
    (run,) = copy.runs.values()
    return run.rows[1]


class HangingReads(Weather):
    """Weather in which a read of several customers is never answered."""

    def trip(self, request: Request, seen: Seen) -> Trip:
        """Let it hang."""
        return Trip(fault=Fault(wire="hang")) if seen.customer_id is None else Trip()


@pytest.mark.parametrize(("signals", "longest_s"), [([1.0, 2.0], 2.5), ([1.0], 31.5)])
def test_a_drift_check_that_hangs_does_not_outlast_the_drain(
    tmp_path: Path, signals: list[float], longest_s: float
) -> None:
    simulation = simulate(tmp_path, replace(SETTINGS, drift="check"))
    simulation.weather = HangingReads(simulation.universe, Climate())
    begun = simulation.universe.now_s
    code = simulation.live("run", Trouble(signals=[(at_s, Exit.INTERRUPTED) for at_s in signals]))
    assert code == Exit.INTERRUPTED
    assert simulation.universe.now_s - begun < longest_s
    assert not simulation.problems


@pytest.mark.parametrize("written_though", [True, False])
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.chaos)])
def test_a_ledger_that_fails_at_any_call_during_drift_checks_ends_the_process_with_7(
    tmp_path: Path, step: int, written_though: bool
) -> None:
    settings = replace(SETTINGS, drift="check", rate_per_s=1.0)
    for call in range(1, 60, step):
        simulation = simulate(tmp_path / str(call), settings)
        code = simulation.live("run", Trouble(ledger_fails_at=call, written_though=written_though))
        assert not simulation.problems
        if code != Exit.LEDGER:
            break
        assert finish(simulation, code) == Exit.OK
        assert not judge(simulation, simulation.evidence(settled=True))
    assert call > 20


@pytest.mark.parametrize("clock_s", [YEAR_S, -YEAR_S])
@pytest.mark.parametrize("wrong_first", [True, False])
def test_a_wrong_clock_never_makes_a_reverted_change_be_sent_under_a_second_key(
    tmp_path: Path, clock_s: float, wrong_first: bool
) -> None:
    simulation = simulate(tmp_path)
    simulation.set_clock(clock_s if wrong_first else 0.0)
    simulation.live("run", Trouble(dies_at=110))
    simulation.universe.pass_time(600)
    executed = {line["customer_id"] for line in simulation.api.requests if line["executed"]}
    assert executed
    for customer_id in executed:
        simulation.edit(customer_id, {"first_name": simulation.seeded(customer_id)["first_name"]})
    simulation.set_clock(0.0 if wrong_first else clock_s)
    finish(simulation, None)
    keys: dict[str, set[str]] = {}
    for line in simulation.api.requests:
        if line["executed"]:
            keys.setdefault(line["customer_id"], set()).add(line["key"])
    assert all(len(used) == 1 for used in keys.values())


def test_the_age_of_a_key_counts_from_when_it_may_have_left(tmp_path: Path) -> None:
    # Seeds 1/simulation/5996 and 78/simulation/720. A signal came between an intent and its first byte; a week later
    # the row was sent, and the process killed: its key was taken for an old one, and replaced while the PATCH was out.
    first = simulate(tmp_path / "ids").scene.ids[0]
    simulation = simulate(tmp_path / "job", climate=Climate(share=0.0, unlucky={first: LATE}))
    assert simulation.live("run", Trouble(signals=((0.05, Exit.TERMINATED),))) == Exit.TERMINATED
    assert (row_one(simulation)["state"], row_one(simulation)["first_intent_at"] is not None) == ("pending", True)
    simulation.universe.pass_time(8 * 24 * 3600)
    assert simulation.live("run", Trouble(dies_at=100)) is None
    assert not [line for line in simulation.api.requests if line["customer_id"] == first]  # it is still under way
    simulation.universe.pass_time(1.0)
    finish(simulation, None)
    assert row_one(simulation)["generation"] == 0
    assert not judge(simulation, simulation.evidence(settled=True))


@pytest.mark.parametrize(("is_touched", "state"), [(False, "rejected"), (True, "unknown")])
def test_a_refusal_that_the_api_repeats_stops_no_later_run_for_its_credential(
    tmp_path: Path, is_touched: bool, state: str
) -> None:
    # Seed 11/simulation/9584. The API repeated a 403 of the day before, which ended each run for the token of today;
    # and where a read could prove nothing, such runs did not count, so that it went on until the key was too old.
    settings = replace(SETTINGS, canary=2)
    first = simulate(tmp_path / "ids", settings).scene.ids[0]
    forbidden = Climate(share=0.0, unlucky={first: "refused: 403 own kept"})
    for event in range(20, 80):
        simulation = simulate(tmp_path / f"job-{event}", settings, climate=forbidden)
        simulation.live("run", Trouble(dies_at=event))
        if any(line["customer_id"] == first and line["key"] for line in simulation.api.requests):
            break
    assert row_one(simulation)["state"] == "sending"  # in doubt, and not yet refused
    if is_touched:
        simulation.edit(first, {"middle_name": "Someone"})
    assert simulation.live("run") == Exit.STOPPED  # the canary
    assert row_one(simulation)["state"] == state
    assert finish(simulation, Exit.STOPPED) == Exit.NEEDS_PERSON


def test_a_note_is_not_proven_by_a_field_that_may_have_been_so_all_along() -> None:
    patch = make_patch({"first_name": "Ann", "note": "called"}, None)
    record = {"id": patch.customer_id, "first_name": "Ann"}
    evidence = Evidence(TARGET.field, ATOMIC_OBJECTS)
    assert evidence.weigh(patch, record, Action.LOOK, cached=False, skew_s=0).act is Action.UNKNOWN


@virtually
async def test_a_late_permit_and_a_slow_connection_together_are_made_up_for_ten_milliseconds_at_most() -> None:
    limiter = RateLimiter(1.0, clock=virtual_loop().time)
    virtual_loop().pass_time(1.0 + LATE_S)  # its turn came 10 ms ago
    await limiter.acquire()
    virtual_loop().pass_time(CONNECT_LATE_S)
    left_at = virtual_loop().time()
    assert await next_at(limiter) - left_at >= 1 - LATE_S - 1e-4
