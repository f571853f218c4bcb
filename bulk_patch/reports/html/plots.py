"""Plots of a run over time: inline SVG that needs no script, takes its colours from the page, and can be printed.

Each plot is drawn for the width of a phone; a wide page sets them side by side, so that text keeps its size.
Everything drawn is a number or a fixed word: no customer data and no text of the API gets here.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from bulk_patch.observe.timeline import CLASSES, Slice, Timeline

MOST_POINTS = 90
SHORTEST_POINT_S = 1.0
_WIDTH, _HEIGHT = 360, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 350, 12, 176
_LOG_FROM = 20.0  # latencies that span more than this are drawn on a logarithmic scale
_LEAST_MS = 0.1  # latencies are rounded to a tenth, and a logarithmic scale has no 0

#: Class of answer -> its words, in the order in which they are stacked, from below.
_STACK = (
    (CLASSES.index("2xx"), "ok", "2xx accepted"),
    (CLASSES.index("1xx"), "odd", "1xx"),
    (CLASSES.index("3xx"), "odd", "3xx"),
    (CLASSES.index("4xx"), "refused", "4xx refused"),
    (CLASSES.index("429"), "throttled", "429 throttled"),
    (CLASSES.index("5xx"), "failed", "5xx failed"),
    (CLASSES.index("no answer"), "lost", "no answer"),
)

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Key:
    """One line of a legend."""

    style: str
    words: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot, with its content in words for people who cannot see it."""

    title: str
    svg: str
    words: str
    legend: tuple[Key, ...]


def draw(series: Timeline, *, sent_for_s: float, limit_per_s: float | None) -> list[Plot]:
    """Draw throughput, latency and status codes over seconds of sending; nothing when nothing was sent.

    Args:
        series: The run over time.
        sent_for_s: Seconds of sending, over all sessions.
        limit_per_s: The job's rate; None: unlimited.
    """
    # Slices of a fraction of a second would show how requests happen to fall into them, not how fast they went.
    points = series.points(max(1, min(MOST_POINTS, int(sent_for_s / SHORTEST_POINT_S))))
    if not points:
        return []
    begin, end, last = points[-1]
    if begin < sent_for_s < end:  # the last slice was not over yet
        points[-1] = (begin, max(sent_for_s, begin + (end - begin) / 4), last)
    restarts = [at_s for at_s, _ in series.sessions[1:]]
    plots = [_throughput(points, restarts, limit_per_s)]
    if any(its.latency for _, _, its in points):
        plots.append(_latency(points, restarts))
    return [*plots, _statuses(points, restarts)]


def _throughput(
    points: Sequence[tuple[float, float, Slice]], restarts: Sequence[float], limit_per_s: float | None
) -> Plot:
    rates = [its.requests / (end - begin) for begin, end, its in points]
    frame = _Frame(points[-1][1], max(*rates, limit_per_s or 0.0, 1.0))
    line = [(x, rate) for (begin, end, _), rate in zip(points, rates, strict=True) for x in (begin, end)]
    area = [(0.0, 0.0), *line, (points[-1][1], 0.0)]
    drawn = [frame.path(area, "area", closed=True), frame.path(line, "line")]
    keys = [Key("line", "answers a second")]
    if limit_per_s is not None:
        drawn.append(frame.path([(0.0, limit_per_s), (points[-1][1], limit_per_s)], "limit"))
        keys.append(Key("limit", f"limit, {limit_per_s:g}"))
    total = sum(its.requests for _, _, its in points)
    words = f"{total:,} requests in {_span(points[-1][1])} of sending, counted when answered; "
    words += f"at most {float(f'{max(rates):.3g}'):,g} a second"
    return _plot("Throughput", frame, drawn, restarts, words, keys, lambda value: f"{value:g}")


def _latency(points: Sequence[tuple[float, float, Slice]], restarts: Sequence[float]) -> Plot:
    lines: dict[str, list[Point]] = {"p50": [], "p99": []}
    for begin, end, its in points:
        half, most = its.percentile_ms(0.5), its.percentile_ms(0.99)
        if half is not None and most is not None:
            lines["p50"].append(((begin + end) / 2, max(half, _LEAST_MS)))
            lines["p99"].append(((begin + end) / 2, max(most, _LEAST_MS)))
    values = [value for line in lines.values() for _, value in line]
    frame = _Frame(points[-1][1], max(values), least=min(values) if max(values) > _LOG_FROM * min(values) else None)
    drawn = [part for name, line in lines.items() for part in (frame.path(line, name), *frame.dots(line, name))]
    halves, mosts = ([value for _, value in lines[name]] for name in ("p50", "p99"))
    words = f"at the slowest, half of the changes took up to {_milliseconds(max(halves))}"
    words += f", 99 % up to {_milliseconds(max(mosts))}"
    keys = [Key("p50", "half of the changes within"), Key("p99", "99 % within")]
    return _plot("Time to an answer", frame, drawn, restarts, words, keys, _milliseconds)


def _statuses(points: Sequence[tuple[float, float, Slice]], restarts: Sequence[float]) -> Plot:
    frame = _Frame(points[-1][1], max(max(its.requests for _, _, its in points), 1))
    drawn: list[str] = []
    totals: dict[str, int] = {}
    styles: dict[str, str] = {}
    for begin, end, its in points:
        below = 0
        for at, style, name in _STACK:
            if count := its.classes[at]:
                drawn.append(frame.bar(begin, end, below, below + count, style))
                below += count
                totals[name] = totals.get(name, 0) + count
                styles[name] = style
    keys = [Key(styles[name], f"{name}: {totals[name]:,}") for _, _, name in _STACK if name in totals]
    width_s = points[0][1] - points[0][0]
    words = ", ".join(key.words for key in keys)
    title = f"Answers every {_span(width_s)}"
    return _plot(title, frame, drawn, restarts, words, keys, lambda value: f"{value:g}")


class _Frame:
    """Maps seconds and values to positions in a plot, and draws its axes.

    Args:
        seconds: What the horizontal axis shows.
        most: The highest value.
        least: The lowest: the scale is logarithmic. None: it is linear, from 0.
    """

    def __init__(self, seconds: float, most: float, *, least: float | None = None) -> None:
        self.seconds = seconds
        self._log = least is not None
        if least is not None:
            low, high = math.floor(math.log10(least)), math.ceil(math.log10(most) + 1e-9)
            self.ticks = [10.0**power for power in range(low, max(high, low + 1) + 1)]
        else:
            step = _step(most, 4)
            self.ticks = [step * at for at in range(math.ceil(most / step - 1e-9) + 1)]
        self._bottom, self._top = self._place(self.ticks[0]), self._place(self.ticks[-1])

    def _place(self, value: float) -> float:
        return math.log10(max(value, 1e-3)) if self._log else value

    def x(self, second: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * second / self.seconds

    def y(self, value: float) -> float:
        share = (self._place(value) - self._bottom) / (self._top - self._bottom)
        return _BOTTOM - (_BOTTOM - _TOP) * share

    def path(self, points: Iterable[Point], style: str, *, closed: bool = False) -> str:
        steps = " L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        return f'<path class="{style}" d="M{steps}{"Z" if closed else ""}"/>'

    def dots(self, points: Sequence[Point], style: str) -> list[str]:
        """Mark points that are so few that a line alone would not show them."""
        few = points if len(points) <= 12 else []
        return [f'<circle class="{style}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="2.5"/>' for x, y in few]

    def bar(self, begin: float, end: float, low: float, high: float, style: str) -> str:
        left, right, top = self.x(begin), self.x(end), self.y(high)
        gap = 0.8 if right - left > 3 else 0.0
        size = f'width="{right - left - gap:.1f}" height="{self.y(low) - top:.1f}"'
        return f'<rect class="{style}" x="{left:.1f}" y="{top:.1f}" {size}/>'

    def axes(self, say: Callable[[float], str]) -> list[str]:
        """Return lines and words beside them."""
        parts = []
        for value in self.ticks:
            y = self.y(value)
            parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{say(value)}</text>')
        step = _step(self.seconds, 4, of_time=True)
        for at in range(int(self.seconds / step + 1e-9) + 1):
            x = self.x(at * step)
            anchor = "end" if x > _RIGHT - 20 else "middle"
            parts.append(f'<path class="grid" d="M{x:.1f} {_BOTTOM}v4"/>')
            parts.append(f'<text x="{x:.1f}" y="{_BOTTOM + 18}" text-anchor="{anchor}">{_span(at * step)}</text>')
        return parts


def _plot(
    title: str,
    frame: _Frame,
    drawn: Iterable[str],
    restarts: Sequence[float],
    words: str,
    keys: Sequence[Key],
    say: Callable[[float], str],
) -> Plot:
    shown = [at for at in restarts if at <= frame.seconds]
    marks = [f'<path class="restart" d="M{frame.x(at):.1f} {_TOP}V{_BOTTOM}"/>' for at in shown]
    if shown:
        times = "1 restart" if len(shown) == 1 else f"{len(shown)} restarts"
        words, keys = f"{words}; {times}", [*keys, Key("restart", times)]
    inside = "".join([*frame.axes(say), *drawn, *marks])
    label = escape(f"{title}: {words}")
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT - 8}" role="img" aria-label="{label}">{inside}</svg>'
    return Plot(title, svg, words, tuple(keys))


def _step(most: float, about: int, *, of_time: bool = False) -> float:
    """Return a round step that divides 0 … most into about so many parts."""
    raw = most / about
    if of_time and raw > 1:
        times = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200)
        return next((float(step) for step in times if step >= raw), 86400.0 * math.ceil(raw / 86400))
    power = 10.0 ** math.floor(math.log10(raw))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= raw * 0.999)


def _span(seconds: float) -> str:
    """Say a time on an axis: `0.5 s`, `90 s`, `10 min`, `3 h`."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h"


def _milliseconds(value: float) -> str:
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"
