"""The contract of engines: batches of rows in, lists of outcomes out.

An engine never sees the ledger, so a worker elsewhere needs no access to it.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from bulk_patch.model import Outcome, Patch


class Engine(Protocol):
    """The contract of every engine.

    * Every patch that is handed in comes out exactly once, whatever happens: also when the run stops or a worker dies
      (then as `unknown`, or as `pending` if it was never tried).
    * The rows of one batch are independent; order is not kept.
    * A row that needs a new generation leaves as an outcome; the dispatcher records it and hands it out again.
    * Outcomes are yielded as soon as there are any, together: one list is one transaction of the ledger. The next list
      is gathered while that one is being recorded.
    * The dispatcher decides how many rows may be out at once: it delays or ends `batches`.
    """

    def run(self, batches: AsyncIterator[list[Patch]]) -> AsyncGenerator[list[Outcome]]:
        """Send every patch of every batch; ends when `batches` has ended and all are out."""
        ...

    def abort(self) -> None:
        """Wait no longer: rows that are out come back at once, as open as they are."""
