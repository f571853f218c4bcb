"""Rows as a SQLite ledger holds them, each verified against the seal of its plan before anyone sees it."""

from collections.abc import Iterator, Mapping
from typing import Any

from bulk_patch.errors import LedgerError
from bulk_patch.ledgers.records import LedgerRow
from bulk_patch.ledgers.sqlite import chain_queries, queries
from bulk_patch.ledgers.sqlite.chain import Chain
from bulk_patch.ledgers.sqlite.customer_index import CustomerIndex
from bulk_patch.ledgers.sqlite.database import Line
from bulk_patch.ledgers.sqlite.planning import pack_customer
from bulk_patch.ledgers.sqlite.records import to_row, to_run
from bulk_patch.ledgers.sqlite.schema import ROW_BITS
from bulk_patch.ledgers.sqlite.sealed_plan import SealedPlan
from bulk_patch.model import State

PAGE_ROWS = 500


class VerifiedRows:
    """Reads rows, and remembers what it has verified.

    Args:
        chain: Of the ledger.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._database = chain.database
        self._plans: dict[str, SealedPlan] = {}
        self._index = CustomerIndex(chain)

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
        line = self.line(run_id)
        run = to_run(line)
        if run.state == "planning":
            return self._stream(query, dict(values), line[0], run.secret, None)
        self._chain.check_run(line[0])
        self._check_rows(line[0])
        return self._stream(query, dict(values), line[0], run.secret, self.plan(run_id))

    def _check_rows(self, number: int) -> None:
        counts = self._database.all(chain_queries.COUNTS, {"run": number})
        self._chain.check_rows(number, sum(rows for state, rows, _ in counts if state != State.UNCHANGED))

    def _stream(
        self, query: str, values: dict[str, Any], number: int, secret: str, plan: SealedPlan | None
    ) -> Iterator[LedgerRow]:
        verified = 0  # the last row of the chunk that was verified last
        while page := self._database.all(self._as_readable(query), values):
            if plan is not None:
                self._chain.check_progress(number, ((line[1], line[18], line[19:]) for line in page))
            for line in page:
                row = to_row(line[:18], secret)
                if plan is not None and row.row > verified and (plan.covers_all_rows or row.body is not None):
                    verified = plan.verify_row(row.row)
                yield row
            values["after"] = page[-1][0]

    def _as_readable(self, query: str) -> str:
        return query if self._chain.is_chained else query.replace("p.event", "NULL")

    def history(self, customer_id: str) -> list[tuple[str, LedgerRow]]:
        """Return every row of all sealed runs about one customer, oldest run first."""
        packed = pack_customer(customer_id)
        self._chain.check_all()
        self._index.check(packed)
        found = []
        for run_id, secret, *line in self._database.all(self._as_readable(queries.HISTORY), {"customer_id": packed}):
            plan, row = self.plan(run_id), to_row(line[:18], secret)
            number = line[0] >> ROW_BITS
            self._check_rows(number)
            self._chain.check_progress(number, [(row.row, line[18], line[19:])])
            if plan.covers_all_rows or row.body is not None:
                plan.verify_row(row.row)
            if row.customer_id != customer_id:
                raise plan.damage("the index of its customers")
            found.append((run_id, row))
        return found

    def bodies(self, target: str, customer_id: str) -> Iterator[bytes]:
        """Yield what any run of a target applied to a customer or found mismatching, oldest first."""
        packed = pack_customer(customer_id)
        self._index.check(packed)
        values = {"customer_id": packed, "target": target}
        for run_id, row, body, planned, *line in self._database.all(self._as_readable(queries.APPLIED_BODIES), values):
            plan = self.plan(run_id)
            self._chain.check_progress(self.line(run_id)[0], [(row, planned, line)])
            plan.verify_row(row)
            yield body

    def check_customer(self, customer_id: str) -> None:
        """Compare what the index says of a customer with what was sealed."""
        self._index.check(pack_customer(customer_id))
