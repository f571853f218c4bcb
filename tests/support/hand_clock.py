"""A clock that a test moves by hand."""

from dataclasses import dataclass


@dataclass
class HandClock:
    """Seconds that pass only when told to."""

    seconds: float = 100.0

    def now(self) -> float:
        """Return the present."""
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds
