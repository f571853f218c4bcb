"""Print for a person: on stdout, or beside log and bar on stderr. Light, for commands that only show something."""

import sys
from typing import TextIO

from bulk_patch.observe.stderr import silence


def say(text: str, *, stream: TextIO | None = None, end: str = "\n") -> None:
    """Print; a closed terminal or pipe does not stop a run."""
    out = stream or sys.stdout
    if out is None:  # it was closed before this process started
        return
    encoding = out.encoding or "utf-8"
    text = (
        text.removesuffix("\n").encode(encoding, "replace").decode(encoding)
    )  # an old locale cannot show the dots of masks
    try:
        print(text, end=end, file=out, flush=True)
    except (OSError, ValueError):
        silence(out)
