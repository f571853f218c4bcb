"""Draw what the benchmarks measured: `python -m tests.bench.plots FOLDER`.

Reads the files that `--json` wrote there (`send.json`, `plan.json`, `endurance.json`, those that there are) and puts
PNGs beside them, for the README: white, 800 pixels wide on a screen, sharp on a dense one.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from tests.bench.figures import read_figures

OURS = "bulk-patch"
OUR_COLOUR, BAR_COLOUR, TEXT_COLOUR, GRID_COLOUR = "#1f5fbf", "#b9c0c9", "#22262b", "#e3e6ea"
PEER_COLOURS = ("#7a828c", "#c77b30", "#4c9a6a", "#a05195")
WIDTH_IN = 8.0
PIXELS_PER_IN = 200
LONGEST = 6  # a bar is cut at so many times ours: else all the others would be dots
STYLE: dict[Any, Any] = {  # matplotlib's own keys are a type of 300 literals
    "font.size": 10,
    "text.color": TEXT_COLOUR,
    "axes.edgecolor": GRID_COLOUR,
    "axes.labelcolor": TEXT_COLOUR,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": TEXT_COLOUR,
    "ytick.color": TEXT_COLOUR,
}

Programs = Mapping[str, Mapping[str, float]]


def draw_send(figures: Mapping[str, Any]) -> Figure:
    """Draw requests/s and CPU per request of all programs."""
    title = f"Sending {figures['rows']:,} PATCHes, 32 at once, no rate limit ({_medians(figures)})"
    figure, (left, right) = _panels(title, bars=len(figures["programs"]))
    draw_bars(left, figures["programs"], "requests_per_s", "requests/s (more is better)")
    draw_bars(right, figures["programs"], "cpu_us", "CPU µs a request (less is better)")
    return figure


def draw_plan(figures: Mapping[str, Any]) -> Figure:
    """Draw time and memory of all programs, at the largest size that most of them managed."""
    size = max(figures["sizes"], key=lambda size: (len(size["programs"]), size["rows"]))
    title = f"Planning {size['rows']:,} rows × 13 columns, 5 % changed ({_medians(size)})"
    figure, (left, right) = _panels(title, bars=len(size["programs"]))
    draw_bars(left, size["programs"], "wall_s", "seconds (less is better)")
    draw_bars(right, size["programs"], "peak_mib", "memory at the peak, MiB (less is better)")
    return figure


def draw_plan_growth(figures: Mapping[str, Any]) -> Figure:
    """Draw how the time for a row grows with the number of rows."""
    fewest = min(figures["sizes"], key=lambda size: int(size["runs"]))
    title = f"Planning: seconds for a million rows, by rows ({_medians(fewest)})"
    figure = Figure(figsize=(WIDTH_IN, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11)
    names = dict.fromkeys(name for size in figures["sizes"] for name in size["programs"])
    colours = iter(PEER_COLOURS)
    for name in names:
        points = [
            (size["rows"], size["programs"][name]["wall_s"] / size["rows"] * 1e6)
            for size in sorted(figures["sizes"], key=lambda size: int(size["rows"]))
            if name in size["programs"]
        ]
        colour = OUR_COLOUR if name == OURS else next(colours)
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, color=colour, label=name)
    axes.set_xscale("log")
    axes.set_xticks([size["rows"] for size in figures["sizes"]], minor=False)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_plain_number))
    axes.set_xlabel("rows")
    axes.set_ylabel("s per million rows")
    axes.set_ylim(bottom=0)
    axes.grid(color=GRID_COLOUR)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def draw_memory(figures: Mapping[str, Any]) -> Figure:
    """Draw the memory of a sending process by the rows that it has done."""
    title = f"Sending {figures['rows']:,} whole addresses: memory of the process (one run)"
    figure = Figure(figsize=(WIDTH_IN, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11)
    axes.plot(*zip(*figures["rss_mib_by_rows"], strict=True), color=OUR_COLOUR)
    axes.xaxis.set_major_formatter(FuncFormatter(_plain_number))
    axes.set_xlabel("rows done")
    axes.set_ylabel("MiB resident")
    axes.set_ylim(0, 1.2 * max(mib for _, mib in figures["rss_mib_by_rows"]))
    axes.grid(color=GRID_COLOUR)
    return figure


#: PNG -> the figures that it shows, and who draws it.
PLOTS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Figure]]] = {
    "send.png": ("send.json", draw_send),
    "plan.png": ("plan.json", draw_plan),
    "plan_growth.png": ("plan.json", draw_plan_growth),
    "memory.png": ("endurance.json", draw_memory),
}


def draw_all(folder: Path) -> list[Path]:
    """Draw all that there are figures for; return the pictures."""
    written = []
    with mpl.rc_context(STYLE):
        for name, (source, draw) in PLOTS.items():
            if (folder / source).exists():
                figure = draw(read_figures(folder / source))
                FigureCanvasAgg(figure)  # no window, whatever the machine has
                figure.savefig(folder / name, dpi=PIXELS_PER_IN, facecolor="white")
                written.append(folder / name)
    return written


def draw_bars(axes: Axes, programs: Programs, figure: str, label: str) -> None:
    """Draw one figure of all programs, the first on top; a bar that dwarfs ours is cut, and says so.

    Args:
        axes: Where.
        programs: Name -> its figures.
        figure: Which of them.
        label: What it is, with its unit.
    """
    values = [figures[figure] for figures in programs.values()]
    end = min(max(values), LONGEST * programs[OURS][figure])
    colours = [OUR_COLOUR if name == OURS else BAR_COLOUR for name in programs]
    axes.barh(list(programs), [min(value, end) for value in values], color=colours, height=0.66)
    for place, value in enumerate(values):
        text = f"{_three_digits(value)}, off the scale ▸" if value > end else _three_digits(value)
        inside = value > end / 2
        gap = end / 60
        at = min(value, end) - gap if inside else value + gap
        colour = "white" if inside and colours[place] == OUR_COLOUR else TEXT_COLOUR
        axes.text(at, place, text, va="center", ha="right" if inside else "left", color=colour)
    axes.set_xlim(0, end)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    axes.spines["bottom"].set_visible(False)
    axes.set_xlabel(label)


def _panels(title: str, *, bars: int) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with two panels side by side that share their names."""
    figure = Figure(figsize=(WIDTH_IN, 1.1 + 0.34 * bars), layout="constrained")
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    panels: Sequence[Axes] = figure.subplots(1, 2, sharey=True)
    panels[0].invert_yaxis()
    return figure, panels


def _medians(figures: Mapping[str, Any]) -> str:
    runs = figures["runs"]
    return f"medians of {runs} runs" if runs > 1 else "one run"


def _three_digits(value: float) -> str:
    """Return a number with as many digits as anybody should believe."""
    return f"{value:.1f}" if value < 100 else f"{float(f'{value:.3g}'):,.0f}"


def _plain_number(value: float, _: int | None = None) -> str:
    return f"{value:,.0f}"


def main() -> None:
    """Draw and say what was written."""
    for path in draw_all(Path(sys.argv[1])):
        print(path)


if __name__ == "__main__":
    main()
