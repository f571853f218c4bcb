import json
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bulk_patch.observe.timeline import CLASSES, FIRST_WIDTH_S, MOST_PAUSES, MOST_SESSIONS, SLICES, Slice, Timeline
from tests.support.hand_clock import HandClock

answers = st.lists(
    st.tuples(st.floats(0, 5_000), st.sampled_from([0, 101, 200, 302, 404, 429, 503, 999]), st.floats(0.0001, 80)),
    max_size=120,
)


def series_at(clock: HandClock) -> Timeline:
    """Return a series whose first session begins now."""
    series = Timeline(_clock=clock.now)
    series.start(0.0, now=1_000.0)
    return series


def kept(series: Timeline) -> Timeline:
    """Return a series as it comes back from a ledger."""
    return Timeline.from_json(json.loads(json.dumps(series.to_json())))


def counted(series: Timeline) -> Counter[str]:
    """Return answers by class over all slices."""
    total: Counter[str] = Counter()
    for slice_ in series.slices.values():
        total.update(dict(zip(CLASSES, slice_.classes, strict=True)))
    return +total


@given(answers)
def test_nothing_is_lost_however_long_a_run_takes_and_the_slices_stay_few(
    given_answers: list[tuple[float, int, float]],
) -> None:
    clock = HandClock()
    series = series_at(clock)
    for wait_s, status, elapsed_s in given_answers:
        clock.advance(wait_s)
        series.answered(status, elapsed_s if status else None)
    again = kept(series)
    assert again == series
    assert len(series.slices) <= SLICES
    assert sum(counted(again).values()) == len(given_answers)
    assert counted(again)["429"] == sum(status == 429 for _, status, _ in given_answers)
    assert counted(again)["no answer"] == sum(status in (0, 999) for _, status, _ in given_answers)
    assert sum(slice_.latency.total() for slice_ in again.slices.values()) == sum(
        bool(status) for _, status, _ in given_answers
    )
    assert sum(slice_.requests for _, _, slice_ in again.points(50)) == len(given_answers)
    assert len(again.points(50)) <= 50


def test_slices_are_twice_as_wide_when_they_are_full() -> None:
    clock = HandClock()
    series = series_at(clock)
    series.answered(200, 0.1)
    clock.advance(FIRST_WIDTH_S * SLICES * 3)
    series.answered(500, 0.1)
    assert series.width_s == FIRST_WIDTH_S * 4
    assert sorted(series.slices) == [0, SLICES * 3 // 4]


def test_the_clock_is_seconds_of_sending_so_a_night_between_two_sessions_takes_no_room() -> None:
    clock = HandClock()
    series = series_at(clock)
    clock.advance(10)
    series.answered(200, 0.1)
    series = kept(series)
    series._clock = clock.now
    clock.advance(8 * 3600)
    series.start(10.0, now=30_000.0)
    series.answered(200, 0.1)
    assert series.sessions == [(0.0, 1_000.0), (10.0, 30_000.0)]
    assert series.width_s == FIRST_WIDTH_S
    assert sorted(series.slices) == [40]  # the same slice: no second of sending lies between


def test_a_latency_is_right_to_ten_percent() -> None:
    clock = HandClock()
    series = series_at(clock)
    for milliseconds in range(1, 101):
        series.answered(200, milliseconds / 1000)
    (_, _, slice_), *_ = series.points()
    half, most = slice_.percentile_ms(0.5), slice_.percentile_ms(0.99)
    assert half is not None
    assert most is not None
    assert 50 <= half <= 55
    assert 99 <= most <= 109
    assert Slice().percentile_ms(0.5) is None


def test_a_read_counts_as_a_request_but_not_as_a_latency() -> None:
    clock = HandClock()
    series = series_at(clock)
    series.answered(200, None)
    ((_, _, slice_),) = series.points()
    assert slice_.requests == 1
    assert slice_.percentile_ms(0.5) is None


def test_pauses_for_one_reason_that_follow_each_other_are_told_as_one() -> None:
    clock = HandClock()
    series = series_at(clock)
    series.paused(2.0, "rate limited", now=1.0)
    clock.advance(3)
    series.paused(4.0, "rate limited", now=4.0)
    clock.advance(60)
    series.paused(1.0, "outage", now=64.0)
    assert [(pause.reason, pause.seconds, pause.times) for pause in kept(series).pauses] == [
        ("rate limited", 7.0, 2),
        ("outage", 1.0, 1),
    ]


def test_pauses_and_sessions_are_bounded() -> None:
    clock = HandClock()
    series = series_at(clock)
    for at in range(MOST_PAUSES + 5):
        clock.advance(100)
        series.paused(1.0, "rate limited", now=float(at))
    for at in range(MOST_SESSIONS + 5):
        series.start(float(at), now=float(at))
    assert len(series.pauses) == MOST_PAUSES
    assert sum(pause.times for pause in series.pauses) == MOST_PAUSES + 5
    assert len(series.sessions) == MOST_SESSIONS


def test_an_answer_that_is_told_late_counts_where_it_came() -> None:
    now_s = 100.0
    series = Timeline(_clock=lambda: now_s)
    series.start(0.0, now=0.0)
    series.answered(200, 0.1, at=103.1)
    series.answered(500, 0.2, at=100.1)
    series.answered(200, 0.1, at=103.2)
    points = series.points()
    assert [(at, slice_.classes[2], slice_.classes[5]) for at, _, slice_ in points if slice_.requests] == [
        (0.0, 0, 1),
        (3.0, 2, 0),
    ]
    assert sum(slice_.latency.total() for _, _, slice_ in points) == 3
