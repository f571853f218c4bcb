"""Standard error as log lines and bar share it: one lock, and a writer that never raises."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from tqdm import tqdm

#: For lines, bar and file. Re-entrant, because a finalizer may log in the middle of a line.
LOCK = threading.RLock()

_LAST_STANDARD = 2


def silence(stream: TextIO) -> None:
    """Send a standard stream that is no longer read to the null device.

    Not only later writes would fail: Python turns a failing flush at its end into exit code 120.
    """
    with suppress(OSError, ValueError):
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


def occupy_standard_streams() -> None:
    """Send standard streams that were closed before we started to the null device.

    The next file that is opened would get the number of one of them, and messages would be written into it.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD:  # always the lowest that is free
        os.set_inheritable(number, True)
    os.close(number)


@contextmanager
def _forgiven() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError):
        silence(sys.stderr)
    except RuntimeError:  # a finalizer or a signal handler speaks in the middle of another write
        pass


class _Stderr:
    """What `sys.stderr` is at the moment, as far as it works.

    tqdm gets this too, and must never see a stream fail: it would keep its lock, and the next thread that logs hangs.
    """

    @property
    def encoding(self) -> str:
        return getattr(sys.stderr, "encoding", None) or "ascii"

    def write(self, text: str) -> int:
        if sys.stderr is not None:  # it is None when it was closed before we started
            with _forgiven():
                sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        if sys.stderr is not None:
            with _forgiven():
                sys.stderr.flush()

    def isatty(self) -> bool:
        with suppress(OSError, ValueError):
            return sys.stderr is not None and sys.stderr.isatty()
        return False

    def fileno(self) -> int:
        """Return the file number, which tqdm asks for the terminal's size.

        Some terminals (of `script`, or of a container) have 0 columns and rows, and tqdm then draws nothing. Where
        the size is not known it draws a short bar.

        Raises:
            OSError: When there is no terminal, or none that knows its size.
        """
        if sys.stderr is None or 0 in os.get_terminal_size(sys.stderr.fileno()):
            raise OSError("the size of the terminal is not known")
        return sys.stderr.fileno()


STDERR = cast(TextIO, _Stderr())


def load_tqdm() -> "type[tqdm[Any]]":
    """Import tqdm when first needed, under our lock: the one of tqdm starts a helper process on some systems."""
    from tqdm import tqdm

    tqdm.set_lock(LOCK)
    # The monitor thread of tqdm corrects a guess about updates that `ProgressBar` does not let it make.
    tqdm.monitor_interval = 0
    return tqdm


def write_line(line: str) -> None:
    """Write one line to stderr, above the bar if there is one."""
    load_tqdm().write(line, file=STDERR)
