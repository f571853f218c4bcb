"""What happens to one simulated process besides the weather; a ledger whose calls may fail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bulk_patch.errors import Exit, LedgerError
from bulk_patch.ledgers import Ledger
from tests.chaos.universe import Universe

_WRITES = frozenset(
    "begin add seal discard close_run update start_session claim record request_retry end_session note".split()
)


@dataclass(slots=True)
class Trouble:
    """What happens to one process besides the weather.

    Attributes:
        dies_at: Its last step.
        torn: Bytes of a torn write that the kill leaves behind the ledger's log.
        ledger_fails_at: The ledger call that fails, counted from 1.
        written_though: The call that fails was carried out.
        signals: When which signal comes, seconds after the start.
        limit: Send at most so many changes.
    """

    dies_at: int | None = None
    torn: bytes = b""
    ledger_fails_at: int | None = None
    written_though: bool = False
    signals: Sequence[tuple[float, Exit]] = ()
    limit: int | None = None


class FragileLedger:
    """Stands before a ledger: every call is two steps of the universe, and one of them may fail.

    After a failed write every other write is refused, as the real one does: its disk is not to be trusted any more.
    """

    def __init__(self, ledger: Ledger, universe: Universe, trouble: Trouble) -> None:
        self._ledger, self._universe, self._trouble = ledger, universe, trouble
        self._broken = False
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._ledger, name)
        return lambda *args, **options: self._call(name, real, args, options)

    def _call(self, name: str, real: Callable[..., Any], args: Any, options: Any) -> Any:
        universe, trouble = self._universe, self._trouble
        universe.step()
        self.calls += 1
        fails = self.calls == trouble.ledger_fails_at or (self._broken and name in _WRITES)
        self._broken = self._broken or (fails and name in _WRITES)
        if fails and not (trouble.written_though and self.calls == trouble.ledger_fails_at):
            universe.tell("ledger failed", name)
            raise LedgerError("the disk failed", "fix it")
        result = real(*args, **options)
        universe.tell("ledger", name, *(result if name == "claim" and not result else ()))
        universe.step()
        if fails:
            universe.tell("ledger failed, and it was written", name)
            raise LedgerError("the disk failed", "fix it")
        return result
