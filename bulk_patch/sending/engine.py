"""The Engine seam: batches in, outcomes out.

An engine never sees the ledger, so a remote worker needs no database.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from bulk_patch.model import Outcome, Patch


class Engine(Protocol):
    """The contract of every engine.

    * Every patch that was handed in comes out exactly once, whatever happens: also when the run stops, or a worker
      dies (then `unknown`, or `pending` where it was never tried).
    * The rows of one batch are independent; order is not kept.
    * A row that needs a new generation leaves as an outcome; the driver records it and hands it out again.
    * Outcomes are yielded as soon as there are any, together: one list is one transaction of the ledger. The next list
      is gathered while that one is being recorded.
    * How many rows may be out at once is the driver's business: it ends or delays `batches`.
    """

    def run(self, batches: AsyncIterator[list[Patch]]) -> AsyncGenerator[list[Outcome]]:
        """Send every patch of every batch; ends when `batches` has ended and all are out."""
        ...

    def abort(self) -> None:
        """Do not wait any longer: what is out comes back `unknown` at once."""
