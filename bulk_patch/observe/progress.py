"""The one progress bar; without a terminal, a log line every 10 s instead."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from bulk_patch.observe.log import get_logger
from bulk_patch.observe.redact import mask
from bulk_patch.observe.stderr import STDERR, load_tqdm

if TYPE_CHECKING:
    from tqdm import tqdm

LINE_EVERY_S = 10.0
REDRAW_EVERY_S = 0.5
RATE_WINDOW_S = 30.0

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
_BAR_WITHOUT_TOTAL = "{desc}: {n_fmt} [{elapsed}{postfix}]"


@dataclass(frozen=True, slots=True)
class _Figures:
    """What is shown of one moment; None is left out."""

    done: int
    total: int | None
    rate_per_s: float | None
    eta_s: int | None
    ok: int | None
    refused: int | None
    throttled: int
    limit_per_s: float | None
    note: str | None

    def as_keys(self) -> dict[str, Any]:
        """Return the keys of a log line."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def as_words(self) -> str:
        """Return the text beside the bar, what matters most first, because a narrow terminal cuts off the end."""
        words = (
            self.note,
            self.rate_per_s is not None and f"{self.rate_per_s}/s",
            self.eta_s is not None and f"ETA {load_tqdm().format_interval(self.eta_s)}",
            self.refused and f"refused {self.refused}",
            self.throttled and f"429s {self.throttled}",
            self.ok is not None and f"ok {self.ok}",
            self.limit_per_s is not None and f"limit {self.limit_per_s:g}/s",
        )
        return mask(", ".join(str(word) for word in words if word))


@dataclass(frozen=True, slots=True, kw_only=True)
class SendProgress:
    """How far a session of sending, or of reading, is.

    Attributes:
        done: Rows whose outcome is recorded, or that were read.
        ok: Of these, applied; None: rows are not told apart here.
        refused: Of these, rejected or mismatched.
        throttled: 429s received by the session.
        limit_per_s: Requests a second at the moment; None or infinity: unlimited.
        paused_s: Seconds until the next request may be sent; 0: not paused.
        pause_reason: Why it is paused, or what else there is to say.
    """

    done: int
    ok: int | None = None
    refused: int | None = None
    throttled: int = 0
    limit_per_s: float | None = None
    paused_s: float = 0.0
    pause_reason: str = ""


class ProgressBar:
    """The progress bar, or the log lines in place of it.

    Call `update` often, at least once a second, also while nothing moves: the bar limits itself to two updates a
    second, and lines to one in ten seconds.

    Args:
        total: Rows in all; None: not known.
        enabled: True: a bar. False: nothing at all. None: a bar on a terminal, lines elsewhere.
        desc: What is being done, for example `sending` or `reading`.
        initial: Rows done by an earlier session; they do not count as speed.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        total: int | None,
        *,
        enabled: bool | None = None,
        desc: str = "sending",
        initial: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        self._desc = desc
        self._clock = clock
        self._marks = deque([(clock(), initial)])  # seconds, rows
        self._line_due_at = clock() + LINE_EVERY_S
        wants_bar = STDERR.isatty() if enabled is None else enabled
        self._bar = _open_bar(total, desc, initial) if wants_bar else None
        self._wants_lines = enabled is None and not wants_bar

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, progress: SendProgress) -> None:
        """Show how far it is."""
        now, done, limit_per_s = self._clock(), progress.done, progress.limit_per_s
        rate_per_s = self._measure(now, done)
        figures = _Figures(
            done=done,
            total=self._total,
            rate_per_s=None if rate_per_s is None else round(rate_per_s, 1),
            eta_s=round((self._total - done) / rate_per_s) if self._total is not None and rate_per_s else None,
            ok=progress.ok,
            refused=progress.refused,
            throttled=progress.throttled,
            limit_per_s=None if limit_per_s is None or math.isinf(limit_per_s) else round(limit_per_s, 1),
            note=_describe_pause(progress.paused_s, progress.pause_reason) or None,
        )
        if self._bar is not None:
            self._bar.set_postfix_str(figures.as_words(), refresh=False)
            self._bar.update(done - self._bar.n)
        elif self._wants_lines and now >= self._line_due_at:
            self._line_due_at = now + LINE_EVERY_S
            get_logger().info("progress", phase=self._desc, **figures.as_keys())

    def close(self) -> None:
        """Leave the bar as it is and free the line below it; doing it twice is harmless."""
        if self._bar is not None:
            self._bar.close()

    def _measure(self, now: float, done: int) -> float | None:
        """Return rows per second over the last half minute, pauses included; None before the first second is over."""
        marks = self._marks
        while len(marks) > 1 and marks[1][0] <= now - RATE_WINDOW_S:
            marks.popleft()
        if now - marks[-1][0] >= REDRAW_EVERY_S:
            marks.append((now, done))
        since, before = marks[0]
        return (done - before) / (now - since) if now - since >= 1 else None


def _describe_pause(paused_s: float, note: str) -> str:
    if paused_s <= 0:
        return note
    pause = f"paused {math.ceil(paused_s)} s"
    return f"{pause}: {note}" if note else pause


def _open_bar(total: int | None, desc: str, initial: int) -> "tqdm[Any]":
    return load_tqdm()(
        total=total,
        desc=desc,
        initial=initial,
        file=STDERR,
        mininterval=REDRAW_EVERY_S,
        miniters=0,  # also while nothing moves
        dynamic_ncols=True,
        bar_format=_BAR_WITHOUT_TOTAL if total is None else _BAR,
    )
