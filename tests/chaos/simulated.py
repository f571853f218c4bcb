"""One simulated job: its plan, the lives of its processes, what they leave; everything but the world is the product.

Dispatcher, Sender, ApiSession, RateLimiter, engine and the SQLite ledger are the real ones. A process is ended by
never taking another step; the next one opens a copy of the ledger's files as they were at that instant.
"""

import asyncio
import csv
import hashlib
import io
import json
import random
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from bulk_patch.client.credential import Credential
from bulk_patch.client.rate_limiter import RateLimiter
from bulk_patch.client.session import ApiSession
from bulk_patch.concurrency import LedgerThread
from bulk_patch.errors import BulkPatchError, Exit, LedgerError
from bulk_patch.job.load import load_job
from bulk_patch.job.settings import Job
from bulk_patch.ledgers import Ledger
from bulk_patch.ledgers.operator import current_actor
from bulk_patch.ledgers.records import PlanRow, PlanSummary, Run
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import State
from bulk_patch.observe import SendProgress
from bulk_patch.targets.synctera.target import LOGIN, Synctera
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.workflows.observer import NullObserver
from bulk_patch.workflows.open_job import OpenJob
from bulk_patch.workflows.options import RunOptions
from bulk_patch.workflows.send_step import send_run
from tests.chaos.evidence import Document, Edit, Evidence, Line, Span, Story, read_ledger
from tests.chaos.expect import WHOLES, Wish, plan
from tests.chaos.scene import COLUMNS, JOB, TOKEN, Scene
from tests.chaos.simulated_api import SimulatedApi, SimulatedHttp
from tests.chaos.trouble import FragileLedger, Trouble
from tests.chaos.universe import Killed, SteppedLoop, Stuck, Universe
from tests.chaos.weather import Climate, Weather
from tests.support.private import write_private

BASE_URL = "http://127.0.0.1:9/v0"  # no one ever connects to it
TARGET = Synctera("customers", today=date(2026, 11, 22))
STARTUP_S = 0.03  # of a process, until it opens its ledger
_FILES = ("ledger.db", "ledger.db-wal")
_UNCOMPARED = ("ssn", "note")  # what the baseline file does not have


class _Shown(NullObserver):
    """Keeps what a person would be shown."""

    def __init__(self) -> None:
        self.lines: list[dict[str, int]] = []

    def progress(self, progress: SendProgress) -> None:
        """Keep what counts as done."""
        self.lines.append({"ok": progress.ok or 0, "refused": progress.refused or 0})


@dataclass(slots=True)
class _Life:
    """What is known of a process until its span is written."""

    started_at: float
    output: Path
    shown: _Shown
    files: dict[str, bytes] = field(default_factory=dict)  # the ledger's, at its death
    ledger: SqliteLedger | None = None


class Simulation:
    """One job in one universe.

    Args:
        seed: Where everything comes from.
        folder: For the files of the ledgers and reports; on a memory file system this is fast.
        scene: The job, its input and its world.
        climate: The weather.
        shuffled: See `SteppedLoop`.
        overrides: Further settings of the job, as for `--set`.
        tells: Keep the trace as text.
        options: Of the API, as `Sandbox` has them.
    """

    def __init__(
        self,
        seed: str,
        folder: Path,
        *,
        scene: Scene,
        climate: Climate,
        shuffled: bool,
        overrides: Sequence[str] = (),
        tells: bool = False,
        **options: Any,
    ) -> None:
        random.seed(seed)  # the product's own jitter
        self.universe = Universe(seed, tells=tells)
        self.scene = scene
        self.weather = Weather(self.universe, climate)
        self.api = SimulatedApi(self.universe, scene.customers, token=TOKEN, clears=scene.settings.clears, **options)
        self.sent_at: list[float] = []
        self.unheard: set[str] = set()  # customers of requests whose answers told the client nothing
        self.problems: list[str] = []
        self.edits: list[Edit] = []
        self.steady_clock = True
        self.spans: list[Span] = []
        self._shuffled = shuffled
        self._folder = folder
        folder.mkdir(parents=True)
        self.job: Job = load_job(scene.write(folder, BASE_URL), overrides)
        self._seeded = {one["id"]: self.api.customer(one["id"]) for one in scene.customers}
        self._files: dict[str, bytes] = {}  # of the ledger, between two processes
        self._life: _Life | None = None
        self.fragile: FragileLedger | None = None  # of the last process
        self._dead: list[Any] = []  # what may not be collected while the universe lasts
        with self.universe.lived_in():
            self._plan()

    # --- the plan

    def _plan(self) -> None:
        universe = self.universe
        path = self._folder / "plan" / "ledger.db"
        now, content = universe.wall_time(), self.job.input.path.read_bytes()
        rows = [row for number, cells in enumerate(self.scene.rows, start=1) if (row := self._row(number, cells))]
        run = Run(
            id="20261122-120000-5eed",
            job=JOB,
            target=self.job.target_name,
            secret=str(UUID(int=universe.dice.getrandbits(128), version=4)),
            created_at=now,
            actor=current_actor(""),
            identity=self.job.identity,
            baseline=self.job.baseline.kind,
            input_path=str(self.job.input.path),
            input_sha256=hashlib.sha256(content).hexdigest(),
            input_size=len(content),
            columns=tuple(COLUMNS),
        )
        with SqliteLedger.open(path, job=JOB) as ledger:
            calls.begin(ledger, run)
            calls.add(ledger, run.id, rows)
            changes = sum(row.state is State.PENDING for row in rows)
            details = {"changes": changes, "recheck": sum(row.recheck for row in rows), "warnings": []}
            unchanged = len(self.scene.rows) - len(rows)
            calls.seal(
                ledger,
                run.id,
                input_rows=len(self.scene.rows),
                unchanged=unchanged,
                plan_s=0.0,
                summary=PlanSummary.from_json(details),
                now=now,
            )
        self._files = _read(path.parent)

    def _row(self, number: int, cells: Any) -> PlanRow | None:
        """Return a row of the plan as the planner makes it, None when nothing changes."""
        state = State(self.scene.planned[number])
        if state is State.UNCHANGED:
            return None
        common = {
            "row": number,
            "customer_id": cells["customer_id"],
            "state": state,
            "cells": json.dumps([cells.get(column, "") for column in COLUMNS]).encode(),
        }
        if state is not State.PENDING:
            return PlanRow(**common, reason=f"it is {state}")
        given = {COLUMNS[column]: text for column, text in cells.items() if COLUMNS[column] and text}
        given = {name: "" if text == "<CLEAR>" else text for name, text in given.items()}
        kind = self.job.baseline.kind
        before = None if kind == "none" else self._seeded[cells["customer_id"]]
        fields, body = plan(Wish(cells["customer_id"], given), before)
        assert body is not None  # the scene says that it changes something
        image: dict[str, Any] = {}
        completed = False
        for top, value in json.loads(body).items():
            if before is not None and top != "note" and (kind == "live" or top not in _UNCOMPARED):
                image[top] = before.get(top)
            completed = completed or (top in WHOLES and any(f"{top}.{part}" not in given for part in value))
        return PlanRow(
            **common,
            fields=tuple(sorted(fields)),
            body=body,
            before=json.dumps(image, sort_keys=True).encode() if image else None,
            read_back=any(not text for text in given.values()),
            recheck=completed and kind == "file",
        )

    # --- processes

    def live(self, command: str = "run", trouble: Trouble | None = None) -> int | None:
        """Let one process live, from opening the ledger to its end; return its exit code, None when it was killed.

        Args:
            command: run, continue or retry.
            trouble: What happens to it.
        """
        universe, trouble, number = self.universe, trouble or Trouble(), len(self.spans)
        output = self._folder / f"life-{number:02}"
        output.mkdir()
        for name, content in self._files.items():
            (output / name).write_bytes(content)
        life = self._life = _Life(universe.true_time(), output, _Shown())
        self.weather.begin_process()
        universe.tell("process", number, command)
        universe.begin_process(dies_at=trouble.dies_at, on_death=self._take_ledger)
        code: int | None = None
        with universe.lived_in():
            loop = SteppedLoop(universe, shuffled=self._shuffled)
            try:
                code = loop.live(self._main(command, trouble, loop))
            except Killed:
                self._dead += [*loop.abandon(), loop]
            except (Stuck, Exception) as error:  # what no one may see
                self.problems.append(f"process {number} ({command}): {type(error).__name__}: {error}")
            universe.end_process()
            self.problems += [f"process {number}: {complaint}" for complaint in loop.complaints]
            loop.close()
            if life.ledger is not None and code is None:
                with suppress(LedgerError):
                    life.ledger.close()
        self._files = (life.files or _read(output)) | {}
        if code is None and trouble.torn and "ledger.db-wal" in self._files:
            self._files["ledger.db-wal"] += trouble.torn
        self._note_span(life, command, code)
        universe.tell("ended", code)
        shutil.rmtree(output)
        return code

    def _take_ledger(self) -> None:
        """Copy the ledger as it is at the instant of a death."""
        assert self._life is not None
        self._life.files = _read(self._life.output)

    async def _main(self, command: str, trouble: Trouble, loop: SteppedLoop) -> int:
        """Do what the command does, as `workflows.run` does it, with a simulated HTTP client."""
        life, universe, job, dice = self._life, self.universe, self.job, self.universe.dice
        assert life is not None
        options = RunOptions(go_on=command == "continue", limit=trouble.limit, observer=life.shown)
        try:
            await asyncio.sleep(STARTUP_S)
            life.ledger = SqliteLedger.open(life.output / "ledger.db", job=JOB)
            self.fragile = FragileLedger(life.ledger, universe, trouble)
            ledger = cast(Ledger, self.fragile)
            credential = Credential(job.target.token, job.file.parent, LOGIN)
            rate = cast(float, job.limits.rate_per_s)
            limiter = RateLimiter(
                rate,
                longest_delay_s=job.retry.longest_delay_s,
                give_up_after_s=job.retry.give_up_after_s,
                streaks=TARGET.streaks,
                clock=loop.time,
                draw=dice.random,
            )
            http = SimulatedHttp(
                universe, self.api, self.weather, credential=credential, limiter=limiter, timeout_s=job.limits.timeout_s
            )
            session = ApiSession(
                TARGET, http, credential=credential, retry=job.retry, concurrency=job.limits.concurrency
            )
            http.sent_at, http.unheard = self.sent_at, self.unheard
            opened = OpenJob(job, options, life.output, TARGET, ledger, session, LedgerThread())
            signalled: list[Exit] = []
            for after_s, code in trouble.signals:
                loop.call_later(after_s, _signal, opened, code, signalled)
            try:
                return await self._play_command(opened, command)
            except asyncio.CancelledError:
                if not signalled:
                    raise
                return signalled[0]
            finally:
                self._judge_traffic(http, job)
                ledger.close()
        except BulkPatchError as error:
            universe.tell("error", error.message)
            return error.exit_code

    async def _play_command(self, opened: OpenJob, command: str) -> int:
        ledger, target = opened.ledger, self.job.target_name
        if command == "retry":
            run = ledger.runs(target)[0]
            opened.refuse_stopped(run)
            asked = ledger.request_retry(run.id, now=self.universe.wall_time())
            opened.note(run, "retry", rows=asked)
            summary = await send_run(opened, run, only_requested=True)
        else:
            run = ledger.open_run(target) or ledger.runs(target)[0]
            opened.refuse_stopped(run)
            summary = await send_run(opened, run)
        return summary.exit_code or 0

    def _judge_traffic(self, http: SimulatedHttp, job: Job) -> None:
        if http.most_under_way > job.limits.concurrency:
            self.problems.append(f"{http.most_under_way} requests were under way, {job.limits.concurrency} are allowed")
        for came_s, until_s in http.pauses:
            early = [at for at in http.sent_at if came_s + 0.011 < at < until_s]
            if early:
                self.problems.append(f"asked at {came_s:.3f} s to wait until {until_s:.3f} s, sent at {early[0]:.3f} s")

    # --- what happens besides

    def edit(self, customer_id: str, fields: Document) -> None:
        """Let someone else change a customer."""
        self.api.edit(customer_id, **fields)
        after, t = len(self.api.requests), self.universe.true_time()
        self.universe.tell("edit", customer_id)
        self.edits.append(Edit(after=after, t=t, customer_id=customer_id, fields=fields))

    def seeded(self, customer_id: str) -> Document:
        """Return a customer as it was before the first request."""
        return self._seeded[customer_id]

    def write_token(self, token: str) -> None:
        """Put a token where the job looks for it."""
        write_private(self._folder / "token", token)

    def set_clock(self, clock_s: float) -> None:
        """Let our clock be wrong from now on."""
        self.universe.clock_s = clock_s
        self.steady_clock = False

    # --- what is left

    def _note_span(self, life: _Life, command: str, code: int | None) -> None:
        number = len(self.spans)
        reports = next(iter(life.output.glob("[0-9]*/summary.json")), None)
        summary = json.loads(reports.read_text()) if reports is not None else None
        results = (reports.parent / "results.csv").read_text() if reports is not None else ""
        copied = self._folder / "copy"
        copied.mkdir(exist_ok=True)
        for name in _FILES:
            (copied / name).unlink(missing_ok=True)
            if name in self._files:
                (copied / name).write_bytes(self._files[name])
        copy = read_ledger(copied / "ledger.db")
        self._files = _read(copied) if copy is None else self._files
        self.spans.append(
            Span(
                number=number,
                command=command,
                pid=self.universe.pid,
                started_at=life.started_at,
                ended_at=self.universe.true_time(),
                exit_code=None if code == Exit.LEDGER else code,  # it leaves what a kill leaves
                clock_s=self.universe.clock_s,
                api_clock_s=0.0,
                copy=copy,
                shown=life.shown.lines,
                summary=summary,
                results=list(csv.DictReader(io.StringIO(results))),
                said="",
                texts={},
            )
        )

    def evidence(self, *, settled: bool) -> Evidence:
        """Return everything that the checker wants to know.

        Args:
            settled: The last processes lived in clear weather: all has come to its end.
        """
        requests = self.api.requests
        log = [json.dumps(line) for line in requests]
        executions = dict.fromkeys(self._seeded, 0)
        for line in requests:
            if line["executed"]:
                executions[line["customer_id"]] += 1
        story = self.scene.story() | {
            "token": TOKEN,
            "slack_s": float("inf"),  # rate and pauses are judged by when the client sent
            "settled": settled,
            "steady_clock": self.steady_clock,
            "seeded": self._seeded,
            "edits": self.edits,
        }
        last = replace(self.spans[-1], ended_at=self.universe.true_time())
        return Evidence(
            folder=self._folder,
            story=Story(**story),
            spans=[*self.spans[:-1], last],
            log=[Line(**line) for line in requests],
            raw_log=log,
            stored_log=log,
            customers={customer_id: self.api.customer(customer_id) for customer_id in self._seeded},
            executions=executions,
            header=list(COLUMNS),
            cells=[[row.get(column, "") for column in COLUMNS] for row in self.scene.rows],
        )


def _signal(opened: OpenJob, code: Exit, signalled: list[Exit]) -> None:
    signalled.append(code)
    opened.on_signal(code)


def _read(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in _FILES if (folder / name).exists()}
