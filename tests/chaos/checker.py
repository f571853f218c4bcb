"""The independent checker: what must hold of everything that a trial left behind.

`check` is a pure function of the evidence. Nothing here or below imports the product: bodies, keys, legal moves and
exit codes are derived once more, from the documents. Each invariant lives where its witnesses are:

    check_traffic   what reached the API: the log itself, stray requests, keys, rate, concurrency, pauses
    check_rows      what the ledger says of each row, against what the API did
    check_ledger    the ledger against its plan's seal and the input, and from one process to the next
    check_books     the ledger's tables against each other, against the processes, and against the clock
    check_reports   exit codes, summaries, results, announcements, the final state, secrets
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.chaos import check_books, check_ledger, check_reports, check_rows, check_traffic
from tests.chaos.evidence import Evidence, load
from tests.chaos.violation import Violation

CHECKS: tuple[Callable[[Evidence], Iterator[Violation]], ...] = (
    *check_traffic.CHECKS,
    *check_rows.CHECKS,
    *check_ledger.CHECKS,
    *check_books.CHECKS,
    *check_reports.CHECKS,
)


def check(evidence: Evidence) -> list[Violation]:
    """Return everything in a trial's evidence that must not be."""
    return [violation for one in CHECKS for violation in one(evidence)]


def examine(folder: Path) -> list[Violation]:
    """Read and check what a trial left in its folder; what cannot be read is a violation too."""
    try:
        return check(load(folder))
    except Exception as error:  # whatever stops the reading is a finding: no one can vouch for such evidence
        return [Violation("evidence", f"it cannot be read: {type(error).__name__}: {error}")]


if __name__ == "__main__":
    found = [f"{name}: {violation}" for name in sys.argv[1:] for violation in examine(Path(name))]
    print("\n".join(found) or "no violations")
    sys.exit(bool(found))
