import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_patch.observe.timeline import Slice
from bulk_patch.observe.totals import Totals

latencies = st.lists(st.floats(0.000_01, 600), min_size=1, max_size=200)


def kept(stats: Totals) -> Totals:
    """Return stats as they come back from a ledger."""
    return Totals.from_json(json.loads(json.dumps(stats.to_json())))


def test_new_stats_know_nothing() -> None:
    stats = Totals.from_json({})
    assert (stats.requests, stats.send_s, stats.throttled, stats.limit_per_s) == (0, 0.0, 0, None)
    assert stats.percentile_ms(0.5) is None
    assert stats.requests_per_s is None


def test_stats_survive_a_kill() -> None:
    stats = Totals(requests=7, send_s=1.5, throttled=2, limit_per_s=20.0)
    stats.add([0.1, 0.2, 0.2])
    assert kept(stats) == stats


def test_the_rate_is_that_of_all_sessions() -> None:
    stats = Totals(requests=30, send_s=2.0)
    stats.requests += 11
    stats.send_s += 2.0
    assert stats.requests_per_s == 10.0  # 41 requests, and 40 intervals between them


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"requests": 195}, "the limit"),
        ({"requests": 100, "slowed_s": 4.0}, "throttling by the API"),
        ({"requests": 100, "busy_s": 35.0}, "latency and concurrency (4 at a time, 350 ms each)"),
        ({"requests": 100, "cpu_s": 9.0}, "this machine"),
        ({"requests": 100}, ""),
        ({"requests": 100, "limit_per_s": None, "slowed_s": 4.0}, "throttling by the API"),
        ({"requests": 40, "slowed_s": 10.0}, ""),  # too few to say anything
        ({"requests": 195, "send_s": 1.0}, ""),
    ],
)
def test_what_held_the_rate_back_is_named(facts: dict[str, float], words: str) -> None:
    usual: dict[str, float] = {"send_s": 10.0, "limit_per_s": 20.0, "concurrency": 4}
    stats = Totals(**{**usual, **facts})  # type: ignore[arg-type]
    stats.add([0.0] * 100)
    assert stats.held_back_by == kept(stats).held_back_by == words


def test_what_is_left_is_judged_by_the_last_half_minute() -> None:
    stats = Totals(requests=1060, send_s=160.0)
    stats.series.width_s = 10.0
    stats.series.slices = {number: Slice([0, 0, 100 if number < 10 else 10, 0, 0, 0, 5]) for number in range(16)}
    assert stats.requests_per_s == pytest.approx(6.6, abs=0.1)
    assert stats.lately_per_s == pytest.approx(1.0)
    assert kept(stats).lately_per_s == stats.lately_per_s
    assert Totals().lately_per_s is None


def test_a_single_request_has_no_rate_to_speak_of() -> None:
    assert Totals(requests=1, send_s=0.1).requests_per_s == 0.0


@given(latencies, st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_right_to_five_percent(elapsed_s: list[float], share: float) -> None:
    stats = Totals()
    stats.add(elapsed_s)
    true_ms = next(
        one * 1000
        for at, one in enumerate(sorted(elapsed_s), 1)
        if at >= share * len(elapsed_s)  # the smallest that so many stayed under
    )
    found_ms = stats.percentile_ms(share)
    assert found_ms is not None
    assert true_ms * 0.99 - 0.06 <= found_ms <= true_ms * 1.06 + 0.06


@given(latencies, latencies)
def test_sessions_add_up_as_if_they_were_one(first: list[float], second: list[float]) -> None:
    one, two = Totals(), Totals()
    one.add([*first, *second])
    two.add(first)
    two = kept(two)
    two.add(second)
    assert one == two


def test_the_order_of_answers_does_not_matter() -> None:
    elapsed_s = [random.Random(7).uniform(0.01, 2) for _ in range(100)]
    one, other = Totals(), Totals()
    one.add(elapsed_s)
    other.add(sorted(elapsed_s))
    assert one == other


@pytest.mark.parametrize("elapsed_s", [0.0, 1e-9, 86_400.0])
def test_a_latency_that_no_clock_should_show_breaks_nothing(elapsed_s: float) -> None:
    stats = Totals()
    stats.add([elapsed_s])
    assert stats.percentile_ms(0.5) is not None
