"""Plain text for a terminal: wrapped, aligned, and unable to steer it. Pure, once the width is known."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

#: Characters in a line where no terminal says otherwise: in cron's mail and in files.
WIDTH = 100

_NARROWEST, _WIDEST = 40, 120  # longer lines are hard to read
_width = WIDTH
_is_terminal = False


def fit_terminal() -> None:
    """Wrap to the width of the terminal from now on, if stdout is one."""
    global _width, _is_terminal
    _width = WIDTH
    _is_terminal = sys.stdout is not None and sys.stdout.isatty()
    if _is_terminal:
        _width = min(max(shutil.get_terminal_size((WIDTH, 24)).columns, _NARROWEST), _WIDEST)


def line_width() -> int:
    """Return how many characters a line may have."""
    return _width


def must_fit(lines: Iterable[str]) -> bool:
    """Tell whether lines are too long for the terminal that they are for; a file or a pipe takes any length."""
    return _is_terminal and any(len(line) > _width for line in lines)


def safe(text: object) -> str:
    """Replace what could steer a terminal or hide text: control, bidi and line characters."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))


def wrap(text: str, lead: str = "") -> list[str]:
    """Break text into lines; the first starts with `lead`, the others are indented. Long words are not broken."""
    return textwrap.wrap(
        safe(text),
        _width,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    )


def join(lines: Iterable[str]) -> str:
    """Join lines to a text."""
    return "\n".join(lines) + "\n"


def section(title: str, lines: Sequence[str]) -> list[str]:
    """Return lines under a title, and an empty line after them; nothing when there are no lines."""
    return [title, *lines, ""] if lines else []


def numbered(things: Iterable[tuple[str, int]], *, shown: int | None = None) -> list[str]:
    """Return numbers, each with what it counts beside it; after `shown` of them, how many are left out."""
    listed = list(things)
    places = digits(count for _, count in listed)
    lines = [line for text, count in listed[:shown] for line in wrap(text, f"  {count:>{places},}  ")]
    more = len(listed) - len(listed[:shown])
    return [*lines, f"  {'':>{places}}  and {more} more"] if more else lines


def table(lines: Sequence[Sequence[str]], *, right: Iterable[int]) -> list[str]:
    """Align columns; those in `right` to the right."""
    cells = [[safe(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    to_right = set(right)
    return [
        "  ".join(
            cell.rjust(width) if at in to_right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def next_lines(command: str, *, before: str) -> list[str]:
    """Return the line of the command to type next, and above it what comes first; nothing without a command."""
    if not command:
        return []
    return [*([safe(before)] if before else []), f"next: {safe(command)}"]


def digits(numbers: Iterable[int]) -> int:
    """Return how many characters the longest of these numbers takes."""
    return max((len(f"{number:,}") for number in numbers), default=1)
