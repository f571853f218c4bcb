"""Answers of one kind in a row over a run: so many of them mean that the run is wrong, and not single rows. Pure."""

from collections.abc import Mapping

from bulk_patch.client.permits import Signal
from bulk_patch.model import Meaning, Stop
from bulk_patch.targets import Streak


class Streaks:
    """The streak of a run.

    Args:
        table: By meaning of an answer, how many in a row stop the run.
    """

    def __init__(self, table: Mapping[Meaning, Streak]) -> None:
        self._table = table
        self.kind: Meaning | None = None  # of the answers that came last
        self.length = 0

    def count(self, signal: Signal) -> Stop | None:
        """Count one answer; return the stop that so many in a row mean."""
        kind = signal.streak
        self.length = (self.length + 1 if kind == self.kind else 1) if kind else 0
        self.kind = kind
        streak = self._table.get(kind) if kind is not None else None
        if streak is None:
            return None
        in_canary = signal.canary and streak.canary
        if self.length < streak.length and not in_canary:
            return None
        times = "in the canary" if in_canary else f"{self.length} times in a row"
        return Stop(streak.exit_code, f"{signal.reason}, {times}", streak.hint)
