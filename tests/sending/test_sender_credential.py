"""A token that is refused: renewed once for all, probed with a read, and never a key changed without proof."""

import asyncio
from pathlib import Path

import pytest

from bulk_patch.errors import Exit
from bulk_patch.model import Outcome, Patch, State
from bulk_patch.sandbox import Fault, Seen
from tests.support.private import write_private
from tests.support.sending import Bench, again, faults, make_row, on_bench, page, refusal

APPLIED, REJECTED, UNKNOWN, PENDING = State.APPLIED, State.REJECTED, State.UNKNOWN, State.PENDING
CACHED_401 = refusal(401, "UNAUTHENTICATED", cached=True)


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """Return the file that holds the token."""
    path = tmp_path / "token"
    write_private(path, "first")
    return path


def write(token: Path, text: str) -> None:
    """Rotate the token on our side."""
    write_private(token, text)


async def send_to_the_end(bench: Bench, patches: list[Patch]) -> list[Outcome]:
    """Send rows, and once more those that left with a new generation."""
    firsts = await bench.send(*patches)
    seconds = {
        first.row: await bench.send_one(again(patch, first))
        for patch, first in zip(patches, firsts, strict=True)
        if first.new_generation
    }
    return [seconds.get(first.row, first) for first in firsts]


def test_a_token_that_was_rotated_meanwhile_is_renewed_once_for_all_rows(token: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.sandbox.token = "second"
        write(token, "second")
        outcomes = await send_to_the_end(bench, [make_row(row) for row in range(1, 25)])
        assert {outcome.state for outcome in outcomes} == {APPLIED}
        patches, gets, executed = bench.count()
        assert (gets, executed) == (1, 24)
        (probe,) = bench.seen("GET")
        assert probe["status"] == 200
        assert patches == 24 + sum(line["status"] == 401 for line in bench.seen())

    on_bench(scenario, rows=24, token=f"file:{token}", sandbox={"token": "first"}, rate_per_s=400)


def test_a_401_that_the_api_keeps_under_the_key_leaves_with_a_new_generation_which_executes_once(token: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.sandbox.token = "second"
        write(token, "second")
        patch = make_row()
        first = await bench.send_one(patch)
        assert (first.state, first.new_generation, first.ambiguous, first.attempts) == (PENDING, True, False, 3)
        assert first.stop is None
        assert [line["replayed"] for line in bench.seen()] == [False, True, True]  # the last over a new connection
        assert len(bench.keys()) == 1  # a new key is recorded before it is used: not here
        second = await bench.send_one(again(patch, first))
        assert second.state is APPLIED
        assert (len(bench.keys()), bench.count()[2]) == (2, 1)

    on_bench(scenario, token=f"file:{token}", sandbox={"token": "first"})


def test_a_401_that_no_one_keeps_is_followed_by_the_same_key() -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await bench.send_one()
        assert (outcome.state, outcome.attempts) == (APPLIED, 2)
        assert bench.count() == (2, 1, 1)
        assert len(bench.keys()) == 1
        assert [line["method"] for line in bench.sandbox.requests] == ["PATCH", "GET", "PATCH"]

    on_bench(scenario, faults(refusal(401, "UNAUTHENTICATED")))


def test_while_the_token_is_renewed_nothing_else_goes_out(token: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.sandbox.token = "second"
        write(token, "second")
        await send_to_the_end(bench, [make_row(row) for row in range(1, 41)])
        (probe,) = bench.seen("GET")
        meanwhile = [line["n"] for line in bench.seen() if probe["t"] + 0.2 < line["t"] < probe["t"] + 0.9]
        assert meanwhile == []
        assert len([line for line in bench.seen() if line["t"] >= probe["t"] + 0.9]) > 30

    slow_probe = faults(reads=[Fault(execute=True, lag_s=1.0)])
    on_bench(scenario, slow_probe, rows=40, token=f"file:{token}", sandbox={"token": "first"}, rate_per_s=100)


def test_a_probe_that_is_refused_too_stops_the_run_and_no_one_else_is_sent(token: Path) -> None:
    async def scenario(bench: Bench) -> None:
        tasks = [asyncio.create_task(bench.send_one(make_row(row))) for row in range(1, 31)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=5)
        await asyncio.sleep(0.3)
        bench.session.stop()
        outcomes = await asyncio.gather(*tasks)
        assert {outcome.state for outcome in outcomes} == {PENDING}
        assert not any(outcome.new_generation for outcome in outcomes)
        assert {outcome.stop.exit_code for outcome in outcomes if outcome.stop} == {Exit.CREDENTIAL}
        (probe,) = bench.seen("GET")
        assert not [line for line in bench.seen() if line["t"] > probe["t"] + 0.2]
        assert "refuses the token" in next(outcome.reason for outcome in outcomes if outcome.stop)

    on_bench(scenario, rows=30, token=f"file:{token}", sandbox={"token": "other"}, rate_per_s=100)


@pytest.mark.parametrize("loss", ["gone", "empty"])
def test_a_token_that_cannot_be_fetched_again_stops_the_run(loss: str, token: Path) -> None:
    async def scenario(bench: Bench) -> None:
        if loss == "gone":
            token.unlink()
        else:
            write(token, "")
        outcome = await bench.send_one()
        assert (outcome.state, outcome.attempts) == (PENDING, 1)
        assert outcome.stop is not None
        assert outcome.stop.exit_code is Exit.CREDENTIAL
        assert outcome.stop.hint
        assert bench.count() == (1, 0, 0)

    on_bench(scenario, token=f"file:{token}", sandbox={"token": "other"})


def test_a_row_that_is_refused_under_a_fresh_key_too_stops_the_run() -> None:
    async def scenario(bench: Bench) -> None:
        patch = make_row()
        first = await bench.send_one(patch)
        assert (first.state, first.new_generation) == (PENDING, True)
        second = await bench.send_one(again(patch, first))
        assert (second.state, second.new_generation, second.ambiguous) == (PENDING, False, False)
        assert second.stop is not None
        assert second.stop.exit_code is Exit.CREDENTIAL
        assert "though it accepts the token for reading" in second.reason
        assert bench.count() == (6, 2, 0)

    on_bench(scenario, faults(then=CACHED_401))


@pytest.mark.parametrize(
    ("earlier", "state"),
    [(Fault(status=500, execute=True), APPLIED), (Fault(status=500), REJECTED), (Fault(wire="reset"), REJECTED)],
)
def test_a_cached_401_after_an_ambiguous_attempt_is_settled_by_reading_and_changes_no_key(
    earlier: Fault, state: State
) -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await bench.send_one()
        assert (outcome.state, outcome.new_generation) == (state, False)
        assert bench.count()[:2] == (3, 2)
        assert len(bench.keys()) == 1

    on_bench(scenario, faults(earlier, CACHED_401, then=CACHED_401))


def test_a_gateways_401_changes_no_key_either_for_the_api_may_have_executed() -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await bench.send_one()
        assert (outcome.state, outcome.new_generation) == (APPLIED, False)
        assert bench.count() == (2, 2, 1)

    on_bench(scenario, faults(then=page(401, execute=True, gateway=True)))


def test_a_gateways_401_that_hides_nothing_leaves_the_row_unknown() -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await bench.send_one()
        assert (outcome.state, outcome.ambiguous) == (UNKNOWN, True)

    on_bench(scenario, faults(then=page(401)))


def test_a_read_back_that_is_refused_renews_the_token_and_is_made_again(token: Path) -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await bench.send_one(make_row(read_back=True))
        assert outcome.state is APPLIED
        assert "read back" in outcome.reason
        assert [line["status"] for line in bench.seen("GET")] == [401, 200, 200]

    on_bench(
        scenario, faults(reads=[refusal(401, "UNAUTHENTICATED")]), token=f"file:{token}", sandbox={"token": "first"}
    )


def test_a_read_that_is_refused_for_good_stops_the_run_and_leaves_what_was_answered_open() -> None:
    async def scenario(bench: Bench) -> None:
        outcome = await bench.send_one(make_row(read_back=True))
        assert outcome.stop is not None
        assert outcome.stop.exit_code is Exit.CREDENTIAL
        assert outcome.state is UNKNOWN

    on_bench(scenario, faults(reads=[refusal(401, "UNAUTHENTICATED")] * 9))


def test_a_probe_that_meets_an_outage_decides_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        assert (await bench.send_one()).state is APPLIED
        assert bench.count() == (2, 1, 1)

    on_bench(scenario, faults(refusal(401, "UNAUTHENTICATED"), reads=[Fault(status=503)]))


def test_a_probe_that_is_asked_to_wait_makes_all_wait() -> None:
    async def scenario(bench: Bench) -> None:
        assert (await bench.send_one()).state is APPLIED
        refused, probe, again = bench.sandbox.requests
        assert [refused["status"], probe["status"], again["status"]] == [401, 429, 200]
        assert again["t"] - probe["t"] >= 1.0

    throttled = Fault(status=429, body=b"", headers={"Retry-After": "1"})
    on_bench(scenario, faults(refusal(401, "UNAUTHENTICATED"), reads=[throttled]))


def test_a_403_is_no_reason_to_renew_a_token() -> None:
    async def scenario(bench: Bench) -> None:
        assert (await bench.send_one()).state is REJECTED
        assert bench.count() == (1, 0, 0)

    def forbidden(seen: Seen) -> Fault | None:
        return refusal(403, "FORBIDDEN")

    on_bench(scenario, forbidden)
