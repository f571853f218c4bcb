"""Print for a person: on stdout, or beside log and bar on stderr. Light, for commands that only show something."""

import os
import re
import sys
from typing import TextIO

from bulk_patch.observe.stderr import silence

_RED, _GREEN, _YELLOW, _BOLD = "31", "32", "33", "1"
#: How a line begins, or what it holds -> how that is painted on a terminal. Cells cannot forge it: see `text.safe`.
_PAINT = (
    (re.compile(r"^error:.*", re.MULTILINE), _RED),
    (re.compile(r"^(exit code 0|  ok )(?=\D)", re.MULTILINE), _GREEN),
    (re.compile(r"^exit code (3|4|10)(?=:)", re.MULTILINE), _YELLOW),
    (re.compile(r"^exit code \d+(?=:)|^(stopped|run would stop)\b.*|^  wrong\b", re.MULTILINE), _RED),
    (re.compile(r"\bPRODUCTION\b"), f"{_BOLD};{_RED}"),
    (re.compile(r"^next: .*", re.MULTILINE), _BOLD),
)


def say(text: str, *, stream: TextIO | None = None, end: str = "\n") -> None:
    """Print; a closed terminal or pipe does not stop a run."""
    out = stream or sys.stdout
    if out is None:  # it was closed before this process started
        return
    encoding = out.encoding or "utf-8"
    text = (
        text.removesuffix("\n").encode(encoding, "replace").decode(encoding)
    )  # an old locale cannot show the dots of masks
    if _is_painted(out):
        for what, how in _PAINT:
            text = what.sub(f"\x1b[{how}m\\g<0>\x1b[0m", text)
    try:
        print(text, end=end, file=out, flush=True)
    except (OSError, ValueError):
        silence(out)


def _is_painted(out: TextIO) -> bool:
    """Tell whether a stream shows colours: a terminal does, unless NO_COLOR or TERM=dumb says otherwise."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return out.isatty()
    except ValueError:  # it is closed
        return False
