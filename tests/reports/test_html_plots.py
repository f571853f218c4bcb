import re
from xml.etree import ElementTree

import pytest

from bulk_patch.observe.timeline import Timeline
from bulk_patch.reports.html.plots import Plot, draw
from tests.support.hand_clock import HandClock


def sent(*answers: tuple[float, int, float | None], sessions: tuple[float, ...] = ()) -> tuple[Timeline, float]:
    """Return a series of (seconds to wait, status, seconds it took), and how long it was sent."""
    clock = HandClock()
    series = Timeline(_clock=clock.now)
    series.start(0.0, now=1_000.0)
    total_s = 0.0
    for wait_s, status, elapsed_s in answers:
        clock.advance(wait_s)
        total_s += wait_s
        series.answered(status, elapsed_s)
    series.sessions += [(at_s, 2_000.0) for at_s in sessions]
    return series, total_s


def steady(rate_per_s: int, seconds: int, status: int = 200) -> list[tuple[float, int, float | None]]:
    """Return answers at a steady rate."""
    return [(1 / rate_per_s, status, 0.1)] * (rate_per_s * seconds)


def plots_of(*answers: tuple[float, int, float | None], sessions: tuple[float, ...] = ()) -> list[Plot]:
    """Draw these answers, at a limit of 20 a second."""
    series, sent_for_s = sent(*answers, sessions=sessions)
    return draw(series, sent_for_s=sent_for_s, limit_per_s=20.0)


def numbers_in(svg: str) -> list[float]:
    """Return the coordinates of all drawn paths, x and y in turn."""
    paths = [element.get("d") or "" for element in ElementTree.fromstring(svg).iter() if element.tag == "path"]
    found = [pair for path in paths if "L" in path for pair in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]
    return [float(number) for pair in found for number in pair]


def test_nothing_is_drawn_when_nothing_was_sent() -> None:
    assert draw(Timeline(), sent_for_s=0.0, limit_per_s=20.0) == []


@pytest.mark.parametrize("seconds", [1, 7, 90, 4_000])
def test_every_plot_is_well_formed_says_what_it_shows_and_stays_in_its_frame(seconds: int) -> None:
    answers = [*steady(2, seconds), (1.0, 429, 0.2), (1.0, 503, 9.0), (1.0, 0, None), (1.0, 422, 0.1)]
    plots = plots_of(*answers, sessions=(1.0,))
    assert [plot.title.split()[0] for plot in plots] == ["Throughput", "Time", "Answers"]
    for plot in plots:
        drawn = ElementTree.fromstring(plot.svg)
        assert drawn.get("role") == "img"
        assert plot.words in (drawn.get("aria-label") or "")
        assert plot.words.endswith("1 restart")
        assert all(-1 <= number <= 361 for number in numbers_in(plot.svg))
        assert "style=" not in plot.svg  # the page's policy forbids it


def test_the_rate_of_a_steady_run_is_drawn_as_it_was() -> None:
    throughput = plots_of(*steady(20, 30))[0]
    assert "600 requests in 30 s of sending" in throughput.words
    most = float(re.findall(r"at most ([\d.]+) a second", throughput.words)[0])
    assert 19 <= most <= 21
    assert [key.words for key in throughput.legend] == ["answers a second", "limit, 20"]


def test_a_high_rate_is_said_in_digits() -> None:
    assert "at most 3,000 a second" in plots_of(*steady(3000, 4))[0].words


def test_answers_are_counted_by_class_and_classes_that_never_came_are_left_out() -> None:
    statuses = plots_of(*steady(5, 4), (0.1, 429, 0.1), (0.1, 503, 0.1), (0.1, 0, None))[-1]
    words = [key.words for key in statuses.legend]
    assert words == ["2xx accepted: 20", "429 throttled: 1", "5xx failed: 1", "no answer: 1"]


def test_latencies_that_span_much_are_drawn_on_a_logarithmic_scale() -> None:
    even = plots_of(*steady(5, 10))[1].svg
    wide = plots_of(*steady(5, 10), *[(1.0, 200, 20.0)] * 3)[1].svg
    assert "10 s" not in re.findall(r'text-anchor="end">([^<]*)<', even)
    assert {"100 ms", "1 s", "10 s"} <= set(re.findall(r'text-anchor="end">([^<]*)<', wide))


def test_without_any_answer_to_a_change_there_is_no_latency_to_draw() -> None:
    assert [plot.title.split()[0] for plot in plots_of((1.0, 200, None), (1.0, 0, None))] == ["Throughput", "Answers"]


def test_a_run_without_a_limit_has_no_line_for_it() -> None:
    series, sent_for_s = sent(*steady(5, 3))
    throughput = draw(series, sent_for_s=sent_for_s, limit_per_s=None)[0]
    assert [key.style for key in throughput.legend] == ["line"]


@pytest.mark.parametrize("slowest_s", [0.00001, 0.5])
def test_an_api_that_answers_in_no_time_is_drawn_too(slowest_s: float) -> None:
    plots = plots_of(*[(0.05, 200, 0.00001)] * 20, *[(0.05, 200, slowest_s)] * 20)
    assert len(plots) == 3
