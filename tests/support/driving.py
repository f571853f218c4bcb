"""A sealed plan driven for real: a ledger, a session, an engine, and a sandbox that others edit meanwhile."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bulk_patch.concurrency import LedgerThread
from bulk_patch.engines.local import LocalEngine
from bulk_patch.errors import Exit
from bulk_patch.job.settings import Job
from bulk_patch.ledgers.records import PlanRow, PlanSummary
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import Outcome, Patch, State, encode_json
from bulk_patch.sending.claims import SendScope
from bulk_patch.sending.dispatcher import Dispatcher
from bulk_patch.sending.engine import Engine
from bulk_patch.sending.run_ledger import RunLedger
from bulk_patch.sending.sender import Sender
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.testing.ledger_plans import ACTOR, find_states, make_run
from tests.support.job_files import make_job
from tests.support.sending import Bench, make_id, new, old, open_bench

HOUR_S = 3600.0


def plan_row(row: int, *, body: Any = None, before: Any = None, is_known: bool = True, **facts: Any) -> PlanRow:
    """Return a pending row: a change of the e-mail unless another is given."""
    body = new(row) if body is None else body
    before = old(row) if before is None else before
    usual: dict[str, Any] = {
        "customer_id": make_id(row),
        "state": State.PENDING,
        "cells": b"[]",
        "fields": tuple(body),
        "body": encode_json(body),
        "before": encode_json(before) if is_known else None,
    }
    return PlanRow(row=row, **usual | facts)


class Patient:
    """An engine that holds all it is given until no more comes, and then answers all of it."""

    def __init__(self, answer: Callable[[Patch], Outcome] | None = None) -> None:
        self.answer = answer or (lambda patch: Outcome(patch.row, State.APPLIED))
        self.held_at_once: list[int] = []
        self.patches: list[Patch] = []

    async def run(self, batches: AsyncIterator[list[Patch]]) -> AsyncGenerator[list[Outcome]]:
        """Gather, then answer, until all is answered."""
        held: list[Patch] = []

        async def gather() -> None:
            async for batch in batches:
                held.extend(batch)

        gathering = asyncio.create_task(gather())
        while not gathering.done() or held:
            await asyncio.sleep(0.05)
            if held:
                answered, held[:] = list(held), []
                self.held_at_once.append(len(answered))
                self.patches += answered
                yield [self.answer(patch) for patch in answered]
        gathering.result()

    def abort(self) -> None:
        """Hold nothing back that could be cut off."""


@dataclass(frozen=True, slots=True)
class Rig:
    """A plan and all that it takes to send it."""

    job: Job
    run_id: str
    ledger: SqliteLedger
    bench: Bench
    thread: LedgerThread = field(default_factory=LedgerThread)

    async def drive(
        self,
        engine: Engine | None = None,
        *,
        watch: Callable[[Dispatcher], None] = lambda dispatcher: None,
        on_start: Callable[[Dispatcher], None] = lambda dispatcher: None,
        **scope: Any,
    ) -> Dispatcher:
        """Send one session to its end."""
        ledger, session = self.ledger, self.bench.session
        calls.start_session(ledger, self.run_id, ACTOR, time.time())
        run = ledger.run(self.run_id)
        dispatcher = Dispatcher(
            self.job,
            RunLedger(ledger, calls.session_of(ledger, self.run_id), run, thread=self.thread),
            engine=engine or LocalEngine(self.bench.sender.send, concurrency=self.job.limits.concurrency),
            session=session,
            scope=SendScope(**scope),
        )
        on_start(dispatcher)
        ended = await dispatcher.dispatch(watch)
        calls.end_session(ledger, self.run_id, now=time.time(), by_itself=ended.by_itself)
        return dispatcher

    async def drive_and_press_twice(self, code: Exit) -> Dispatcher:
        """Drive a session that gets two signals, the first once a request is out; it has to end soon."""
        driving: list[Dispatcher] = []

        async def press_twice() -> None:
            while not self.bench.sandbox.requests:
                await asyncio.sleep(0.05)
            for _ in range(2):
                driving[0].signalled(code)
                await asyncio.sleep(0.2)

        begun = time.monotonic()
        pressing = asyncio.create_task(press_twice())
        dispatcher = await self.drive(on_start=driving.append)
        await pressing
        assert time.monotonic() - begun < 8
        return dispatcher

    @property
    def states(self) -> dict[int, State]:
        """Return the state of every row."""
        return find_states(self.ledger, self.run_id)

    @property
    def counts(self) -> Counter[State]:
        """Return how many rows are in each state, those in which there are any."""
        return Counter(self.states.values())

    @property
    def executed(self) -> Counter[str]:
        """Return how often each customer was changed by a request."""
        return Counter(line["customer_id"] for line in self.bench.sandbox.requests if line["executed"])

    def edit(self, row: int, **fields: Any) -> None:
        """Change a customer behind the program's back."""
        self.bench.sandbox.edit(make_id(row), **fields)


@asynccontextmanager
async def open_rig(
    folder: Path,
    rows: int | Sequence[PlanRow],
    *settings: str,
    baseline: str = "live",
    age_h: float = 0.0,
    details: dict[str, Any] | None = None,
    watch: Collection[str] = (),
    **options: Any,
) -> AsyncIterator[Rig]:
    """Seal a plan and open what sends it.

    Args:
        folder: For job and ledger.
        rows: The plan, or how many changes of an e-mail.
        settings: Of the job, as for `--set`.
        baseline: What the plan was compared with.
        age_h: How long ago it was planned.
        details: Of the run.
        watch: Fields whose values outcomes tell.
        options: As for `open_bench`.
    """
    planned = [plan_row(row) for row in range(1, rows + 1)] if isinstance(rows, int) else list(rows)
    kind = ("baseline.kind=live",) if baseline == "live" else ()
    job = make_job(folder, *kind, *settings)
    run = make_run(job=job.name, baseline=baseline, created_at=time.time() - age_h * HOUR_S)
    with SqliteLedger.open(folder / "ledger.db", job=job.name) as ledger:
        calls.begin(ledger, run)
        calls.add(ledger, run.id, planned)
        calls.seal(
            ledger,
            run.id,
            input_rows=len(planned),
            unchanged=0,
            plan_s=0.1,
            summary=PlanSummary.from_json(details or {}),
            now=run.created_at,
        )
        most = max((row.row for row in planned), default=1)
        async with open_bench(**{"rows": most, **options}) as bench:
            rig = Rig(job, run.id, ledger, replace(bench, sender=Sender(bench.session, watch=watch)))
            try:
                yield rig
            finally:
                rig.thread.close()


def on_rig(
    scenario: Callable[[Rig], Coroutine[Any, Any, None]],
    folder: Path,
    rows: int | Sequence[PlanRow],
    *settings: str,
    **options: Any,
) -> None:
    """Run a scenario on a rig."""

    async def run() -> None:
        async with open_rig(folder, rows, *settings, **options) as rig:
            await scenario(rig)

    asyncio.run(run())
