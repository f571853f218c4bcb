"""Job files, their inputs, and the plans that come of them, for the tests of planning and deciding."""

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bulk_patch import plugins
from bulk_patch.baselines import Baseline
from bulk_patch.job.load import load_job
from bulk_patch.job.settings import Job
from bulk_patch.ledgers import Ledger, RunReader
from bulk_patch.ledgers.records import LedgerRow, Run
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.ledgers.sqlite.reader import SqliteReader
from bulk_patch.model import State
from bulk_patch.planning.build import FRAME_ROWS, scan_input, write_plan
from bulk_patch.sandbox import Sandbox
from bulk_patch.targets.synctera.target import Synctera
from bulk_patch.testing.ledger_plans import make_run
from bulk_patch.workflows.options import RunOptions
from bulk_patch.workflows.run import plan_job

TODAY = date(2026, 11, 22)
JOB = """\
name = "moves"
[input]
path = "input.csv"
id = "customer_id"
[baseline]
kind = "none"
[target]
kind = "synctera"
base_url = "https://api.example.com/v0"
token = "env:NOWHERE"
"""


def make_customer(number: int) -> str:
    """Return an id with letters in it, so that upper and lower case differ."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"customer {number}"))


ANN, BEN, CAM, DEE = map(make_customer, range(4))


def write_csv(path: Path, header: str, *lines: str) -> Path:
    """Write a CSV of this header and these lines."""
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def write_parquet(path: Path, columns: Mapping[str, Any]) -> Path:
    """Write a Parquet file of these columns."""
    pq.write_table(pa.table(dict(columns)), path)
    return path


def make_job(folder: Path, *settings: str, text: str = JOB) -> Job:
    """Write a job file and load it with these settings; paths in them are absolute, or relative to nothing."""
    file = folder / "moves.toml"
    file.write_text(text, encoding="utf-8")
    return load_job(file, settings)


def make_target(resource: str = "customers") -> Synctera:
    """Return a target that lives on one day."""
    return Synctera(resource, today=TODAY)


@dataclass(frozen=True, slots=True)
class Planned:
    """A sealed run with its rows: those that are not `unchanged`."""

    run: Run
    rows: Mapping[int, LedgerRow]

    @property
    def states(self) -> dict[int, State]:
        """Return the state of every row that is not `unchanged`."""
        return {number: row.state for number, row in self.rows.items()}

    @property
    def bodies(self) -> dict[int, Any]:
        """Return what would be sent, as JSON values."""
        return {number: json.loads(row.body) for number, row in self.rows.items() if row.body is not None}

    @property
    def befores(self) -> dict[int, Any]:
        """Return the before-images, as JSON values; None where there is none."""
        return {
            number: None if row.before is None else json.loads(row.before)
            for number, row in self.rows.items()
            if row.body is not None
        }

    def reason(self, row: int) -> str:
        """Return reason and hint of a row."""
        return f"{self.rows[row].reason} ({self.rows[row].hint})"


def read_plan(ledger: RunReader, run: Run) -> Planned:
    """Return a run as its ledger holds it."""
    return Planned(ledger.run(run.id), {row.row: row for row in ledger.rows(run.id)})


def plan_offline(
    job: Job, ledger: Ledger, *, frame_rows: int = FRAME_ROWS, run_id: str = "20261122-151203-4f2a", **facts: Any
) -> Planned:
    """Plan a job whose baseline asks no API, into an open ledger."""
    target = make_target(job.target.scope())
    found = scan_input(job, target)
    baseline: Baseline = plugins.find("baseline", job.baseline.kind)(job, target, None)
    facts = {"columns": found.columns, "baseline": job.baseline.kind, "input_sha256": found.sha256} | facts
    run = make_run(run_id, job=job.name, target=job.target_name, **facts)

    async def write() -> Run:
        await baseline.expect(found, rows=frame_rows, folder=job.file.parent / "spill", ledger=ledger)
        return await write_plan(
            job, run, found=found, target=target, baseline=baseline, ledger=ledger, frame_rows=frame_rows
        )

    return read_plan(ledger, asyncio.run(write()))


def plan_of(job: Job, folder: Path, *, frame_rows: int = FRAME_ROWS) -> Planned:
    """Plan a job whose baseline asks no API, into a ledger of its own."""
    with SqliteLedger.open(folder / "plan" / "ledger.db", job=job.name) as ledger:
        return plan_offline(job, ledger, frame_rows=frame_rows)


def plan_against(sandbox: Sandbox, job: Job, **options: Any) -> Planned:
    """Plan a job against a sandbox, as `bulk-patch plan` does."""
    summary = plan_job(job.at_sandbox(sandbox.base_url, sandbox.token), RunOptions(**options))
    return planned_in(job, summary.run)


def ledger_path(job: Job) -> Path:
    """Return where the ledger of a job is."""
    return job.file.parent / "output" / job.name / "ledger.db"


def planned_in(job: Job, run_id: str) -> Planned:
    """Read a run from the ledger of a job."""
    with SqliteReader.read(ledger_path(job), job=job.name) as ledger:
        return read_plan(ledger, ledger.run(run_id))


def count_rows(planned: Planned) -> int:
    """Return how many input rows a plan accounts for."""
    return len(planned.rows) + planned.run.unchanged


def at(time_s: float) -> str:
    """Return Unix seconds as the API writes times."""
    return datetime.fromtimestamp(time_s, UTC).isoformat().replace("+00:00", "Z")
