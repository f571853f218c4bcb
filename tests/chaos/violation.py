"""What the checker reports."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not be: which invariant, and where."""

    invariant: str
    what: str

    def __str__(self) -> str:
        return f"[{self.invariant}] {self.what}"
