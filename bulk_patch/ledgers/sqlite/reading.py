"""Rows as a SQLite ledger holds them, each verified against the seal of its plan before anyone sees it."""

from collections.abc import Iterator, Mapping
from typing import Any

from bulk_patch.errors import LedgerError
from bulk_patch.ledgers.records import LedgerRow
from bulk_patch.ledgers.sqlite import queries
from bulk_patch.ledgers.sqlite.database import Database, Line
from bulk_patch.ledgers.sqlite.planning import pack_customer
from bulk_patch.ledgers.sqlite.records import to_row, to_run
from bulk_patch.ledgers.sqlite.sealed_plan import SealedPlan

PAGE_ROWS = 500


class VerifiedRows:
    """Reads rows, and remembers what it has verified.

    Args:
        database: The ledger.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._plans: dict[str, SealedPlan] = {}

    def line(self, run_id: str) -> Line:
        """Return the line of one run by its exact id.

        Raises:
            LedgerError: There is none.
        """
        line = self._database.first(queries.RUNS, {"id": run_id, "target": None})
        if line is None:
            raise LedgerError(f"there is no run {run_id}", "`bulk-patch status` lists the runs.")
        return line

    def plan(self, run_id: str) -> SealedPlan:
        """Return the plan of a run, its facts and summary verified.

        Raises:
            LedgerError: It is not sealed, or not as it was sealed.
        """
        line = self.line(run_id)
        run = to_run(line)
        if run.state == "planning":
            raise LedgerError(f"run {run.id} is not sealed: its plan cannot be sent", "Plan it again.")
        before = self._plans.get(run_id)
        if before is not None and before.run == run:
            return before
        plan = SealedPlan(self._database, run, line[0])
        if before is not None:
            plan.trust(before)
        self._plans[run_id] = plan
        return plan

    def stream(self, run_id: str, query: str, values: Mapping[str, Any]) -> Iterator[LedgerRow]:
        """Return the rows that a query gives page by page, in bounded memory; those of an unsealed plan as they are.

        Args:
            run_id: The run.
            query: `PAGE` or `CUSTOMER_PAGE`.
            values: What it asks for; `after` and `n` say where a page starts and how long it is.
        """
        run = to_run(self.line(run_id))
        plan = None if run.state == "planning" else self.plan(run_id)
        return self._stream(query, dict(values), run.secret, plan)

    def _stream(self, query: str, values: dict[str, Any], secret: str, plan: SealedPlan | None) -> Iterator[LedgerRow]:
        verified = 0  # the last row of the chunk that was verified last
        while page := self._database.all(query, values):
            for line in page:
                row = to_row(line, secret)
                if plan is not None and row.row > verified and (plan.covers_all_rows or row.body is not None):
                    verified = plan.verify_row(row.row)
                yield row
            values["after"] = page[-1][0]

    def history(self, customer_id: str) -> list[tuple[str, LedgerRow]]:
        """Return every row of all sealed runs about one customer, oldest run first."""
        lines = self._database.all(queries.HISTORY, {"customer_id": pack_customer(customer_id)})
        found = [(run_id, to_row(line, secret)) for run_id, secret, *line in lines]
        for run_id, row in found:
            plan = self.plan(run_id)
            if plan.covers_all_rows or row.body is not None:
                plan.verify_row(row.row)
        return found
