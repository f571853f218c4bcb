"""Measure the SQLite ledger: `python -m tests.bench.ledger [--rows N]`.

Prints rows per second of every step of a run and bytes per row, for rows of 13 columns (about 250 bytes each of cells,
body and before-image) and for small ones. Claims and records come in batches of 50, each durable.
"""

import argparse
import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bulk_patch.ledgers.records import Actor, PlanRow, PlanSummary, Run
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import Outcome, State
from bulk_patch.testing import ledger_calls as calls
from tests.bench.figures import add_json_flag, write_figures

BATCH_ROWS = 50
ACTOR = Actor("bench", "bench", "localhost", os.getpid())


@contextmanager
def measured(step: str, rows: int, figures: dict[str, float]) -> Iterator[None]:
    """Print how long a step took, and add its rows/s to the figures."""
    start = time.perf_counter()
    yield
    elapsed_s = time.perf_counter() - start
    figures[f"{step}, rows/s"] = rows / elapsed_s
    print(f"  {step:32} {elapsed_s:8.2f} s {rows / elapsed_s:12,.0f} rows/s")


def make_rows(count: int, value_bytes: int) -> list[PlanRow]:
    """Return pending rows whose cells, body and before-image take so many bytes each."""
    value = json.dumps(["x" * (value_bytes - 4)]).encode()
    return [
        PlanRow(
            row=row,
            customer_id=str(uuid.uuid4()),
            state=State.PENDING,
            cells=value,
            fields=("legal_address", "email"),
            body=value,
            before=value,
        )
        for row in range(1, count + 1)
    ]


def make_run(number: int) -> Run:
    """Return the facts of a run."""
    return Run(
        id=f"20261122-151203-{number:04x}",
        job="bench",
        target="bench",
        secret=str(uuid.uuid4()),
        created_at=time.time(),
        actor=ACTOR,
        identity="",
        baseline="none",
    )


def send_all(ledger: SqliteLedger, run_id: str) -> None:
    """Claim and record every row as applied."""
    calls.start_session(ledger, run_id, ACTOR, time.time())
    while patches := calls.claim(ledger, run_id, BATCH_ROWS, now=time.time()):
        outcomes = [
            Outcome(patch.row, State.APPLIED, reason="planned_values", attempts=1, http_status=200) for patch in patches
        ]
        calls.record(ledger, run_id, outcomes, now=time.time())
    calls.end_session(ledger, run_id, now=time.time(), by_itself=True)


def bench(path: Path, count: int, value_bytes: int) -> dict[str, float]:
    """Bring one run from the plan to the report, then discard another; return the figures."""
    figures: dict[str, float] = {}
    print(f"{count:,} rows of 3 × {value_bytes} bytes")
    rows = make_rows(count, value_bytes)
    with SqliteLedger.open(path, job="bench") as ledger:
        run, again = make_run(1), make_run(2)
        calls.begin(ledger, run)
        with measured("add", count, figures):
            calls.add(ledger, run.id, rows)
        with measured("seal", count, figures):
            calls.seal(
                ledger, run.id, input_rows=count, unchanged=0, plan_s=0.0, summary=PlanSummary(), now=time.time()
            )
        with measured(f"claim and record, {BATCH_ROWS} at once", count, figures):
            send_all(ledger, run.id)
        with measured("stream all rows", count, figures):
            assert sum(1 for _ in ledger.rows(run.id)) == count
        customers = [row.customer_id for row in rows[:20_000]]
        with measured("bodies of customers", len(customers), figures):
            assert sum(1 for _ in ledger.applied_bodies("bench", customers)) == len(customers)
        with measured("counts and to_do, 1,000 times", 1_000, figures):
            for _ in range(1_000):
                ledger.counts(run.id)
                ledger.to_do(run.id)
        size = path.stat().st_size
        calls.begin(ledger, again)
        calls.add(ledger, again.id, rows)
        with measured("discard", count, figures):
            ledger.discard(again.id)
    print(f"  {size / count:.0f} bytes a row")
    return figures | {"bytes a row": size / count}


def main() -> None:
    """Run the bench for wide and for small rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    add_json_flag(parser)
    asked = parser.parse_args()
    figures = {}
    for value_bytes in (250, 40):
        with tempfile.TemporaryDirectory() as folder:
            figures[f"3 × {value_bytes} bytes"] = bench(Path(folder) / "ledger.db", asked.rows, value_bytes)
    write_figures(asked.json, {"rows": asked.rows, "ledgers": figures})


if __name__ == "__main__":
    main()
