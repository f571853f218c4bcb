"""The contract of ledgers: where every run of a job, every row and every intent is kept.

A ledger is synchronous and has one writer, the dispatcher, for every engine. It is the only memory of a job: a resume
needs the ledger and the token, nothing else.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from bulk_patch.ledgers.records import Actor, Check, Drift, Holder, LedgerRow, PlanRow, PlanSummary, Run, SessionRecord
from bulk_patch.model import Counts, Outcome, Patch, State


class LedgerStore(Protocol):
    """Where the ledgers of an output folder are. A plug-in of the group `bulk_patch.ledgers` is one.

    * It is made with the output folder alone, also by commands that look at runs without a job file.
    * Its ledgers are told apart by the job's name, and a job has one at most.
    """

    def __init__(self, output: Path) -> None: ...

    def jobs(self) -> list[str]:
        """Return the names of the jobs that have a ledger here, sorted; nothing is opened or made."""
        ...

    def write(self, job: str, *, wait_s: float = 0.0) -> "Ledger":
        """Open the ledger of a job to write, made where there is none; the caller closes it.

        Args:
            job: The job's name.
            wait_s: How long to wait for another process that holds it.

        Raises:
            LockedError: Another process holds it; the message names pid, host and start.
            LedgerError: It is damaged, of another job or of a newer version, or the disk fails.
        """
        ...

    def read(self, job: str) -> "Ledger":
        """Open the ledger of a job to read, also while another process writes; the caller closes it.

        Raises:
            LedgerError: The job has no ledger here, or it is damaged, of another job or of another version.
        """
        ...

    def holder(self, job: str) -> Holder | None:
        """Return which process may write to the ledger of a job now, if any."""
        ...


class Ledger(Protocol):
    """The contract of every ledger.

    * One read-write connection, behind a lock that dies with the process; opening a second one raises
      `LockedError` that names pid, host and start. Readers never lock and never write.
    * `claim` and `record` are durable when they return (power loss included). They raise `LedgerError` on any
      storage failure, and nothing that failed is retried: the caller stops.
    * Only the moves of `model.MOVES` are made; any other raises `LedgerError` and changes nothing.
    * No method holds more than the rows it was given or asked for in memory.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """Release the lock and the files."""

    # --- runs

    def runs(self, target: str | None = None) -> list[Run]:
        """Return all runs, newest first, of one target or of all; a plan that is not sealed yet is one."""

    def run(self, run_id: str) -> Run:
        """Return one run by its exact id; `LedgerError` when there is none."""

    def open_run(self, target: str) -> Run | None:
        """Return the newest sealed run of this target that has rows still to be tried, if any.

        Rows that a session spent count.
        """

    def begin(self, run: Run) -> None:
        """Start a plan. Unsealed plans of the same target are discarded in the same transaction."""

    def add(self, run_id: str, rows: Iterable[PlanRow]) -> None:
        """Append rows of the plan, in input order; the plan is not yet valid.

        A plan that was started elsewhere, or whose rows failed half-way, is refused: start again.
        """

    def seal(
        self,
        run_id: str,
        *,
        input_rows: int,
        unchanged: int,
        plan_s: float,
        summary: PlanSummary,
        now: float,
    ) -> str:
        """Make the plan valid and immutable; return its SHA-256.

        The hash (`ledgers.seal`) covers every row that is kept, the summary, and all facts of the run that its plan
        fixed. Durable on return. States must balance with `input_rows`.
        """

    def discard(self, run_id: str) -> None:
        """Remove a run that has sent nothing, with its rows."""

    def close_run(self, run_id: str) -> None:
        """Never send what is still pending of this run (`--new`); its rows keep their states.

        What `request_retry` asks for can still be sent.
        """

    def has_sent(self, run_id: str) -> bool:
        """Tell whether any row of the run ever had an intent."""

    def update(self, run_id: str, **changes: Any) -> None:
        """Change facts of a run.

        Only these: stopped_by, stop_reason, stop_hint, waived, exit_code, finished_at, stats, input_size,
        input_mtime_ns. Any other raises `TypeError`.
        """

    # --- sending

    def start_session(self, run_id: str, actor: Actor, now: float) -> int:
        """Start to send: verify the plan's hash, recover what a kill left in flight.

        Rows left `sending` become `unknown` and ambiguous, with the reason `left_in_flight`. Return how many there
        were. `peek`, `claim`, `record` and `end_session` need a session.
        """

    def claim(
        self,
        run_id: str,
        n: int,
        *,
        now: float,
        only_requested: bool = False,
        rows: Sequence[int] | None = None,
    ) -> list[Patch]:
        """Move up to n rows to `sending`, in row order, and return them once that is durable.

        Eligible: pending; unknown that is not final and spent its attempts in fewer than two sessions; rejected
        that was requested by `request_retry`. Not what spent its budget in this session. `only_requested`: only
        what `request_retry` asked for and has no answer yet. `rows` restricts to rows that `peek` returned. The
        age of a key counts from the first intent after which something may have left; for a pending row it starts
        again.

        Each chunk of the plan is verified against its sealed hash when it is first touched: a difference raises
        `LedgerError` and nothing of it is sent. `Patch.first` is left at SEND: the dispatcher decides.
        """

    def peek(self, run_id: str, n: int, *, only_requested: bool = False) -> list[tuple[Patch, State, bool]]:
        """Return what `claim` would hand out next, with state and recheck flag, and change nothing.

        `Patch.intent_at` is 0.0 when nothing can have left under its key yet.
        """

    def record(self, run_id: str, outcomes: Sequence[Outcome], *, now: float) -> None:
        """Write outcomes in one durable transaction.

        An outcome with `new_generation` goes to pending under the next generation, noted with its reason. An
        outcome `drifted` is for a pending row. `spent` is remembered with this session. A row that was ambiguous
        when it was handed out and comes back `pending` under the same key was not sent this time, but may have
        been before: it is recorded as `unknown`. What is `unknown` is ambiguous. `fields` of an outcome are
        named in the row's hint; its own `fields` stay what would change.
        """

    def request_retry(self, run_id: str, *, now: float) -> int:
        """Ask for rejected rows and unknown rows again; return how many are asked for.

        Rejected ones get the next generation; of unknown ones, those left `sending` by a kill included, it is
        forgotten that they spent their attempts or were final.
        """

    def end_session(self, run_id: str, *, now: float, by_itself: bool) -> None:
        """End the session.

        Args:
            run_id: The run.
            now: Unix seconds.
            by_itself: Not by outage, signal, credential or ledger; only then rows that are unknown and spent their
                attempts count as such. Those that did so twice become final.
        """

    def note(self, run_id: str, actor: Actor, action: str, detail: Mapping[str, Any], *, now: float) -> None:
        """Append a fact of the run for the auditor: continued, paused, stopped. No customer's value."""

    def notes(self, run_id: str) -> list[tuple[float, Actor, str, Mapping[str, Any]]]:
        """Return the noted facts in order."""

    def check_seal(self, run_id: str) -> None:
        """Compare the whole plan of a run with its seal, in bounded memory.

        Call it before you rely on the bodies and before-images of a run that is not being sent.

        Raises:
            LedgerError: The plan is not sealed, or not as it was sealed; it says what changed.
        """

    # --- reading back

    def start_check(self, run_id: str, actor: Actor, *, now: float) -> Check:
        """Return the newest check of a run, else a new one.

        The newest goes on when it did not end, is less than a day old, and nothing has been sent since it started.
        """

    def record_check(self, run_id: str, check: int, drifts: Sequence[Drift], *, upto: int, rows: int) -> None:
        """Keep, in one durable transaction, what was found in the next rows, and that these were looked at.

        Args:
            run_id: The run.
            check: The check's number.
            drifts: What was found.
            upto: The last row that was looked at; it has to rise.
            rows: How many rows were looked at since the last call.
        """

    def end_check(self, run_id: str, check: int, *, now: float) -> None:
        """Remember that a check came to its end."""

    def checks(self, run_id: str) -> list[Check]:
        """Return the checks of a run, newest first."""

    def drifts(self, check: int) -> Iterator[Drift]:
        """Stream what a check found, in row order and bounded memory."""

    # --- reading

    def sessions(self, run_id: str) -> list[SessionRecord]:
        """Return when a run was sent and by whom, in order; the last `MOST_SESSIONS` when there were more."""

    def counts(self, run_id: str) -> Counts:
        """Return rows for every state, at once whatever the size (kept, not counted); all 0 before the seal."""

    def to_do(self, run_id: str) -> int:
        """Return how many rows are still to be tried: pending, sending, unknown not for good, retry requested.

        Of a closed run: only what `request_retry` asked for.
        """

    def rows(
        self,
        run_id: str,
        *,
        states: Sequence[State] | None = None,
        customer_id: str | None = None,
        after: int = 0,
    ) -> Iterator[LedgerRow]:
        """Stream rows in input order, those after one row, in bounded memory; by customer only of a sealed plan.

        Raises:
            LedgerError: The run's facts, its summary or a row that comes up are not as they were sealed.
        """

    def history(self, customer_id: str) -> list[tuple[str, LedgerRow]]:
        """Return every row of all sealed runs about one customer, each with its run's id, oldest run first."""

    def applied_bodies(self, target: str, customer_ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (customer id, body) of what any run of this target applied to these customers, or found mismatching.

        Customers in the order asked; for each, oldest first.
        """

    def last_time(self) -> float:
        """Return the latest time that the ledger holds, Unix seconds; 0.0 for a new one.

        A clock that is behind this time was set back.
        """
